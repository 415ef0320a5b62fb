#include "made.h"

#include "base/buf.h"

static void either_order_and_duplicates(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *ka = made_key(), *kb = made_key();
    RS_AUTO(rs_cert) *a = made_root(ka, "a"), *b = made_root(kb, "b");
    RS_AUTO(rs_chars) *ab = rs_printf("%s%s", rs_cert_pem(a), rs_cert_pem(b));
    RS_AUTO(rs_chars) *bab = rs_printf("%s\n\n%s%s", rs_cert_pem(b), rs_cert_pem(a), rs_cert_pem(b));
    RS_AUTO(rs_bundle) *one = NULL, *two = NULL, *u = NULL, *only_a = rs_bundle_of(a), *only_b = rs_bundle_of(b), *none = rs_bundle_empty();
    ASSERT_OK(rs_bundle_parse(&one, rs_str_of(ab), &e));
    ASSERT_OK(rs_bundle_parse(&two, rs_str_of(bab), &e));
    assert_int_equal(rs_bundle_count(two), 2);
    assert_true(rs_bundle_eq(one, two));
    assert_string_equal(rs_bundle_pem(one), rs_bundle_pem(two));
    ASSERT_OK(rs_bundle_union(&u, only_b, only_a, &e));
    assert_true(rs_bundle_eq(u, one));
    assert_true(rs_bundle_covers(one, only_a));
    assert_false(rs_bundle_covers(only_a, one));
    assert_true(rs_bundle_covers(none, none));
    assert_int_equal(rs_bundle_count(none), 0);
    assert_string_equal(rs_bundle_pem(none), "");
    RS_AUTO(rs_bundle) *left = rs_bundle_without(one, rs_cert_digest(a), 1);
    assert_true(rs_bundle_eq(left, only_b));
    assert_false(rs_bundle_has(left, rs_cert_digest(a)));
}

static void twins_are_told_apart(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = made_key();
    RS_AUTO(rs_cert) *old = made_root(key, "same"), *new = made_root(key, "same");
    RS_AUTO(rs_bundle) *b = NULL, *only_old = rs_bundle_of(old);
    RS_AUTO(rs_chars) *pem = rs_printf("%s%s", rs_cert_pem(old), rs_cert_pem(new));
    assert_string_equal(rs_cert_subject(old), rs_cert_subject(new));
    assert_true(rs_key_same(rs_cert_key(old), rs_cert_key(new)));
    assert_true(rs_cert_signed_by(new, old));
    ASSERT_OK(rs_bundle_parse(&b, rs_str_of(pem), &e));
    assert_int_equal(rs_bundle_count(b), 2);
    assert_false(rs_bundle_has(only_old, rs_cert_digest(new)));
    assert_false(rs_bundle_covers(only_old, b));
}

/* One line, CRLF, comments, indentation, blank lines: the same set, the same canonical text. */
static void forms_of_pem(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = made_key();
    RS_AUTO(rs_cert) *root = made_root(key, "forms");
    RS_AUTO(rs_bundle) *want = rs_bundle_of(root);
    RS_AUTO(rs_chars) *body = rs_base64(rs_cert_der(root).p, rs_cert_der(root).n);
    const char *const widths[] = { "one line", "17 columns\r\n", "indented" };
    for (size_t w = 0; w < RS_COUNT(widths); w++) {
        RS_AUTO_BUF text;
        rs_buf_init(&text, 1 << 16);
        rs_buf_addf(&text, "# a comment with -----BEGIN inside\r\n\n\nsubject=/O=forms\r\n%s-----BEGIN CERTIFICATE-----\r\n", w == 2 ? "    " : "");
        for (const char *p = body; *p; ) {
            int n = w == 0 ? (int)strlen(p) : (int)strnlen(p, 17);
            rs_buf_addf(&text, "%s%.*s%s", w == 2 ? "    " : "", n, p, w == 1 ? "\r\n" : "\n\n");
            p += n;
        }
        rs_buf_addf(&text, "%s-----END CERTIFICATE-----%s", w == 2 ? "    " : "", w == 1 ? "\r\n\r\ntrailer" : "");
        RS_AUTO(rs_bundle) *b = NULL;
        ASSERT_OK(rs_bundle_parse(&b, rs_buf_str(&text), &e));
        assert_true(rs_bundle_eq(b, want));
        assert_string_equal(rs_bundle_pem(b), rs_cert_pem(root));
    }
}

static void garbage_is_refused(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = made_key(), *leaf_key = made_key();
    RS_AUTO(rs_cert) *root = made_root(key, "g"), *leaf = made_leaf(root, key, leaf_key, "spiffe://td/ns/a/sa/b");
    rs_bundle *b = (rs_bundle *)&e;                /* must stay untouched */
    ASSERT_FAILS(RS_INVALID, "no certificate", rs_bundle_parse(&b, RS_STR(""), &e));
    ASSERT_FAILS(RS_INVALID, "no certificate", rs_bundle_parse(&b, RS_STR("hello\nworld\n"), &e));
    ASSERT_FAILS(RS_INVALID, "certificate 1 is damaged", rs_bundle_parse(&b, RS_STR("-----BEGIN CERTIFICATE-----\nAAAA\n"), &e));
    ASSERT_FAILS(RS_INVALID, "certificate 1 is damaged", rs_bundle_parse(&b, RS_STR("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), &e));
    ASSERT_FAILS(RS_INVALID, "certificate 1 is damaged", rs_bundle_parse(&b, RS_STR("-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n"), &e));
    RS_AUTO(rs_chars) *cut = rs_printf("%s%.300s", rs_cert_pem(root), rs_cert_pem(root));
    ASSERT_FAILS(RS_INVALID, "certificate 2 is damaged", rs_bundle_parse(&b, rs_str_of(cut), &e));
    RS_AUTO(rs_chars) *mixed = rs_printf("%s%s", rs_cert_pem(root), rs_cert_pem(leaf));
    ASSERT_FAILS(RS_INVALID, "certificate 2 () is not a CA", rs_bundle_parse(&b, rs_str_of(mixed), &e));
    RS_AUTO(rs_secret) *secret = rs_key_to_pem(key);
    ASSERT_FAILS(RS_INVALID, "no certificate", rs_bundle_parse(&b, (rs_str){ secret->p, secret->n }, &e));
    assert_ptr_equal(b, &e);
    /* Bytes after the certificate, inside the armour. */
    rs_str der = rs_cert_der(root);
    RS_AUTO(rs_chars) *longer = rs_alloc(der.n + 1);
    memcpy(longer, der.p, der.n);
    RS_AUTO(rs_chars) *base = rs_base64(longer, der.n + 1), *text = rs_printf("-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n", base);
    ASSERT_FAILS(RS_INVALID, "not in DER form", rs_bundle_parse(&b, rs_str_of(text), &e));
}

static void too_many_roots(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = made_key();
    RS_AUTO_BUF text;
    rs_buf_init(&text, 1 << 20);
    for (int i = 0; i <= RS_BUNDLE_MAX_ROOTS; i++) {
        RS_AUTO(rs_cert) *root = made_root(key, "many");
        rs_buf_adds(&text, rs_cert_pem(root));
    }
    rs_bundle *b = NULL;
    ASSERT_FAILS(RS_EXHAUSTED, "more than 64", rs_bundle_parse(&b, rs_buf_str(&text), &e));
}

static void certificate_facts(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = made_key(), *leaf_key = made_key();
    RS_AUTO(rs_cert) *root = made_root(key, "cluster.local"), *leaf = made_leaf(root, key, leaf_key, "spiffe://td/ns/a/sa/b");
    assert_string_equal(rs_cert_subject(root), "O=cluster.local");
    assert_string_equal(rs_cert_subject(leaf), "");
    assert_string_equal(rs_cert_issuer(leaf), "O=cluster.local");
    assert_string_equal(rs_cert_uri(leaf), "spiffe://td/ns/a/sa/b");
    assert_null(rs_cert_uri(root));
    assert_true(rs_cert_is_ca(root) && rs_cert_self_signed(root));
    assert_false(rs_cert_is_ca(leaf) || rs_cert_self_signed(leaf));
    assert_true(rs_cert_not_before(leaf) == NOW - RS_LEAF_BACKDATE_MS && rs_cert_not_after(leaf) == NOW + 24 * HOUR_MS);
    assert_int_equal(strlen(rs_cert_serial(leaf)) > 30, 1);
    char text[RS_DIGEST_TEXT];
    rs_digest back;
    assert_int_equal(rs_digest_parse(rs_digest_text(rs_cert_digest(leaf), text), &back), 0);
    assert_true(rs_digest_eq(&back, rs_cert_digest(leaf)));
    assert_int_equal(rs_digest_parse("ab", &back), -1);
    RS_AUTO(EVP_PKEY) *again = NULL;
    RS_AUTO(rs_secret) *pem = rs_key_to_pem(key);
    ASSERT_OK(rs_key_from_pem(&again, (rs_str){ pem->p, pem->n }, &e));
    assert_true(rs_key_same(key, again));
    /* Clamped to the issuer, refused once it has expired. */
    RS_AUTO(rs_cert) *clamped = NULL;
    struct rs_issuer by = { root, key };
    const char *const sans[] = { "spiffe://td/ns/a/sa/b", "10.1.2.3", "istiod.istio-system.svc", NULL };
    ASSERT_OK(rs_issue_leaf(&clamped, &by, leaf_key, sans, NOW, 10 * YEAR_MS, &e));
    assert_true(rs_cert_not_after(clamped) == rs_cert_not_after(root));
    ASSERT_FAILS(RS_PRECONDITION, "expired", rs_issue_leaf(&clamped, &by, leaf_key, sans, NOW + YEAR_MS, HOUR_MS, &e));
    ASSERT_FAILS(RS_PRECONDITION, "not a CA", rs_issue_leaf(&clamped, &(struct rs_issuer){ leaf, leaf_key }, key, sans, NOW, HOUR_MS, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(either_order_and_duplicates), cmocka_unit_test(twins_are_told_apart), cmocka_unit_test(forms_of_pem),
        cmocka_unit_test(garbage_is_refused), cmocka_unit_test(too_many_roots), cmocka_unit_test(certificate_facts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
