#include "cluster/controllers.h"

#include "base/log.h"
#include "cluster/controller_int.h"

static const struct { const char *api_version, *kind; } watched[RS_WATCHED] = {
    [RS_WATCH_NAMESPACES] = { "v1", "Namespace" },
    [RS_WATCH_NODES] = { "v1", "Node" },
    [RS_WATCH_PODS] = { "v1", "Pod" },
    [RS_WATCH_SERVICES] = { "v1", "Service" },
    [RS_WATCH_ENDPOINTS] = { "v1", "Endpoints" },
    [RS_WATCH_SERVICE_ACCOUNTS] = { "v1", "ServiceAccount" },
    [RS_WATCH_CONFIG_MAPS] = { "v1", "ConfigMap" },
    [RS_WATCH_SECRETS] = { "v1", "Secret" },
    [RS_WATCH_DEPLOYMENTS] = { "apps/v1", "Deployment" },
    [RS_WATCH_REPLICA_SETS] = { "apps/v1", "ReplicaSet" },
    [RS_WATCH_ENDPOINT_SLICES] = { "discovery.k8s.io/v1", "EndpointSlice" },
    [RS_WATCH_HPAS] = { "autoscaling/v2", "HorizontalPodAutoscaler" },
    [RS_WATCH_PDBS] = { "policy/v1", "PodDisruptionBudget" },
    [RS_WATCH_LEASES] = { "coordination.k8s.io/v1", "Lease" },
    [RS_WATCH_MUTATING] = { "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration" },
    [RS_WATCH_VALIDATING] = { "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration" },
    [RS_WATCH_ROLES] = { "rbac.authorization.k8s.io/v1", "Role" },
    [RS_WATCH_ROLE_BINDINGS] = { "rbac.authorization.k8s.io/v1", "RoleBinding" },
    [RS_WATCH_CLUSTER_ROLES] = { "rbac.authorization.k8s.io/v1", "ClusterRole" },
    [RS_WATCH_CLUSTER_ROLE_BINDINGS] = { "rbac.authorization.k8s.io/v1", "ClusterRoleBinding" },
};

static const struct rs_controller *const table[] = {
    &rs_namespace_controller, &rs_deployment_controller, &rs_replica_set_controller, &rs_scheduler, &rs_service_controller, &rs_garbage_collector,
};

struct watch { rs_controllers *c; enum rs_watched what; rs_informer *informer; };

struct rs_controllers {
    rs_kube *k;
    rs_recorder *recorder;
    struct watch watch[RS_WATCHED];
    rs_index *pods_by_owner, *pods_by_namespace, *sets_by_owner, *services_by_namespace, *slices_by_namespace;
    void *controller[RS_COUNT(table)];
    bool running;                        /* every needed cache is filled */
    void (*on_ready)(void *ctx);
    void *ctx;
};

static void tell(rs_controllers *c, enum rs_watched what, const json_t *old, const json_t *now)
{
    for (size_t i = 0; i < RS_COUNT(table); i++)
        table[i]->change(c->controller[i], what, old, now);
}

static void on_change(void *ctx, const json_t *old, const json_t *now, bool final)
{
    struct watch *w = ctx;
    rs_controllers *c = w->c;
    if (w->what == RS_WATCH_PODS) {
        rs_index_change(c->pods_by_owner, old, now);
        rs_index_change(c->pods_by_namespace, old, now);
    } else if (w->what == RS_WATCH_REPLICA_SETS) {
        rs_index_change(c->sets_by_owner, old, now);
    } else if (w->what == RS_WATCH_SERVICES) {
        rs_index_change(c->services_by_namespace, old, now);
    } else if (w->what == RS_WATCH_ENDPOINT_SLICES) {
        rs_index_change(c->slices_by_namespace, old, now);
    }
    if (c->running)
        tell(c, w->what, old, now);
}

/* Nothing is done before all is known: half a cache would make pods that are there already. */
static void on_synced(void *ctx)
{
    rs_controllers *c = ((struct watch *)ctx)->c;
    if (c->running)
        return;
    for (size_t i = 0; i < RS_WATCHED_NEEDED; i++)
        if (!c->watch[i].informer || !rs_informer_synced(c->watch[i].informer))
            return;
    c->running = true;
    for (size_t i = 0; i < RS_WATCHED; i++) {
        RS_AUTO(json_t) *all = c->watch[i].informer ? rs_informer_list(c->watch[i].informer) : json_array();
        size_t j;
        json_t *o;
        json_array_foreach(all, j, o)
            tell(c, (enum rs_watched)i, NULL, o);
    }
    if (c->on_ready)
        c->on_ready(c->ctx);
}

rs_controllers *rs_controllers_new(rs_kube *k, void (*on_ready)(void *ctx), void *ctx)
{
    static const struct rs_informer_ops ops = { .on_change = on_change, .on_synced = on_synced };
    rs_controllers *c = rs_new(rs_controllers);
    c->k = k;
    c->on_ready = on_ready;
    c->ctx = ctx;
    c->recorder = rs_recorder_new(k);
    c->pods_by_owner = rs_index_new(rs_key_owner);
    c->pods_by_namespace = rs_index_new(rs_key_namespace);
    c->sets_by_owner = rs_index_new(rs_key_owner);
    c->services_by_namespace = rs_index_new(rs_key_namespace);
    c->slices_by_namespace = rs_index_new(rs_key_namespace);
    for (size_t i = 0; i < RS_COUNT(table); i++)
        c->controller[i] = table[i]->new(c);
    for (size_t i = 0; i < RS_WATCHED; i++) {
        RS_AUTO(rs_chars) *path = rs_kind_path(rs_kind_find(watched[i].api_version, watched[i].kind), NULL, NULL);
        c->watch[i] = (struct watch){ .c = c, .what = (enum rs_watched)i };
        c->watch[i].informer = rs_informer_new(k, path, NULL, NULL, &ops, &c->watch[i]);
    }
    return c;
}

void rs_controllers_free(rs_controllers *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < RS_WATCHED; i++)
        rs_informer_free(c->watch[i].informer);
    for (size_t i = 0; i < RS_COUNT(table); i++)
        table[i]->free(c->controller[i]);
    rs_recorder_free(c->recorder);
    rs_index_free(c->pods_by_owner);
    rs_index_free(c->pods_by_namespace);
    rs_index_free(c->sets_by_owner);
    rs_index_free(c->services_by_namespace);
    rs_index_free(c->slices_by_namespace);
    free(c);
}

rs_kube *rs_controllers_kube(const rs_controllers *c) { return c->k; }
rs_recorder *rs_controllers_recorder(const rs_controllers *c) { return c->recorder; }

const json_t *rs_cached(const rs_controllers *c, enum rs_watched what, const char *namespace, const char *name)
{
    return rs_informer_get(c->watch[what].informer, namespace, name);
}

const json_t *rs_cached_key(const rs_controllers *c, enum rs_watched what, const char *key)
{
    const char *slash = strchr(key, '/');
    RS_AUTO(rs_chars) *namespace = rs_strndup(key, (size_t)(slash - key));
    return rs_cached(c, what, namespace, slash + 1);
}

json_t *rs_cached_all(const rs_controllers *c, enum rs_watched what) { return rs_informer_list(c->watch[what].informer); }

enum rs_watched rs_watched_kind(const char *api_version, const char *kind)
{
    size_t i = 0;
    while (i < RS_WATCHED && !(rs_streq(kind, watched[i].kind) && rs_streq(api_version, watched[i].api_version)))
        i++;
    return (enum rs_watched)i;
}

struct rs_index_list rs_pods_of_owner(const rs_controllers *c, const char *uid) { return rs_index_get(c->pods_by_owner, uid); }
struct rs_index_list rs_pods_of_namespace(const rs_controllers *c, const char *ns) { return rs_index_get(c->pods_by_namespace, ns); }
struct rs_index_list rs_sets_of_owner(const rs_controllers *c, const char *uid) { return rs_index_get(c->sets_by_owner, uid); }
struct rs_index_list rs_services_of_namespace(const rs_controllers *c, const char *ns) { return rs_index_get(c->services_by_namespace, ns); }
struct rs_index_list rs_slices_of_namespace(const rs_controllers *c, const char *ns) { return rs_index_get(c->slices_by_namespace, ns); }
