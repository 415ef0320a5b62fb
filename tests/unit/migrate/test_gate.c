/* Tries to open the gates wrongly. */
#include "unit.h"

#include "mesh/planted.h"
#include "migrate/gate.h"

static struct planted_ca old_ca, new_ca, third_ca;
static int64_t now;

static int set_up(void **state)
{
    old_ca = planted_root(NULL, "old");
    new_ca = planted_root(NULL, "new");
    third_ca = planted_root(NULL, "third");
    now = rs_now_ms();
    return 0;
}

static int tear_down(void **state)
{
    planted_root_done(&old_ca);
    planted_root_done(&new_ca);
    planted_root_done(&third_ca);
    return 0;
}

#define OLD rs_cert_digest(old_ca.cert)
#define NEW rs_cert_digest(new_ca.cert)

static char *both(void)
{
    return rs_printf("%s%s", rs_cert_pem(new_ca.cert), rs_cert_pem(old_ca.cert));
}

/* A proxy that was read now: trusts `roots`, presents a leaf of `by`. */
static struct rs_proxy *reading(const char *name, const char *roots, const struct planted_ca *by)
{
    struct rs_proxy *p = planted_proxy("shop", name, "rev1");
    RS_AUTO(rs_chars) *leaf = planted_leaf(by, "spiffe://cluster.local/ns/shop/sa/web");
    RS_AUTO(rs_chars) *dump = planted_dump(roots, leaf, false);
    rs_proxy_read_secrets(p, rs_str_of(dump), now + 1);
    return p;
}

static struct rs_scan *scan_of(struct rs_proxy *a, struct rs_proxy *b)
{
    struct rs_scan *s = rs_new(struct rs_scan);
    s->v = rs_new_array(struct rs_proxy *, 2);
    if (a)
        s->v[s->n++] = a;
    if (b)
        s->v[s->n++] = b;
    return s;
}

/* The gate is shut and its only reason names the pod and says this. */
static void shut_by(struct rs_gate g, const char *object, const char *reason)
{
    assert_false(g.open);
    if (g.n != 1 || !strstr(g.v[0].object, object) || !strstr(g.v[0].reason, reason)) {
        RS_AUTO(rs_chars) *text = rs_gate_text(&g);
        fail_msg("wanted %s: %s; got %zu reasons: %s", object, reason, g.n, text);
    }
    rs_gate_done(&g);
}

static void opens_when_all_hold_both(void **state)
{
    RS_AUTO(rs_chars) *roots = both();
    RS_AUTO(rs_scan) *s = scan_of(reading("a", roots, &old_ca), reading("b", roots, &new_ca));
    RS_AUTO_GATE g = rs_gate_switch(s, OLD, NEW, NULL, 0, now);
    if (!g.open) {
        RS_AUTO(rs_chars) *text = rs_gate_text(&g);
        fail_msg("%s", text);
    }
    assert_int_equal(g.ready, 2);
}

static void one_proxy_behind(void **state)
{
    RS_AUTO(rs_chars) *roots = both();
    RS_AUTO(rs_scan) *s = scan_of(reading("a", roots, &old_ca), reading("b", rs_cert_pem(old_ca.cert), &old_ca));
    shut_by(rs_gate_switch(s, OLD, NEW, NULL, 0, now), "shop/b", "has not loaded the new root");
}

static void same_subject_and_key_is_not_the_same_root(void **state)
{
    struct planted_ca twin = planted_root(new_ca.key, "new");
    RS_AUTO(rs_chars) *roots = rs_printf("%s%s", rs_cert_pem(old_ca.cert), rs_cert_pem(twin.cert));
    RS_AUTO(rs_scan) *s = scan_of(reading("a", roots, &old_ca), NULL);
    shut_by(rs_gate_switch(s, OLD, NEW, NULL, 0, now), "shop/a", "new root");
    planted_root_done(&twin);
}

static void duplicates_and_order_do_not_matter(void **state)
{
    RS_AUTO(rs_chars) *one = both();
    RS_AUTO(rs_chars) *roots = rs_printf("\n# a comment\n%s\r\n%s%s", rs_cert_pem(old_ca.cert), one, rs_cert_pem(old_ca.cert));
    RS_AUTO(rs_scan) *s = scan_of(reading("a", roots, &old_ca), NULL);
    RS_AUTO_GATE g = rs_gate_switch(s, OLD, NEW, NULL, 0, now);
    assert_true(g.open);
}

static void unknown_is_never_ready(void **state)
{
    static const char *const garbled[] = { "", "{", "null", "[]", "{\"configs\":[]}", "{\"configs\":[{\"@type\":\"x.SecretsConfigDump\"}]}" };
    for (size_t i = 0; i < RS_COUNT(garbled); i++) {
        struct rs_proxy *p = planted_proxy("shop", "a", "rev1");
        rs_proxy_read_secrets(p, rs_str_of(garbled[i]), now + 1);
        RS_AUTO(rs_scan) *s = scan_of(p, NULL);
        shut_by(rs_gate_switch(s, OLD, NEW, NULL, 0, now), "shop/a", "unknown");
    }
    RS_AUTO(rs_scan) *unread = scan_of(planted_proxy("shop", "a", "rev1"), NULL);
    shut_by(rs_gate_switch(unread, OLD, NEW, NULL, 0, now), "shop/a", "unknown");
    shut_by(rs_gate_removal(unread, OLD, NULL, 0, NULL, now), "shop/a", "unknown");
    shut_by(rs_gate_gone(unread, OLD, now), "shop/a", "unknown");
}

static void a_mesh_without_proxies_proves_nothing(void **state)
{
    RS_AUTO(rs_scan) *s = scan_of(NULL, NULL);
    shut_by(rs_gate_switch(s, OLD, NEW, NULL, 0, now), "mesh", "no running proxy");
    shut_by(rs_gate_wave(s, NULL, "rev1", OLD, 1, NEW, now), "mesh", "no running proxy");
}

static void an_old_answer_does_not_count(void **state)
{
    RS_AUTO(rs_chars) *roots = both();
    RS_AUTO(rs_scan) *s = scan_of(reading("a", roots, &old_ca), NULL);
    shut_by(rs_gate_switch(s, OLD, NEW, NULL, 0, now + 2), "shop/a", "older than the decision");
}

static void warming_is_not_loaded(void **state)
{
    RS_AUTO(rs_chars) *roots = both(), *leaf = planted_leaf(&old_ca, "spiffe://cluster.local/ns/shop/sa/web"), *dump = planted_dump(roots, leaf, true);
    struct rs_proxy *p = planted_proxy("shop", "a", "rev1");
    rs_proxy_read_secrets(p, rs_str_of(dump), now + 1);
    RS_AUTO(rs_scan) *s = scan_of(p, NULL);
    shut_by(rs_gate_switch(s, OLD, NEW, NULL, 0, now), "shop/a", "not in force");
}

/* A third root was distributed after the pod was ready, and its agent does not pass it on. */
static void what_the_revision_distributes_is_required(void **state)
{
    struct rs_err e;
    RS_AUTO(rs_chars) *roots = both();
    RS_AUTO(rs_bundle) *distributed = NULL;
    ASSERT_OK(rs_bundle_parse(&distributed, rs_str_of(rs_cert_pem(third_ca.cert)), &e));
    RS_AUTO(rs_scan) *s = scan_of(reading("a", roots, &old_ca), NULL);
    struct rs_required mine = { "rev1", distributed }, others = { "rev0", distributed };
    shut_by(rs_gate_switch(s, OLD, NEW, &mine, 1, now), "shop/a", "distributed root");
    RS_AUTO_GATE g = rs_gate_switch(s, OLD, NEW, &others, 1, now);
    assert_true(g.open);
}

static void a_terminating_proxy_counts_until_it_is_gone(void **state)
{
    struct rs_proxy *p = reading("a", rs_cert_pem(old_ca.cert), &old_ca);
    p->terminating = true;
    RS_AUTO(rs_scan) *s = scan_of(p, NULL);
    shut_by(rs_gate_switch(s, OLD, NEW, NULL, 0, now), "shop/a", "new root");
}

static void a_living_leaf_keeps_its_root(void **state)
{
    RS_AUTO(rs_chars) *roots = both();
    RS_AUTO(rs_scan) *s = scan_of(reading("a", roots, &new_ca), NULL);
    struct rs_living_leaf leaf = { "spiffe://cluster.local/ns/shop/sa/web", "shop/gone", now + 1000 };
    shut_by(rs_gate_removal(s, OLD, &leaf, 1, NULL, now), "shop/gone", "may be alive");
    RS_AUTO_GATE g = rs_gate_removal(s, OLD, NULL, 0, NULL, now);
    assert_true(g.open);
}

static void a_presented_chain_keeps_its_root(void **state)
{
    RS_AUTO(rs_chars) *roots = both();
    RS_AUTO(rs_scan) *s = scan_of(reading("a", roots, &old_ca), NULL);
    shut_by(rs_gate_removal(s, OLD, NULL, 0, NULL, now), "shop/a", "presents a certificate under root");
}

static void unreadable_records_keep_the_root(void **state)
{
    RS_AUTO(rs_chars) *roots = both();
    RS_AUTO(rs_scan) *s = scan_of(reading("a", roots, &new_ca), NULL);
    shut_by(rs_gate_removal(s, OLD, NULL, 0, "forbidden", now), "issuance records", "forbidden");
}

/* A chain under a root that the proxy itself does not hold is not "no chain under the old root". */
static void an_unknown_chain_keeps_the_root(void **state)
{
    RS_AUTO(rs_scan) *s = scan_of(reading("a", rs_cert_pem(new_ca.cert), &old_ca), NULL);
    shut_by(rs_gate_removal(s, OLD, NULL, 0, NULL, now), "shop/a", "not known");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_when_all_hold_both), cmocka_unit_test(one_proxy_behind),
        cmocka_unit_test(same_subject_and_key_is_not_the_same_root), cmocka_unit_test(duplicates_and_order_do_not_matter),
        cmocka_unit_test(unknown_is_never_ready), cmocka_unit_test(a_mesh_without_proxies_proves_nothing),
        cmocka_unit_test(an_old_answer_does_not_count), cmocka_unit_test(warming_is_not_loaded),
        cmocka_unit_test(what_the_revision_distributes_is_required), cmocka_unit_test(a_terminating_proxy_counts_until_it_is_gone),
        cmocka_unit_test(a_living_leaf_keeps_its_root), cmocka_unit_test(a_presented_chain_keeps_its_root),
        cmocka_unit_test(unreadable_records_keep_the_root), cmocka_unit_test(an_unknown_chain_keeps_the_root),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
