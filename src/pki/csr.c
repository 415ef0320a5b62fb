#include "pki/csr.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "pki/pem.h"

enum { CSR_MAX = 16 * 1024 };

RS_DEFINE_AUTO(X509_REQ, X509_REQ_free)
RS_DEFINE_AUTO(X509_EXTENSION, X509_EXTENSION_free)
RS_DEFINE_AUTO(GENERAL_NAMES, GENERAL_NAMES_free)

static void extensions_free(STACK_OF(X509_EXTENSION) **l)
{
    sk_X509_EXTENSION_pop_free(*l, X509_EXTENSION_free);
}

static bool add_uri(X509_REQ *req, const char *uri)
{
    RS_AUTO(GENERAL_NAMES) *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    rs_assert(names && name && text && ASN1_STRING_set(text, uri, (int)strlen(uri)) == 1);
    GENERAL_NAME_set0_value(name, GEN_URI, text);
    rs_assert(sk_GENERAL_NAME_push(names, name) > 0);
    RS_AUTO(X509_EXTENSION) *ext = X509V3_EXT_i2d(NID_subject_alt_name, 1, names);
    __attribute__((cleanup(extensions_free))) STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
    if (!ext || !list || sk_X509_EXTENSION_push(list, ext) <= 0)
        return false;
    ext = NULL;
    return X509_REQ_add_extensions(req, list) == 1;
}

int rs_csr_make(char **ret_pem, EVP_PKEY *key, const char *spiffe_uri, struct rs_err *e)
{
    ERR_clear_error();
    RS_AUTO(X509_REQ) *req = X509_REQ_new();
    rs_assert(req);
    /* An explicit string type: OpenSSL's table of MBSTRING forms refuses an empty organization. */
    if (X509_NAME_add_entry_by_NID(X509_REQ_get_subject_name(req), NID_organizationName, V_ASN1_PRINTABLESTRING,
                                   (const unsigned char *)"", 0, -1, 0) != 1 ||
        X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 || X509_REQ_set_pubkey(req, key) != 1 ||
        !add_uri(req, spiffe_uri) || X509_REQ_sign(req, key, rs_key_digest(key)) <= 0)
        return RS_FAIL_OPENSSL(e, RS_INTERNAL, "make CSR");
    unsigned char *der = NULL;
    int n = i2d_X509_REQ(req, &der);
    rs_assert(n > 0);
    *ret_pem = rs_pem_text("CERTIFICATE REQUEST", der, (size_t)n);
    OPENSSL_free(der);
    return 0;
}

static int parse(X509_REQ **ret, rs_str pem, struct rs_err *e)
{
    struct rs_pem_block block;
    do {
        int r = rs_pem_next(&pem, &block, e);
        if (r < 0)
            return -1;
        if (r == 0)
            return RS_FAIL(e, RS_INVALID, "no certificate request in PEM form found");
    } while (!rs_str_is(block.label, "CERTIFICATE REQUEST") && !rs_str_is(block.label, "NEW CERTIFICATE REQUEST"));
    unsigned char *der = NULL;
    size_t n;
    if (rs_pem_bytes(&block, &der, &n, e) < 0)
        return -1;
    const unsigned char *p = der;
    ERR_clear_error();
    X509_REQ *req = n ? d2i_X509_REQ(NULL, &p, (long)n) : NULL;
    bool whole = p == der + n;
    free(der);
    if (!req)
        return RS_FAIL_OPENSSL(e, RS_INVALID, "the certificate request can't be read");
    *ret = req;
    return whole ? 0 : RS_FAIL(e, RS_INVALID, "the certificate request has bytes after its end");
}

int rs_csr_read(EVP_PKEY **ret_key, rs_str pem, struct rs_err *e)
{
    if (pem.n > CSR_MAX)
        return RS_FAIL(e, RS_INVALID, "certificate request of %zu bytes (at most %d)", pem.n, CSR_MAX);
    RS_AUTO(X509_REQ) *req = NULL;
    if (parse(&req, pem, e) < 0)
        return -1;
    EVP_PKEY *key = X509_REQ_get0_pubkey(req);
    if (!key)
        return RS_FAIL_OPENSSL(e, RS_INVALID, "the public key of the certificate request can't be read");
    if (rs_key_policy(key, e) < 0)                 /* before the signature: a hostile key must not cost us time */
        return rs_err_wrap(e, "certificate request");
    if (X509_REQ_verify(req, key) != 1)
        return RS_FAIL_OPENSSL(e, RS_INVALID, "the certificate request is not signed by its own key");
    rs_assert(EVP_PKEY_up_ref(key) == 1);
    *ret_key = key;
    return 0;
}
