/* Tries to make an agent lose a root. */
#include "unit.h"

#include "agent/roots.h"
#include "mesh/planted.h"

static struct planted_ca a, b;

static int set_up(void **state) { a = planted_root(NULL, "a"); b = planted_root(NULL, "b"); return 0; }
static int tear_down(void **state) { planted_root_done(&a); planted_root_done(&b); return 0; }

#define PEM(ca) rs_str_of(rs_cert_pem((ca).cert))
#define HAS(r, ca) rs_bundle_has(rs_roots_bundle(r), rs_cert_digest((ca).cert))

static rs_roots *with_both(void)
{
    struct rs_err e;
    bool changed;
    rs_roots *r = rs_roots_new();
    RS_AUTO(rs_chars) *both = rs_printf("%s%s", rs_cert_pem(a.cert), rs_cert_pem(b.cert));
    ASSERT_OK(rs_roots_from_ca(r, PEM(a), &changed, &e));
    assert_true(changed);
    ASSERT_OK(rs_roots_from_bundle(r, rs_str_of(both), "", &changed, &e));
    assert_true(changed);
    assert_true(HAS(r, a) && HAS(r, b));
    return r;
}

static void a_smaller_bundle_drops_nothing(void **state)
{
    struct rs_err e;
    bool changed;
    RS_AUTO(rs_roots) *r = with_both();
    ASSERT_OK(rs_roots_from_bundle(r, PEM(a), "", &changed, &e));
    assert_false(changed);
    assert_true(HAS(r, b));
    RS_AUTO(json_t) *status = rs_roots_status(r);
    assert_int_equal(rs_json_int(status, 0, "refusedShrinkings"), 1);
}

static void empty_and_garbled_bundles_change_nothing(void **state)
{
    static const char *const bad[] = { "", "\n", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" };
    struct rs_err e;
    bool changed;
    RS_AUTO(rs_roots) *r = with_both();
    for (size_t i = 0; i < RS_COUNT(bad); i++)
        ASSERT_FAILS(RS_INVALID, "distributed bundle", rs_roots_from_bundle(r, rs_str_of(bad[i]), "", &changed, &e));
    ASSERT_FAILS(RS_INVALID, "retired", rs_roots_from_bundle(r, PEM(a), "xyz", &changed, &e));
    assert_true(HAS(r, a) && HAS(r, b));
}

static void a_retired_root_goes(void **state)
{
    struct rs_err e;
    bool changed;
    char text[RS_DIGEST_TEXT];
    RS_AUTO(rs_roots) *r = with_both();
    ASSERT_OK(rs_roots_from_bundle(r, PEM(a), rs_digest_text(rs_cert_digest(b.cert), text), &changed, &e));
    assert_true(changed && HAS(r, a) && !HAS(r, b));
    RS_AUTO(json_t) *status = rs_roots_status(r);
    assert_int_equal(rs_json_int(status, 0, "refusedShrinkings"), 0);
}

/* Named as retired but still in the bundle, or still the root of our own certificate: it stays. */
static void contradictions_keep_the_root(void **state)
{
    struct rs_err e;
    bool changed;
    char text[RS_DIGEST_TEXT];
    RS_AUTO(rs_roots) *r = with_both();
    RS_AUTO(rs_chars) *both = rs_printf("%s%s", rs_cert_pem(a.cert), rs_cert_pem(b.cert));
    ASSERT_OK(rs_roots_from_bundle(r, rs_str_of(both), rs_digest_text(rs_cert_digest(b.cert), text), &changed, &e));
    assert_true(HAS(r, b));
    ASSERT_OK(rs_roots_from_bundle(r, PEM(b), rs_digest_text(rs_cert_digest(a.cert), text), &changed, &e));
    assert_true(HAS(r, a));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_smaller_bundle_drops_nothing), cmocka_unit_test(empty_and_garbled_bundles_change_nothing),
                                        cmocka_unit_test(a_retired_root_goes), cmocka_unit_test(contradictions_keep_the_root) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
