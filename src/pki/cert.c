#include "pki/cert.h"

#include <stdatomic.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/buf.h"
#include "pki/pem.h"

struct rs_cert {
    atomic_int refs;
    X509 *x;
    unsigned char *der;
    size_t der_n;
    rs_digest digest;
    char *pem, *subject, *issuer, *serial, *uri;
    int64_t not_before, not_after;
};

RS_DEFINE_AUTO(BIO, BIO_free_all)

static char *name_text(const X509_NAME *name)
{
    RS_AUTO(BIO) *out = BIO_new(BIO_s_mem());
    rs_assert(out);
    char *p = NULL;
    if (X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0)
        return rs_strdup("(unreadable name)");
    long n = BIO_get_mem_data(out, &p);
    return rs_strndup(p, n > 0 ? (size_t)n : 0);
}

static char *serial_text(const X509 *x)
{
    BIGNUM *bn = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    char *upper = bn ? BN_bn2hex(bn) : NULL;
    rs_assert(upper);
    const char *p = upper;
    while (p[0] == '0' && p[1])
        p++;
    char *ret = rs_strdup(p);
    for (char *q = ret; *q; q++)
        if (*q >= 'A' && *q <= 'F')
            *q += 'a' - 'A';
    OPENSSL_free(upper);
    BN_free(bn);
    return ret;
}

/* An unreadable time becomes the fallback, which callers choose so that the certificate is never valid. */
static int64_t time_ms(const ASN1_TIME *t, int64_t fallback)
{
    struct tm tm;
    if (!t || ASN1_TIME_to_tm(t, &tm) != 1)
        return fallback;
    return (int64_t)timegm(&tm) * 1000;
}

static char *first_uri(X509 *x)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    char *ret = NULL;
    for (int i = 0; names && !ret && i < sk_GENERAL_NAME_num(names); i++) {
        int type;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
        if (type != GEN_URI)
            continue;
        const char *p = (const char *)ASN1_STRING_get0_data(value);
        size_t n = (size_t)ASN1_STRING_length(value);
        if (!memchr(p, 0, n))                  /* a NUL inside would show another name than the one signed */
            ret = rs_strndup(p, n);
    }
    GENERAL_NAMES_free(names);
    return ret;
}

rs_cert *rs_cert_from_x509(X509 *x)
{
    rs_cert *c = rs_new(rs_cert);
    atomic_init(&c->refs, 1);
    rs_assert(X509_up_ref(x) == 1);
    c->x = x;
    ERR_set_mark();
    (void)X509_check_purpose(x, -1, 0);        /* fills OpenSSL's cache of extensions while we are the only user */
    unsigned char *der = NULL;
    int n = i2d_X509(x, &der);
    rs_assert(n > 0);
    c->der = rs_alloc((size_t)n);
    memcpy(c->der, der, (size_t)n);
    c->der_n = (size_t)n;
    OPENSSL_free(der);
    c->digest = rs_sha256(c->der, c->der_n);
    c->pem = rs_pem_text("CERTIFICATE", c->der, c->der_n);
    c->subject = name_text(X509_get_subject_name(x));
    c->issuer = name_text(X509_get_issuer_name(x));
    c->serial = serial_text(x);
    c->uri = first_uri(x);
    c->not_before = time_ms(X509_get0_notBefore(x), INT64_MAX);
    c->not_after = time_ms(X509_get0_notAfter(x), 0);
    ERR_pop_to_mark();
    return c;
}

int rs_cert_from_der(rs_cert **ret, rs_str der, struct rs_err *e)
{
    if (der.n == 0 || der.n > 1024 * 1024)
        return RS_FAIL(e, RS_INVALID, "certificate of %zu bytes", der.n);
    const unsigned char *p = (const unsigned char *)der.p;
    ERR_clear_error();
    RS_AUTO(X509) *x = d2i_X509(NULL, &p, (long)der.n);
    if (!x)
        return RS_FAIL_OPENSSL(e, RS_INVALID, "the certificate can't be read");
    RS_AUTO(rs_cert) *c = rs_cert_from_x509(x);
    if (!rs_str_eq(rs_cert_der(c), der))       /* BER or trailing bytes: its digest would not be everybody's */
        return RS_FAIL(e, RS_INVALID, "the certificate is not in DER form");
    if (!rs_cert_key(c))
        return RS_FAIL_OPENSSL(e, RS_INVALID, "the certificate's public key can't be read");
    *ret = rs_take(c);
    return 0;
}

rs_cert *rs_cert_ref(rs_cert *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

void rs_cert_unref(rs_cert *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) > 1)
        return;
    X509_free(c->x);
    free(c->der);
    free(c->pem);
    free(c->subject);
    free(c->issuer);
    free(c->serial);
    free(c->uri);
    free(c);
}

X509 *rs_cert_x509(const rs_cert *c) { return c->x; }
const rs_digest *rs_cert_digest(const rs_cert *c) { return &c->digest; }
rs_str rs_cert_der(const rs_cert *c) { return (rs_str){ (const char *)c->der, c->der_n }; }
const char *rs_cert_pem(const rs_cert *c) { return c->pem; }
const char *rs_cert_subject(const rs_cert *c) { return c->subject; }
const char *rs_cert_issuer(const rs_cert *c) { return c->issuer; }
const char *rs_cert_serial(const rs_cert *c) { return c->serial; }
int64_t rs_cert_not_before(const rs_cert *c) { return c->not_before; }
int64_t rs_cert_not_after(const rs_cert *c) { return c->not_after; }
const char *rs_cert_uri(const rs_cert *c) { return c->uri; }
EVP_PKEY *rs_cert_key(const rs_cert *c) { return X509_get0_pubkey(c->x); }

bool rs_cert_is_ca(const rs_cert *c)
{
    uint32_t flags = X509_get_extension_flags(c->x);
    if ((flags & EXFLAG_INVALID) || !(flags & EXFLAG_CA))
        return false;
    return !(flags & EXFLAG_KUSAGE) || (X509_get_key_usage(c->x) & KU_KEY_CERT_SIGN);
}

bool rs_cert_signed_by(const rs_cert *c, const rs_cert *issuer)
{
    ERR_set_mark();
    EVP_PKEY *key = rs_cert_key(issuer);
    bool yes = key && X509_NAME_cmp(X509_get_issuer_name(c->x), X509_get_subject_name(issuer->x)) == 0 &&
               X509_verify(c->x, key) == 1;
    ERR_pop_to_mark();
    return yes;
}

bool rs_cert_self_signed(const rs_cert *c)
{
    return rs_cert_signed_by(c, c);
}

static bool is_cert_label(rs_str label)
{
    return rs_str_is(label, "CERTIFICATE") || rs_str_is(label, "X509 CERTIFICATE");
}

static int parse_block(rs_certs *l, const struct rs_pem_block *block, struct rs_err *e)
{
    unsigned char *der = NULL;
    size_t n;
    if (rs_pem_bytes(block, &der, &n, e) < 0)
        return -1;
    rs_cert *c = NULL;
    int r = rs_cert_from_der(&c, (rs_str){ (const char *)der, n }, e);
    free(der);
    if (r == 0)
        l->v[l->n++] = c;
    return r;
}

int rs_certs_parse(rs_certs *ret, rs_str pem, struct rs_err *e)
{
    if (pem.n > 4 * 1024 * 1024)
        return RS_FAIL(e, RS_EXHAUSTED, "PEM text of %zu bytes", pem.n);
    RS_AUTO_CERTS l = { .v = rs_new_array(rs_cert *, RS_CERTS_MAX) };
    struct rs_pem_block block;
    for (;;) {
        int r = rs_pem_next(&pem, &block, e);
        if (r < 0)
            return rs_err_wrap(e, "certificate %zu is damaged", l.n + 1);
        if (r == 0)
            break;
        if (!is_cert_label(block.label))
            continue;
        if (l.n == RS_CERTS_MAX)
            return RS_FAIL(e, RS_EXHAUSTED, "more than %d certificates", RS_CERTS_MAX);
        if (parse_block(&l, &block, e) < 0)
            return rs_err_wrap(e, "certificate %zu is damaged", l.n + 1);
    }
    if (l.n == 0)
        return RS_FAIL(e, RS_INVALID, "no certificate in PEM form found");
    *ret = l;
    l = (rs_certs){ 0 };
    return 0;
}

void rs_certs_done(rs_certs *l)
{
    for (size_t i = 0; i < l->n; i++)
        rs_cert_unref(l->v[i]);
    free(l->v);
    *l = (rs_certs){ 0 };
}

char *rs_certs_pem(const rs_certs *l)
{
    size_t total = 0;
    for (size_t i = 0; i < l->n; i++)
        total += strlen(l->v[i]->pem);
    RS_AUTO_BUF b;
    rs_buf_init(&b, total + 1);
    for (size_t i = 0; i < l->n; i++)
        rs_buf_adds(&b, l->v[i]->pem);
    return rs_buf_take(&b);
}
