#include "pki/tls.h"

#include <pthread.h>

#include <openssl/err.h>

#include "base/buf.h"

RS_DEFINE_AUTO(X509_STORE, X509_STORE_free)

/* ALPN lists are kept with the context that uses them. */
struct alpn { unsigned int n; unsigned char wire[64]; };

static int alpn_index = -1;
static pthread_once_t alpn_once = PTHREAD_ONCE_INIT;

static void alpn_free(void *parent, void *p, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
    free(p);
}

static void alpn_register(void)
{
    alpn_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, alpn_free);
}

/* "h2,http/1.1" to length-prefixed names. */
static struct alpn *alpn_wire(const char *names)
{
    struct alpn *a = rs_new(struct alpn);
    for (const char *p = names; *p; ) {
        size_t n = strcspn(p, ",");
        rs_assert(n > 0 && n < 64 && a->n + n + 1 <= sizeof(a->wire));
        a->wire[a->n++] = (unsigned char)n;
        memcpy(a->wire + a->n, p, n);
        a->n += (unsigned int)n;
        p += n + (p[n] == ',');
    }
    return a;
}

static int alpn_select(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in, unsigned int in_n, void *arg)
{
    const struct alpn *a = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), alpn_index);
    unsigned char *chosen;
    if (!a || SSL_select_next_proto(&chosen, out_n, a->wire, a->n, in, in_n) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static void set_alpn(SSL_CTX *ctx, const char *names, bool server)
{
    if (!names)
        return;
    struct alpn *a = alpn_wire(names);
    if (!server) {
        rs_assert(SSL_CTX_set_alpn_protos(ctx, a->wire, a->n) == 0);
        free(a);
        return;
    }
    pthread_once(&alpn_once, alpn_register);
    rs_assert(alpn_index >= 0 && SSL_CTX_set_ex_data(ctx, alpn_index, a) == 1);
    SSL_CTX_set_alpn_select_cb(ctx, alpn_select, NULL);
}

static int use_chain(SSL_CTX *ctx, rs_str chain_pem, rs_str key_pem, struct rs_err *e)
{
    RS_AUTO_CERTS chain = { 0 };
    RS_AUTO(EVP_PKEY) *key = NULL;
    if (rs_certs_parse(&chain, chain_pem, e) < 0 || rs_key_from_pem(&key, key_pem, e) < 0)
        return -1;
    if (!rs_key_same(rs_cert_key(chain.v[0]), key))
        return RS_FAIL(e, RS_INVALID, "the private key does not belong to the certificate of %s", rs_cert_subject(chain.v[0]));
    ERR_clear_error();
    if (SSL_CTX_use_certificate(ctx, rs_cert_x509(chain.v[0])) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1)
        return RS_FAIL_OPENSSL(e, RS_INVALID, "certificate and key can't be used for TLS");
    for (size_t i = 1; i < chain.n; i++)
        if (SSL_CTX_add1_chain_cert(ctx, rs_cert_x509(chain.v[i])) != 1)
            return RS_FAIL_OPENSSL(e, RS_INVALID, "chain certificate %zu can't be used for TLS", i + 1);
    return 0;
}

/* Any certificate of the bundle is an anchor, as in Envoy. */
static int use_roots(SSL_CTX *ctx, const rs_bundle *roots, struct rs_err *e)
{
    RS_AUTO(X509_STORE) *store = X509_STORE_new();
    rs_assert(store);
    for (size_t i = 0; i < rs_bundle_count(roots); i++)
        if (X509_STORE_add_cert(store, rs_cert_x509(rs_bundle_root(roots, i))) != 1)
            return RS_FAIL_OPENSSL(e, RS_INTERNAL, "add root to the store");
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set1_cert_store(ctx, store);
    return 0;
}

static SSL_CTX *context(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    rs_assert(ctx);
    rs_assert(SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1);
    /* No resumption: every connection proves identity against the bundle of its own time. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    rs_assert(SSL_CTX_set_num_tickets(ctx, 0) == 1);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    rs_assert(SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1);
    return ctx;
}

int rs_tls_server(SSL_CTX **ret, rs_str chain_pem, rs_str key_pem, const rs_bundle *client_roots, bool require,
                  const char *alpn, struct rs_err *e)
{
    RS_AUTO(SSL_CTX) *ctx = context(TLS_server_method());
    if (use_chain(ctx, chain_pem, key_pem, e) < 0)
        return rs_err_wrap(e, "TLS server");
    if (client_roots) {
        if (use_roots(ctx, client_roots, e) < 0)
            return -1;
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (require ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    }
    set_alpn(ctx, alpn, true);
    *ret = rs_take(ctx);
    return 0;
}

static int client(SSL_CTX **ret, rs_str chain_pem, rs_str key_pem, const char *alpn, struct rs_err *e)
{
    RS_AUTO(SSL_CTX) *ctx = context(TLS_client_method());
    if (chain_pem.n && use_chain(ctx, chain_pem, key_pem, e) < 0)
        return rs_err_wrap(e, "TLS client");
    set_alpn(ctx, alpn, false);
    *ret = rs_take(ctx);
    return 0;
}

int rs_tls_client(SSL_CTX **ret, const rs_bundle *roots, rs_str chain_pem, rs_str key_pem, const char *alpn, struct rs_err *e)
{
    RS_AUTO(SSL_CTX) *ctx = NULL;
    if (client(&ctx, chain_pem, key_pem, alpn, e) < 0)
        return -1;
    ERR_clear_error();
    if (roots ? use_roots(ctx, roots, e) < 0 : SSL_CTX_set_default_verify_paths(ctx) != 1)
        return roots ? -1 : RS_FAIL_OPENSSL(e, RS_INTERNAL, "load the system's roots");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    *ret = rs_take(ctx);
    return 0;
}

int rs_tls_client_insecure(SSL_CTX **ret, rs_str chain_pem, rs_str key_pem, const char *alpn, struct rs_err *e)
{
    RS_AUTO(SSL_CTX) *ctx = NULL;
    if (client(&ctx, chain_pem, key_pem, alpn, e) < 0)
        return -1;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    *ret = rs_take(ctx);
    return 0;
}

rs_cert *rs_tls_peer(SSL *ssl)
{
    if (SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE || SSL_get_verify_result(ssl) != X509_V_OK)
        return NULL;
    RS_AUTO(X509) *x = SSL_get1_peer_certificate(ssl);
    return x ? rs_cert_from_x509(x) : NULL;
}
