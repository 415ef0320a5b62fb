#include "unit.h"

#include "cluster/subid.h"

static struct rs_err e;

static int find(struct rs_subid *r, const char *text)
{
    return rs_subid_find(r, rs_str_of(text), "/etc/subuid", "ann", 1000, &e);
}

static void by_name_or_number(void **state)
{
    struct rs_subid r;
    ASSERT_OK(find(&r, "bob:100000:65536\nann:200000:65536\n"));
    assert_int_equal(r.first, 200000);
    assert_int_equal(r.count, 65536);
    ASSERT_OK(find(&r, "1000:300000:65535"));
    assert_int_equal(r.first, 300000);
    ASSERT_OK(find(&r, "ann:1:10\nann:400000:70000\n"));
    assert_int_equal(r.first, 400000);
}

static void refusals(void **state)
{
    struct rs_subid r = { 7, 7 };
    ASSERT_FAILS(RS_NOT_FOUND, "/etc/subuid has no entry for ann", find(&r, ""));
    ASSERT_FAILS(RS_NOT_FOUND, "no entry", find(&r, "anna:100000:65536\nan:100000:65536\n"));
    ASSERT_FAILS(RS_INVALID, "only 1000 ids", find(&r, "ann:100000:1000\n"));
    assert_int_equal(r.first, 7);
}

static void damaged_lines(void **state)
{
    static const char *const bad[] = { "ann", "ann:", "ann:1", "ann:1:", "ann:x:65536", "ann:1:65536:", "ann:4294967295:65536",
                                       "ann:1:99999999999999999999", "::", ":::\n", "ann:-1:65536" };
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        struct rs_subid r;
        RS_AUTO(rs_chars) *text = rs_printf("%s\n", bad[i]);
        if (find(&r, text) == 0)
            fail_msg("%s was taken", bad[i]);
        RS_AUTO(rs_chars) *more = rs_printf("%s\n  ann:5:65536  \n", bad[i]);
        ASSERT_OK(find(&r, more));
        assert_int_equal(r.first, 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_name_or_number),
        cmocka_unit_test(refusals),
        cmocka_unit_test(damaged_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
