#include "ca/istio_ca.h"

#include <openssl/crypto.h>

#include "kube/object.h"
#include "pki/issue.h"

static const char plugged[] = "cacerts", self_signed[] = "istio-ca-secret";
enum { ROOT_TTL_DAYS = 3650 };

void rs_ca_material_done(struct rs_ca_material *m)
{
    free(m->secret);
    rs_secret_free(m->key);
    free(m->ca_cert);
    free(m->cert_chain);
    free(m->root_cert);
    *m = (struct rs_ca_material){ 0 };
}

/* Value of a key, or NULL when missing or empty: Istio writes empty ones for what it does not use. */
static char *value(const json_t *secret, const char *key)
{
    size_t n = 0;
    char *s = rs_secret_value(secret, key, &n);
    if (s && n && strlen(s) == n && rs_str_trim(rs_str_of(s)).n)
        return s;
    rs_free_cleansed(s, n);
    return NULL;
}

static int need(const json_t *secret, const char *key, char **ret, struct rs_err *e)
{
    *ret = value(secret, key);
    if (*ret)
        return 0;
    return RS_FAIL(e, RS_INVALID, "Secret %s/%s lacks %s; put it back, or delete the Secret if it is not meant to be used",
                   rs_object_namespace(secret), rs_object_name(secret), key);
}

static int take_key(struct rs_ca_material *m, const json_t *secret, const char *name, struct rs_err *e)
{
    char *text = NULL;
    if (need(secret, name, &text, e) < 0)
        return -1;
    m->key = rs_secret_new(text, strlen(text));
    rs_free_cleansed(text, m->key->n);
    return 0;
}

/* kubernetes.io/tls form: tls.crt holds the signing certificate and what is above it, ca.crt the root. */
static int read_tls(struct rs_ca_material *m, const json_t *secret, struct rs_err *e)
{
    if (need(secret, "tls.crt", &m->ca_cert, e) < 0 || need(secret, "ca.crt", &m->root_cert, e) < 0 || take_key(m, secret, "tls.key", e) < 0)
        return -1;
    m->cert_chain = rs_strdup(m->ca_cert);
    return 0;
}

static int read_files(struct rs_ca_material *m, const json_t *secret, bool may_be_root, struct rs_err *e)
{
    if (need(secret, "ca-cert.pem", &m->ca_cert, e) < 0 || take_key(m, secret, "ca-key.pem", e) < 0)
        return -1;
    m->cert_chain = value(secret, "cert-chain.pem");
    m->root_cert = value(secret, "root-cert.pem");
    if (!m->root_cert && may_be_root)
        m->root_cert = rs_strdup(m->ca_cert);
    if (!m->root_cert)
        return need(secret, "root-cert.pem", &m->root_cert, e);
    if (!m->cert_chain)
        m->cert_chain = rs_strdup("");
    return 0;
}

int rs_ca_material_read(struct rs_ca_material *ret, const json_t *secret, struct rs_err *e)
{
    struct rs_ca_material m = { .secret = rs_strdup(rs_object_name(secret)) };
    RS_AUTO(rs_chars) *own = value(secret, "ca-cert.pem"), *own_key = value(secret, "ca-key.pem"), *tls = value(secret, "tls.crt");
    bool tls_form = !own && !own_key && tls;
    if (own_key)
        OPENSSL_cleanse(own_key, strlen(own_key));
    int r = tls_form ? read_tls(&m, secret, e) : read_files(&m, secret, strcmp(m.secret, self_signed) == 0, e);
    if (r < 0)
        rs_ca_material_done(&m);
    else
        *ret = m;
    return r;
}

int rs_ca_roots_read(rs_bundle **ret, const json_t *secret, struct rs_err *e)
{
    static const char *const keys[] = { "root-cert.pem", "ca.crt", "ca-cert.pem" };
    bool own_root = strcmp(rs_object_name(secret), self_signed) == 0;
    for (size_t i = 0; i < (own_root ? 3 : 2); i++) {
        RS_AUTO(rs_chars) *text = value(secret, keys[i]);
        if (!text)
            continue;
        if (rs_bundle_parse(ret, rs_str_of(text), e) < 0)
            return rs_err_wrap(e, "Secret %s/%s, %s", rs_object_namespace(secret), rs_object_name(secret), keys[i]);
        return 0;
    }
    return RS_FAIL(e, RS_INVALID, "Secret %s/%s holds no root", rs_object_namespace(secret), rs_object_name(secret));
}

/* 0 with *ret NULL on a clear 404; any other failure is a failure. */
static int get_secret(json_t **ret, rs_kube *k, const char *namespace, const char *name, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/%s/secrets/%s", namespace, name);
    *ret = NULL;
    if (rs_kube_get(k, path, ret, e) == 0 || e->code == RS_NOT_FOUND)
        return 0;
    return rs_err_wrap(e, "read Secret %s/%s", namespace, name);
}

/* The first of the two that exists. */
static int find(json_t **ret, rs_kube *k, const char *namespace, struct rs_err *e)
{
    if (get_secret(ret, k, namespace, plugged, e) < 0)
        return -1;
    return *ret ? 0 : get_secret(ret, k, namespace, self_signed, e);
}

int rs_istio_ca_roots(rs_bundle **ret, const char **ret_secret, rs_kube *k, const char *namespace, struct rs_err *e)
{
    RS_AUTO(json_t) *secret = NULL;
    *ret = NULL;
    *ret_secret = NULL;
    if (find(&secret, k, namespace, e) < 0)
        return -1;
    if (!secret)
        return 0;
    *ret_secret = strcmp(rs_object_name(secret), plugged) == 0 ? plugged : self_signed;
    return rs_ca_roots_read(ret, secret, e);
}

/* A second root in a mesh that has one splits it. Whether it has one is asked of what outlives the Secrets. */
static int may_mint(rs_kube *k, const char *namespace, struct rs_err *e)
{
    RS_AUTO(rs_chars) *migration = rs_printf("/api/v1/namespaces/%s/configmaps/rootshift-migration", namespace);
    RS_AUTO(rs_chars) *bundles = rs_printf("/api/v1/namespaces/%s/configmaps", namespace);
    RS_AUTO(json_t) *list = NULL;
    static const char advice[] = "restore Secret cacerts or istio-ca-secret, or switch this revision's CA off (ENABLE_CA_SERVER=false)";
    if (rs_kube_get(k, migration, NULL, e) == 0)
        return RS_FAIL(e, RS_PRECONDITION, "there is no CA key, and no root is made during a migration (ConfigMap %s/rootshift-migration): %s",
                       namespace, advice);
    if (e->code != RS_NOT_FOUND)
        return rs_err_wrap(e, "look for a migration");
    if (rs_kube_list(k, bundles, "rootshift.dev/trust-bundle=true", &list, NULL, e) < 0)
        return rs_err_wrap(e, "look for recorded trust bundles");
    if (json_array_size(list))
        return RS_FAIL(e, RS_PRECONDITION, "there is no CA key, but the mesh has roots already (ConfigMap %s/%s): %s", namespace,
                       rs_object_name(json_array_get(list, 0)), advice);
    return 0;
}

static int make_root(json_t **ret, const struct rs_istio_ca_config *config, int64_t now_ms, struct rs_err *e)
{
    RS_AUTO(EVP_PKEY) *key = NULL;
    RS_AUTO(rs_cert) *root = NULL;
    if (rs_key_generate(&key, RS_KEY_RSA2048, e) < 0 ||
        rs_issue_root(&root, key, config->organization, NULL, now_ms, (int64_t)ROOT_TTL_DAYS * 24 * 3600 * 1000, e) < 0)
        return -1;
    RS_AUTO(rs_secret) *key_pem = rs_key_to_pem(key);
    char *key_text = rs_base64(key_pem->p, key_pem->n);
    RS_AUTO(rs_chars) *cert_text = rs_base64(rs_cert_pem(root), strlen(rs_cert_pem(root)));
    *ret = rs_json_pack("{s:s, s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s, s:s, s:s}}", "apiVersion", "v1", "kind", "Secret", "type", "istio.io/ca-root",
                        "metadata", "name", self_signed, "namespace", config->namespace,
                        "data", "ca-cert.pem", cert_text, "ca-key.pem", key_text, "root-cert.pem", cert_text, "cert-chain.pem", "", "key.pem", "");
    rs_free_cleansed(key_text, strlen(key_text));
    return 0;
}

static int mint(json_t **ret, rs_kube *k, const struct rs_istio_ca_config *config, int64_t now_ms, bool *minted, struct rs_err *e)
{
    RS_AUTO(json_t) *secret = NULL;
    RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/%s/secrets", config->namespace);
    struct rs_err again;
    if (may_mint(k, config->namespace, e) < 0) {
        /* Another replica may have made it, and recorded its bundle, since we looked. */
        return e->code == RS_PRECONDITION && find(ret, k, config->namespace, &again) == 0 && *ret ? 0 : -1;
    }
    if (make_root(&secret, config, now_ms, e) < 0)
        return -1;
    *minted = rs_kube_do(k, "POST", path, NULL, secret, ret, e) == 0;
    if (*minted)
        return 0;
    if (e->code != RS_EXISTS)
        return rs_err_wrap(e, "create Secret %s/%s", config->namespace, self_signed);
    if (get_secret(ret, k, config->namespace, self_signed, e) < 0)     /* another replica was first: its root is the one */
        return -1;
    return *ret ? 0 : RS_FAIL(e, RS_UNAVAILABLE, "Secret %s/%s came and went", config->namespace, self_signed);
}

int rs_istio_ca_load(struct rs_ca_material *ret, rs_kube *k, const struct rs_istio_ca_config *config, int64_t now_ms, struct rs_err *e)
{
    RS_AUTO(json_t) *secret = NULL;
    bool minted = false;
    if (find(&secret, k, config->namespace, e) < 0)
        return -1;
    if (!secret && mint(&secret, k, config, now_ms, &minted, e) < 0)
        return -1;
    if (rs_ca_material_read(ret, secret, e) < 0)
        return -1;
    ret->minted = minted;
    return 0;
}
