#include "base/log.h"
#include "base/time.h"
#include "base/yaml.h"
#include "cmd/rootshift-control/app.h"
#include "install/revision.h"
#include "kube/object.h"

/* ---- the CA ---- */

static int load_ca(struct app *a, const char *trust_domain, struct rs_err *e)
{
    struct rs_ca_material m = { 0 };
    if (rs_istio_ca_load(&m, a->kube, &(struct rs_istio_ca_config){ .namespace = a->set->namespace, .organization = trust_domain }, rs_now_ms(), e) < 0)
        return -1;
    int r = rs_authority_new(&a->authority, &(struct rs_authority_config){
        .name = "istio-ca", .trust_domain = trust_domain, .ca_cert = rs_str_of(m.ca_cert), .ca_key = { m.key->p, m.key->n },
        .cert_chain = rs_str_of(m.cert_chain), .root_cert = rs_str_of(m.root_cert), .default_ttl_ms = a->set->ttl_ms,
        .max_ttl_ms = a->set->max_ttl_ms }, rs_now_ms(), e);
    if (r < 0)
        r = rs_err_wrap(e, "Secret %s/%s", a->set->namespace, m.secret);
    else
        rs_log_info("Istio CA is on secret=%s minted=%s subject=\"%s\"", m.secret, m.minted ? "yes" : "no", rs_cert_subject(rs_authority_cert(a->authority)));
    rs_ca_material_done(&m);
    return r;
}

/* A CA that can't start leaves the process up and not ready, with the reason in /ready, the log and an Event. */
static void start_ca(struct app *a, const json_t *mesh)
{
    struct rs_err e;
    const char *td = rs_json_str(mesh, "trustDomain");
    if (!a->set->ca_enabled) {
        rs_log_info("Istio CA is off");
        return;
    }
    a->ca = rs_ca_service_new(a->loop, a->callers, a->records);
    if (load_ca(a, td && *td ? td : "cluster.local", &e) < 0) {
        a->ca_why = rs_strdup(e.msg);
        rs_log_error("Istio CA does not start: %s", e.msg);
        rs_events_post(a->events, true, "CANotStarted", e.msg);
    }
    rs_ca_service_set_authority(a->ca, a->authority, a->ca_why);
}

/* ---- trust ---- */

static void on_trust(void *ctx, rs_bundle *bundle, const char *const *retired)
{
    struct app *a = ctx;
    a->trust_known = true;
    rs_log_info("trust bundle of this revision roots=%zu", rs_bundle_count(bundle));
    if (a->set->multi_root)
        rs_discovery_set_trust(a->discovery, bundle, retired);
}

static void on_trust_event(void *ctx, const char *reason, const char *message)
{
    struct app *a = ctx;
    bool normal = strcmp(reason, "RootRetired") == 0;
    rs_log(normal ? RS_LOG_INFO : RS_LOG_WARNING, "%s: %s", reason, message);
    rs_events_post(a->events, !normal, reason, message);
}

static int start_trust(struct app *a, const json_t *mesh, struct rs_err *e)
{
    static const struct rs_trust_ops ops = { .on_change = on_trust, .on_event = on_trust_event };
    struct rs_trust_config config = {
        .namespace = a->set->namespace, .revision = a->set->revision, .own_roots = a->authority ? rs_authority_roots(a->authority) : NULL,
        .ca_enabled = a->set->ca_enabled, .multi_root = a->set->multi_root, .owner = a->deployment,
    };
    return rs_trust_new(&a->trust, a->kube, &config, mesh, &ops, a, e);
}

/* ---- what is watched ---- */

static void on_model(void *ctx, rs_model *m)
{
    struct app *a = ctx;
    rs_discovery_set_model(a->discovery, m);
}

static void on_mesh_config(void *ctx, const json_t *mesh)
{
    struct app *a = ctx;
    rs_trust_set_mesh(a->trust, mesh);
}

/* ---- the order of starting ---- */

static int connect_cluster(struct app *a, struct rs_err *e)
{
    RS_AUTO_KUBE_CONFIG config = { 0 };
    if (rs_kube_config_load(&config, a->set->kubeconfig, a->set->context, e) < 0 || rs_kube_new(&a->kube, a->loop, &config, e) < 0)
        return -1;
    RS_AUTO(rs_chars) *name = rs_revision_name("istiod", a->set->revision);
    RS_AUTO(rs_chars) *path = rs_printf("/apis/apps/v1/namespaces/%s/deployments/%s", a->set->namespace, name);
    if (rs_kube_get(a->kube, path, &a->deployment, e) < 0 && e->code != RS_NOT_FOUND)
        return rs_err_wrap(e, "read Deployment %s", name);
    return 0;
}

static int read_mesh(struct app *a, json_t **ret, struct rs_err *e)
{
    RS_AUTO(json_t) *cm = NULL;
    RS_AUTO(rs_chars) *name = rs_revision_name("istio", a->set->revision);
    RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/%s/configmaps/%s", a->set->namespace, name);
    if (rs_kube_get(a->kube, path, &cm, e) < 0)
        return rs_err_wrap(e, "read ConfigMap %s/%s", a->set->namespace, name);
    const char *text = rs_configmap_value(cm, "mesh");
    if (!text)
        return RS_FAIL(e, RS_INVALID, "ConfigMap %s/%s has no key mesh", a->set->namespace, name);
    if (rs_yaml_parse(ret, rs_str_of(text), e) < 0)
        return rs_err_wrap(e, "ConfigMap %s/%s", a->set->namespace, name);
    return 0;
}

int app_start(struct app *a, struct rs_err *e)
{
    static const struct rs_watch_ops watch_ops = { .on_model = on_model, .on_mesh_config = on_mesh_config };
    const struct settings *set = a->set;
    RS_AUTO(json_t) *mesh = NULL;
    RS_AUTO(rs_chars) *component = rs_printf("rootshift-control %s", set->pod);
    if (connect_cluster(a, e) < 0 || read_mesh(a, &mesh, e) < 0)
        return -1;
    struct rs_serving_config serving = { .namespace = set->namespace, .revision = set->revision };
    if (rs_serving_new(&a->serving, a->kube, &serving, app_serving_changed, a, e) < 0)
        return -1;
    a->events = rs_events_new(a->kube, a->deployment, component);
    a->callers = rs_callers_by_review(a->kube, (const char *const *)set->audiences, set->cluster);
    a->records = rs_records_new(a->kube);
    a->discovery = rs_discovery_new(a->loop, a->callers);
    start_ca(a, mesh);
    if (start_trust(a, mesh, e) < 0)
        return -1;
    a->keeper = rs_keeper_new(a->kube);
    a->root_cert = rs_root_cert_new(a->kube, set->namespace, set->pod, rs_serving_root(a->serving));
    a->watch = rs_watch_new(a->kube, &(struct rs_watch_config){ .revision = set->revision, .namespace = set->namespace }, &watch_ops, a);
    a->hooks = rs_hooks_new(a->kube, set->revision, set->namespace, rs_serving_root(a->serving));
    return 0;
}

void app_free(struct app *a)
{
    for (size_t i = 0; i < RS_COUNT(a->listeners); i++)
        rs_listener_free(a->listeners[i]);
    rs_timer_free(a->drain);
    rs_hooks_free(a->hooks);
    rs_watch_free(a->watch);
    rs_root_cert_free(a->root_cert);
    if (a->keeper)
        rs_keeper_free(a->keeper);
    rs_trust_free(a->trust);
    if (a->callers)
        rs_callers_free(a->callers);
    if (a->records)
        rs_records_free(a->records);
    if (a->grpc)
        rs_grpc_server_free(a->grpc);
    rs_discovery_free(a->discovery);
    rs_http_server *const http[] = { a->web, a->monitor, a->ready };
    for (size_t i = 0; i < RS_COUNT(http); i++)
        if (http[i])
            rs_http_server_free(http[i]);
    rs_serving_free(a->serving);
    rs_events_free(a->events);
    rs_kube_free(a->kube);
    if (a->ca)
        rs_ca_service_free(a->ca);
    rs_authority_unref(a->authority);
    json_decref(a->deployment);
    free(a->ca_why);
    rs_loop_free(a->loop);
}
