/* How the migration engine sees a cluster: this table and nothing else. The operator's command implements it over the
 * Kubernetes API, the simulator over virtual clusters. Every act is idempotent: done again after a crash it changes nothing
 * more. Acts return when what they did is observed, or fail with an error that names the object and what to do. */
#pragma once
#include "mesh/scan.h"
#include "migrate/gate.h"

struct rs_living_list { struct rs_living_leaf *v; size_t n; char *unreadable; };   /* unreadable: why, or NULL */

struct rs_world {
    void *ctx;
    int64_t (*now_ms)(void *ctx);
    /* One line of progress for the user. */
    void (*say)(void *ctx, const char *line);

    /* The record (NULL: none). save is refused with RS_ABORTED when somebody else wrote in between. */
    int (*load)(void *ctx, json_t **ret, struct rs_err *e);
    int (*save)(void *ctx, json_t *record, struct rs_err *e);

    /* What is running now. */
    int (*scan)(void *ctx, struct rs_scan **ret, struct rs_err *e);
    int (*living)(void *ctx, const rs_digest *root, struct rs_living_list *ret, struct rs_err *e);
    void (*living_done)(void *ctx, struct rs_living_list *l);
    /* What each revision distributes; ret is malloc'ed, bundles are references. */
    int (*required)(void *ctx, struct rs_required **ret, size_t *ret_n, struct rs_err *e);
    void (*required_done)(void *ctx, struct rs_required *v, size_t n);
    /* Between two looks: waits until something may have changed, at most 1 s. */
    void (*pause)(void *ctx);

    /* Installs the plan's revision for phase distribute (0) or switch (1) and waits until it serves. */
    int (*install)(void *ctx, const json_t *plan, int second, struct rs_err *e);
    /* Removes everything that belongs to a revision, and only that. Refuses while a pod runs under it. */
    int (*uninstall)(void *ctx, const char *revision, struct rs_err *e);
    /* Makes the namespace inject by a revision; "" means istio-injection=enabled (the default control plane). */
    int (*label_namespace)(void *ctx, const char *namespace, const char *revision, struct rs_err *e);
    /* Restarts every Deployment of the namespace that was not restarted for this token, and waits for the rollouts and until
     * the pods of before are gone. Names what it can't restart (bare pods, other owners) in the error when such a pod has a proxy. */
    int (*restart_namespace)(void *ctx, const char *namespace, const char *token, struct rs_err *e);

    /* Gateways, named NAMESPACE.NAME in plan and steps. */
    int (*gateway_canary)(void *ctx, const char *gateway, const char *revision, struct rs_err *e);         /* second Deployment beside, old one scaled to 0 */
    int (*gateway_canary_undo)(void *ctx, const char *gateway, const char *revision, struct rs_err *e);    /* old one up again, second deleted */
    int (*gateway_in_place)(void *ctx, const char *gateway, const char *revision_of_canary, const char *revision, struct rs_err *e);
    int (*gateway_remove_old)(void *ctx, const char *gateway, struct rs_err *e);

    /* A.2: Service istiod and the default validator answer from this revision; proven by server-side dry-run writes. */
    int (*point_default_to)(void *ctx, const char *revision, struct rs_err *e);
    /* A.5. Copies go into the output directory with mode 0600. */
    int (*save_and_delete_ca_secrets)(void *ctx, const json_t *plan, struct rs_err *e);
    int (*restart_control_planes)(void *ctx, const char *token, struct rs_err *e);
};
