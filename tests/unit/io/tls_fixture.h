/* A throw-away CA with a server and a client certificate, and contexts made from them with OpenSSL alone. */
#pragma once
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "pki/tls.h"

struct tls_fixture {
    EVP_PKEY *ca_key, *key;
    X509 *ca, *leaf;                   /* leaf: localhost and 127.0.0.1 */
};

static inline X509 *tls_fixture_cert(EVP_PKEY *key, const char *name, X509 *issuer, EVP_PKEY *issuer_key)
{
    static long serial = 1;
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer ? issuer : x, x, NULL, NULL, 0);
    const char *const leaf_ext[][2] = { { "subjectAltName", "DNS:localhost,IP:127.0.0.1" }, { "basicConstraints", "critical,CA:FALSE" } };
    const char *const ca_ext[][2] = { { "keyUsage", "critical,keyCertSign" }, { "basicConstraints", "critical,CA:TRUE" } };
    for (int i = 0; i < 2; i++) {
        const char *const *ext = issuer ? leaf_ext[i] : ca_ext[i];
        X509_EXTENSION *e = X509V3_EXT_conf(NULL, &ctx, ext[0], ext[1]);
        rs_assert(e && X509_add_ext(x, e, -1) == 1);
        X509_EXTENSION_free(e);
    }
    rs_assert(X509_sign(x, issuer_key ? issuer_key : key, EVP_sha256()) > 0);
    return x;
}

static inline void tls_fixture_init(struct tls_fixture *f)
{
    f->ca_key = EVP_EC_gen("P-256");
    f->key = EVP_EC_gen("P-256");
    static int count;
    char name[32];
    snprintf(name, sizeof(name), "test CA %d", ++count);
    f->ca = tls_fixture_cert(f->ca_key, name, NULL, NULL);
    f->leaf = tls_fixture_cert(f->key, "test leaf", f->ca, f->ca_key);
}

static inline void tls_fixture_done(struct tls_fixture *f)
{
    EVP_PKEY_free(f->ca_key);
    EVP_PKEY_free(f->key);
    X509_free(f->ca);
    X509_free(f->leaf);
}

static inline int tls_fixture_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in, unsigned in_n, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    int rc = SSL_select_next_proto((unsigned char **)out, out_n, ours, sizeof(ours) - 1, in, in_n);
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

/* server: asks for a client certificate when `mutual`; client: shows one when `mutual`. */
static inline SSL_CTX *tls_fixture_ctx(const struct tls_fixture *f, bool server, bool mutual)
{
    SSL_CTX *c = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(c), f->ca);
    if (server || mutual) {
        SSL_CTX_use_certificate(c, f->leaf);
        SSL_CTX_use_PrivateKey(c, f->key);
    }
    if (!server || mutual)
        SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (server)
        SSL_CTX_set_alpn_select_cb(c, tls_fixture_alpn, NULL);
    return c;
}

static inline char *tls_fixture_pem(X509 *x, EVP_PKEY *key)
{
    BIO *b = BIO_new(BIO_s_mem());
    if (x)
        PEM_write_bio_X509(b, x);
    else
        PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL);
    char *p, *text;
    long n = BIO_get_mem_data(b, &p);
    text = strndup(p, (size_t)n);
    BIO_free(b);
    return text;
}
