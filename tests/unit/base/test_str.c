#include "unit.h"

#include "base/buf.h"
#include "base/str.h"
#include "base/time.h"

static void base64_round_trip(void **state)
{
    unsigned char bytes[64];
    for (size_t n = 0; n < sizeof(bytes); n++) {
        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)(i * 37 + n);
        for (int url = 0; url < 2; url++) {
            RS_AUTO(rs_chars) *text = url ? rs_base64url(bytes, n) : rs_base64(bytes, n);
            unsigned char *back;
            size_t back_n;
            assert_int_equal(rs_unbase64(rs_str_of(text), url, &back, &back_n), 0);
            assert_int_equal(back_n, n);
            assert_memory_equal(back, bytes, n);
            free(back);
        }
    }
}

static void base64_refuses(void **state)
{
    static const char *const bad[] = { "A", "A===", "AA=", "AAA==", "AA*A", "AA=A", "AAAA=" };
    unsigned char *back;
    size_t n;
    for (size_t i = 0; i < RS_COUNT(bad); i++)
        if (rs_unbase64(rs_str_of(bad[i]), false, &back, &n) == 0)
            fail_msg("accepted %s", bad[i]);
}

static void labels(void **state)
{
    assert_true(rs_dns_label("asm-1157-23", true));
    assert_false(rs_dns_label("1abc", true));
    assert_true(rs_dns_label("1abc", false));
    assert_false(rs_dns_label("Abc", false));
    assert_false(rs_dns_label("my_rev", false));
    assert_false(rs_dns_label("abc-", false));
    assert_false(rs_dns_label("", false));
}

static void buffer_keeps_its_limit(void **state)
{
    RS_AUTO_BUF b;
    rs_buf_init(&b, 5);
    rs_buf_adds(&b, "abc");
    rs_buf_adds(&b, "def");
    assert_true(b.over);
    assert_string_equal(b.p, "abc");
    rs_buf_adds(&b, "de");
    assert_string_equal(b.p, "abcde");
}

static void times(void **state)
{
    int64_t ms;
    char buf[RS_TIME_TEXT];
    assert_true(rs_time_parse("2026-01-02T03:04:05Z", &ms));
    assert_string_equal(rs_time_text(ms, buf), "2026-01-02T03:04:05Z");
    assert_true(rs_time_parse("2026-01-02T05:04:05.25+02:00", &ms));
    assert_string_equal(rs_time_text_ms(ms, buf), "2026-01-02T03:04:05.250Z");
    assert_false(rs_time_parse("2026-01-02", &ms));
    assert_true(rs_duration_parse("1h30m", &ms));
    assert_int_equal(ms, 5400000);
    assert_string_equal(rs_duration_age(125000, buf), "2m5s");
    assert_string_equal(rs_duration_age(36 * 60000, buf), "36m");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_round_trip), cmocka_unit_test(base64_refuses), cmocka_unit_test(labels),
        cmocka_unit_test(buffer_keeps_its_limit), cmocka_unit_test(times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
