/* Deployments: the edge around controller_rollout.h. */
#include "base/time.h"
#include "cluster/controller_int.h"
#include "cluster/controller_rollout.h"

struct deployments { rs_controllers *c; rs_queue *queue; };

static size_t count_old_pods(const struct deployments *d, const json_t *current, struct rs_index_list sets)
{
    size_t n = 0;
    for (size_t i = 0; i < sets.n; i++) {
        struct rs_index_list pods = rs_pods_of_owner(d->c, rs_object_uid(sets.v[i]));
        for (size_t j = 0; j < pods.n && sets.v[i] != current; j++) {
            const char *phase = rs_json_str(pods.v[j], "status", "phase");
            n += !rs_streq(phase, "Succeeded") && !rs_streq(phase, "Failed");
        }
    }
    return n;
}

static void sync(void *ctx, rs_queue_item *item, const char *key)
{
    struct deployments *d = ctx;
    const json_t *o = rs_cached_key(d->c, RS_WATCH_DEPLOYMENTS, key);
    json_t *plan = NULL;
    int64_t again = 0;
    if (o) {
        struct rs_index_list sets = rs_sets_of_owner(d->c, rs_object_uid(o));
        struct rs_rollout r = { .deployment = o, .sets = sets.v, .n_sets = sets.n, .now_ms = rs_now_ms() };
        if (rs_streq(rs_json_str(o, "spec", "strategy", "type"), "Recreate"))
            r.old_pods = count_old_pods(d, rs_rollout_current(&r), sets);
        rs_rollout_plan(&r, &plan, &again);
    }
    if (again > 0)
        rs_queue_add_after(d->queue, key, again);
    rs_queue_run(item, plan, false);
}

static void enqueue_owner(struct deployments *d, const json_t *set)
{
    const json_t *owner = set ? rs_object_owner(set) : NULL;
    if (rs_streq(rs_json_str(owner, "kind"), "Deployment"))
        rs_queue_add(d->queue, rs_object_namespace(set), rs_json_str(owner, "name"));
}

/* A pod of a set is gone: Recreate may go on. */
static void pod_gone(struct deployments *d, const json_t *pod)
{
    const json_t *owner = rs_object_owner(pod);
    if (rs_streq(rs_json_str(owner, "kind"), "ReplicaSet"))
        enqueue_owner(d, rs_cached(d->c, RS_WATCH_REPLICA_SETS, rs_object_namespace(pod), rs_json_str(owner, "name")));
}

static void change(void *self, enum rs_watched what, const json_t *old, const json_t *now)
{
    struct deployments *d = self;
    const json_t *o = now ? now : old;
    if (what == RS_WATCH_DEPLOYMENTS)
        rs_queue_add(d->queue, rs_object_namespace(o), rs_object_name(o));
    else if (what == RS_WATCH_REPLICA_SETS)
        enqueue_owner(d, o);
    else if (what == RS_WATCH_PODS && !now)
        pod_gone(d, old);
}

static void *new(rs_controllers *c)
{
    static const struct rs_queue_ops ops = { .sync = sync };
    struct deployments *d = rs_new(struct deployments);
    d->c = c;
    d->queue = rs_queue_new(rs_controllers_kube(c), "deployment", &ops, d);
    rs_queue_set_recorder(d->queue, rs_controllers_recorder(c));
    return d;
}

static void destroy(void *self)
{
    struct deployments *d = self;
    rs_queue_free(d->queue);
    free(d);
}

const struct rs_controller rs_deployment_controller = { new, change, destroy };
