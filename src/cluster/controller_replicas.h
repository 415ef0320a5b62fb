/* The core of the ReplicaSet controller: one ReplicaSet and its pods in, pods to make and to delete and a status out. Pure. */
#pragma once
#include "cluster/controller_plan.h"

struct rs_replicas {
    const json_t *set;
    const json_t *const *pods;           /* every pod whose controller it is */
    size_t n_pods;
    bool settled;                        /* all pods made and deleted so far are seen in `pods`; else only the status is planned */
    const char *failure;                 /* why a pod could not be made the last time, or NULL */
    int64_t now_ms;
};
/* *ret_pods: calls that make or delete pods (independent of each other). *ret_status: calls that follow. *ret_again_ms as
 * in controller_rollout.h. While failing, one pod is tried at a time. */
void rs_replicas_plan(const struct rs_replicas *r, json_t **ret_pods, json_t **ret_status, int64_t *ret_again_ms);

enum { RS_REPLICAS_BATCH = 100 };        /* pods made or deleted in one plan */
