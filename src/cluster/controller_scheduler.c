/* Binds pods that have no node: to the ready node with the fewest pods whose labels the pod's nodeSelector allows. */
#include "cluster/controller_int.h"

static const char component[] = "default-scheduler";

struct scheduler { rs_controllers *c; rs_queue *queue; };

static bool waiting(const json_t *pod)
{
    const char *scheduler = rs_json_str(pod, "spec", "schedulerName"), *phase = rs_json_str(pod, "status", "phase");
    return !rs_json_str(pod, "spec", "nodeName") && !rs_object_deleting(pod) && (!scheduler || rs_streq(scheduler, component)) &&
           !rs_streq(phase, "Succeeded") && !rs_streq(phase, "Failed");
}

static bool ready(const json_t *node)
{
    return rs_pod_ready(node) && !rs_json_true(node, "spec", "unschedulable") && !rs_object_deleting(node);   /* nodes say Ready as pods do */
}

static size_t pods_on(const struct scheduler *s, const json_t *node)
{
    RS_AUTO(json_t) *pods = rs_cached_all(s->c, RS_WATCH_PODS);
    size_t i, n = 0;
    json_t *pod;
    json_array_foreach(pods, i, pod)
        n += rs_streq(rs_json_str(pod, "spec", "nodeName"), rs_object_name(node));
    return n;
}

static char *choose(const struct scheduler *s, const json_t *pod, size_t *ret_nodes)
{
    RS_AUTO(json_t) *nodes = rs_cached_all(s->c, RS_WATCH_NODES);
    const json_t *wanted = rs_json_at(pod, "spec", "nodeSelector"), *best = NULL;
    size_t i, least = 0;
    json_t *node;
    *ret_nodes = json_array_size(nodes);
    json_array_foreach(nodes, i, node) {
        if (!ready(node) || (json_object_size(wanted) && !rs_labels_include(rs_json_at(node, "metadata", "labels"), wanted)))
            continue;
        size_t n = *ret_nodes > 1 ? pods_on(s, node) : 0;
        if (!best || n < least) {
            best = node;
            least = n;
        }
    }
    return best ? rs_strdup(rs_object_name(best)) : NULL;
}

static json_t *plan_binding(const json_t *pod, const char *node)
{
    json_t *plan = json_array();
    RS_AUTO(rs_chars) *path = rs_kind_path(rs_kind_find("v1", "Pod"), rs_object_namespace(pod), rs_object_name(pod));
    RS_AUTO(rs_chars) *binding = rs_printf("%s/binding", path);
    rs_plan_call(plan, "POST", binding, NULL,
                 rs_json_pack("{s:s,s:s,s:{s:s,s:s,s:s},s:{s:s,s:s,s:s}}", "apiVersion", "v1", "kind", "Binding", "metadata", "name", rs_object_name(pod),
                              "namespace", rs_object_namespace(pod), "uid", rs_object_uid(pod), "target", "apiVersion", "v1", "kind", "Node", "name", node));
    rs_plan_event(plan, pod, component, "Normal", "Scheduled", "Successfully assigned %s/%s to %s", rs_object_namespace(pod), rs_object_name(pod), node);
    return plan;
}

static json_t *plan_refusal(const json_t *pod, size_t nodes)
{
    json_t *plan = json_array();
    rs_plan_event(plan, pod, component, "Warning", "FailedScheduling", "0/%zu nodes are available: no node is ready for this pod", nodes);
    return plan;
}

static void sync(void *ctx, rs_queue_item *item, const char *key)
{
    struct scheduler *s = ctx;
    const json_t *pod = rs_cached_key(s->c, RS_WATCH_PODS, key);
    json_t *plan = NULL;
    if (pod && waiting(pod)) {
        size_t nodes;
        RS_AUTO(rs_chars) *node = choose(s, pod, &nodes);
        plan = node ? plan_binding(pod, node) : plan_refusal(pod, nodes);
    }
    rs_queue_run(item, plan, false);
}

/* Bound or gone meanwhile: the next event tells. */
static bool answered(void *ctx, const char *key, const json_t *call, const json_t *answer, const struct rs_err *why)
{
    return why && (why->code == RS_ABORTED || why->code == RS_NOT_FOUND);
}

static void node_changed(struct scheduler *s, const json_t *old, const json_t *now)
{
    RS_AUTO(json_t) *pods = now && ready(now) && !(old && ready(old)) ? rs_cached_all(s->c, RS_WATCH_PODS) : NULL;
    size_t i;
    json_t *pod;
    json_array_foreach(pods, i, pod)
        if (waiting(pod))
            rs_queue_add(s->queue, rs_object_namespace(pod), rs_object_name(pod));
}

static void change(void *self, enum rs_watched what, const json_t *old, const json_t *now)
{
    struct scheduler *s = self;
    if (what == RS_WATCH_NODES)
        node_changed(s, old, now);
    else if (what == RS_WATCH_PODS && now && waiting(now))
        rs_queue_add(s->queue, rs_object_namespace(now), rs_object_name(now));
}

static void *new(rs_controllers *c)
{
    static const struct rs_queue_ops ops = { .sync = sync, .answered = answered };
    struct scheduler *s = rs_new(struct scheduler);
    s->c = c;
    s->queue = rs_queue_new(rs_controllers_kube(c), "scheduler", &ops, s);
    rs_queue_set_recorder(s->queue, rs_controllers_recorder(c));
    return s;
}

static void destroy(void *self)
{
    struct scheduler *s = self;
    rs_queue_free(s->queue);
    free(s);
}

const struct rs_controller rs_scheduler = { new, change, destroy };
