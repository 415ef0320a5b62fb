#include "mesh/proxy.h"

#include <stdarg.h>

#include "kube/object.h"
#include "pki/chain.h"

static const json_t *proxy_container(const json_t *spec)
{
    static const char *const lists[] = { "containers", "initContainers" };
    for (size_t l = 0; l < RS_COUNT(lists); l++) {
        size_t i;
        json_t *c;
        json_array_foreach(json_object_get(spec, lists[l]), i, c) {
            const char *name = rs_json_str(c, "name");
            if (name && strstr(name, "istio-proxy"))
                return c;
        }
    }
    return NULL;
}

static int restarts_of(const json_t *pod, const char *container)
{
    static const char *const lists[] = { "containerStatuses", "initContainerStatuses" };
    for (size_t l = 0; l < RS_COUNT(lists); l++) {
        size_t i;
        json_t *s;
        json_array_foreach(rs_json_at(pod, "status", lists[l]), i, s)
            if (rs_streq(rs_json_str(s, "name"), container))
                return (int)rs_json_int(s, 0, "restartCount");
    }
    return 0;
}

/* The revision that injected the pod, as its status annotation says; for gateways and old injectors the label. */
static char *revision_of(const json_t *pod)
{
    const char *status = rs_object_annotation(pod, "sidecar.istio.io/status");
    struct rs_err e;
    RS_AUTO(json_t) *parsed = NULL;
    if (status && rs_json_parse(&parsed, rs_str_of(status), &e) == 0 && rs_json_str(parsed, "revision"))
        return rs_strdup(rs_json_str(parsed, "revision"));
    const char *label = rs_object_label(pod, "istio.io/rev");
    return rs_strdup(label ? label : "default");
}

/* ReplicaSet "web-5d9c7b" belongs to Deployment "web". */
static char *workload_of(const json_t *pod)
{
    const json_t *owner = rs_object_owner(pod);
    const char *name = rs_json_str(owner, "name"), *hash = rs_object_label(pod, "pod-template-hash");
    if (!name)
        return rs_strdup(rs_object_name(pod));
    RS_AUTO(rs_chars) *tail = rs_printf("-%s", hash ? hash : "");
    if (hash && rs_ends(name, tail))
        return rs_strndup(name, strlen(name) - strlen(tail));
    return rs_strdup(name);
}

struct rs_proxy *rs_proxy_of_pod(const json_t *pod)
{
    const json_t *container = proxy_container(rs_json_at(pod, "spec"));
    const char *phase = rs_json_str(pod, "status", "phase");
    if (!container || rs_streq(phase, "Succeeded") || rs_streq(phase, "Failed"))
        return NULL;
    struct rs_proxy *p = rs_new(struct rs_proxy);
    p->namespace = rs_strdup(rs_object_namespace(pod));
    p->pod = rs_strdup(rs_object_name(pod));
    p->uid = rs_strdup(rs_object_uid(pod));
    p->revision = revision_of(pod);
    p->container = rs_strdup(rs_json_str(container, "name"));
    p->workload = workload_of(pod);
    p->restarts = restarts_of(pod, p->container);
    p->terminating = rs_object_deleting(pod);
    const char *templates = rs_object_annotation(pod, "inject.istio.io/templates");
    p->kind = templates && strstr(templates, "gateway") ? RS_PROXY_GATEWAY : RS_PROXY_SIDECAR;
    if (rs_streq(phase, "Running"))
        rs_proxy_unknown(p, "not read yet");
    else
        rs_proxy_unknown(p, "the pod is %s: its proxy has not started; wait for it or delete it", phase ? phase : "without a phase");
    return p;
}

void rs_proxy_free(struct rs_proxy *p)
{
    if (!p)
        return;
    free(p->namespace);
    free(p->pod);
    free(p->uid);
    free(p->revision);
    free(p->container);
    free(p->workload);
    free(p->why);
    free(p->identity);
    rs_bundle_unref(p->roots);
    rs_certs_done(&p->chain);
    rs_cert_unref(p->issuing_root);
    rs_strv_free(p->trust_domains);
    free(p);
}

void rs_proxy_unknown(struct rs_proxy *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *why = NULL;
    rs_assert(vasprintf(&why, fmt, ap) >= 0);
    va_end(ap);
    free(p->why);
    p->why = why;
    p->known = false;
}

/* The config dump that holds secrets, in whatever place of configs[] it stands. */
static json_t *section(const json_t *dump, const char *type)
{
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(dump, "configs"), i, c) {
        const char *t = rs_json_str(c, "@type");
        if (t && rs_ends(t, type))
            return c;
    }
    return NULL;
}

static json_t *secret_named(const json_t *list, const char *name)
{
    size_t i;
    json_t *s;
    json_array_foreach(list, i, s)
        if (rs_streq(rs_json_str(s, "name"), name))
            return json_object_get(s, "secret");
    return NULL;
}

static char *inline_text(const json_t *source)
{
    const char *bytes = rs_json_str(source, "inline_bytes"), *text = rs_json_str(source, "inline_string");
    unsigned char *out;
    size_t n;
    if (bytes && rs_unbase64(rs_str_of(bytes), false, &out, &n) == 0)
        return (char *)out;
    return rs_strdup(text);
}

static int read_roots(struct rs_proxy *p, const json_t *active, struct rs_err *e)
{
    const json_t *secret = secret_named(active, "ROOTCA");
    RS_AUTO(rs_chars) *pem = inline_text(rs_json_at(secret, "validation_context", "trusted_ca"));
    if (!pem)
        return RS_FAIL(e, RS_NOT_FOUND, "Envoy has no active ROOTCA");
    rs_bundle *roots;
    if (rs_bundle_parse(&roots, rs_str_of(pem), e) < 0)
        return rs_err_wrap(e, "Envoy's ROOTCA");
    rs_bundle_unref(p->roots);
    p->roots = roots;
    return 0;
}

static int read_chain(struct rs_proxy *p, const json_t *active, struct rs_err *e)
{
    const json_t *secret = secret_named(active, "default");
    RS_AUTO(rs_chars) *pem = inline_text(rs_json_at(secret, "tls_certificate", "certificate_chain"));
    if (!pem)
        return RS_FAIL(e, RS_NOT_FOUND, "Envoy has no active workload certificate");
    rs_certs chain;
    if (rs_certs_parse(&chain, rs_str_of(pem), e) < 0)
        return rs_err_wrap(e, "Envoy's workload certificate");
    rs_certs_done(&p->chain);
    p->chain = chain;
    free(p->identity);
    p->identity = rs_strdup(rs_cert_uri(chain.v[0]));
    return 0;
}

void rs_proxy_read_secrets(struct rs_proxy *p, rs_str config_dump, int64_t now_ms)
{
    struct rs_err e;
    RS_AUTO(json_t) *dump = NULL;
    p->read_at_ms = now_ms;
    if (rs_json_parse(&dump, config_dump, &e) < 0) {
        rs_proxy_unknown(p, "config_dump is garbled: %s", e.msg);
        return;
    }
    const json_t *secrets = section(dump, "SecretsConfigDump");
    const json_t *active = json_object_get(secrets, "dynamic_active_secrets");
    const json_t *warming = json_object_get(secrets, "dynamic_warming_secrets");
    if (read_roots(p, active, &e) < 0 || read_chain(p, active, &e) < 0) {
        rs_proxy_unknown(p, "%s", e.msg);
        return;
    }
    p->warming = secret_named(warming, "ROOTCA") || secret_named(warming, "default");
    rs_cert_unref(rs_take(p->issuing_root));
    if (rs_chain_verify(&p->chain, p->roots, now_ms, &p->issuing_root, &e) < 0)
        p->issuing_root = NULL;          /* known all the same: the gates judge */
    free(rs_take(p->why));
    p->known = true;
}

static void add_domain(struct rs_proxy *p, const char *uri)
{
    const char *host = uri + strlen("spiffe://"), *end = strchrnul(host, '/');
    size_t n = 0;
    for (; p->trust_domains && p->trust_domains[n]; n++)
        if (strlen(p->trust_domains[n]) == (size_t)(end - host) && rs_starts(host, p->trust_domains[n]))
            return;
    p->trust_domains = rs_realloc(p->trust_domains, (n + 2) * sizeof(char *));
    p->trust_domains[n] = rs_strndup(host, (size_t)(end - host));
    p->trust_domains[n + 1] = NULL;
}

/* SAN matchers stand in transport sockets at several depths (direct or under transport_socket_matches). */
static void collect_matchers(struct rs_proxy *p, const json_t *o, int depth)
{
    const char *key;
    size_t i;
    json_t *v;
    if (depth > 24)
        return;
    if (json_is_object(o)) {
        json_object_foreach((json_t *)o, key, v) {
            const char *s = json_string_value(v);
            if (s && rs_starts(s, "spiffe://"))
                add_domain(p, s);
            else
                collect_matchers(p, v, depth + 1);
        }
    } else if (json_is_array(o)) {
        json_array_foreach((json_t *)o, i, v)
            collect_matchers(p, v, depth + 1);
    }
}

void rs_proxy_read_clusters(struct rs_proxy *p, rs_str config_dump)
{
    struct rs_err e;
    RS_AUTO(json_t) *dump = NULL;
    if (rs_json_parse(&dump, config_dump, &e) < 0) {
        rs_proxy_unknown(p, "config_dump is garbled: %s", e.msg);
        return;
    }
    collect_matchers(p, json_object_get(section(dump, "ClustersConfigDump"), "dynamic_active_clusters"), 0);
    p->known = p->known || !p->why || rs_streq(p->why, "not read yet");
}
