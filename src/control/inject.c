#include "control/inject.h"

#include "base/buf.h"
#include "base/json_patch.h"
#include "base/yaml.h"
#include "control/inject_int.h"
#include "install/data.h"
#include "kube/object.h"

struct rs_injector {
    char *revision;
    json_t *config, *values, *mesh;
};

int rs_injector_new(rs_injector **ret, const char *revision, const char *config, const char *values, const char *mesh, struct rs_err *e)
{
    RS_AUTO(rs_injector) *i = rs_new(rs_injector);
    i->revision = rs_strdup(revision);
    if (rs_yaml_parse(&i->config, rs_str_of(config), e) < 0)
        return rs_err_wrap(e, "injector configuration");
    if (rs_yaml_parse(&i->values, rs_str_of(values), e) < 0)
        return rs_err_wrap(e, "injector values");
    if (rs_yaml_parse(&i->mesh, rs_str_of(mesh), e) < 0)
        return rs_err_wrap(e, "mesh configuration");
    if (!json_is_object(json_object_get(i->config, "templates")))
        return RS_FAIL(e, RS_INVALID, "injector configuration has no templates");
    *ret = rs_take(i);
    return 0;
}

void rs_injector_free(rs_injector *i)
{
    if (!i)
        return;
    free(i->revision);
    json_decref(i->config);
    json_decref(i->values);
    json_decref(i->mesh);
    free(i);
}

/* ---- whether ---- */

/* Label before annotation, then the policy of the configuration. */
static bool wanted(const rs_injector *i, const json_t *pod)
{
    const char *said = rs_object_label(pod, "sidecar.istio.io/inject");
    if (!said)
        said = rs_object_annotation(pod, "sidecar.istio.io/inject");
    if (rs_streq(said, "false") || rs_streq(said, "no") || rs_streq(said, "off") || rs_streq(said, "n"))
        return false;
    if (rs_streq(said, "true") || rs_streq(said, "yes") || rs_streq(said, "on") || rs_streq(said, "y"))
        return true;
    return !rs_streq(rs_json_str(i->config, "policy"), "disabled");
}

static const char *why_not(const rs_injector *i, const json_t *pod, const char *namespace)
{
    static const char *const never[] = { "kube-system", "kube-public", "kube-node-lease", "local-path-storage" };
    for (size_t k = 0; k < RS_COUNT(never); k++)
        if (rs_streq(namespace, never[k]))
            return "namespace of the system";
    if (rs_json_true(pod, "spec", "hostNetwork"))
        return "pod uses the host's network";
    if (!wanted(i, pod))
        return "sidecar.istio.io/inject says no";
    if (rs_object_annotation(pod, "sidecar.istio.io/status"))
        return "already injected";
    return NULL;
}

/* ---- with what ---- */

static int effective_proxy_config(const rs_injector *i, const json_t *pod, json_t **ret, struct rs_err *e)
{
    const char *text = rs_object_annotation(pod, "proxy.istio.io/config");
    RS_AUTO(json_t) *own = NULL;
    if (text && rs_yaml_parse(&own, rs_str_of(text), e) < 0)
        return rs_err_wrap(e, "annotation proxy.istio.io/config");
    if (own && !json_is_object(own))
        return RS_FAIL(e, RS_INVALID, "annotation proxy.istio.io/config is no object");
    json_t *base = json_object_get(i->mesh, "defaultConfig"), *none = json_object();
    *ret = rs_json_merge(base ? base : none, own ? own : none);
    json_decref(none);
    return 0;
}

static const char *or_empty(const char *s) { return s ? s : ""; }

static char *image_of(const rs_injector *i, const json_t *pod)
{
    const char *said = rs_object_annotation(pod, "sidecar.istio.io/proxyImage");
    const char *image = rs_json_str(i->values, "global", "proxy", "image");
    if (said)
        return rs_strdup(said);
    if (image && strchr(image, '/'))
        return rs_strdup(image);
    return rs_printf("%s/%s:%s", or_empty(rs_json_str(i->values, "global", "hub")), image ? image : "agent", or_empty(rs_json_str(i->values, "global", "tag")));
}

static const char *first_label(const json_t *pod, const char *const *keys, const char *otherwise)
{
    for (; *keys; keys++)
        if (rs_object_label(pod, *keys) && *rs_object_label(pod, *keys))
            return rs_object_label(pod, *keys);
    return otherwise;
}

/* Every ${...} place of the templates. */
static json_t *places(const rs_injector *i, const json_t *pod, const char *namespace, const json_t *proxy_config)
{
    static const char *const names[] = { "service.istio.io/canonical-name", "app.kubernetes.io/name", "app", NULL };
    static const char *const revisions[] = { "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version", NULL };
    RS_AUTO(rs_chars) *workload = NULL, *owner = NULL;
    inject_workload(pod, namespace, &workload, &owner);
    RS_AUTO(rs_chars) *image = image_of(i, pod), *config = rs_json_text(proxy_config);
    RS_AUTO(rs_chars) *ports = inject_pod_ports(pod), *apps = inject_app_containers(pod);
    const char *address = rs_json_str(i->values, "global", "caAddress"), *td = rs_json_str(i->mesh, "trustDomain");
    const char *aud = rs_json_str(i->values, "global", "sds", "token", "aud");
    if (!address || !*address)
        address = or_empty(rs_json_str(proxy_config, "discoveryAddress"));
    json_t *vars = json_object();
    const struct { const char *name, *value; } table[] = {
        { "PROXY_IMAGE", image }, { "PROXY_CONFIG", config }, { "POD_PORTS", ports }, { "APP_CONTAINERS", apps }, { "WORKLOAD_NAME", workload },
        { "OWNER", owner }, { "CA_ADDR", address }, { "TRUST_DOMAIN", td ? td : "cluster.local" }, { "TOKEN_AUDIENCE", aud ? aud : "istio-ca" },
        { "REVISION", i->revision }, { "CANONICAL_NAME", first_label(pod, names, workload) },
        { "CANONICAL_REVISION", first_label(pod, revisions, "latest") },
        { "PULL_POLICY", rs_json_str(i->values, "global", "imagePullPolicy") }, { "JWT_POLICY", rs_json_str(i->values, "global", "jwtPolicy") },
        { "CERT_PROVIDER", rs_json_str(i->values, "global", "pilotCertProvider") },
        { "CLUSTER_ID", rs_json_str(i->values, "global", "multiCluster", "clusterName") },
        { "MESH_ID", rs_json_str(i->values, "global", "meshID") }, { "NETWORK", rs_json_str(i->values, "global", "network") },
        { "INCLUDE_INBOUND_PORTS", rs_object_annotation(pod, "traffic.sidecar.istio.io/includeInboundPorts") },
        { "INCLUDE_OUTBOUND_IP_RANGES", rs_object_annotation(pod, "traffic.sidecar.istio.io/includeOutboundIPRanges") },
        { "EXCLUDE_INBOUND_PORTS", rs_object_annotation(pod, "traffic.sidecar.istio.io/excludeInboundPorts") },
        { "EXCLUDE_OUTBOUND_PORTS", rs_object_annotation(pod, "traffic.sidecar.istio.io/excludeOutboundPorts") },
        { "EXCLUDE_OUTBOUND_IP_RANGES", rs_object_annotation(pod, "traffic.sidecar.istio.io/excludeOutboundIPRanges") },
    };
    for (size_t k = 0; k < RS_COUNT(table); k++)
        rs_json_set_str(vars, table[k].name, or_empty(table[k].value));
    return vars;
}

static int template_of(const rs_injector *i, const json_t *pod, json_t **ret_names, struct rs_err *e)
{
    const char *said = rs_object_annotation(pod, "inject.istio.io/templates");
    if (!said) {
        json_t *names = json_object_get(i->config, "defaultTemplates");
        *ret_names = names ? json_incref(names) : json_pack("[s]", "sidecar");
        return 0;
    }
    json_t *names = json_array();
    char **v = rs_split(said, ',');
    for (size_t k = 0; v[k]; k++) {
        rs_str s = rs_str_trim(rs_str_of(v[k]));
        json_array_append_new(names, json_stringn(s.p, s.n));
    }
    rs_strv_free(v);
    *ret_names = names;
    return 0;
}

/* ---- the proxy's own environment and the note of what was done ---- */

static json_t *proxy_container(json_t *pod)
{
    size_t k;
    json_t *c;
    json_array_foreach(rs_json_at(pod, "spec", "containers"), k, c)
        if (rs_streq(rs_json_str(c, "name"), "istio-proxy"))
            return c;
    return NULL;
}

static void add_env(json_t *container, const char *name, const char *value)
{
    json_t *env = json_object_get(container, "env"), *v;
    size_t k;
    if (!env)
        json_object_set_new(container, "env", env = json_array());
    json_array_foreach(env, k, v)
        if (rs_streq(rs_json_str(v, "name"), name))
            return;                                      /* what the pod says itself wins */
    json_array_append_new(env, rs_json_pack("{s:s, s:s}", "name", name, "value", value));
}

/* The agent may drain for as long as the pod may take to end, less what Envoy and itself need. */
static void add_drain_time(json_t *pod, json_t *proxy)
{
    json_int_t grace = rs_json_int(pod, 30, "spec", "terminationGracePeriodSeconds");
    RS_AUTO(rs_chars) *text = rs_printf("%llds", (long long)(grace > 6 ? grace - 3 : grace > 1 ? grace / 2 : 1));
    add_env(proxy, "MAXIMUM_DRAIN_DURATION", text);
}

static void add_proxy_env(json_t *pod, const json_t *proxy_config, const json_t *probers)
{
    json_t *proxy = proxy_container(pod), *v;
    const char *key;
    json_object_foreach(json_object_get(proxy_config, "proxyMetadata"), key, v) {
        RS_AUTO(rs_chars) *text = json_is_string(v) ? NULL : rs_json_text(v);
        add_env(proxy, key, text ? text : json_string_value(v));
    }
    add_drain_time(pod, proxy);
    if (json_object_size(probers)) {
        RS_AUTO(rs_chars) *text = rs_json_text(probers);
        add_env(proxy, "ISTIO_KUBE_APP_PROBERS", text);
    }
}

static json_t *names_of(const json_t *templates, const char *list)
{
    json_t *names = json_array(), *t, *o;
    size_t i, k;
    json_array_foreach((json_t *)(uintptr_t)templates, i, t)
        json_array_foreach(rs_json_at(t, "spec", list), k, o)
            json_array_append(names, json_object_get(o, "name"));
    if (json_array_size(names))
        return names;
    json_decref(names);
    return json_null();
}

static void note_status(json_t *pod, const json_t *templates, const char *revision)
{
    RS_AUTO(json_t) *status = rs_json_pack("{s:o, s:o, s:o, s:n, s:s}", "initContainers", names_of(templates, "initContainers"), "containers",
                                           names_of(templates, "containers"), "volumes", names_of(templates, "volumes"), "imagePullSecrets",
                                           "revision", revision);
    RS_AUTO(rs_chars) *text = rs_json_text(status);
    rs_json_set_str(rs_json_need(pod, "metadata", "annotations"), "sidecar.istio.io/status", text);
}

int rs_inject(const rs_injector *i, const json_t *pod, const char *namespace, json_t **ret_patch, const char **ret_why, struct rs_err *e)
{
    *ret_patch = NULL;
    *ret_why = why_not(i, pod, namespace);
    if (*ret_why)
        return 0;
    RS_AUTO(json_t) *proxy_config = NULL, *names = NULL, *vars = NULL, *used = json_array(), *out = json_deep_copy(pod);
    if (effective_proxy_config(i, pod, &proxy_config, e) < 0 || template_of(i, pod, &names, e) < 0)
        return -1;
    vars = places(i, pod, namespace, proxy_config);
    size_t k;
    json_t *name;
    bool sidecar = false;
    json_array_foreach(names, k, name) {
        json_t *raw = rs_json_at(i->config, "templates", json_string_value(name)), *filled = NULL;
        if (!raw)
            return RS_FAIL(e, RS_INVALID, "inject.istio.io/templates: there is no template \"%s\"", or_empty(json_string_value(name)));
        if (rs_data_fill(&filled, raw, vars, e) < 0)
            return rs_err_wrap(e, "template %s", json_string_value(name));
        json_array_append_new(used, filled);
        inject_merge(out, filled);
        sidecar = sidecar || strcmp(json_string_value(name), "sidecar") == 0;
    }
    if (!proxy_container(out))
        return RS_FAIL(e, RS_INVALID, "the templates give no container istio-proxy");
    RS_AUTO(json_t) *probers = json_object();
    if (sidecar && !rs_streq(rs_object_annotation(pod, "sidecar.istio.io/rewriteAppHTTPProbers"), "false"))
        inject_rewrite_probes(out, probers);
    add_proxy_env(out, proxy_config, probers);
    note_status(out, used, i->revision);
    *ret_patch = rs_json_patch_diff(pod, out);
    return 0;
}
