#include "pki/chain.h"

#include <limits.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

typedef STACK_OF(X509) x509_stack;
static void stack_free(x509_stack *s) { sk_X509_free(s); }
RS_DEFINE_AUTO(X509_STORE, X509_STORE_free)
RS_DEFINE_AUTO(X509_STORE_CTX, X509_STORE_CTX_free)
RS_DEFINE_AUTO(x509_stack, stack_free)

/* OpenSSL names one anchor; roots that share subject and key are all as good. The one sent in the chain is meant then. */
static rs_cert *anchor(X509_STORE_CTX *ctx, const rs_certs *chain, const rs_bundle *roots)
{
    x509_stack *path = X509_STORE_CTX_get0_chain(ctx);
    rs_assert(path && sk_X509_num(path) > 0);
    X509 *last = sk_X509_value(path, sk_X509_num(path) - 1);
    EVP_PKEY *key = X509_get0_pubkey(last);
    for (size_t i = 0; i < chain->n; i++)
        if (rs_bundle_has(roots, rs_cert_digest(chain->v[i])) && rs_key_same(rs_cert_key(chain->v[i]), key) &&
            X509_NAME_cmp(X509_get_subject_name(rs_cert_x509(chain->v[i])), X509_get_subject_name(last)) == 0)
            return rs_cert_ref(chain->v[i]);
    return rs_cert_from_x509(last);
}

static int verify(const rs_certs *chain, const rs_bundle *roots, int64_t now_ms, int purpose, rs_cert **ret_root, struct rs_err *e)
{
    ERR_clear_error();
    RS_AUTO(X509_STORE) *store = X509_STORE_new();
    RS_AUTO(x509_stack) *others = sk_X509_new_null();
    RS_AUTO(X509_STORE_CTX) *ctx = X509_STORE_CTX_new();
    rs_assert(store && others && ctx);
    for (size_t i = 0; i < rs_bundle_count(roots); i++)
        rs_assert(X509_STORE_add_cert(store, rs_cert_x509(rs_bundle_root(roots, i))) == 1);
    for (size_t i = 1; i < chain->n; i++)
        rs_assert(sk_X509_push(others, rs_cert_x509(chain->v[i])) > 0);
    rs_assert(X509_STORE_CTX_init(ctx, store, rs_cert_x509(chain->v[0]), others) == 1);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);
    X509_VERIFY_PARAM_set_time(param, (time_t)(now_ms / 1000));
    if (purpose)
        rs_assert(X509_VERIFY_PARAM_set_purpose(param, purpose) == 1);
    bool good = X509_verify_cert(ctx) == 1;
    ERR_clear_error();
    if (!good) {
        X509 *at = X509_STORE_CTX_get_current_cert(ctx);
        RS_AUTO(rs_cert) *c = at ? rs_cert_from_x509(at) : NULL;
        return RS_FAIL(e, RS_PRECONDITION, "%s (certificate at depth %d: %.200s)",
                       X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)), X509_STORE_CTX_get_error_depth(ctx),
                       !c ? "?" : *rs_cert_subject(c) ? rs_cert_subject(c) : rs_cert_uri(c) ? rs_cert_uri(c) : "no name");
    }
    if (ret_root)
        *ret_root = anchor(ctx, chain, roots);
    return 0;
}

int rs_chain_verify(const rs_certs *chain, const rs_bundle *roots, int64_t now_ms, rs_cert **ret_root, struct rs_err *e)
{
    if (chain->n == 0)
        return RS_FAIL(e, RS_PRECONDITION, "the chain is empty");
    return verify(chain, roots, now_ms, 0, ret_root, e);
}

int rs_chain_verify_for(const rs_certs *chain, const rs_bundle *roots, int64_t now_ms, bool as_server, rs_cert **ret_root, struct rs_err *e)
{
    if (chain->n == 0)
        return RS_FAIL(e, RS_PRECONDITION, "the chain is empty");
    return verify(chain, roots, now_ms, as_server ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT, ret_root, e);
}
