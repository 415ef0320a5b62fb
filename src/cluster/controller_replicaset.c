/* ReplicaSets: the edge around controller_replicas.h. It remembers what it did until the cache shows it. */
#include <uthash.h>

#include "base/time.h"
#include "cluster/controller_int.h"
#include "cluster/controller_replicas.h"

enum { PATIENCE_MS = 5000 };             /* for an event that never came (the cache was listed anew in between) */

static const char component[] = "replicaset-controller";

struct memory {
    char *key;                           /* of the set */
    json_t *pending;                     /* uid of a pod -> monotonic time of the answer; negative: it was deleted */
    char *failure;
    UT_hash_handle hh;
};
struct sets { rs_controllers *c; rs_queue *queue; struct memory *memory; };

static struct memory *recall(struct sets *s, const char *key, bool make)
{
    struct memory *m;
    HASH_FIND_STR(s->memory, key, m);
    if (m || !make)
        return m;
    m = rs_new(struct memory);
    m->key = rs_strdup(key);
    m->pending = json_object();
    HASH_ADD_KEYPTR(hh, s->memory, m->key, strlen(m->key), m);
    return m;
}

static void forget(struct sets *s, struct memory *m)
{
    if (!m)
        return;
    HASH_DEL(s->memory, m);
    json_decref(m->pending);
    free(m->failure);
    free(m->key);
    free(m);
}

/* True when the cache shows everything; else the time until patience ends. */
static bool settled(struct memory *m, int64_t *ret_wait_ms)
{
    const char *uid;
    json_t *at;
    void *next;
    *ret_wait_ms = 0;
    if (!m)
        return true;
    json_object_foreach_safe(m->pending, next, uid, at) {
        int64_t left = llabs(json_integer_value(at)) + PATIENCE_MS - rs_mono_ms();
        if (left <= 0)
            json_object_del(m->pending, uid);
        else
            *ret_wait_ms = left;
    }
    return json_object_size(m->pending) == 0;
}

static void sync(void *ctx, rs_queue_item *item, const char *key)
{
    struct sets *s = ctx;
    const json_t *o = rs_cached_key(s->c, RS_WATCH_REPLICA_SETS, key);
    struct memory *m = recall(s, key, false);
    if (!o) {
        forget(s, m);
        rs_queue_run(item, NULL, false);
        return;
    }
    int64_t wait_ms, again_ms;
    struct rs_index_list pods = rs_pods_of_owner(s->c, rs_object_uid(o));
    struct rs_replicas r = { .set = o, .pods = pods.v, .n_pods = pods.n, .settled = settled(m, &wait_ms),
                             .failure = m ? m->failure : NULL, .now_ms = rs_now_ms() };
    json_t *plan = NULL;
    RS_AUTO(json_t) *status = NULL;
    rs_replicas_plan(&r, &plan, &status, &again_ms);
    json_array_extend(plan, status);
    if (again_ms > 0 || wait_ms > 0)
        rs_queue_add_after(s->queue, key, again_ms > 0 && (wait_ms == 0 || again_ms < wait_ms) ? again_ms : wait_ms);
    rs_queue_run(item, plan, true);
}

static const json_t *pod_in_cache(const struct sets *s, const json_t *set, const char *uid)
{
    struct rs_index_list pods = rs_pods_of_owner(s->c, rs_object_uid(set));
    for (size_t i = 0; i < pods.n; i++)
        if (rs_streq(rs_object_uid(pods.v[i]), uid))
            return pods.v[i];
    return NULL;
}

static void expect(struct memory *m, const char *uid, bool end)
{
    json_object_set_new(m->pending, uid, json_integer(end ? -rs_mono_ms() : rs_mono_ms()));
}

static void made(struct sets *s, struct memory *m, const json_t *set, const json_t *pod)
{
    RS_AUTO(json_t) *plan = json_array();
    free(rs_take(m->failure));
    if (!pod_in_cache(s, set, rs_object_uid(pod)))
        expect(m, rs_object_uid(pod), false);
    rs_plan_event(plan, set, component, "Normal", "SuccessfulCreate", "Created pod: %s", rs_object_name(pod));
    rs_recorder_add(rs_controllers_recorder(s->c), json_object_get(json_array_get(plan, 0), "event"));
}

static void not_made(struct sets *s, struct memory *m, const json_t *set, const struct rs_err *why)
{
    RS_AUTO(json_t) *plan = json_array();
    free(m->failure);
    m->failure = rs_strdup(why->msg);
    rs_plan_event(plan, set, component, "Warning", "FailedCreate", "Error creating: %s", why->msg);
    rs_recorder_add(rs_controllers_recorder(s->c), json_object_get(json_array_get(plan, 0), "event"));
}

static void deleted(struct sets *s, struct memory *m, const json_t *set, const json_t *call)
{
    RS_AUTO(json_t) *plan = json_array();
    const char *uid = rs_json_str(call, "body", "preconditions", "uid"), *name = strrchr(rs_json_str(call, "path"), '/') + 1;
    const json_t *pod = pod_in_cache(s, set, uid);
    if (pod && !rs_object_deleting(pod))
        expect(m, uid, true);
    rs_plan_event(plan, set, component, "Normal", "SuccessfulDelete", "Deleted pod: %s", name);
    rs_recorder_add(rs_controllers_recorder(s->c), json_object_get(json_array_get(plan, 0), "event"));
}

static bool answered(void *ctx, const char *key, const json_t *call, const json_t *answer, const struct rs_err *why)
{
    struct sets *s = ctx;
    const json_t *set = rs_cached_key(s->c, RS_WATCH_REPLICA_SETS, key);
    const char *method = rs_json_str(call, "method");
    if (!set)
        return true;
    struct memory *m = recall(s, key, true);
    if (rs_streq(method, "POST") && why)
        not_made(s, m, set, why);
    else if (rs_streq(method, "POST"))
        made(s, m, set, answer);
    else if (rs_streq(method, "DELETE") && !why)
        deleted(s, m, set, call);
    return false;
}

static void pod_changed(struct sets *s, const json_t *pod, bool gone)
{
    const json_t *owner = rs_object_owner(pod);
    if (!rs_streq(rs_json_str(owner, "kind"), "ReplicaSet"))
        return;
    RS_AUTO(rs_chars) *key = rs_printf("%s/%s", rs_object_namespace(pod), rs_json_str(owner, "name"));
    struct memory *m = recall(s, key, false);
    const json_t *at = m ? json_object_get(m->pending, rs_object_uid(pod)) : NULL;
    if (at && (json_integer_value(at) > 0 || gone || rs_object_deleting(pod)))
        json_object_del(m->pending, rs_object_uid(pod));
    rs_queue_add_key(s->queue, key);
}

static void change(void *self, enum rs_watched what, const json_t *old, const json_t *now)
{
    struct sets *s = self;
    const json_t *o = now ? now : old;
    if (what == RS_WATCH_REPLICA_SETS)
        rs_queue_add(s->queue, rs_object_namespace(o), rs_object_name(o));
    else if (what == RS_WATCH_PODS)
        pod_changed(s, o, !now);
}

static void *new(rs_controllers *c)
{
    static const struct rs_queue_ops ops = { .sync = sync, .answered = answered };
    struct sets *s = rs_new(struct sets);
    s->c = c;
    s->queue = rs_queue_new(rs_controllers_kube(c), "replicaset", &ops, s);
    rs_queue_set_recorder(s->queue, rs_controllers_recorder(c));
    return s;
}

static void destroy(void *self)
{
    struct sets *s = self;
    struct memory *m, *next;
    rs_queue_free(s->queue);
    HASH_ITER(hh, s->memory, m, next)
        forget(s, m);
    free(s);
}

const struct rs_controller rs_replica_set_controller = { new, change, destroy };
