/* migrate/world.h over the Kubernetes API: what `rootshift migrate|complete|rollback|status` act through. One thread. */
#pragma once
#include "install/revision.h"
#include "kube/client.h"
#include "migrate/world.h"

struct rs_world_kube {
    rs_kube *kube;
    const char *kubeconfig, *context;        /* as given; NULL: defaults */
    const char *output_dir;
    char *record_rv;                         /* resourceVersion of the record that was loaded or saved last */
    bool quiet;                              /* no progress lines */
    bool locked;
    int64_t renewed_ms;                      /* when the lock was renewed last, monotonic */
    struct rs_world world;                   /* world.ctx points back here */
};

void rs_world_kube_init(struct rs_world_kube *w, rs_kube *kube);
void rs_world_kube_done(struct rs_world_kube *w);

/* The lock: Lease rootshift-migration. RS_PRECONDITION names the holder when somebody else has it and still renews it. */
RS_MUST_USE int rs_world_lock(struct rs_world_kube *w, const char *actor, struct rs_err *e);
void rs_world_unlock(struct rs_world_kube *w);

/* Deployments: waits until everything asked for has been rolled out; names the first that can't be. */
struct rs_rollout { const char *namespace, *name; };
RS_MUST_USE int rs_wait_rollouts(struct rs_world_kube *w, const struct rs_rollout *v, size_t n, struct rs_err *e);
/* Restarts these Deployments unless they already carry the token. */
RS_MUST_USE int rs_restart_deployments(struct rs_world_kube *w, const struct rs_rollout *v, size_t n, const char *token, struct rs_err *e);
bool rs_is_gateway(const json_t *deployment);

/* Parts of the table, one file each. */
int rs_world_label_namespace(void *ctx, const char *namespace, const char *revision, struct rs_err *e);
int rs_world_restart_namespace(void *ctx, const char *namespace, const char *token, struct rs_err *e);
int rs_world_restart_control_planes(void *ctx, const char *token, struct rs_err *e);
int rs_world_gateway_canary(void *ctx, const char *gateway, const char *revision, struct rs_err *e);
int rs_world_gateway_canary_undo(void *ctx, const char *gateway, const char *revision, struct rs_err *e);
int rs_world_gateway_in_place(void *ctx, const char *gateway, const char *revision_of_canary, const char *revision, struct rs_err *e);
int rs_world_gateway_remove_old(void *ctx, const char *gateway, struct rs_err *e);
int rs_world_uninstall(void *ctx, const char *revision, struct rs_err *e);
int rs_world_point_default_to(void *ctx, const char *revision, struct rs_err *e);
int rs_world_save_and_delete_ca_secrets(void *ctx, const json_t *plan, struct rs_err *e);
int rs_world_install(void *ctx, const json_t *plan, int second, struct rs_err *e);
