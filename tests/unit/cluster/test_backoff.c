#include "unit.h"

#include "cluster/backoff.h"

static void doubles_up_to_a_limit(void **state)
{
    struct rs_backoff b = { 0 };
    int64_t now = 5000, want = RS_BACKOFF_FIRST_MS;
    for (int i = 0; i < 200; i++) {
        rs_backoff_started(&b, now);
        assert_int_equal(rs_backoff_ended(&b, now + 1), want);
        want = want * 2 < RS_BACKOFF_LAST_MS ? want * 2 : RS_BACKOFF_LAST_MS;
        now += 10;
    }
}

static void a_long_life_forgives(void **state)
{
    struct rs_backoff b = { 0 };
    for (int i = 0; i < 5; i++) {
        rs_backoff_started(&b, 0);
        rs_backoff_ended(&b, 1);
    }
    rs_backoff_started(&b, 100);
    assert_int_equal(rs_backoff_ended(&b, 100 + RS_BACKOFF_STABLE_MS), RS_BACKOFF_FIRST_MS);
    rs_backoff_started(&b, 200);
    assert_int_equal(rs_backoff_ended(&b, 201), 2 * RS_BACKOFF_FIRST_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_up_to_a_limit),
        cmocka_unit_test(a_long_life_forgives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
