#include <stdlib.h>
#include <unistd.h>
#include "base/file.h"
#include "node/crilog.h"
#include "node/logs.h"
#include "unit.h"

static struct rs_crilog log_;

static char *slurp(const char *path, size_t *n)
{
    char *text;
    struct rs_err e;
    ASSERT_OK(rs_file_read(path, 8 << 20, &text, n, &e));
    return text;
}

static void lines_and_pieces(void **state)
{
    char dir[] = "/tmp/rootshift-test-XXXXXX";
    struct rs_err e;
    size_t n, pieces = 0, bytes = 0;

    assert_non_null(mkdtemp(dir));
    RS_AUTO(rs_chars) *path = rs_printf("%s/0.log", dir), *big = rs_alloc(40001);
    memset(big, 'x', 40000);
    assert_int_equal(rs_crilog_open(&log_, path, RS_CRILOG_FILE), 0);
    rs_crilog_write(&log_, 1, "one\ntw", 6);
    rs_crilog_write(&log_, 2, "err\n", 4);
    rs_crilog_write(&log_, 1, "o\n\n", 3);
    rs_crilog_write(&log_, 1, big, 40000);
    rs_crilog_write(&log_, 1, "\nlast", 5);
    rs_crilog_close(&log_);
    RS_AUTO(rs_chars) *text = slurp(path, &n);
    struct rs_crilog_line l;
    const char *want[] = { "one", "err", "two", "" };
    char *p = text;
    for (size_t i = 0; *p; i++) {
        size_t len = strcspn(p, "\n");
        assert_true(rs_crilog_parse(p, len, &l));
        if (i < RS_COUNT(want)) {
            assert_int_equal(l.text_n, strlen(want[i]));
            assert_memory_equal(l.text, want[i], l.text_n);
            assert_int_equal(l.stream, i == 1 ? 2 : 1);
        } else if (l.text_n > 4) {
            pieces++;
            bytes += l.text_n;
        } else
            assert_memory_equal(l.text, "last", 4);
        p += len + 1;
    }
    assert_int_equal(pieces, 3);
    assert_int_equal(bytes, 40000);
    ASSERT_OK(rs_remove_tree(dir, &e));
}

static void rotation(void **state)
{
    char dir[] = "/tmp/rootshift-test-XXXXXX";
    struct rs_err e;
    size_t n;

    assert_non_null(mkdtemp(dir));
    RS_AUTO(rs_chars) *path = rs_printf("%s/0.log", dir), *old = rs_printf("%s/0.log.1", dir);
    assert_int_equal(rs_crilog_open(&log_, path, 1000), 0);
    for (int i = 0; i < 30; i++)
        rs_crilog_write(&log_, 1, "0123456789\n", 11);
    rs_crilog_close(&log_);
    RS_AUTO(rs_chars) *now = slurp(path, &n), *before = slurp(old, &n);
    assert_true(n <= 1000 && n > 900);
    ASSERT_OK(rs_remove_tree(dir, &e));
}

static void tails(void **state)
{
    const char text[] = "a\nb\nc\n";

    assert_int_equal(rs_logs_tail(text, 6, 0), 6);
    assert_int_equal(rs_logs_tail(text, 6, 1), 4);
    assert_int_equal(rs_logs_tail(text, 6, 2), 2);
    assert_int_equal(rs_logs_tail(text, 6, 9), 0);
    assert_int_equal(rs_logs_tail("", 0, 3), 0);
}

static void damaged_lines(void **state)
{
    const char *const bad[] = { "", " ", "x", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z stdout", "2026-01-01T00:00:00Z stdin  F x", "2026-01-01T00:00:00Z stdout Q x", "2026-01-01T00:00:00Z stdout F" };
    struct rs_crilog_line l;

    for (size_t i = 0; i < RS_COUNT(bad); i++)
        assert_false(rs_crilog_parse(bad[i], strlen(bad[i]), &l));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(lines_and_pieces), cmocka_unit_test(rotation), cmocka_unit_test(tails), cmocka_unit_test(damaged_lines) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
