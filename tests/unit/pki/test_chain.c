#include "made.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "pki/chain.h"

/* root -> middle (path length 0) -> leaf */
struct line { EVP_PKEY *root_key, *middle_key, *leaf_key; rs_cert *root, *middle, *leaf; rs_bundle *roots; };

static struct line line_make(void)
{
    struct line l = { .root_key = made_key(), .middle_key = made_key(), .leaf_key = made_key() };
    l.root = made_root(l.root_key, "root");
    l.middle = made_intermediate(l.root, l.root_key, l.middle_key, "middle", 0);
    l.leaf = made_leaf(l.middle, l.middle_key, l.leaf_key, "spiffe://td/ns/a/sa/b");
    l.roots = rs_bundle_of(l.root);
    return l;
}

static void line_done(struct line *l)
{
    EVP_PKEY_free(l->root_key);
    EVP_PKEY_free(l->middle_key);
    EVP_PKEY_free(l->leaf_key);
    rs_cert_unref(l->root);
    rs_cert_unref(l->middle);
    rs_cert_unref(l->leaf);
    rs_bundle_unref(l->roots);
}
#define LINE __attribute__((cleanup(line_done))) struct line

#define CHAIN(...) (&(rs_certs){ (rs_cert *[]){ __VA_ARGS__ }, sizeof((rs_cert *[]){ __VA_ARGS__ }) / sizeof(rs_cert *) })

static void whole_and_partial(void **state)
{
    struct rs_err e;
    LINE l = line_make();
    RS_AUTO(rs_cert) *got = NULL, *partial = NULL;
    ASSERT_OK(rs_chain_verify(CHAIN(l.leaf, l.middle), l.roots, NOW, &got, &e));
    assert_true(rs_digest_eq(rs_cert_digest(got), rs_cert_digest(l.root)));
    /* An intermediate in the bundle is an anchor. */
    RS_AUTO(rs_bundle) *only_middle = rs_bundle_of(l.middle), *none = rs_bundle_empty();
    ASSERT_OK(rs_chain_verify(CHAIN(l.leaf), only_middle, NOW, &partial, &e));
    assert_true(rs_digest_eq(rs_cert_digest(partial), rs_cert_digest(l.middle)));
    ASSERT_FAILS(RS_PRECONDITION, "unable to get local issuer", rs_chain_verify(CHAIN(l.leaf), l.roots, NOW, NULL, &e));
    ASSERT_FAILS(RS_PRECONDITION, "", rs_chain_verify(CHAIN(l.leaf, l.middle, l.root), none, NOW, NULL, &e));
    ASSERT_FAILS(RS_PRECONDITION, "empty", rs_chain_verify(&(rs_certs){ 0 }, l.roots, NOW, NULL, &e));
    for (int server = 0; server < 2; server++)
        ASSERT_OK(rs_chain_verify_for(CHAIN(l.leaf, l.middle), l.roots, NOW, server, NULL, &e));
}

static void times(void **state)
{
    struct rs_err e;
    LINE l = line_make();
    ASSERT_FAILS(RS_PRECONDITION, "expired", rs_chain_verify(CHAIN(l.leaf, l.middle), l.roots, NOW + 25 * HOUR_MS, NULL, &e));
    ASSERT_FAILS(RS_PRECONDITION, "not yet valid", rs_chain_verify(CHAIN(l.leaf, l.middle), l.roots, NOW - HOUR_MS, NULL, &e));
}

static void order_of_intermediates(void **state)
{
    struct rs_err e;
    LINE l = line_make();
    RS_AUTO(EVP_PKEY) *top_key = made_key();
    RS_AUTO(rs_cert) *top = made_root(top_key, "top"), *cross = NULL;
    struct rs_issuer by = { top, top_key };
    /* The root cross-signed by a higher one: a chain of three above the leaf, given in any order. */
    ASSERT_OK(rs_issue_intermediate(&cross, &by, l.root_key, "root", NULL, -1, NOW, YEAR_MS / 2, &e));
    RS_AUTO(rs_bundle) *roots = rs_bundle_of(top);
    ASSERT_OK(rs_chain_verify(CHAIN(l.leaf, cross, l.middle), roots, NOW, NULL, &e));
    ASSERT_OK(rs_chain_verify(CHAIN(l.leaf, l.middle, cross), roots, NOW, NULL, &e));
    ASSERT_FAILS(RS_PRECONDITION, "", rs_chain_verify(CHAIN(l.middle, l.leaf), roots, NOW, NULL, &e));
}

static void path_length(void **state)
{
    struct rs_err e;
    LINE l = line_make();
    RS_AUTO(EVP_PKEY) *deep_key = made_key(), *key = made_key();
    RS_AUTO(rs_cert) *deep = made_intermediate(l.middle, l.middle_key, deep_key, "too deep", -1);
    RS_AUTO(rs_cert) *leaf = made_leaf(deep, deep_key, key, "spiffe://td/ns/a/sa/b");
    ASSERT_FAILS(RS_PRECONDITION, "path length", rs_chain_verify(CHAIN(leaf, deep, l.middle), l.roots, NOW, NULL, &e));
}

static void leaf_does_not_sign(void **state)
{
    struct rs_err e;
    LINE l = line_make();
    RS_AUTO(X509) *x = X509_dup(rs_cert_x509(l.leaf));
    assert_int_equal(X509_set_issuer_name(x, X509_get_subject_name(rs_cert_x509(l.leaf))), 1);
    assert_true(X509_sign(x, l.leaf_key, EVP_sha256()) > 0);
    RS_AUTO(rs_cert) *below = rs_cert_from_x509(x);
    ASSERT_FAILS(RS_PRECONDITION, "", rs_chain_verify(CHAIN(below, l.leaf, l.middle), l.roots, NOW, NULL, &e));
}

static void name_constraints(void **state)
{
    struct rs_err e;
    LINE l = line_make();
    RS_AUTO(X509) *x = X509_dup(rs_cert_x509(l.middle));
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_name_constraints, "critical,permitted;DNS:good.example");
    assert_true(ext && X509_add_ext(x, ext, -1) == 1 && X509_sign(x, l.root_key, EVP_sha256()) > 0);
    X509_EXTENSION_free(ext);
    RS_AUTO(rs_cert) *narrow = rs_cert_from_x509(x), *good = NULL, *bad = NULL;
    struct rs_issuer by = { narrow, l.middle_key };
    ASSERT_OK(rs_issue_leaf(&good, &by, l.leaf_key, (const char *const[]){ "a.good.example", NULL }, NOW, HOUR_MS, &e));
    ASSERT_OK(rs_issue_leaf(&bad, &by, l.leaf_key, (const char *const[]){ "a.bad.example", NULL }, NOW, HOUR_MS, &e));
    ASSERT_OK(rs_chain_verify(CHAIN(good, narrow), l.roots, NOW, NULL, &e));
    ASSERT_FAILS(RS_PRECONDITION, "permitted subtree", rs_chain_verify(CHAIN(bad, narrow), l.roots, NOW, NULL, &e));
}

/* Istio's root rotation: both verify the leaf; the one that travels in the chain is the one named. */
static void twins(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = made_key(), *leaf_key = made_key();
    RS_AUTO(rs_cert) *old = made_root(key, "same"), *new = made_root(key, "same"), *leaf = made_leaf(old, key, leaf_key, "spiffe://td/ns/a/sa/b");
    RS_AUTO(rs_bundle) *b_old = rs_bundle_of(old), *b_new = rs_bundle_of(new), *both = NULL;
    ASSERT_OK(rs_bundle_union(&both, b_old, b_new, &e));
    rs_cert *const sent[] = { old, new };
    for (int i = 0; i < 2; i++) {
        RS_AUTO(rs_cert) *got = NULL;
        ASSERT_OK(rs_chain_verify(CHAIN(leaf, sent[i]), both, NOW, &got, &e));
        assert_true(rs_digest_eq(rs_cert_digest(got), rs_cert_digest(sent[i])));
    }
    RS_AUTO(rs_cert) *got = NULL;
    ASSERT_OK(rs_chain_verify(CHAIN(leaf, old), b_new, NOW, &got, &e));
    assert_true(rs_digest_eq(rs_cert_digest(got), rs_cert_digest(new)));
    RS_AUTO(EVP_PKEY) *other_key = made_key();
    RS_AUTO(rs_cert) *other = made_root(other_key, "same");
    RS_AUTO(rs_bundle) *b_other = rs_bundle_of(other);
    ASSERT_FAILS(RS_PRECONDITION, "", rs_chain_verify(CHAIN(leaf, old), b_other, NOW, NULL, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_and_partial), cmocka_unit_test(times), cmocka_unit_test(order_of_intermediates),
        cmocka_unit_test(path_length), cmocka_unit_test(leaf_does_not_sign), cmocka_unit_test(name_constraints), cmocka_unit_test(twins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
