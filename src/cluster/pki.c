#include "cluster/pki.h"

#include <pthread.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "base/time.h"
#include "base/yaml.h"
#include "pki/issue.h"

#define DAY_MS (24 * 3600 * 1000LL)
#define CA_LIFE_MS (3650 * DAY_MS)
#define LEAF_LIFE_MS (365 * DAY_MS)

struct pair { rs_cert *cert; rs_secret *key; };

struct rs_cluster_pki {
    char *dir, *token_file;
    rs_secret *token;
    rs_cert *ca; EVP_PKEY *ca_key;
    EVP_PKEY *token_key;
    pthread_t maker; bool making; int made; struct rs_err made_err;    /* of token_key */
    struct pair server, node_client;
};

static char *path_of(const rs_cluster_pki *p, const char *name)
{
    return rs_printf("%s/%s", p->dir, name);
}

static void free_file(char *text, size_t n)
{
    if (text)
        rs_free_cleansed(text, n);
}

/* The key in a file, made when the file is missing. */
static int need_key(rs_cluster_pki *p, const char *name, enum rs_key_kind kind, EVP_PKEY **ret, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = path_of(p, name);
    char *text = NULL;
    size_t n = 0;
    if (rs_file_exists(path)) {
        if (rs_file_read(path, 64 * 1024, &text, &n, e) < 0)
            return -1;
        int r = rs_key_from_pem(ret, (rs_str){ text, n }, e);
        free_file(text, n);
        return r < 0 ? rs_err_wrap(e, "%s", path) : 0;
    }
    if (rs_key_generate(ret, kind, e) < 0)
        return -1;
    RS_AUTO(rs_secret) *pem = rs_key_to_pem(*ret);
    return rs_file_write(path, (rs_str){ pem->p, pem->n }, 0600, e);
}

static int read_cert(const char *path, rs_cert **ret, struct rs_err *e)
{
    RS_AUTO(rs_chars) *text = NULL;
    RS_AUTO_CERTS certs = { 0 };
    size_t n;
    if (rs_file_read(path, 64 * 1024, &text, &n, e) < 0 || rs_certs_parse(&certs, (rs_str){ text, n }, e) < 0)
        return rs_err_wrap(e, "%s", path);
    *ret = rs_cert_ref(certs.v[0]);
    return 0;
}

static int need_ca(rs_cluster_pki *p, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = path_of(p, "ca.crt");
    if (need_key(p, "ca.key", RS_KEY_P256, &p->ca_key, e) < 0)
        return -1;
    if (rs_file_exists(path))
        return read_cert(path, &p->ca, e);
    if (rs_issue_root(&p->ca, p->ca_key, "rootshift", "kubernetes", rs_now_ms(), CA_LIFE_MS, e) < 0)
        return -1;
    return rs_file_write(path, rs_str_of(rs_cert_pem(p->ca)), 0644, e);
}

/* A certificate of the CA kept in NAME.crt and NAME.key; made anew when it is old or of another CA. */
static int need_pair(rs_cluster_pki *p, const char *name, const char *const *sans, struct pair *ret, struct rs_err *e)
{
    RS_AUTO(rs_chars) *crt = rs_printf("%s/%s.crt", p->dir, name), *key_name = rs_printf("%s.key", name);
    RS_AUTO(EVP_PKEY) *key = NULL;
    if (need_key(p, key_name, RS_KEY_P256, &key, e) < 0)
        return -1;
    ret->key = rs_key_to_pem(key);
    if (rs_file_exists(crt) && read_cert(crt, &ret->cert, e) < 0)
        return -1;
    if (ret->cert && rs_cert_signed_by(ret->cert, p->ca) && rs_cert_not_after(ret->cert) - rs_now_ms() > LEAF_LIFE_MS / 3)
        return 0;
    rs_cert_unref(ret->cert);
    ret->cert = NULL;
    struct rs_issuer ca = { p->ca, p->ca_key };
    if (rs_issue_leaf(&ret->cert, &ca, key, sans, rs_now_ms(), LEAF_LIFE_MS, e) < 0)
        return -1;
    return rs_file_write(crt, rs_str_of(rs_cert_pem(ret->cert)), 0644, e);
}

static void *make_token_key(void *ctx)
{
    rs_cluster_pki *p = ctx;
    p->made = need_key(p, "sa.key", RS_KEY_RSA2048, &p->token_key, &p->made_err);
    return NULL;
}

static int start_token_key(rs_cluster_pki *p, struct rs_err *e)
{
    int r = pthread_create(&p->maker, NULL, make_token_key, p);
    if (r) {
        errno = r;
        return RS_FAIL_ERRNO(e, "start a thread");
    }
    p->making = true;
    return 0;
}

static void join_maker(rs_cluster_pki *p)
{
    if (p->making)
        pthread_join(p->maker, NULL);
    p->making = false;
}

int rs_cluster_pki_token_key(rs_cluster_pki *p, EVP_PKEY **ret, struct rs_err *e)
{
    join_maker(p);
    if (p->made < 0) {
        *e = p->made_err;
        return -1;
    }
    *ret = p->token_key;
    return 0;
}

static int need_token(rs_cluster_pki *p, struct rs_err *e)
{
    char *text = NULL;
    size_t n = 0;
    if (!rs_file_exists(p->token_file)) {
        unsigned char raw[24];
        rs_random(raw, sizeof raw);
        char *token = rs_base64url(raw, sizeof raw), *line = rs_printf("%s,admin,admin,\"system:masters\"\n", token);
        int r = rs_file_write(p->token_file, rs_str_of(line), 0600, e);
        rs_free_cleansed(token, strlen(token));
        rs_free_cleansed(line, strlen(line));
        if (r < 0)
            return -1;
    }
    if (rs_file_read(p->token_file, 64 * 1024, &text, &n, e) < 0)
        return -1;
    p->token = rs_secret_new(text, strcspn(text, ",\n"));
    free_file(text, n);
    return p->token->n ? 0 : RS_FAIL(e, RS_INVALID, "%s: no token in the first line", p->token_file);
}

int rs_cluster_pki_open(rs_cluster_pki **ret, const char *dir, const char *service_ip, struct rs_err *e)
{
    const char *const server_names[] = { "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
                                         "localhost", "127.0.0.1", service_ip, NULL };
    const char *const client_names[] = { "kube-apiserver-kubelet-client", NULL };
    rs_cluster_pki *p = rs_new(rs_cluster_pki);
    p->dir = rs_strdup(dir);
    p->token_file = path_of(p, "tokens.csv");
    if (rs_mkdirs(dir, 0700, e) < 0 || start_token_key(p, e) < 0 || need_ca(p, e) < 0 || need_pair(p, "apiserver", server_names, &p->server, e) < 0 ||
        need_pair(p, "apiserver-node-client", client_names, &p->node_client, e) < 0 ||
        need_token(p, e) < 0) {
        rs_cluster_pki_free(p);
        return rs_err_wrap(e, "keys of the cluster");
    }
    *ret = p;
    return 0;
}

static void pair_done(struct pair *p)
{
    rs_cert_unref(p->cert);
    rs_secret_free(p->key);
}

void rs_cluster_pki_free(rs_cluster_pki *p)
{
    if (!p)
        return;
    join_maker(p);
    free(p->dir);
    free(p->token_file);
    rs_secret_free(p->token);
    rs_cert_unref(p->ca);
    EVP_PKEY_free(p->ca_key);
    EVP_PKEY_free(p->token_key);
    pair_done(&p->server);
    pair_done(&p->node_client);
    free(p);
}

const char *rs_cluster_pki_ca_pem(const rs_cluster_pki *p) { return rs_cert_pem(p->ca); }
const char *rs_cluster_pki_token_file(const rs_cluster_pki *p) { return p->token_file; }

int rs_cluster_pki_server_tls(SSL_CTX **ret, const rs_cluster_pki *p, struct rs_err *e)
{
    rs_bundle *roots = rs_bundle_of(p->ca);
    int r = rs_tls_server(ret, rs_str_of(rs_cert_pem(p->server.cert)), (rs_str){ p->server.key->p, p->server.key->n }, roots, false, "http/1.1", e);
    rs_bundle_unref(roots);
    return r;
}

/* The node's serving certificate is its own: like kube-apiserver by default, we do not verify it (both are in one cluster). */
int rs_cluster_pki_node_tls(SSL_CTX **ret, const rs_cluster_pki *p, struct rs_err *e)
{
    return rs_tls_client_insecure(ret, rs_str_of(rs_cert_pem(p->node_client.cert)), (rs_str){ p->node_client.key->p, p->node_client.key->n }, "http/1.1", e);
}

int rs_cluster_pki_kubeconfig(const rs_cluster_pki *p, const char *path, const char *name, const char *server, struct rs_err *e)
{
    const char *ca = rs_cert_pem(p->ca);
    RS_AUTO(rs_chars) *ca64 = rs_base64(ca, strlen(ca));
    RS_AUTO(json_t) *doc = rs_json_pack("{s:s, s:s, s:[{s:s, s:{s:s, s:s}}], s:[{s:s, s:{s:s}}], s:[{s:s, s:{s:s, s:s}}], s:s, s:{}}",
        "apiVersion", "v1", "kind", "Config",
        "clusters", "name", name, "cluster", "certificate-authority-data", ca64, "server", server,
        "users", "name", name, "user", "token", p->token->p,
        "contexts", "name", name, "context", "cluster", name, "user", name, "current-context", name, "preferences");
    char *text = rs_yaml_text(doc);
    int r = rs_file_write(path, rs_str_of(text), 0600, e);
    rs_free_cleansed(text, strlen(text));
    return r;
}
