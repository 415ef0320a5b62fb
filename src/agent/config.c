#include "agent/config.h"

#include "base/file.h"
#include "base/str.h"
#include "base/time.h"
#include "base/yaml.h"
#include "pki/spiffe.h"

enum { PODINFO_MAX = 1024 * 1024 };

static const char *get(char *const *environment, const char *name)
{
    size_t n = strlen(name);
    for (; *environment; environment++)
        if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=')
            return (*environment)[n + 1] ? *environment + n + 1 : NULL;
    return NULL;
}

static const char *get_or(char *const *environment, const char *name, const char *otherwise)
{
    const char *v = get(environment, name);
    return v ? v : otherwise;
}

static int get_number(char *const *environment, const char *name, double low, double high, double *ret, struct rs_err *e)
{
    const char *v = get(environment, name);
    char *end;
    if (!v)
        return 0;
    double d = strtod(v, &end);
    if (*end || !(d >= low && d <= high))
        return RS_FAIL(e, RS_INVALID, "%s=%s is not a number from %g to %g", name, v, low, high);
    *ret = d;
    return 0;
}

static int get_port(char *const *environment, const char *name, int *ret, struct rs_err *e)
{
    double d = *ret;
    if (get_number(environment, name, 1, 65535, &d, e) < 0)
        return -1;
    *ret = (int)d;
    return 0;
}

static int get_duration(char *const *environment, const char *name, int64_t *ret_ms, struct rs_err *e)
{
    const char *v = get(environment, name);
    if (v && (!rs_duration_parse(v, ret_ms) || *ret_ms < 0))
        return RS_FAIL(e, RS_INVALID, "%s=%s is not a duration", name, v);
    return 0;
}

static int get_object(char *const *environment, const char *name, json_t **ret, struct rs_err *e)
{
    const char *v = get(environment, name);
    *ret = NULL;
    if (v && rs_yaml_parse(ret, rs_str_of(v), e) < 0)
        return rs_err_wrap(e, "%s", name);
    if (!*ret)
        *ret = json_object();
    return json_is_object(*ret) ? 0 : RS_FAIL(e, RS_INVALID, "%s is not an object", name);
}

/* ---- node ---- */

/* One line of a downward-API file: key="value", the value quoted as Go does. */
static void add_podinfo(json_t *o, const char *line)
{
    const char *equals = strchr(line, '=');
    if (!equals || equals[1] != '"')
        return;
    RS_AUTO(rs_chars) *key = rs_strndup(line, (size_t)(equals - line));
    RS_AUTO(json_t) *value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
    if (json_is_string(value))
        json_object_set(o, key, value);
}

static json_t *podinfo(const struct rs_agent_config *c, const char *what)
{
    json_t *o = json_object();
    struct rs_err ignored;
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s", c->podinfo_dir, what), *text = NULL;
    if (rs_file_read(path, PODINFO_MAX, &text, NULL, &ignored) < 0)
        return o;
    char **lines = rs_split(text, '\n');
    for (char **l = lines; *l; l++)
        add_podinfo(o, *l);
    rs_strv_free(lines);
    return o;
}

/* ISTIO_META_X=v becomes X: "v"; ISTIO_METAJSON_X=v becomes X: parsed v. */
static void add_environment(json_t *metadata, char *const *environment)
{
    for (; *environment; environment++) {
        const char *equals = strchr(*environment, '=');
        bool text = rs_starts(*environment, "ISTIO_META_"), json = rs_starts(*environment, "ISTIO_METAJSON_");
        if (!equals || (!text && !json))
            continue;
        const char *from = *environment + strlen(text ? "ISTIO_META_" : "ISTIO_METAJSON_");
        RS_AUTO(rs_chars) *key = rs_strndup(from, equals > from ? (size_t)(equals - from) : 0);
        RS_AUTO(json_t) *value = json ? json_loads(equals + 1, JSON_DECODE_ANY, NULL) : json_string(equals + 1);
        if (value && *key)
            json_object_set(metadata, key, value);
    }
}

static json_t *node_metadata(const struct rs_agent_config *c, char *const *environment)
{
    json_t *m = json_object();
    add_environment(m, environment);
    rs_json_set_str(m, "NAME", c->pod);
    rs_json_set_str(m, "NAMESPACE", c->namespace);
    rs_json_set_str(m, "SERVICE_ACCOUNT", c->service_account);
    rs_json_set_str(m, "INSTANCE_IPS", c->ip);
    rs_json_set_str(m, "CLUSTER_ID", c->cluster_id);
    rs_json_set_str(m, "ISTIO_VERSION", "1.15.7");
    if (!json_object_get(m, "LABELS"))
        json_object_set_new(m, "LABELS", podinfo(c, "labels"));
    json_object_set_new(m, "ANNOTATIONS", podinfo(c, "annotations"));
    json_object_set(m, "PROXY_CONFIG", c->proxy_config);
    return m;
}

char *rs_agent_node_id(const struct rs_agent_config *c)
{
    return rs_printf("%s~%s~%s.%s~%s.svc.cluster.local", c->role, c->ip, c->pod, c->namespace, c->namespace);
}

char *rs_agent_node_cluster(const struct rs_agent_config *c)
{
    const char *name = rs_json_str(c->metadata, "LABELS", "service.istio.io/canonical-name");
    if (!name)
        name = rs_json_str(c->metadata, "LABELS", "app");
    if (!name)
        name = rs_json_str(c->metadata, "WORKLOAD_NAME");
    return rs_printf("%s.%s", name ? name : "istio-proxy", c->namespace);
}

char *rs_agent_identity(const struct rs_agent_config *c)
{
    return rs_spiffe_uri(c->trust_domain, c->namespace, c->service_account);
}

/* ---- loading ---- */

static int load_who(struct rs_agent_config *c, char *const *environment, struct rs_err *e)
{
    const struct { const char *name, *otherwise; char **to; } texts[] = {
        { "POD_NAME", NULL, &c->pod }, { "POD_NAMESPACE", NULL, &c->namespace }, { "INSTANCE_IP", NULL, &c->ip },
        { "SERVICE_ACCOUNT", "default", &c->service_account }, { "TRUST_DOMAIN", "cluster.local", &c->trust_domain },
        { "ISTIO_META_CLUSTER_ID", "Kubernetes", &c->cluster_id },
    };
    for (size_t i = 0; i < RS_COUNT(texts); i++) {
        const char *v = get_or(environment, texts[i].name, texts[i].otherwise);
        if (!v)
            return RS_FAIL(e, RS_INVALID, "%s is not set", texts[i].name);
        *texts[i].to = rs_strdup(v);
    }
    if (!rs_trust_domain_valid(c->trust_domain))
        return RS_FAIL(e, RS_INVALID, "TRUST_DOMAIN=%s is not a trust domain", c->trust_domain);
    return 0;
}

/* Name to verify a server by: its host; a local test address stands for the control plane. */
static int server_name(const char *address, const char *what, char **ret, struct rs_err *e)
{
    const char *colon = strrchr(address, ':');
    if (!colon || colon == address || !colon[1])
        return RS_FAIL(e, RS_INVALID, "%s \"%s\" is not HOST:PORT", what, address);
    RS_AUTO(rs_chars) *host = rs_strndup(address, (size_t)(colon - address));
    *ret = rs_strdup(strstr(host, "localhost") ? "istiod.istio-system.svc" : host);
    return 0;
}

static int load_servers(struct rs_agent_config *c, char *const *environment, struct rs_err *e)
{
    const char *discovery = rs_json_str(c->proxy_config, "discoveryAddress"), *ca = get(environment, "CA_ADDR");
    const char *provider = get_or(environment, "CA_PROVIDER", "Citadel"), *san = get(environment, "ISTIOD_SAN");
    c->discovery = rs_strdup(discovery ? discovery : "istiod.istio-system.svc:15012");
    c->ca_address = rs_strdup(ca ? ca : c->discovery);
    if (rs_streq(provider, "GoogleCA") || strstr(c->ca_address, "googleapis.com"))
        c->ca = RS_AGENT_MESH_CA;
    else if (!rs_streq(provider, "Citadel"))
        return RS_FAIL(e, RS_INVALID, "CA_PROVIDER=%s is neither Citadel nor GoogleCA", provider);
    if (server_name(c->discovery, "discoveryAddress", &c->discovery_name, e) < 0 || server_name(c->ca_address, "CA_ADDR", &c->ca_name, e) < 0)
        return -1;
    if (san) {
        free(c->discovery_name);
        c->discovery_name = rs_strdup(san);
        if (!ca) {
            free(c->ca_name);
            c->ca_name = rs_strdup(san);
        }
    }
    const char *root = "./var/run/secrets/istio/root-cert.pem";
    c->ca_root = rs_strdup(get_or(environment, "CA_ROOT_CA", root));
    c->xds_root = rs_strdup(get_or(environment, "XDS_ROOT_CA", root));
    c->token_path = rs_strdup("./var/run/secrets/tokens/istio-token");
    c->sds_path = rs_strdup("./var/run/secrets/workload-spiffe-uds/socket");
    c->podinfo_dir = rs_strdup("./etc/istio/pod");
    const char *dir = rs_json_str(c->proxy_config, "configPath");
    c->config_dir = rs_strdup(dir ? dir : "./etc/istio/proxy");
    c->pcds = rs_streq(get(environment, "PROXY_CONFIG_XDS_AGENT"), "true");
    return 0;
}

static int load_key_policy(struct rs_agent_config *c, char *const *environment, struct rs_err *e)
{
    const char *algorithm = get(environment, "ECC_SIGNATURE_ALGORITHM"), *curve = get_or(environment, "ECC_CURVE", "P256");
    double bits = 2048;
    if (get_number(environment, "WORKLOAD_RSA_KEY_SIZE", 2048, 4096, &bits, e) < 0)
        return -1;
    if (rs_streq(algorithm, "RSA"))
        c->key_kind = bits > 3072 ? RS_KEY_RSA4096 : bits > 2048 ? RS_KEY_RSA3072 : RS_KEY_RSA2048;
    else
        c->key_kind = rs_streq(curve, "P384") ? RS_KEY_P384 : RS_KEY_P256;
    c->ttl_ms = 24 * 3600 * 1000;
    c->renew_ratio = 0.5;
    c->renew_jitter = 0.01;
    return get_duration(environment, "SECRET_TTL", &c->ttl_ms, e) < 0 ||
           get_number(environment, "SECRET_GRACE_PERIOD_RATIO", 0, 1, &c->renew_ratio, e) < 0 ||
           get_number(environment, "SECRET_GRACE_PERIOD_RATIO_JITTER", 0, 1, &c->renew_jitter, e) < 0 ? -1 : 0;
}

static int load_ports(struct rs_agent_config *c, char *const *environment, struct rs_err *e)
{
    c->status_port = (int)rs_json_int(c->proxy_config, 15020, "statusPort");
    c->admin_port = (int)rs_json_int(c->proxy_config, 15000, "proxyAdminPort");
    c->concurrency = (int)rs_json_int(c->proxy_config, 2, "concurrency");
    c->ready_port = 15021;
    c->prometheus_port = 15090;
    c->drain_min_ms = 5000;
    c->drain_max_ms = 27000;             /* a pod has 30 s by default */
    return get_port(environment, "ENVOY_STATUS_PORT", &c->ready_port, e) < 0 ||
           get_port(environment, "ENVOY_PROMETHEUS_PORT", &c->prometheus_port, e) < 0 ||
           get_duration(environment, "MINIMUM_DRAIN_DURATION", &c->drain_min_ms, e) < 0 ||
           get_duration(environment, "MAXIMUM_DRAIN_DURATION", &c->drain_max_ms, e) < 0 ? -1 : 0;
}

int rs_agent_config_load(struct rs_agent_config *c, const char *role, char *const *environment, struct rs_err *e)
{
    *c = (struct rs_agent_config){ .role = rs_strdup(role) };
    if (get_object(environment, "PROXY_CONFIG", &c->proxy_config, e) < 0 || get_object(environment, "ISTIO_KUBE_APP_PROBERS", &c->probers, e) < 0 ||
        load_who(c, environment, e) < 0 || load_servers(c, environment, e) < 0 || load_key_policy(c, environment, e) < 0 ||
        load_ports(c, environment, e) < 0) {
        rs_agent_config_done(c);
        return -1;
    }
    c->metadata = node_metadata(c, environment);
    return 0;
}

void rs_agent_config_done(struct rs_agent_config *c)
{
    char *const texts[] = { c->role, c->pod, c->namespace, c->service_account, c->ip, c->trust_domain, c->cluster_id, c->discovery, c->discovery_name,
                            c->ca_address, c->ca_name, c->ca_root, c->xds_root, c->token_path, c->config_dir, c->sds_path, c->podinfo_dir, c->envoy };
    for (size_t i = 0; i < RS_COUNT(texts); i++)
        free(texts[i]);
    json_decref(c->proxy_config);
    json_decref(c->probers);
    json_decref(c->metadata);
    *c = (struct rs_agent_config){ 0 };
}
