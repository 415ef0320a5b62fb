#include "install/manifest.h"

#include "base/buf.h"
#include "base/yaml.h"
#include "install/data.h"
#include "install/revision.h"

static const char *revision_of(const json_t *op)
{
    const char *r = rs_json_str(op, "spec", "revision");
    return r && *r ? r : "default";
}

static void set_default(json_t *o, const char *key, json_t *value)
{
    if (json_object_get(o, key))
        json_decref(value);
    else
        json_object_set_new(o, key, value);
}

json_t *rs_manifest_mesh_config(const json_t *op)
{
    const json_t *given = rs_json_at(op, "spec", "meshConfig");
    json_t *mesh = given ? json_deep_copy(given) : json_object();
    RS_AUTO(rs_chars) *istiod = rs_revision_name("istiod", revision_of(op));
    RS_AUTO(rs_chars) *discovery = rs_printf("%s.istio-system.svc:15012", istiod);
    set_default(mesh, "trustDomain", json_string("cluster.local"));
    set_default(mesh, "rootNamespace", json_string("istio-system"));
    set_default(mesh, "enablePrometheusMerge", json_true());
    json_t *proxy = rs_json_need(mesh, "defaultConfig");
    set_default(proxy, "discoveryAddress", json_string(discovery));
    return mesh;
}

json_t *rs_manifest_values(const json_t *op)
{
    const json_t *given = rs_json_at(op, "spec", "values", "global");
    json_t *global = given ? json_deep_copy(given) : json_object();
    set_default(global, "hub", json_string(rs_json_str(op, "spec", "hub")));
    set_default(global, "tag", json_string(rs_json_str(op, "spec", "tag")));
    set_default(global, "istioNamespace", json_string("istio-system"));
    set_default(global, "pilotCertProvider", json_string("istiod"));
    set_default(global, "jwtPolicy", json_string("third-party-jwt"));
    set_default(global, "imagePullPolicy", json_string("IfNotPresent"));
    json_t *proxy = rs_json_need(global, "proxy");
    set_default(proxy, "image", json_string("agent"));
    rs_json_need(global, "multiCluster");
    set_default(rs_json_need(global, "multiCluster"), "clusterName", json_string("Kubernetes"));
    return rs_json_pack("{s:o, s:s}", "global", global, "revision", revision_of(op));
}

static json_t *labels_of(const char *revision, const char *app)
{
    return rs_json_pack("{s:s, s:s, s:s, s:s, s:s}", "app", app, "istio.io/rev", revision, "install.operator.istio.io/owning-resource",
                        "unknown", "operator.istio.io/component", "Pilot", "release", "istio");
}

static void add_env(json_t *env, const char *name, const char *value)
{
    for (size_t i = 0; i < json_array_size(env); i++)
        if (rs_streq(rs_json_str(json_array_get(env, i), "name"), name)) {
            json_array_set_new(env, i, rs_json_pack("{s:s, s:s}", "name", name, "value", value));
            return;
        }
    json_array_append_new(env, rs_json_pack("{s:s, s:s}", "name", name, "value", value));
}

static void add_env_field(json_t *env, const char *name, const char *field)
{
    json_array_append_new(env, rs_json_pack("{s:s, s:{s:{s:s}}}", "name", name, "valueFrom", "fieldRef", "fieldPath", field));
}

/* REVISION and the like, then values.pilot.env, then components.pilot.k8s.env. */
static int pilot_env(json_t **ret, const json_t *op, struct rs_err *e)
{
    RS_AUTO(json_t) *env = json_array();
    const char *cluster = rs_json_str(op, "spec", "values", "global", "multiCluster", "clusterName"), *key;
    add_env(env, "REVISION", revision_of(op));
    add_env(env, "CLUSTER_ID", cluster ? cluster : "Kubernetes");
    add_env_field(env, "POD_NAME", "metadata.name");
    add_env_field(env, "POD_NAMESPACE", "metadata.namespace");
    add_env_field(env, "SERVICE_ACCOUNT", "spec.serviceAccountName");
    json_t *given = rs_json_at(op, "spec", "values", "pilot", "env"), *v;
    json_object_foreach(given, key, v) {
        if (json_is_object(v) || json_is_array(v))
            return RS_FAIL(e, RS_INVALID, "spec.values.pilot.env.%s is no text", key);
        RS_AUTO(rs_chars) *other = json_is_string(v) ? NULL : rs_json_text(v);
        add_env(env, key, json_is_string(v) ? json_string_value(v) : other);
    }
    json_t *list = rs_json_at(op, "spec", "components", "pilot", "k8s", "env");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = rs_json_str(json_array_get(list, i), "name"), *value = rs_json_str(json_array_get(list, i), "value");
        if (!name || !value)
            return RS_FAIL(e, RS_INVALID, "spec.components.pilot.k8s.env: item %zu needs name and value", i + 1);
        add_env(env, name, value);
    }
    *ret = rs_take(env);
    return 0;
}

static int injector_webhooks(json_t **ret, const json_t *vars, struct rs_err *e)
{
    RS_AUTO(json_t) *docs = rs_data_documents("injector.yaml"), *filled = NULL, *out = json_array();
    if (rs_data_fill(&filled, json_array_get(docs, 0), vars, e) < 0)
        return -1;
    bool is_default = rs_revision_is_default(rs_json_str(vars, "REVISION"));
    const char *const groups[] = { "revision", is_default ? "default" : NULL };
    for (size_t g = 0; g < 2 && groups[g]; g++) {
        json_t *list = json_object_get(filled, groups[g]), *hook;
        size_t i;
        json_array_foreach(list, i, hook) {
            json_t *whole = json_deep_copy(hook);
            json_object_update_missing(whole, json_object_get(filled, "common"));
            json_array_append_new(out, whole);
        }
    }
    *ret = rs_take(out);
    return 0;
}

/* Values of all ${...} places of control-plane.yaml and shared.yaml. */
static int places(json_t **ret, const json_t *op, const char *serving_root, struct rs_err *e)
{
    const char *revision = revision_of(op);
    bool is_default = rs_revision_is_default(revision);
    RS_AUTO(json_t) *mesh = rs_manifest_mesh_config(op), *values = rs_manifest_values(op), *env = NULL, *hooks = NULL;
    RS_AUTO(rs_chars) *suffix = rs_revision_name("", revision);
    RS_AUTO(rs_chars) *mesh_text = rs_yaml_text(mesh), *values_text = rs_json_pretty(values);
    RS_AUTO(rs_chars) *bundle = rs_base64(serving_root, strlen(serving_root));
    if (pilot_env(&env, op, e) < 0)
        return -1;
    const char *hub = rs_json_str(op, "spec", "hub"), *tag = rs_json_str(op, "spec", "tag");
    const char *pull = rs_json_str(values, "global", "imagePullPolicy");
    if (!hub || !tag)
        return RS_FAIL(e, RS_INVALID, "spec.hub and spec.tag must be texts (quote a tag that looks like a number)");
    json_t *resources = rs_json_at(op, "spec", "components", "pilot", "k8s", "resources");
    json_int_t replicas = rs_json_int(op, 1, "spec", "components", "pilot", "k8s", "replicaCount");
    if (replicas < 1 || replicas > 100)
        return RS_FAIL(e, RS_INVALID, "spec.components.pilot.k8s.replicaCount is %lld; use 1 to 100", (long long)replicas);
    json_t *istiod_labels = labels_of(revision, "istiod");
    rs_json_set_str(istiod_labels, "istio", "pilot");
    RS_AUTO(json_t) *vars = rs_json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:O, s:o, s:s, s:O}", "SUFFIX", suffix, "REVISION", revision,
        "LABELS", labels_of(revision, "istiod"), "INJECTOR_LABELS", labels_of(revision, "sidecar-injector"), "ISTIOD_LABELS",
        istiod_labels, "MESH_TEXT", mesh_text, "INJECT_TEXT", rs_data_text("injection.yaml"), "VALUES_TEXT", values_text, "REPLICAS",
        replicas, "ISTIO_LABEL", is_default ? "pilot" : "istiod", "HUB", hub, "TAG", tag, "PULL_POLICY", pull ? pull : "IfNotPresent",
        "PILOT_ENV", env, "PILOT_RESOURCES", resources ? json_incref(resources) : json_object(), "CA_BUNDLE", bundle, "OPERATOR_SPEC",
        rs_json_at(op, "spec"));
    if (injector_webhooks(&hooks, vars, e) < 0)
        return -1;
    json_object_set(vars, "INJECTOR_WEBHOOKS", hooks);
    *ret = rs_take(vars);
    return 0;
}

static int filled(json_t **ret, const char *file, const json_t *vars, struct rs_err *e)
{
    RS_AUTO(json_t) *docs = rs_data_documents(file);
    if (rs_data_fill(ret, docs, vars, e) < 0)
        return rs_err_wrap(e, "%s", file);
    return 0;
}

/* kubectl apply compares with this annotation; without it a re-pointed selector would be merged instead of replaced. */
static void set_last_applied(json_t *object)
{
    RS_AUTO(rs_chars) *text = rs_json_text(object);
    RS_AUTO(rs_chars) *line = rs_printf("%s\n", text);
    rs_json_set_str(rs_json_need(object, "metadata", "annotations"), "kubectl.kubernetes.io/last-applied-configuration", line);
}

int rs_manifest_build(struct rs_manifest *ret, const json_t *op, const char *serving_root, struct rs_err *e)
{
    RS_AUTO(json_t) *vars = NULL, *own = NULL, *shared = NULL, *objects = json_array();
    if (places(&vars, op, serving_root, e) < 0 || filled(&own, "control-plane.yaml", vars, e) < 0 || filled(&shared, "shared.yaml", vars, e) < 0)
        return -1;
    json_array_append_new(objects, rs_json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "Namespace", "metadata", "name", "istio-system"));
    json_array_extend(objects, own);
    bool is_default = rs_revision_is_default(revision_of(op));
    json_t *o;
    size_t i;
    json_array_foreach(shared, i, o)
        if (rs_streq(rs_json_str(o, "kind"), "Service"))
            set_last_applied(o);
    json_array_foreach(objects, i, o)
        if (is_default && rs_streq(rs_json_str(o, "kind"), "Service"))
            set_last_applied(o);
    *ret = (struct rs_manifest){ .crds = rs_data_documents("crds.yaml"), .shared = rs_take(shared), .revision = rs_take(objects) };
    return 0;
}

void rs_manifest_done(struct rs_manifest *m)
{
    json_decref(m->crds);
    json_decref(m->shared);
    json_decref(m->revision);
    *m = (struct rs_manifest){ 0 };
}

json_t *rs_manifest_istiod_service(const char *revision)
{
    json_t *labels = labels_of(revision, "istiod");
    rs_json_set_str(labels, "istio", "pilot");
    RS_AUTO(json_t) *vars = rs_json_pack("{s:s, s:o, s:s}", "REVISION", revision, "ISTIOD_LABELS", labels, "CA_BUNDLE", "");
    json_t *docs = NULL;
    struct rs_err e;
    int r = filled(&docs, "shared.yaml", vars, &e);
    rs_assert(r == 0);
    json_t *service = json_incref(json_array_get(docs, 0));
    json_decref(docs);
    return service;
}

char *rs_yaml_stream(const json_t *objects)
{
    struct rs_buf b;
    rs_buf_init(&b, 16 * 1024 * 1024);
    for (size_t i = 0; i < json_array_size(objects); i++) {
        RS_AUTO(rs_chars) *text = rs_yaml_text(json_array_get(objects, i));
        rs_buf_addf(&b, "%s%s", i ? "---\n" : "", text);
    }
    return rs_buf_take(&b);
}
