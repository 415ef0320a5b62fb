/* The core of the Deployment controller, after Kubernetes' own (rolling update with surge, Recreate, proportional scaling,
 * revisions, conditions, progress deadline, history). Pure: a Deployment and its ReplicaSets in, a plan out. */
#pragma once
#include "cluster/controller_plan.h"

struct rs_rollout {
    const json_t *deployment;
    const json_t *const *sets;           /* every ReplicaSet whose controller it is */
    size_t n_sets;
    size_t old_pods;                     /* pods not ended of ReplicaSets other than the current one; Recreate waits for them */
    int64_t now_ms;
};
/* *ret_plan: new array, see controller_plan.h. *ret_again_ms: look again after so long without an event (progress
 * deadline), 0: no need. */
void rs_rollout_plan(const struct rs_rollout *r, json_t **ret_plan, int64_t *ret_again_ms);

/* The ReplicaSet whose template is the Deployment's (oldest if several), or NULL. */
const json_t *rs_rollout_current(const struct rs_rollout *r);
