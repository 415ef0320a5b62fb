#include "unit.h"

#include <zlib.h>

#include "http/spdy.h"
#include "../../../src/http/spdy_dictionary.h"

/* A client made of zlib and bytes, and what the server told its owner. */
struct world {
    rs_spdy *s;
    z_stream out, in;
    struct rs_buf wire;                /* from the server */
    char log[4096];
    bool refuse, free_on_stream, free_on_data, echo;
};

static void say(struct world *w, const char *fmt, ...) RS_PRINTF(2, 3);
static void say(struct world *w, const char *fmt, ...)
{
    va_list ap;
    size_t n = strlen(w->log);
    va_start(ap, fmt);
    vsnprintf(w->log + n, sizeof(w->log) - n, fmt, ap);
    va_end(ap);
}

static void on_stream(void *ctx, rs_spdy *s, uint32_t id, const char *const *names, const char *const *values, size_t n)
{
    struct world *w = ctx;
    say(w, "stream %u", id);
    for (size_t i = 0; i < n; i++)
        say(w, " %s=%s", names[i], values[i]);
    say(w, "\n");
    if (w->free_on_stream)
        rs_spdy_free(rs_take(w->s));
    else if (w->refuse)
        rs_spdy_reset(s, id, 3);
    else
        rs_spdy_accept(s, id);
}

static void on_data(void *ctx, rs_spdy *s, uint32_t id, rs_str data, bool fin)
{
    struct world *w = ctx;
    say(w, "data %u %.*s%s\n", id, (int)(data.n < 100 ? data.n : 100), data.p, fin ? " fin" : "");
    if (w->free_on_data)
        rs_spdy_free(rs_take(w->s));
    else if (w->echo)
        rs_spdy_data(s, id, data, fin);
}

static void on_reset(void *ctx, rs_spdy *s, uint32_t id)
{
    say(ctx, "reset %u\n", id);
}

static void on_output(void *ctx, rs_spdy *s, rs_str bytes)
{
    rs_buf_add(&((struct world *)ctx)->wire, bytes.p, bytes.n);
}

static void on_goaway(void *ctx, rs_spdy *s)
{
    say(ctx, "goaway\n");
}

static const struct rs_spdy_ops ops = { on_stream, on_data, on_reset, on_output, on_goaway };

static void world_init(struct world *w)
{
    *w = (struct world){ 0 };
    w->s = rs_spdy_new(&ops, w);
    rs_buf_init(&w->wire, 1 << 20);
    assert_int_equal(deflateInit(&w->out, 9), Z_OK);
    assert_int_equal(deflateSetDictionary(&w->out, (const Bytef *)spdy_dictionary, sizeof(spdy_dictionary) - 1), Z_OK);
    assert_int_equal(inflateInit(&w->in), Z_OK);
}

static void world_done(struct world *w)
{
    rs_spdy_free(w->s);
    rs_buf_done(&w->wire);
    deflateEnd(&w->out);
    inflateEnd(&w->in);
}

static void add(struct rs_buf *b, uint32_t v, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--)
        rs_buf_add(b, &(char){ (char)(v >> (8 * i)) }, 1);
}

/* SYN_STREAM with headers "name", "value", ..., NULL. */
static void syn_stream(struct world *w, struct rs_buf *b, uint32_t id, int flags, const char *const *fields)
{
    struct rs_buf plain;
    unsigned char packed[4096];
    size_t n = 0;
    while (fields[n])
        n++;
    rs_buf_init(&plain, 4096);
    add(&plain, (uint32_t)(n / 2), 4);
    for (size_t i = 0; i < n; i++) {
        add(&plain, (uint32_t)strlen(fields[i]), 4);
        rs_buf_adds(&plain, fields[i]);
    }
    w->out.next_in = (Bytef *)plain.p;
    w->out.avail_in = (uInt)plain.n;
    w->out.next_out = packed;
    w->out.avail_out = sizeof(packed);
    assert_int_equal(deflate(&w->out, Z_SYNC_FLUSH), Z_OK);
    size_t packed_n = sizeof(packed) - w->out.avail_out;
    add(b, 0x80030001, 4);
    add(b, (uint32_t)flags << 24 | (uint32_t)(10 + packed_n), 4);
    add(b, id, 4);
    add(b, 0, 4);
    add(b, 0, 2);
    rs_buf_add(b, packed, packed_n);
    rs_buf_done(&plain);
}

static void data(struct rs_buf *b, uint32_t id, const char *text, bool fin)
{
    add(b, id, 4);
    add(b, (fin ? 1u << 24 : 0) | (uint32_t)strlen(text), 4);
    rs_buf_adds(b, text);
}

static uint32_t at(const struct world *w, size_t i)
{
    const unsigned char *u = (const unsigned char *)w->wire.p + i;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* Checks a SYN_REPLY with an empty header block at offset; returns where it ends. */
static size_t check_reply(struct world *w, size_t i, uint32_t id)
{
    assert_int_equal(at(w, i), 0x80030002);
    size_t n = at(w, i + 4) & 0xffffff;
    assert_int_equal(at(w, i + 8), id);
    unsigned char block[64];
    w->in.next_in = (Bytef *)w->wire.p + i + 12;
    w->in.avail_in = (uInt)(n - 4);
    w->in.next_out = block;
    w->in.avail_out = sizeof(block);
    int rc = inflate(&w->in, Z_SYNC_FLUSH);
    if (rc == Z_NEED_DICT) {
        inflateSetDictionary(&w->in, (const Bytef *)spdy_dictionary, sizeof(spdy_dictionary) - 1);
        rc = inflate(&w->in, Z_SYNC_FLUSH);
    }
    assert_int_equal(rc, Z_OK);
    assert_int_equal(sizeof(block) - w->in.avail_out, 4);
    assert_memory_equal(block, "\0\0\0\0", 4);
    return i + 8 + n;
}

static void dictionary(void **state)
{
    assert_int_equal(sizeof(spdy_dictionary) - 1, 1423);
    assert_int_equal(adler32(1, (const Bytef *)spdy_dictionary, 1423), 0xe3c6a7c2);
}

/* An exec session cut into pieces of every size. */
static void session(void **state)
{
    for (size_t step = 1; step < 400; step = step * 2 + 1) {
        struct world w;
        struct rs_buf b;
        struct rs_err e;
        world_init(&w);
        w.echo = true;
        rs_buf_init(&b, 1 << 16);
        syn_stream(&w, &b, 1, 0, (const char *const[]){ "Streamtype", "error", "X-Empty", "", NULL });
        syn_stream(&w, &b, 3, 0, (const char *const[]){ "streamtype", "stdin", "port", "8080", NULL });
        data(&b, 1, "", true);
        data(&b, 3, "hello", false);
        add(&b, 0x80030004, 4), add(&b, 4, 4), add(&b, 0, 4);              /* SETTINGS */
        add(&b, 0x80030009, 4), add(&b, 8, 4), add(&b, 3, 4), add(&b, 9, 4);   /* WINDOW_UPDATE */
        add(&b, 0x80030006, 4), add(&b, 4, 4), add(&b, 7, 4);              /* PING 7: echoed; PING 8 is ours, unasked */
        add(&b, 0x80030006, 4), add(&b, 4, 4), add(&b, 8, 4);
        syn_stream(&w, &b, 5, 1, (const char *const[]){ "a", "b", NULL });     /* half-closed at once */
        add(&b, 0x80030003, 4), add(&b, 8, 4), add(&b, 3, 4), add(&b, 5, 4);   /* RST_STREAM 3 */
        data(&b, 3, "void", false);
        add(&b, 0x80030007, 4), add(&b, 8, 4), add(&b, 0, 4), add(&b, 0, 4);
        for (size_t i = 0; i < b.n; i += step)
            ASSERT_OK(rs_spdy_input(w.s, (rs_str){ b.p + i, b.n - i < step ? b.n - i : step }, &e));
        assert_non_null(strstr(w.log, "stream 1 streamtype=error x-empty=\nstream 3 streamtype=stdin port=8080\ndata 1  fin\n"));
        assert_non_null(strstr(w.log, "\nstream 5 a=b\ndata 5  fin\nreset 3\ngoaway\n"));
        assert_null(strstr(w.log, "void"));
        size_t i = check_reply(&w, 0, 1);
        i = check_reply(&w, i, 3);
        assert_int_equal(at(&w, i), 1);                                    /* the echoed FIN of stream 1 */
        assert_int_equal(at(&w, i + 4), 1u << 24);
        if (step > 300) {
            assert_string_equal(w.log + strlen(w.log) - 7, "goaway\n");
            assert_int_equal(at(&w, i + 8), 3);
            assert_memory_equal(w.wire.p + i + 16, "hello", 5);
            assert_int_equal(at(&w, i + 21), 0x80030006);
            assert_int_equal(at(&w, i + 29), 7);
            check_reply(&w, i + 33, 5);
        }
        rs_buf_done(&b);
        world_done(&w);
    }
}

static void big_data_is_cut(void **state)
{
    struct world w;
    struct rs_buf b;
    struct rs_err e;
    world_init(&w);
    rs_buf_init(&b, 4096);
    syn_stream(&w, &b, 1, 0, (const char *const[]){ "a", "b", NULL });
    ASSERT_OK(rs_spdy_input(w.s, rs_buf_str(&b), &e));
    rs_buf_clear(&w.wire);
    RS_AUTO(rs_chars) *big = rs_alloc(100000);
    rs_spdy_data(w.s, 1, (rs_str){ big, 100000 }, true);
    size_t total = 0, frames = 0, fins = 0;
    for (size_t i = 0; i < w.wire.n; frames++) {
        assert_int_equal(at(&w, i), 1);
        total += at(&w, i + 4) & 0xffffff;
        fins += at(&w, i + 4) >> 24;
        i += 8 + (at(&w, i + 4) & 0xffffff);
    }
    assert_int_equal(total, 100000);
    assert_int_equal(frames, 4);
    assert_int_equal(fins, 1);
    rs_spdy_data(w.s, 1, RS_STR("after the end"), false);
    rs_spdy_data(w.s, 99, RS_STR("nowhere"), false);
    rs_spdy_accept(w.s, 99);
    assert_int_equal(w.wire.n, 100000 + 4 * 8);
    rs_buf_done(&b);
    world_done(&w);
}

static void refuses(void **state)
{
    static const struct { uint32_t first, second; const char *payload; size_t n; enum rs_code code; } bad[] = {
        { 0x80020001, 10, "0123456789", 10, RS_INVALID },              /* SPDY/2 */
        { 0x80030001, 3, "abc", 3, RS_INVALID },                       /* short SYN_STREAM */
        { 0x80030001, 14, "\0\0\0\1\0\0\0\0\0\0junk", 14, RS_INVALID },/* not zlib */
        { 0x80030003, 4, "\0\0\0\1", 4, RS_INVALID },
        { 0x80030006, 2, "\0\1", 2, RS_INVALID },
        { 0x80030001, 0xffffff, "", 0, RS_EXHAUSTED },
    };
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        struct world w;
        struct rs_buf b;
        struct rs_err e;
        world_init(&w);
        rs_buf_init(&b, 4096);
        add(&b, bad[i].first, 4);
        add(&b, bad[i].second, 4);
        rs_buf_add(&b, bad[i].payload, bad[i].n);
        assert_int_equal(rs_spdy_input(w.s, rs_buf_str(&b), &e), -1);
        assert_int_equal(e.code, bad[i].code);
        rs_buf_done(&b);
        world_done(&w);
    }
    struct world w;
    struct rs_buf b;
    struct rs_err e;
    world_init(&w);
    rs_buf_init(&b, 4096);
    syn_stream(&w, &b, 3, 0, (const char *const[]){ "a", "b", NULL });
    syn_stream(&w, &b, 1, 0, (const char *const[]){ "a", "b", NULL });     /* ids must grow */
    assert_int_equal(rs_spdy_input(w.s, rs_buf_str(&b), &e), -1);
    rs_buf_done(&b);
    world_done(&w);
}

/* 300 kB of zeros packed into a small frame must not be unpacked. */
static void inflation_is_bounded(void **state)
{
    struct world w;
    struct rs_buf b;
    struct rs_err e;
    unsigned char packed[4096];
    world_init(&w);
    rs_buf_init(&b, 8192);
    RS_AUTO(rs_chars) *zeros = rs_alloc(300000);
    w.out.next_in = (Bytef *)zeros;
    w.out.avail_in = 300000;
    w.out.next_out = packed;
    w.out.avail_out = sizeof(packed);
    deflate(&w.out, Z_SYNC_FLUSH);
    size_t n = sizeof(packed) - w.out.avail_out;
    add(&b, 0x80030001, 4), add(&b, (uint32_t)(10 + n), 4), add(&b, 1, 4), add(&b, 0, 4), add(&b, 0, 2);
    rs_buf_add(&b, packed, n);
    assert_int_equal(rs_spdy_input(w.s, rs_buf_str(&b), &e), -1);
    assert_int_equal(e.code, RS_EXHAUSTED);
    rs_buf_done(&b);
    world_done(&w);
}

static void freed_inside(void **state)
{
    for (int i = 0; i < 3; i++) {
        struct world w;
        struct rs_buf b;
        struct rs_err e;
        world_init(&w);
        w.free_on_stream = i == 0;
        w.free_on_data = i == 1;
        w.refuse = i == 2;
        rs_buf_init(&b, 4096);
        syn_stream(&w, &b, 1, 1, (const char *const[]){ "a", "b", NULL });
        data(&b, 1, "x", true);
        ASSERT_OK(rs_spdy_input(w.s, rs_buf_str(&b), &e));
        assert_true(i == 2 || !w.s);
        rs_buf_done(&b);
        world_done(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dictionary), cmocka_unit_test(session), cmocka_unit_test(big_data_is_cut), cmocka_unit_test(refuses),
        cmocka_unit_test(inflation_is_bounded), cmocka_unit_test(freed_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
