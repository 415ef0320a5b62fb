#include "unit.h"

#include "http/h1.h"

#define HOST "Host: a\r\n"

static const struct { const char *text; int status; const char *why; } refused[] = {
    { "GET / HTTP/1.1\r\n\r\n", 400, "Host" },
    { "GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400, "Host" },
    { "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "Host" },
    { "GET / HTTP/1.1\nHost: a\n\n", 400, "stands alone" },
    { "GET / HTTP/1.1\r\nHost: a\n\r\n", 400, "stands alone" },
    { "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400, "alone" },
    { "GET  / HTTP/1.1\r\n" HOST "\r\n", 400, "request line" },
    { "GET /a b HTTP/1.1\r\n" HOST "\r\n", 400, "request line" },
    { "GET / HTTP/1.1 \r\n" HOST "\r\n", 400, "request line" },
    { "GET /\r\n" HOST "\r\n", 400, "request line" },
    { "G(T / HTTP/1.1\r\n" HOST "\r\n", 400, "request line" },
    { "GET a HTTP/1.1\r\n" HOST "\r\n", 400, "not a path" },
    { "GET /#f HTTP/1.1\r\n" HOST "\r\n", 400, "target" },
    { "GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", 400, "target" },
    { "GET / HTTP/2.0\r\n" HOST "\r\n", 505, "HTTP/2.0" },
    { "GET / HTTP/1.2\r\n" HOST "\r\n", 505, "HTTP/1.2" },
    { "GET / http/1.1\r\n" HOST "\r\n", 400, "request line" },
    { "GET / HTTP/1.1\r\n" HOST "A : b\r\n\r\n", 400, "header line" },
    { "GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n", 400, "header line" },
    { "GET / HTTP/1.1\r\n" HOST "nocolon\r\n\r\n", 400, "header line" },
    { "GET / HTTP/1.1\r\n" HOST "A: b\r\n folded\r\n\r\n", 400, "header line" },
    { "GET / HTTP/1.1\r\n " HOST "\r\n", 400, "header line" },
    { "GET / HTTP/1.1\r\n" HOST "A: b\x01\r\n\r\n", 400, "control" },
    { "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 400, "several" },
    { "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "several" },
    { "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "several" },
    { "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "chunked" },
    { "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n", 501, "chunked" },
    { "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 400, "1.0" },
    { "POST / HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\n", 400, "Content-Length" },
    { "POST / HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\n", 400, "Content-Length" },
    { "POST / HTTP/1.1\r\n" HOST "Content-Length: 0x3\r\n\r\n", 400, "Content-Length" },
    { "POST / HTTP/1.1\r\n" HOST "Content-Length: \r\n\r\n", 400, "Content-Length" },
    { "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 400, "Content-Length" },
    { "POST / HTTP/1.1\r\n" HOST "Expect: miracles\r\n\r\n", 417, "Expect" },
};

static void refuses(void **state)
{
    for (size_t i = 0; i < RS_COUNT(refused); i++) {
        struct rs_h1_head h = { 0 };
        struct rs_err e = { 0 };
        size_t used;
        int status = 0;
        if (rs_h1_request(&h, rs_str_of(refused[i].text), &used, &status, &e) != -1)
            fail_msg("case %zu accepted: %s", i, refused[i].text);
        if (status != refused[i].status || !strstr(e.msg, refused[i].why))
            fail_msg("case %zu: %d %s: %s", i, status, e.msg, refused[i].text);
    }
}

/* However the bytes are cut, the same comes out. */
static void accepts_any_cut(void **state)
{
    static const char text[] = "\r\nPOST http://x/a%20b?q=1 HTTP/1.1\r\nHost: x:80\r\nX-Two:  v\t \r\nx-two: w\r\nConnection: a, CLOSE\r\n"
                               "Transfer-Encoding: Chunked\r\nExpect: 100-continue\r\n\r\n";
    for (size_t n = 0; n < sizeof(text) - 1; n++) {
        struct rs_h1_head h = { 0 };
        struct rs_err e;
        size_t used;
        int status;
        assert_int_equal(rs_h1_request(&h, (rs_str){ text, n }, &used, &status, &e), 0);
    }
    struct rs_h1_head h = { 0 };
    struct rs_err e;
    size_t used;
    int status;
    assert_int_equal(rs_h1_request(&h, rs_str_of(text), &used, &status, &e), 1);
    assert_int_equal(used, sizeof(text) - 1);
    assert_string_equal(h.method, "POST");
    assert_string_equal(h.target, "/a%20b?q=1");
    assert_string_equal(rs_http_headers_get(&h.headers, "x-two"), "v");
    assert_true(h.expect_continue);
    assert_false(h.keep_alive);
    assert_int_equal(h.body, RS_H1_BODY_CHUNKED);
    rs_h1_head_done(&h);
}

static void limits(void **state)
{
    struct rs_buf b;
    struct rs_h1_head h = { 0 };
    struct rs_err e;
    size_t used;
    int status;
    rs_buf_init(&b, 1 << 20);
    rs_buf_adds(&b, "GET /");
    while (b.n < RS_H1_HEAD_MAX)
        rs_buf_adds(&b, "aaaaaaaa");
    assert_int_equal(rs_h1_request(&h, rs_buf_str(&b), &used, &status, &e), -1);
    assert_int_equal(status, 414);
    rs_buf_clear(&b);
    rs_buf_adds(&b, "GET / HTTP/1.1\r\n");
    while (b.n < RS_H1_HEAD_MAX)
        rs_buf_adds(&b, "a: b\r\n");
    assert_int_equal(rs_h1_request(&h, rs_buf_str(&b), &used, &status, &e), -1);
    assert_int_equal(status, 431);
    rs_buf_clear(&b);
    rs_buf_adds(&b, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < 300; i++)
        rs_buf_adds(&b, "a: b\r\n");
    rs_buf_adds(&b, "\r\n");
    assert_int_equal(rs_h1_request(&h, rs_buf_str(&b), &used, &status, &e), -1);
    assert_int_equal(status, 431);
    rs_buf_done(&b);
}

/* Feeds text in pieces of `step`; the outcome of the last call. */
static int feed(const char *text, size_t step, struct rs_buf *out, size_t *used_total, struct rs_err *e)
{
    struct rs_h1_head h = { .body = RS_H1_BODY_CHUNKED };
    struct rs_h1_body b;
    rs_h1_body_init(&b, &h);
    *used_total = 0;
    size_t n = strlen(text);
    while (*used_total < n) {
        size_t used, left = n - *used_total;
        int rc = rs_h1_body_feed(&b, (rs_str){ text + *used_total, left < step ? left : step }, &used, out, e);
        *used_total += used;
        if (rc != 0)
            return rc;
    }
    return 0;
}

static void chunked(void **state)
{
    static const char good[] = "5\r\nhello\r\n00A;ext=\"v\"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nNEXT";
    for (size_t step = 1; step < sizeof(good); step++) {
        struct rs_buf out;
        struct rs_err e;
        size_t used;
        rs_buf_init(&out, 100);
        assert_int_equal(feed(good, step, &out, &used, &e), 1);
        assert_string_equal(out.p, "hello0123456789");
        assert_string_equal(good + used, "NEXT");
        rs_buf_done(&out);
    }
    static const char *const bad[] = {
        "\r\n", "g\r\n", " 5\r\n", "5 \r\nhello\r\n", "-1\r\n", "0x5\r\nhello", "5\nhello", "5\r\nhello0\r\n", "5\r\nhello\n", "5\r\nhelloX\r\n",
        "1000000000000000\r\n", "0\r\n\n", "0\r\nA\x01: b\r\n\r\n", "0\r\n folded\r\n", "1;\x01\r\n", "5\r\nhello\r\n\r\n",
    };
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        struct rs_buf out;
        struct rs_err e;
        size_t used;
        rs_buf_init(&out, 100);
        if (feed(bad[i], 100, &out, &used, &e) != -1)
            fail_msg("accepted case %zu: %s", i, bad[i]);
        assert_int_equal(e.code, RS_INVALID);
        rs_buf_done(&out);
    }
    struct rs_buf out;
    struct rs_err e;
    size_t used;
    rs_buf_init(&out, 4);
    assert_int_equal(feed("5\r\nhello\r\n", 100, &out, &used, &e), -1);
    assert_int_equal(e.code, RS_EXHAUSTED);
    rs_buf_done(&out);
}

static void responses(void **state)
{
    struct rs_h1_head h = { 0 };
    struct rs_err e;
    size_t used;
    assert_int_equal(rs_h1_response(&h, rs_str_of("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nmore"), &used, &e), 1);
    assert_int_equal(h.status, 101);
    assert_int_equal(h.body, RS_H1_BODY_NONE);
    rs_h1_head_done(&h);
    assert_int_equal(rs_h1_response(&h, rs_str_of("HTTP/1.0 200\r\n\r\n"), &used, &e), 1);
    assert_int_equal(h.body, RS_H1_BODY_TO_END);
    rs_h1_head_done(&h);
    static const char *const bad[] = { "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000\r\n\r\n", "ICY 200 OK here\r\n\r\n",
                                       "HTTP/1.1 200 OK\n\n", "HTTP/1.1 099 x\r\n\r\n" };
    for (size_t i = 0; i < RS_COUNT(bad); i++)
        if (rs_h1_response(&h, rs_str_of(bad[i]), &used, &e) != -1)
            fail_msg("accepted %s", bad[i]);
}

static void queries(void **state)
{
    static const char q[] = "command=ls&command=-l%20x&e=&bare&b=%zz&plus=a+b&%63=d";
    static const struct { const char *name; size_t i; const char *want; } cases[] = {
        { "command", 0, "ls" }, { "command", 1, "-l x" }, { "command", 2, NULL }, { "e", 0, "" }, { "bare", 0, "" }, { "b", 0, NULL },
        { "plus", 0, "a b" }, { "c", 0, "d" }, { "none", 0, NULL },
    };
    for (size_t i = 0; i < RS_COUNT(cases); i++) {
        RS_AUTO(rs_chars) *got = rs_http_query(q, cases[i].name, cases[i].i);
        if (!rs_streq(got, cases[i].want))
            fail_msg("%s[%zu]: %s", cases[i].name, cases[i].i, got ? got : "(none)");
    }
    assert_null(rs_http_unescape("a%00", 4));
    assert_null(rs_http_unescape("a%4", 3));
    RS_AUTO(rs_chars) *escaped = rs_http_escape("a b/ä~"), *back = rs_http_unescape(escaped, strlen(escaped));
    assert_string_equal(escaped, "a%20b%2F%C3%A4~");
    assert_string_equal(back, "a b/ä~");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses), cmocka_unit_test(accepts_any_cut), cmocka_unit_test(limits), cmocka_unit_test(chunked),
        cmocka_unit_test(responses), cmocka_unit_test(queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
