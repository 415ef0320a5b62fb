#include "pki/issue.h"

#include <arpa/inet.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/random.h"
#include "base/time.h"

RS_DEFINE_AUTO(BIGNUM, BN_free)
RS_DEFINE_AUTO(X509_EXTENSION, X509_EXTENSION_free)
RS_DEFINE_AUTO(GENERAL_NAMES, GENERAL_NAMES_free)
RS_DEFINE_AUTO(ASN1_OCTET_STRING, ASN1_OCTET_STRING_free)
RS_DEFINE_AUTO(ASN1_TIME, ASN1_TIME_free)

static bool set_time(ASN1_TIME *field, int64_t ms)
{
    return ASN1_TIME_adj(field, (time_t)(ms / 1000), 0, 0) != NULL;
}

/* Version, serial, times, key; the names are the caller's. */
static X509 *blank(EVP_PKEY *key, int64_t not_before_ms, int64_t not_after_ms)
{
    unsigned char serial[16];
    RS_AUTO(X509) *x = X509_new();
    rs_assert(x);
    do
        rs_random(serial, sizeof(serial));
    while (serial[0] == 0);                    /* keeps all serials the same length */
    RS_AUTO(BIGNUM) *bn = BN_bin2bn(serial, sizeof(serial), NULL);
    rs_assert(bn);
    if (X509_set_version(x, X509_VERSION_3) != 1 || !BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x)) ||
        !set_time(X509_getm_notBefore(x), not_before_ms) || !set_time(X509_getm_notAfter(x), not_after_ms) ||
        X509_set_pubkey(x, key) != 1)
        return NULL;
    return rs_take(x);
}

static bool add_text(X509 *x, int nid, const char *value)
{
    RS_AUTO(X509_EXTENSION) *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    return ext && X509_add_ext(x, ext, -1) == 1;
}

static bool add_ski(X509 *x)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    RS_AUTO(ASN1_OCTET_STRING) *id = ASN1_OCTET_STRING_new();
    rs_assert(id);
    return X509_pubkey_digest(x, EVP_sha1(), md, &n) == 1 && ASN1_OCTET_STRING_set(id, md, (int)n) == 1 &&
           X509_add1_ext_i2d(x, NID_subject_key_identifier, id, 0, 0) == 1;
}

static bool add_aki(X509 *x, const rs_cert *issuer)
{
    const ASN1_OCTET_STRING *ski = X509_get0_subject_key_id(rs_cert_x509(issuer));
    if (!ski)
        return true;
    AUTHORITY_KEYID *aki = AUTHORITY_KEYID_new();
    rs_assert(aki);
    aki->keyid = ASN1_OCTET_STRING_dup(ski);
    bool ok = aki->keyid && X509_add1_ext_i2d(x, NID_authority_key_identifier, aki, 0, 0) == 1;
    AUTHORITY_KEYID_free(aki);
    return ok;
}

static bool all_ascii(const char *s)
{
    for (; *s; s++)
        if (*s <= 0x20 || *s >= 0x7f)
            return false;
    return true;
}

static int push_san(GENERAL_NAMES *names, const char *san, struct rs_err *e)
{
    unsigned char ip[16];
    int ip_n = inet_pton(AF_INET, san, ip) == 1 ? 4 : inet_pton(AF_INET6, san, ip) == 1 ? 16 : 0;
    int type = ip_n ? GEN_IPADD : rs_starts(san, "spiffe://") ? GEN_URI : GEN_DNS;
    if (!*san || !all_ascii(san) || strlen(san) > 2048)
        return RS_FAIL(e, RS_INVALID, "not a name for a certificate: %.200s", san);
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = ASN1_STRING_type_new(ip_n ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    rs_assert(name && value && ASN1_STRING_set(value, ip_n ? (const void *)ip : san, ip_n ? ip_n : (int)strlen(san)) == 1);
    GENERAL_NAME_set0_value(name, type, value);
    rs_assert(sk_GENERAL_NAME_push(names, name) > 0);
    return 0;
}

static int add_sans(X509 *x, const char *const *sans, struct rs_err *e)
{
    RS_AUTO(GENERAL_NAMES) *names = GENERAL_NAMES_new();
    rs_assert(names);
    for (; sans && *sans; sans++)
        if (push_san(names, *sans, e) < 0)
            return -1;
    if (sk_GENERAL_NAME_num(names) == 0)
        return RS_FAIL(e, RS_INVALID, "a leaf needs a name");
    if (X509_add1_ext_i2d(x, NID_subject_alt_name, names, 1, 0) != 1)
        return RS_FAIL_OPENSSL(e, RS_INTERNAL, "add subjectAltName");
    return 0;
}

/* Refuses what would make certificates that nobody can verify; gives the end of life, never past the issuer's. */
static int check_issuer(const struct rs_issuer *by, int64_t now_ms, int64_t ttl_ms, int64_t *ret_not_after, struct rs_err *e)
{
    char when[RS_TIME_TEXT];
    if (!rs_cert_is_ca(by->cert))
        return RS_FAIL(e, RS_PRECONDITION, "the signing certificate (%s) is not a CA", rs_cert_subject(by->cert));
    if (!rs_key_same(rs_cert_key(by->cert), by->key))
        return RS_FAIL(e, RS_PRECONDITION, "the signing key does not belong to the signing certificate");
    if (rs_cert_not_after(by->cert) <= now_ms)
        return RS_FAIL(e, RS_PRECONDITION, "the signing certificate (%s) expired at %s", rs_cert_subject(by->cert),
                       rs_time_text(rs_cert_not_after(by->cert), when));
    if (ttl_ms <= 0)
        return RS_FAIL(e, RS_INVALID, "lifetime of %lld ms", (long long)ttl_ms);
    int64_t left = rs_cert_not_after(by->cert) - now_ms;
    *ret_not_after = now_ms + (ttl_ms < left ? ttl_ms : left);
    return 0;
}

static int sign(rs_cert **ret, X509 *x, EVP_PKEY *key, struct rs_err *e)
{
    if (X509_sign(x, key, rs_key_digest(key)) <= 0)
        return RS_FAIL_OPENSSL(e, RS_INTERNAL, "sign certificate");
    *ret = rs_cert_from_x509(x);
    return 0;
}

int rs_issue_leaf(rs_cert **ret, const struct rs_issuer *by, EVP_PKEY *subject_key, const char *const *sans,
                  int64_t now_ms, int64_t ttl_ms, struct rs_err *e)
{
    int64_t not_after;
    if (check_issuer(by, now_ms, ttl_ms, &not_after, e) < 0)
        return -1;
    ERR_clear_error();
    RS_AUTO(X509) *x = blank(subject_key, now_ms - RS_LEAF_BACKDATE_MS, not_after);
    if (!x || X509_set_issuer_name(x, X509_get_subject_name(rs_cert_x509(by->cert))) != 1 ||
        !add_text(x, NID_key_usage, "critical,digitalSignature,keyEncipherment") ||
        !add_text(x, NID_ext_key_usage, "serverAuth,clientAuth") || !add_text(x, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_aki(x, by->cert))
        return RS_FAIL_OPENSSL(e, RS_INTERNAL, "make certificate");
    if (add_sans(x, sans, e) < 0)
        return -1;
    return sign(ret, x, by->key, e);
}

static bool add_rdn(X509_NAME *name, int nid, const char *value)
{
    return !value || X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0) == 1;
}

static bool add_ca(X509 *x, const char *organization, const char *common_name, int path_length)
{
    char constraints[64] = "critical,CA:TRUE";
    if (path_length >= 0)
        snprintf(constraints, sizeof(constraints), "critical,CA:TRUE,pathlen:%d", path_length);
    X509_NAME *name = X509_get_subject_name(x);
    return add_rdn(name, NID_organizationName, organization) && add_rdn(name, NID_commonName, common_name) &&
           add_text(x, NID_key_usage, "critical,keyCertSign,cRLSign") && add_text(x, NID_basic_constraints, constraints) && add_ski(x);
}

int rs_issue_root(rs_cert **ret, EVP_PKEY *key, const char *organization, const char *common_name,
                  int64_t now_ms, int64_t ttl_ms, struct rs_err *e)
{
    ERR_clear_error();
    if (ttl_ms <= 0)
        return RS_FAIL(e, RS_INVALID, "lifetime of %lld ms", (long long)ttl_ms);
    RS_AUTO(X509) *x = blank(key, now_ms - RS_LEAF_BACKDATE_MS, now_ms + ttl_ms);
    if (!x || !add_ca(x, organization, common_name, -1) || X509_set_issuer_name(x, X509_get_subject_name(x)) != 1)
        return RS_FAIL_OPENSSL(e, RS_INVALID, "make root certificate");
    return sign(ret, x, key, e);
}

int rs_issue_intermediate(rs_cert **ret, const struct rs_issuer *by, EVP_PKEY *subject_key, const char *organization,
                          const char *common_name, int path_length, int64_t now_ms, int64_t ttl_ms, struct rs_err *e)
{
    int64_t not_after;
    if (check_issuer(by, now_ms, ttl_ms, &not_after, e) < 0)
        return -1;
    ERR_clear_error();
    RS_AUTO(X509) *x = blank(subject_key, now_ms - RS_LEAF_BACKDATE_MS, not_after);
    if (!x || X509_set_issuer_name(x, X509_get_subject_name(rs_cert_x509(by->cert))) != 1 ||
        !add_ca(x, organization, common_name, path_length) || !add_aki(x, by->cert))
        return RS_FAIL_OPENSSL(e, RS_INVALID, "make intermediate certificate");
    return sign(ret, x, by->key, e);
}
