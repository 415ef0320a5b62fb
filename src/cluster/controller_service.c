/* Endpoints and EndpointSlices: the edge around controller_endpoints.h. */
#include "cluster/controller_endpoints.h"
#include "cluster/controller_int.h"

#define SERVICE_NAME "kubernetes.io/service-name"

struct services { rs_controllers *c; rs_queue *queue; };

static bool ours(const json_t *endpoints) { return endpoints && rs_object_label(endpoints, RS_ENDPOINTS_MANAGED_BY); }

static struct rs_index_list slices_of(const struct services *s, const char *namespace, const char *service)
{
    struct rs_index_list all = rs_slices_of_namespace(s->c, namespace), own = { rs_new_array(const json_t *, all.n + 1), 0 };
    for (size_t i = 0; i < all.n; i++)
        if (rs_streq(rs_object_label(all.v[i], SERVICE_NAME), service) &&
            rs_streq(rs_object_label(all.v[i], "endpointslice.kubernetes.io/managed-by"), "endpointslice-controller.k8s.io"))
            own.v[own.n++] = all.v[i];
    return own;
}

/* Slices end with their owner, by garbage collection. */
static json_t *plan_end(const json_t *endpoints)
{
    json_t *plan = json_array();
    if (ours(endpoints)) {
        RS_AUTO(rs_chars) *path = rs_object_path(endpoints, true);
        rs_plan_call(plan, "DELETE", path, NULL, rs_delete_options(endpoints));
    }
    return plan;
}

static void sync(void *ctx, rs_queue_item *item, const char *key)
{
    struct services *s = ctx;
    const json_t *service = rs_cached_key(s->c, RS_WATCH_SERVICES, key), *endpoints = rs_cached_key(s->c, RS_WATCH_ENDPOINTS, key);
    json_t *plan = NULL;
    if (!service || rs_object_deleting(service)) {
        plan = plan_end(endpoints);
    } else if (rs_endpoints_managed(service)) {
        const char *namespace = rs_object_namespace(service);
        struct rs_index_list pods = rs_pods_of_namespace(s->c, namespace), slices = slices_of(s, namespace, rs_object_name(service));
        plan = rs_endpoints_plan(service, pods.v, pods.n, endpoints, slices.v, slices.n);
        free(slices.v);
    }
    rs_queue_run(item, plan, true);
}

/* In a namespace that ends nothing can be made any more. */
static bool answered(void *ctx, const char *key, const json_t *call, const json_t *answer, const struct rs_err *why)
{
    struct services *s = ctx;
    const char *slash = strchr(key, '/');
    RS_AUTO(rs_chars) *name = rs_strndup(key, (size_t)(slash - key));
    const json_t *namespace = rs_cached(s->c, RS_WATCH_NAMESPACES, "", name);
    return why && why->code == RS_FORBIDDEN && (!namespace || rs_object_deleting(namespace));
}

/* What of a pod matters to endpoints. */
static bool matters(const json_t *old, const json_t *now)
{
    return !old || !now || !rs_streq(rs_pod_ip(old), rs_pod_ip(now)) || rs_pod_ready(old) != rs_pod_ready(now) ||
           rs_object_deleting(old) != rs_object_deleting(now) ||
           !rs_streq(rs_json_str(old, "status", "phase"), rs_json_str(now, "status", "phase")) ||
           !json_equal(rs_json_at(old, "metadata", "labels"), rs_json_at(now, "metadata", "labels"));
}

static bool selects(const json_t *service, const json_t *pod)
{
    return pod && rs_labels_include(rs_json_at(pod, "metadata", "labels"), rs_json_at(service, "spec", "selector"));
}

static void pod_changed(struct services *s, const json_t *old, const json_t *now)
{
    struct rs_index_list services = rs_services_of_namespace(s->c, rs_object_namespace(now ? now : old));
    if (!matters(old, now))
        return;
    for (size_t i = 0; i < services.n; i++)
        if (selects(services.v[i], old) || selects(services.v[i], now))
            rs_queue_add(s->queue, rs_object_namespace(services.v[i]), rs_object_name(services.v[i]));
}

static void change(void *self, enum rs_watched what, const json_t *old, const json_t *now)
{
    struct services *s = self;
    const json_t *o = now ? now : old;
    if (what == RS_WATCH_PODS)
        pod_changed(s, old, now);
    else if (what == RS_WATCH_SERVICES || what == RS_WATCH_ENDPOINTS)
        rs_queue_add(s->queue, rs_object_namespace(o), rs_object_name(o));
    else if (what == RS_WATCH_ENDPOINT_SLICES && rs_object_label(o, SERVICE_NAME))
        rs_queue_add(s->queue, rs_object_namespace(o), rs_object_label(o, SERVICE_NAME));
}

static void *new(rs_controllers *c)
{
    static const struct rs_queue_ops ops = { .sync = sync, .answered = answered };
    struct services *s = rs_new(struct services);
    s->c = c;
    s->queue = rs_queue_new(rs_controllers_kube(c), "endpoints", &ops, s);
    return s;
}

static void destroy(void *self)
{
    struct services *s = self;
    rs_queue_free(s->queue);
    free(s);
}

const struct rs_controller rs_service_controller = { new, change, destroy };
