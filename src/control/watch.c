#include "control/watch.h"

#include "base/log.h"
#include "base/yaml.h"
#include "install/revision.h"
#include "kube/informer.h"
#include "kube/object.h"

enum { DEBOUNCE_MS = 50 };

enum source { SERVICES, SLICES, PODS, PEERS, AUTHZ, GATEWAYS, VIRTUAL_SERVICES, MESH, INJECTOR, SOURCES };

struct watched { rs_watch *watch; enum source source; rs_informer *informer; };

struct rs_watch {
    rs_kube *kube;
    struct rs_watch_ops ops;
    void *ctx;
    char *revision, *namespace, *mesh_name, *injector_name;
    struct watched of[SOURCES];
    rs_timer *debounce;
    bool pending;
    json_t *mesh;                                        /* parsed MeshConfig */
    char *mesh_text;                                     /* that `mesh` was parsed from */
    rs_injector *injector;
    rs_model *model;
};

static const char *const what[SOURCES] = {
    "services", "endpoint slices", "pods", "peer authentications", "authorization policies", "gateways", "virtual services",
    "mesh configuration", "injector configuration",
};

static bool synced(const rs_watch *w)
{
    for (size_t i = 0; i < SOURCES; i++)
        if (!rs_informer_synced(w->of[i].informer))
            return false;
    return true;
}

const char *rs_watch_missing(const rs_watch *w)
{
    for (size_t i = 0; i < SOURCES; i++)
        if (!rs_informer_synced(w->of[i].informer))
            return what[i];
    return !w->mesh ? what[MESH] : !w->injector ? what[INJECTOR] : !w->model ? "the first model" : NULL;
}

rs_model *rs_watch_model(const rs_watch *w) { return w->model; }
const rs_injector *rs_watch_injector(const rs_watch *w) { return w->injector; }

/* ---- the revision's ConfigMaps: what can't be read keeps the last good ones ---- */

static const char *text_of(const rs_watch *w, enum source s, const char *name, const char *key)
{
    const json_t *cm = rs_informer_get(w->of[s].informer, w->namespace, name);
    return cm ? rs_configmap_value(cm, key) : NULL;
}

static void read_configuration(rs_watch *w)
{
    RS_AUTO(json_t) *mesh = NULL;
    RS_AUTO(rs_injector) *injector = NULL;
    struct rs_err e;
    const char *mesh_text = text_of(w, MESH, w->mesh_name, "mesh");
    const char *config = text_of(w, INJECTOR, w->injector_name, "config"), *values = text_of(w, INJECTOR, w->injector_name, "values");
    if (!mesh_text) {
        rs_log_warning("ConfigMap %s/%s is gone; its last content stays in force", w->namespace, w->mesh_name);
        return;
    }
    if (rs_yaml_parse(&mesh, rs_str_of(mesh_text), &e) < 0) {
        rs_log_error("ConfigMap %s/%s can't be read, its last content stays in force: %s", w->namespace, w->mesh_name, e.msg);
        return;
    }
    if (!config || !values)
        rs_log_warning("ConfigMap %s/%s is gone or lacks config and values", w->namespace, w->injector_name);
    else if (rs_injector_new(&injector, w->revision, config, values, mesh_text, &e) < 0)
        rs_log_error("ConfigMap %s/%s can't be read, its last content stays in force: %s", w->namespace, w->injector_name, e.msg);
    if (injector) {
        rs_injector_free(w->injector);
        w->injector = rs_take(injector);
    }
    if (rs_streq(mesh_text, w->mesh_text))
        return;
    free(w->mesh_text);
    w->mesh_text = rs_strdup(mesh_text);
    json_decref(w->mesh);
    w->mesh = rs_take(mesh);
    w->ops.on_mesh_config(w->ctx, w->mesh);
}

/* ---- the model ---- */

static void rebuild(void *ctx)
{
    rs_watch *w = ctx;
    w->pending = false;
    if (!synced(w))
        return;
    read_configuration(w);
    if (!w->mesh)
        return;
    json_t *list[SOURCES];
    for (size_t i = 0; i < MESH; i++)
        list[i] = rs_informer_list(w->of[i].informer);
    rs_model *m = rs_model_build(&(struct rs_model_input){
        .revision = w->revision, .root_namespace = w->namespace, .mesh_config = w->mesh, .services = list[SERVICES],
        .endpoint_slices = list[SLICES], .pods = list[PODS], .peer_authentications = list[PEERS], .authorization_policies = list[AUTHZ],
        .gateways = list[GATEWAYS], .virtual_services = list[VIRTUAL_SERVICES] });
    for (size_t i = 0; i < MESH; i++)
        json_decref(list[i]);
    rs_model_unref(w->model);
    w->model = m;
    w->ops.on_model(w->ctx, m);
}

static bool same_at(const json_t *a, const json_t *b, const char *outer, const char *inner)
{
    const json_t *x = rs_json_at(a, outer, inner), *y = rs_json_at(b, outer, inner);
    return x == y || (x && y && json_equal(x, y));
}

/* Most changes of a pod (probe results, conditions, timestamps) say nothing to a proxy. */
static bool matters(enum source s, const json_t *old, const json_t *now)
{
    if (s != PODS || !old || !now)
        return true;
    return !same_at(old, now, "metadata", "labels") || !same_at(old, now, "metadata", "deletionTimestamp") || !same_at(old, now, "status", "podIP") ||
           !same_at(old, now, "status", "phase") || rs_pod_ready(old) != rs_pod_ready(now);
}

static void on_change(void *ctx, const json_t *old, const json_t *now, bool final)
{
    struct watched *of = ctx;
    if (of->watch->pending || !matters(of->source, old, now))
        return;
    of->watch->pending = true;
    rs_timer_set(of->watch->debounce, DEBOUNCE_MS);
}

static void on_synced(void *ctx)
{
    struct watched *of = ctx;
    if (!synced(of->watch))
        return;
    of->watch->pending = true;
    rs_timer_set(of->watch->debounce, 0);
}

rs_watch *rs_watch_new(rs_kube *k, const struct rs_watch_config *config, const struct rs_watch_ops *ops, void *ctx)
{
    static const char *const paths[] = {
        "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices", "/api/v1/pods", "/apis/security.istio.io/v1beta1/peerauthentications",
        "/apis/security.istio.io/v1beta1/authorizationpolicies", "/apis/networking.istio.io/v1beta1/gateways",
        "/apis/networking.istio.io/v1beta1/virtualservices",
    };
    static const struct rs_informer_ops informer_ops = { .on_change = on_change, .on_synced = on_synced };
    rs_watch *w = rs_new(rs_watch);
    w->kube = k;
    w->ops = *ops;
    w->ctx = ctx;
    w->revision = rs_strdup(config->revision);
    w->namespace = rs_strdup(config->namespace);
    w->mesh_name = rs_revision_name("istio", config->revision);
    w->injector_name = rs_revision_name("istio-sidecar-injector", config->revision);
    w->debounce = rs_timer_new(rs_kube_loop(k), rebuild, w);
    RS_AUTO(rs_chars) *maps = rs_printf("/api/v1/namespaces/%s/configmaps", w->namespace);
    for (size_t i = 0; i < SOURCES; i++) {
        RS_AUTO(rs_chars) *field = i < MESH ? NULL : rs_printf("metadata.name=%s", i == MESH ? w->mesh_name : w->injector_name);
        w->of[i] = (struct watched){ .watch = w, .source = (enum source)i };
        w->of[i].informer = rs_informer_new(k, i < MESH ? paths[i] : maps, NULL, field, &informer_ops, &w->of[i]);
    }
    return w;
}

void rs_watch_free(rs_watch *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < SOURCES; i++)
        rs_informer_free(w->of[i].informer);
    rs_timer_free(w->debounce);
    rs_model_unref(w->model);
    rs_injector_free(w->injector);
    json_decref(w->mesh);
    free(w->mesh_text);
    free(w->revision);
    free(w->namespace);
    free(w->mesh_name);
    free(w->injector_name);
    free(w);
}
