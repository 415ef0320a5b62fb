#include "control/serving.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/time.h"
#include "ca/authority.h"
#include "ca/istio_ca.h"

enum { TTL_MS = 24 * 3600 * 1000, RETRY_MS = 60 * 1000 };
#define SECRET "istiod-serving-ca"

struct rs_serving {
    rs_kube *kube;
    char *path;                    /* of the Secret */
    char **names;
    rs_authority *ca;
    rs_bundle *root;
    rs_cert *leaf;
    char *chain;                   /* PEM: leaf and what stands between it and the root */
    rs_secret *key;
    rs_timer *renew;
    rs_kube_call *read;
    void (*on_change)(void *ctx);
    void *ctx;
};

char **rs_serving_names(const char *namespace, const char *revision)
{
    bool suffix = revision && *revision && strcmp(revision, "default") != 0;
    char **v = rs_new_array(char *, 6);
    size_t n = 0;
    if (suffix)
        v[n++] = rs_printf("istiod-%s.%s.svc", revision, namespace);
    v[n++] = rs_printf("istiod.%s.svc", namespace);
    v[n++] = rs_printf("istiod-remote.%s.svc", namespace);
    v[n++] = rs_printf("istio-pilot.%s.svc", namespace);
    return v;
}

static int load_ca(rs_serving *s, const json_t *secret, struct rs_err *e)
{
    struct rs_ca_material m;
    rs_authority *ca = NULL;
    json_t *named = json_copy((json_t *)secret);           /* a serving CA is its own root unless it names another */
    json_t *data = json_copy(json_object_get(secret, "data"));
    if (!json_object_get(data, "root-cert.pem") && json_object_get(data, "ca-cert.pem"))
        json_object_set(data, "root-cert.pem", json_object_get(data, "ca-cert.pem"));
    json_object_set_new(named, "data", data);
    int r = rs_ca_material_read(&m, named, e);
    json_decref(named);
    if (r < 0)
        return -1;
    /* The trust domain is of no use here: these leaves carry host names. */
    r = rs_authority_new(&ca, &(struct rs_authority_config){
        .name = "serving", .trust_domain = "serving.local", .ca_cert = rs_str_of(m.ca_cert), .ca_key = { m.key->p, m.key->n },
        .cert_chain = rs_str_of(m.cert_chain), .root_cert = rs_str_of(m.root_cert) }, rs_now_ms(), e);
    rs_ca_material_done(&m);
    if (r < 0)
        return rs_err_wrap(e, "Secret " SECRET);
    rs_authority_unref(s->ca);
    s->ca = ca;
    return 0;
}

static int issue(rs_serving *s, struct rs_err *e)
{
    RS_AUTO(EVP_PKEY) *key = NULL;
    struct rs_issued issued;
    if (rs_key_generate(&key, RS_KEY_P256, e) < 0 ||
        rs_authority_issue_server(s->ca, key, (const char *const *)s->names, TTL_MS, rs_now_ms(), &issued, e) < 0)
        return -1;
    RS_AUTO_BUF chain;
    rs_buf_init(&chain, 1024 * 1024);
    for (char **p = issued.chain; p[0] && p[1]; p++)
        rs_buf_adds(&chain, *p);
    rs_cert_unref(s->leaf);
    s->leaf = rs_cert_ref(issued.leaf);
    rs_issued_done(&issued);
    free(s->chain);
    s->chain = rs_buf_take(&chain);
    rs_secret_free(s->key);
    s->key = rs_key_to_pem(key);
    rs_bundle_unref(s->root);
    s->root = rs_bundle_ref((rs_bundle *)rs_authority_roots(s->ca));
    return 0;
}

/* A Secret that can't be read or used now is no reason to stop renewing: the CA we have goes on. */
static void on_secret(void *ctx, json_t *answer, const struct rs_err *why)
{
    rs_serving *s = ctx;
    struct rs_err e;
    s->read = NULL;
    if (why)
        rs_log_warning("Secret " SECRET " can't be read, its last state is used: %s", why->msg);
    else if (load_ca(s, answer, &e) < 0)
        rs_log_warning("Secret " SECRET " can't be used, its last state is: %s", e.msg);
    if (issue(s, &e) < 0) {
        rs_log_error("serving certificate not renewed, the old one stays: %s", e.msg);
        rs_timer_set(s->renew, RETRY_MS);
        return;
    }
    rs_timer_set(s->renew, why ? RETRY_MS : TTL_MS / 2);
    if (s->on_change)
        s->on_change(s->ctx);
}

static void on_renew(void *ctx)
{
    rs_serving *s = ctx;
    s->read = rs_kube_start(s->kube, "GET", s->path, NULL, NULL, on_secret, s);
}

int rs_serving_new(rs_serving **ret, rs_kube *k, const struct rs_serving_config *config,
                   void (*on_change)(void *ctx), void *ctx, struct rs_err *e)
{
    RS_AUTO(json_t) *secret = NULL;
    rs_serving *s = rs_new(rs_serving);
    *s = (rs_serving){ .kube = k, .path = rs_printf("/api/v1/namespaces/%s/secrets/" SECRET, config->namespace),
                       .names = rs_serving_names(config->namespace, config->revision), .on_change = on_change, .ctx = ctx };
    if (rs_kube_get(k, s->path, &secret, e) < 0) {
        if (e->code == RS_NOT_FOUND)
            RS_FAIL(e, RS_NOT_FOUND, "Secret %s/" SECRET " is missing; `rootshift install` makes it", config->namespace);
        rs_serving_free(s);
        return -1;
    }
    if (load_ca(s, secret, e) < 0 || issue(s, e) < 0) {
        rs_serving_free(s);
        return -1;
    }
    s->renew = rs_timer_new(rs_kube_loop(k), on_renew, s);
    rs_timer_set(s->renew, TTL_MS / 2);
    *ret = s;
    return 0;
}

void rs_serving_free(rs_serving *s)
{
    if (!s)
        return;
    if (s->read)
        rs_kube_cancel(s->read);
    rs_timer_free(s->renew);
    rs_authority_unref(s->ca);
    rs_bundle_unref(s->root);
    rs_cert_unref(s->leaf);
    rs_secret_free(s->key);
    free(s->chain);
    free(s->path);
    if (s->names)
        rs_strv_free(s->names);
    free(s);
}

int rs_serving_context(const rs_serving *s, const char *alpn, SSL_CTX **ret, struct rs_err *e)
{
    return rs_tls_server(ret, rs_str_of(s->chain), (rs_str){ s->key->p, s->key->n }, NULL, false, alpn, e);
}

rs_bundle *rs_serving_root(const rs_serving *s) { return s->root; }
const rs_cert *rs_serving_leaf(const rs_serving *s) { return s->leaf; }
