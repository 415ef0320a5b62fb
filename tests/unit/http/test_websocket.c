#include "unit.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "http/websocket.h"

struct end {
    rs_websocket *w;
    struct rs_buf got;
    int messages;
    bool binary, closed, echo, free_on_message, close_on_message;
    struct rs_err why;
};

static void on_message(void *ctx, rs_websocket *w, rs_str m, bool binary)
{
    struct end *e = ctx;
    e->messages++;
    e->binary = binary;
    rs_buf_add(&e->got, m.p, m.n);
    if (e->echo)
        rs_websocket_send(w, m.p, m.n, binary);
    if (e->close_on_message)
        rs_websocket_close(w, 1000);
    if (e->free_on_message)
        rs_websocket_free(rs_take(e->w));
}

static void on_close(void *ctx, rs_websocket *w, const struct rs_err *why)
{
    struct end *e = ctx;
    e->closed = true;
    e->why = *why;
    rs_websocket_free(rs_take(e->w));
}

static const struct rs_websocket_ops ops = { on_message, on_close, NULL };

/* The other side as plain bytes. */
struct raw { rs_stream *s; struct rs_buf got; bool eof; };

static size_t raw_data(void *ctx, rs_stream *s, rs_str data)
{
    rs_buf_add(&((struct raw *)ctx)->got, data.p, data.n);
    return data.n;
}

static void raw_eof(void *ctx, rs_stream *s)
{
    ((struct raw *)ctx)->eof = true;
}

static void raw_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    struct raw *r = ctx;
    r->eof = true;
    rs_stream_free(rs_take(r->s));
}

static const struct rs_stream_ops raw_ops = { .on_data = raw_data, .on_eof = raw_eof, .on_close = raw_close };

struct world { rs_loop *loop; struct end server, client; struct raw raw; };

static void world_init(struct world *w, bool raw, rs_str rest)
{
    int fd[2];
    *w = (struct world){ .loop = rs_loop_new() };
    rs_buf_init(&w->server.got, 8 << 20);
    rs_buf_init(&w->client.got, 8 << 20);
    rs_buf_init(&w->raw.got, 8 << 20);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    rs_stream *s = rs_stream_accept(w->loop, fd[0], NULL, &raw_ops, &w->raw);
    w->server.w = rs_websocket_new(s, true, rest, &ops, &w->server);
    rs_stream *c = rs_stream_accept(w->loop, fd[1], NULL, &raw_ops, &w->raw);
    if (raw)
        w->raw.s = c;
    else
        w->client.w = rs_websocket_new(c, false, RS_STR(""), &ops, &w->client);
}

static void world_done(struct world *w)
{
    rs_websocket_free(w->server.w);
    rs_websocket_free(w->client.w);
    rs_stream_free(w->raw.s);
    rs_buf_done(&w->server.got);
    rs_buf_done(&w->client.got);
    rs_buf_done(&w->raw.got);
    rs_loop_free(w->loop);
}

#define WAIT(w, condition) do { \
        for (int unit_i_ = 0; !(condition); unit_i_++) { \
            bool never_ = false; \
            rs_loop_run_until((w)->loop, &never_, 2); \
            if (unit_i_ > 3000) fail_msg("timed out waiting for " #condition); } } while (0)

static void accept_key(void **state)
{
    RS_AUTO(rs_chars) *got = rs_websocket_accept_key("dGhlIHNhbXBsZSBub25jZQ==");      /* RFC 6455 1.3 */
    assert_string_equal(got, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void both_ways(void **state)
{
    struct world w;
    world_init(&w, false, RS_STR(""));
    w.server.echo = true;
    RS_AUTO(rs_chars) *big = rs_alloc(1 << 20);
    memset(big, 'x', 1 << 20);
    rs_websocket_send(w.client.w, "hi", 2, false);
    rs_websocket_send(w.client.w, "", 0, true);
    rs_websocket_send(w.client.w, big, 1 << 20, true);
    WAIT(&w, w.client.messages == 3);
    assert_int_equal(w.client.got.n, (1 << 20) + 2);
    assert_true(w.client.binary);
    rs_websocket_close(w.server.w, 1000);
    WAIT(&w, w.client.closed && w.server.closed);
    assert_int_equal(w.client.why.code, RS_OK);
    assert_int_equal(w.server.why.code, RS_OK);
    world_done(&w);
}

/* RFC 6455 5.7: a masked "Hello", whole and in fragments with a ping between. */
static const char hello[] = "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
static const char fragments[] = "\x01\x83\x00\x00\x00\x00Hel\x89\x82\x00\x00\x00\x00pi\x80\x82\x00\x00\x00\x00lo";

static void raw_bytes(void **state)
{
    struct world w;
    world_init(&w, true, (rs_str){ hello, 5 });    /* the handshake read a part already */
    rs_stream_write(w.raw.s, hello + 5, sizeof(hello) - 6);
    rs_stream_write(w.raw.s, fragments, sizeof(fragments) - 1);
    WAIT(&w, w.server.messages == 2);
    assert_string_equal(w.server.got.p, "HelloHello");
    WAIT(&w, w.raw.got.n == 4);
    assert_memory_equal(w.raw.got.p, "\x8a\x02pi", 4);     /* pong */
    rs_stream_write(w.raw.s, "\x88\x82\x00\x00\x00\x00\x03\xe8", 8);
    WAIT(&w, w.raw.got.n == 8 && w.raw.eof);
    assert_memory_equal(w.raw.got.p + 4, "\x88\x02\x03\xe8", 4);
    rs_stream_free(rs_take(w.raw.s));
    WAIT(&w, w.server.closed);
    assert_int_equal(w.server.why.code, RS_OK);
    world_done(&w);
}

static void refuses(void **state)
{
    static const struct { const char *bytes; size_t n; const char *answer; } bad[] = {
        { "\xc1\x80\0\0\0\0", 6, "\x88\x02\x03\xea" },                            /* reserved bit: 1002 */
        { "\x83\x80\0\0\0\0", 6, "\x88\x02\x03\xea" },                            /* unknown opcode */
        { "\x80\x80\0\0\0\0", 6, "\x88\x02\x03\xea" },                            /* continues nothing */
        { "\x81\x81\0\0\0\0\xff", 7, "\x88\x02\x03\xef" },                        /* not UTF-8: 1007 */
        { "\x82\xff\0\0\0\0\0\x20\0\0\0\0\0\0x", 15, "\x88\x02\x03\xf1" },         /* 2 MiB: 1009 */
    };
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        struct world w;
        world_init(&w, true, RS_STR(""));
        rs_stream_write(w.raw.s, bad[i].bytes, bad[i].n);
        WAIT(&w, w.raw.eof);
        if (w.raw.got.n != 4 || memcmp(w.raw.got.p, bad[i].answer, 4) != 0)
            fail_msg("case %zu: %zu bytes", i, w.raw.got.n);
        rs_stream_free(rs_take(w.raw.s));
        WAIT(&w, w.server.closed);
        assert_int_equal(w.server.why.code, RS_INVALID);
        assert_int_equal(w.server.messages, 0);
        world_done(&w);
    }
}

static void cut_off(void **state)
{
    struct world w;
    world_init(&w, true, RS_STR(""));
    rs_stream_write(w.raw.s, hello, 4);
    rs_stream_shutdown(w.raw.s);
    WAIT(&w, w.server.closed);
    assert_int_equal(w.server.why.code, RS_UNAVAILABLE);
    world_done(&w);
}

static void ends_inside(void **state)
{
    for (int i = 0; i < 2; i++) {
        struct world w;
        world_init(&w, true, RS_STR(""));
        w.server.free_on_message = i == 0;
        w.server.close_on_message = i == 1;
        rs_stream_write(w.raw.s, hello, sizeof(hello) - 1);
        rs_stream_write(w.raw.s, hello, sizeof(hello) - 1);
        WAIT(&w, w.raw.eof);
        assert_int_equal(w.server.messages, 1);
        rs_stream_free(rs_take(w.raw.s));
        WAIT(&w, !w.server.w);
        world_done(&w);
    }
}

static void pause_holds_back(void **state)
{
    struct world w;
    world_init(&w, false, RS_STR(""));
    RS_AUTO(rs_chars) *part = rs_alloc(60000);
    rs_websocket_pause(w.server.w);
    for (int i = 0; i < 100; i++)
        rs_websocket_send(w.client.w, part, 60000, true);
    bool never = false;
    rs_loop_run_until(w.loop, &never, 50);
    assert_int_equal(w.server.messages, 0);
    assert_true(rs_websocket_pending(w.client.w) > 1000000);
    rs_websocket_resume(w.server.w);
    WAIT(&w, w.server.messages == 100);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_key), cmocka_unit_test(both_ways), cmocka_unit_test(raw_bytes), cmocka_unit_test(refuses),
        cmocka_unit_test(cut_off), cmocka_unit_test(ends_inside), cmocka_unit_test(pause_holds_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
