#include "made.h"

#include "base/file.h"
#include "base/proc.h"
#include "pki/csr.h"
#include "pki/pem.h"
#include "pki/spiffe.h"

#include <unistd.h>

/* openssl's own verdict on a text given on standard input. */
static char *openssl(const char *const *argv, const char *input)
{
    struct rs_err e;
    char *out = NULL;
    ASSERT_OK(rs_proc_run(argv, rs_str_of(input), &out, &e));
    return out;
}

static void round_trip(void **state)
{
    struct rs_err e;
    static const enum rs_key_kind kinds[] = { RS_KEY_P256, RS_KEY_P384, RS_KEY_RSA2048 };
    for (size_t i = 0; i < RS_COUNT(kinds); i++) {
        RS_AUTO(EVP_PKEY) *key = NULL, *read = NULL;
        RS_AUTO(rs_chars) *pem = NULL;
        ASSERT_OK(rs_key_generate(&key, kinds[i], &e));
        ASSERT_OK(rs_csr_make(&pem, key, "spiffe://cluster.local/ns/foo/sa/bar", &e));
        ASSERT_OK(rs_csr_read(&read, rs_str_of(pem), &e));
        assert_true(rs_key_same(key, read));
        RS_AUTO(rs_chars) *text = openssl((const char *const[]){ "openssl", "req", "-noout", "-text", "-verify", NULL }, pem);
        assert_non_null(strstr(text, "X509v3 Subject Alternative Name: critical\n"));
        assert_non_null(strstr(text, "URI:spiffe://cluster.local/ns/foo/sa/bar"));
        assert_non_null(strstr(text, "Subject: O = \n"));
    }
}

/* Bytes written by Go 1.26's crypto/x509 with Subject{Organization: {""}} and the SAN of pilot-agent. */
static const char go_csr[] =
#include "go_csr.inc"
    ;

static void go_writes_an_empty_organization(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = NULL;
    ASSERT_OK(rs_csr_read(&key, rs_str_of(go_csr), &e));
    assert_true(EVP_PKEY_is_a(key, "EC"));
}

static void bad_requests(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = made_key(), *read = NULL;
    RS_AUTO(rs_chars) *pem = NULL, *big = rs_alloc(20000);
    ASSERT_FAILS(RS_INVALID, "no certificate request", rs_csr_read(&read, RS_STR(""), &e));
    ASSERT_FAILS(RS_INVALID, "no certificate request", rs_csr_read(&read, RS_STR("junk"), &e));
    ASSERT_FAILS(RS_INVALID, "can't be read", rs_csr_read(&read, RS_STR("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"), &e));
    memset(big, 'x', 19999);
    ASSERT_FAILS(RS_INVALID, "19999 bytes", rs_csr_read(&read, rs_str_of(big), &e));
    ASSERT_OK(rs_csr_make(&pem, key, "spiffe://td/ns/a/sa/b", &e));
    /* One bit of the signed part changed: proof of possession fails. */
    struct rs_pem_block block;
    rs_str text = rs_str_of(pem);
    assert_int_equal(rs_pem_next(&text, &block, &e), 1);
    unsigned char *der;
    size_t n;
    ASSERT_OK(rs_pem_bytes(&block, &der, &n, &e));
    unsigned char *uri = memmem(der, n, "spiffe://td", 11);
    uri[9] = 'x';
    RS_AUTO(rs_chars) *changed = rs_pem_text("CERTIFICATE REQUEST", der, n), *cut = rs_pem_text("CERTIFICATE REQUEST", der, n - 1);
    free(der);
    ASSERT_FAILS(RS_INVALID, "not signed by its own key", rs_csr_read(&read, rs_str_of(changed), &e));
    ASSERT_FAILS(RS_INVALID, "can't be read", rs_csr_read(&read, rs_str_of(cut), &e));
    char *small = openssl((const char *const[]){ "sh", "-c", "openssl genrsa 1024 2>/dev/null | openssl req -new -key /dev/stdin -subj /O=x", NULL }, "");
    ASSERT_FAILS(RS_INVALID, "1024 bits", rs_csr_read(&read, rs_str_of(small), &e));
    free(small);
    char *explicit = openssl((const char *const[]){ "sh", "-c", "openssl ecparam -name prime256v1 -param_enc explicit -genkey -noout | openssl req -new -key /dev/stdin -subj /O=x", NULL }, "");
    ASSERT_FAILS(RS_INVALID, "explicit", rs_csr_read(&read, rs_str_of(explicit), &e));
    free(explicit);
    char *curve = openssl((const char *const[]){ "sh", "-c", "openssl ecparam -name secp256k1 -genkey -noout | openssl req -new -key /dev/stdin -subj /O=x", NULL }, "");
    ASSERT_FAILS(RS_INVALID, "secp256k1", rs_csr_read(&read, rs_str_of(curve), &e));
    free(curve);
    assert_null(read);
}

/* What we issue passes openssl verify, and has Istio's profile. */
static void leaf_profile(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *root_key = NULL, *mid_key = made_key(), *key = made_key();
    int64_t now = rs_now_ms();
    RS_AUTO(rs_cert) *root = NULL, *mid = NULL, *leaf = NULL;
    ASSERT_OK(rs_key_generate(&root_key, RS_KEY_RSA2048, &e));
    ASSERT_OK(rs_issue_root(&root, root_key, "cluster.local", "the root", now, YEAR_MS, &e));
    ASSERT_OK(rs_issue_intermediate(&mid, &(struct rs_issuer){ root, root_key }, mid_key, "cluster.local", "mid", 0, now, YEAR_MS, &e));
    ASSERT_OK(rs_issue_leaf(&leaf, &(struct rs_issuer){ mid, mid_key }, key,
                            (const char *const[]){ "spiffe://td/ns/a/sa/b", "10.0.0.1", "x.y.svc", NULL }, now, HOUR_MS, &e));
    char dir[] = "/tmp/rootshift-csr-XXXXXX";
    assert_non_null(mkdtemp(dir));
    RS_AUTO(rs_chars) *r = rs_printf("%s/root.pem", dir), *m = rs_printf("%s/mid.pem", dir);
    ASSERT_OK(rs_file_write(r, rs_str_of(rs_cert_pem(root)), 0600, &e));
    ASSERT_OK(rs_file_write(m, rs_str_of(rs_cert_pem(mid)), 0600, &e));
    RS_AUTO(rs_chars) *out = openssl((const char *const[]){ "openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", r, "-untrusted", m, NULL }, rs_cert_pem(leaf));
    assert_non_null(strstr(out, "OK"));
    RS_AUTO(rs_chars) *text = openssl((const char *const[]){ "openssl", "x509", "-noout", "-text", NULL }, rs_cert_pem(leaf));
    assert_non_null(strstr(text, "X509v3 Subject Alternative Name: critical\n"));
    assert_non_null(strstr(text, "URI:spiffe://td/ns/a/sa/b, IP Address:10.0.0.1, DNS:x.y.svc"));
    assert_non_null(strstr(text, "X509v3 Key Usage: critical\n                Digital Signature, Key Encipherment\n"));
    assert_non_null(strstr(text, "TLS Web Server Authentication, TLS Web Client Authentication"));
    assert_non_null(strstr(text, "X509v3 Authority Key Identifier"));
    assert_null(strstr(text, "X509v3 Subject Key Identifier"));
    ASSERT_OK(rs_remove_tree(dir, &e));
}

static void spiffe_ids(void **state)
{
    static const char *const bad[] = { "", "spiffe://", "http://td/ns/a/sa/b", "spiffe://td/ns/a", "spiffe://td/ns/a/sa/b/c", "spiffe:///ns/a/sa/b",
                                       "spiffe://TD/ns/a/sa/b", "spiffe://td/ns//sa/b", "spiffe://td/sa/a/ns/b", "spiffe://td/ns/a/sa/" };
    struct rs_err e;
    struct rs_spiffe id;
    ASSERT_OK(rs_spiffe_parse(&id, "spiffe://fleet.svc.id.goog/ns/a/sa/b.c", &e));
    RS_AUTO(rs_chars) *back = rs_spiffe_uri(id.trust_domain, id.namespace, id.service_account);
    assert_string_equal(back, "spiffe://fleet.svc.id.goog/ns/a/sa/b.c");
    rs_spiffe_done(&id);
    for (size_t i = 0; i < RS_COUNT(bad); i++)
        ASSERT_FAILS(RS_INVALID, "", rs_spiffe_parse(&id, bad[i], &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip), cmocka_unit_test(go_writes_an_empty_organization), cmocka_unit_test(bad_requests),
        cmocka_unit_test(leaf_profile), cmocka_unit_test(spiffe_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
