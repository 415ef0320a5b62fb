#include "../pki/made.h"

#include "control/root_cert.h"
#include "control/serving.h"
#include "control/trust_state.h"

struct world { const rs_digest *alive, *recorded; size_t asked; };

static bool gate(void *ctx, const rs_digest *root, const json_t *sources, char **ret_why)
{
    struct world *w = ctx;
    w->asked++;
    if (!w->alive || !rs_digest_eq(root, w->alive))
        return true;
    *ret_why = rs_strdup("alive");
    return false;
}

static bool recorded(void *ctx, const rs_digest *root)
{
    struct world *w = ctx;
    return w->recorded && rs_digest_eq(root, w->recorded);
}

static struct rs_trust_state next(const struct rs_trust_state *now, const struct rs_trust_source *sources, size_t n, struct world *w, int64_t at)
{
    struct rs_err e;
    struct rs_trust_state s;
    ASSERT_OK(rs_trust_next(&s, now, sources, n, at, gate, recorded, w, at, &e));
    /* What is written reads back equal. */
    RS_AUTO(json_t) *cm = rs_json_pack("{s:{s:s}, s:o}", "metadata", "name", "x", "data", rs_trust_state_data(&s));
    struct rs_trust_state back;
    ASSERT_OK(rs_trust_state_read(&back, cm, &e));
    assert_true(rs_trust_state_eq(&s, &back));
    rs_trust_state_done(&back);
    return s;
}
#define STATE __attribute__((cleanup(rs_trust_state_done))) struct rs_trust_state

static void life_of_a_root(void **state)
{
    RS_AUTO(EVP_PKEY) *ka = made_key(), *kb = made_key();
    RS_AUTO(rs_cert) *a = made_root(ka, "old"), *b = made_root(kb, "new");
    RS_AUTO(rs_bundle) *old = rs_bundle_of(a), *new = rs_bundle_of(b);
    const rs_digest *da = rs_cert_digest(a);
    char text[RS_DIGEST_TEXT];
    rs_digest_text(da, text);
    struct world w = { .recorded = da };
    const struct rs_trust_source both[] = { { "istio-ca-secret", old, false }, { RS_SOURCE_MESH_CONFIG, new, false } };
    const struct rs_trust_source failed[] = { { "istio-ca-secret", NULL, true }, both[1] };

    STATE s1 = next(NULL, both, 2, &w, NOW);
    assert_int_equal(rs_bundle_count(s1.roots), 2);
    assert_int_equal(w.asked, 0);
    assert_int_equal(json_array_size(json_object_get(s1.sources, text)), 2);       /* its source, and that leaves under it are on record */

    /* A source that failed changes nothing, and nobody is asked. */
    STATE s2 = next(&s1, failed, 2, &w, NOW + 1);
    assert_true(rs_bundle_eq(s2.roots, s1.roots) && json_object_size(s2.kept) == 1 && w.asked == 0);

    /* Gone, but a leaf lives: kept, with the reason. */
    w.alive = da;
    STATE s3 = next(&s1, both + 1, 1, &w, NOW + 2);
    assert_true(rs_bundle_eq(s3.roots, s1.roots));
    assert_string_equal(rs_json_str(s3.kept, text), "alive");
    assert_int_equal(json_array_size(s3.retired), 0);

    /* The gate opens: retired, once. */
    w.alive = NULL;
    STATE s4 = next(&s3, both + 1, 1, &w, NOW + 3);
    assert_true(rs_bundle_eq(s4.roots, new) && json_object_size(s4.kept) == 0);
    assert_string_equal(rs_json_str(json_array_get(s4.retired, 0), "sha256"), text);
    STATE s5 = next(&s4, both + 1, 1, &w, NOW + 3);
    assert_true(rs_trust_state_eq(&s5, &s4));

    /* The source is back, and with it the root. */
    STATE s7 = next(&s4, both, 2, &w, NOW + 7);
    assert_true(rs_bundle_eq(s7.roots, s1.roots) && json_array_size(s7.retired) == 0);
    /* A replica beside one that has started a CA under a root leaves that root to it, and does not bring back what was retired. */
    const struct rs_trust_source elder[] = { both[1], { NULL, old, false } };
    STATE s9 = next(&s7, elder, 2, &w, NOW + 7);
    assert_true(rs_trust_state_eq(&s9, &s7));
    STATE s10 = next(&s4, elder, 2, &w, NOW + 3);
    assert_true(rs_trust_state_eq(&s10, &s4));
    /* The CA that signs here is never overruled. */
    const struct rs_trust_source own[] = { { RS_SOURCE_OWN_CA, old, false }, both[1] };
    STATE s8 = next(&s4, own, 2, &w, NOW + 8);
    assert_true(rs_bundle_eq(s8.roots, s1.roots) && json_array_size(s8.retired) == 0);
}

static void no_source_at_all(void **state)
{
    struct world w = { 0 };
    STATE s = next(NULL, NULL, 0, &w, NOW);
    assert_int_equal(rs_bundle_count(s.roots), 0);
}

static void broken_records(void **state)
{
    static const char *const bad[] = { "{}", "{'data':{'roots.pem':'x'}}", "{'data':{'roots.pem':'','sources':'[]'}}", "{'data':{'roots.pem':'','retired':'{'}}" };
    struct rs_err e;
    struct rs_trust_state s;
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        RS_AUTO(json_t) *cm = unit_json(bad[i]);
        ASSERT_FAILS(RS_INVALID, "ConfigMap", rs_trust_state_read(&s, cm, &e));
    }
}

static void mesh_roots(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *ka = made_key(), *kb = made_key();
    RS_AUTO(rs_cert) *a = made_root(ka, "a"), *b = made_root(kb, "b");
    RS_AUTO(json_t) *good = rs_json_pack("{s:[{s:s},{s:s},{s:s}]}", "caCertificates", "pem", rs_cert_pem(a), "pem", rs_cert_pem(b), "pem", rs_cert_pem(a));
    RS_AUTO(json_t) *broken = rs_json_pack("{s:[{s:s},{s:s}]}", "caCertificates", "pem", rs_cert_pem(a), "pem", "x"), *url = unit_json("{'caCertificates':[{'spiffeBundleUrl':'x'}]}");
    RS_AUTO(rs_bundle) *two = NULL, *none = NULL, *no = NULL;
    ASSERT_OK(rs_trust_mesh_roots(&two, good, &e));
    assert_int_equal(rs_bundle_count(two), 2);
    ASSERT_OK(rs_trust_mesh_roots(&none, NULL, &e));
    assert_int_equal(rs_bundle_count(none), 0);
    ASSERT_FAILS(RS_INVALID, "caCertificates[1]", rs_trust_mesh_roots(&no, broken, &e));
    ASSERT_FAILS(RS_INVALID, "caCertificates[0]", rs_trust_mesh_roots(&no, url, &e));
}

static void root_cert_content(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *ka = made_key(), *kb = made_key();
    RS_AUTO(rs_cert) *a = made_root(ka, "a"), *b = made_root(kb, "b");
    RS_AUTO(rs_bundle) *serving = rs_bundle_of(a), *all = NULL, *no = NULL;
    RS_AUTO(json_t) *records = rs_json_pack("[{s:{s:s}},{s:{s:s}}]", "data", "roots.pem", rs_cert_pem(b), "data", "roots.pem", "");
    RS_AUTO(json_t) *broken = rs_json_pack("[{s:{s:s}},{s:{s:s}}]", "data", "roots.pem", rs_cert_pem(b), "data", "roots.pem", "junk");
    ASSERT_OK(rs_root_cert_content(&all, serving, records, &e));
    assert_int_equal(rs_bundle_count(all), 2);
    ASSERT_FAILS(RS_INVALID, "roots.pem", rs_root_cert_content(&no, serving, broken, &e));
    assert_true(rs_root_cert_wanted("default"));
    assert_false(rs_root_cert_wanted("kube-system"));
    char **names = rs_serving_names("istio-system", "asm-1"), **plain = rs_serving_names("istio-system", "default");
    assert_string_equal(names[0], "istiod-asm-1.istio-system.svc");
    assert_string_equal(names[1], "istiod.istio-system.svc");
    assert_string_equal(plain[0], "istiod.istio-system.svc");
    rs_strv_free(names);
    rs_strv_free(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life_of_a_root), cmocka_unit_test(no_source_at_all), cmocka_unit_test(broken_records), cmocka_unit_test(mesh_roots),
        cmocka_unit_test(root_cert_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
