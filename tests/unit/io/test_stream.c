#include "unit.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "io/listen.h"
#include "io/stream.h"
#include "io/tls_fixture.h"

/* One end of a connection under test and everything it saw. */
struct end {
    struct world *w;
    rs_stream *s;
    struct rs_buf got;
    size_t use;                        /* on_data uses at most this many bytes; 0: all */
    bool opened, eof, drained, closed, echo, free_on_data, free_on_open, pause_on_data;
    int data_calls;
    struct rs_err why;
};

struct world {
    rs_loop *loop;
    rs_listener *listener;
    char address[64];
    SSL_CTX *server_tls;
    struct end server, client;
};

static void on_open(void *ctx, rs_stream *s)
{
    struct end *e = ctx;
    e->opened = true;
    if (e->free_on_open)
        rs_stream_free(rs_take(e->s));
}

static size_t on_data(void *ctx, rs_stream *s, rs_str data)
{
    struct end *e = ctx;
    e->data_calls++;
    if (e->free_on_data) {
        rs_stream_free(rs_take(e->s));
        rs_buf_add(&e->got, data.p, data.n);   /* data stays valid until we return */
        return data.n;
    }
    size_t n = e->use && data.n > e->use ? e->use : data.n;
    rs_buf_add(&e->got, data.p, n);
    if (e->echo)
        rs_stream_write(s, data.p, n);
    if (e->pause_on_data)
        rs_stream_pause(s);
    return n;
}

static void on_eof(void *ctx, rs_stream *s)
{
    struct end *e = ctx;
    e->eof = true;
}

static void on_drained(void *ctx, rs_stream *s)
{
    ((struct end *)ctx)->drained = true;
}

static void on_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    struct end *e = ctx;
    e->closed = true;
    e->why = *why;
    rs_stream_free(rs_take(e->s));
}

static const struct rs_stream_ops ops = { on_open, on_data, on_eof, on_drained, on_close };

static void accepted(void *ctx, int fd)
{
    struct world *w = ctx;
    w->server.s = rs_stream_accept(w->loop, fd, w->server_tls, &ops, &w->server);
}

static void world_init(struct world *w, SSL_CTX *server_tls, SSL_CTX *client_tls)
{
    struct rs_err e;
    *w = (struct world){ .loop = rs_loop_new(), .server_tls = server_tls };
    w->server.w = w->client.w = w;
    rs_buf_init(&w->server.got, 128 << 20);
    rs_buf_init(&w->client.got, 128 << 20);
    int fd = rs_listen("127.0.0.1:0", &e);
    assert_true(fd >= 0);
    snprintf(w->address, sizeof(w->address), "127.0.0.1:%d", rs_listen_port(fd));
    w->listener = rs_listener_new(w->loop, fd, accepted, w);
    w->client.s = rs_stream_connect(w->loop, w->address, client_tls, "localhost", 5000, &ops, &w->client);
}

static void world_done(struct world *w)
{
    rs_stream_free(w->server.s);
    rs_stream_free(w->client.s);
    rs_listener_free(w->listener);
    rs_buf_done(&w->server.got);
    rs_buf_done(&w->client.got);
    rs_loop_free(w->loop);
}

#define WAIT(w, condition) do { \
        for (int unit_i_ = 0; !(condition); unit_i_++) { \
            bool never_ = false; \
            rs_loop_run_until((w)->loop, &never_, 2); \
            if (unit_i_ > 5000) fail_msg("timed out waiting for " #condition); } } while (0)

struct tls_pair { struct tls_fixture f; SSL_CTX *server, *client; };

static void tls_pair_init(struct tls_pair *t)
{
    tls_fixture_init(&t->f);
    t->server = tls_fixture_ctx(&t->f, true, true);
    t->client = tls_fixture_ctx(&t->f, false, true);
}

static void tls_pair_done(struct tls_pair *t)
{
    SSL_CTX_free(t->server);
    SSL_CTX_free(t->client);
    tls_fixture_done(&t->f);
}

static void both_ways(SSL_CTX *server, SSL_CTX *client)
{
    struct world w;
    world_init(&w, server, client);
    w.server.echo = true;
    rs_stream_write(w.client.s, "early ", 6);      /* before it is open */
    WAIT(&w, w.client.opened && w.server.opened);
    rs_stream_write(w.client.s, "hello", 5);
    WAIT(&w, w.client.got.n == 11);
    assert_memory_equal(w.client.got.p, "early hello", 11);
    assert_true(w.client.drained);
    rs_stream_shutdown(w.client.s);                /* half-close: the other direction goes on */
    WAIT(&w, w.server.eof);
    rs_stream_write(w.server.s, "after", 5);
    WAIT(&w, w.client.got.n == 16);
    rs_stream_close_after_flush(w.server.s);
    WAIT(&w, w.server.closed && w.client.eof);
    assert_int_equal(w.server.why.code, RS_OK);
    assert_false(w.client.closed);
    world_done(&w);
}

static void plain(void **state)
{
    both_ways(NULL, NULL);
}

static void tls_mutual(void **state)
{
    struct tls_pair t;
    tls_pair_init(&t);
    both_ways(t.server, t.client);
    SSL_CTX_set_max_proto_version(t.client, TLS1_2_VERSION);
    both_ways(t.server, t.client);
    tls_pair_done(&t);
}

static void tls_refusals(void **state)
{
    struct tls_pair t;
    tls_pair_init(&t);
    struct world w;
    RS_AUTO(SSL_CTX) *bare = tls_fixture_ctx(&t.f, false, false);
    world_init(&w, t.server, bare);                /* no client certificate */
    WAIT(&w, w.server.closed && w.client.closed);
    assert_false(w.server.opened);
    assert_non_null(strstr(w.client.why.msg, "certificate"));
    world_done(&w);

    struct tls_fixture other;
    tls_fixture_init(&other);
    RS_AUTO(SSL_CTX) *stranger = tls_fixture_ctx(&other, false, true);
    world_init(&w, t.server, stranger);            /* trusts another CA */
    WAIT(&w, w.server.closed && w.client.closed);
    assert_int_equal(w.client.why.code, RS_UNAUTHENTICATED);
    world_done(&w);
    tls_fixture_done(&other);

    world_init(&w, t.server, NULL);                /* speaks no TLS at all */
    rs_stream_write(w.client.s, "GET / HTTP/1.1\r\n\r\n", 18);
    WAIT(&w, w.server.closed);
    assert_int_not_equal(w.server.why.code, RS_OK);
    world_done(&w);
    tls_pair_done(&t);
}

static void bulk(SSL_CTX *server, SSL_CTX *client)
{
    enum { SIZE = 24 << 20 };
    struct world w;
    world_init(&w, server, client);
    w.server.echo = true;
    char *p = rs_alloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        p[i] = (char)(i * 31 + i / 4099);
    rs_stream_write(w.client.s, p, SIZE);
    WAIT(&w, w.client.got.n == SIZE);
    assert_memory_equal(w.client.got.p, p, SIZE);
    free(p);
    world_done(&w);
}

static void bulk_both(void **state)
{
    bulk(NULL, NULL);
    struct tls_pair t;
    tls_pair_init(&t);
    bulk(t.server, t.client);
    tls_pair_done(&t);
}

/* A paused reader stops the writer; resuming loses nothing. */
static void back_pressure(SSL_CTX *server, SSL_CTX *client)
{
    enum { SIZE = 16 << 20 };
    struct world w;
    world_init(&w, server, client);
    w.server.pause_on_data = true;
    w.server.use = 1000;
    RS_AUTO(rs_chars) *p = rs_alloc(SIZE);
    memset(p, 'x', SIZE);
    rs_stream_write(w.client.s, p, SIZE);
    WAIT(&w, w.server.data_calls == 1);
    bool never = false;
    rs_loop_run_until(w.loop, &never, 50);
    assert_int_equal(w.server.data_calls, 1);
    assert_true(rs_stream_pending(w.client.s) > 1 << 20);
    w.server.pause_on_data = false;
    w.server.use = 0;
    rs_stream_resume(w.server.s);
    WAIT(&w, w.server.got.n == SIZE);
    world_done(&w);
}

static void back_pressure_both(void **state)
{
    back_pressure(NULL, NULL);
    struct tls_pair t;
    tls_pair_init(&t);
    back_pressure(t.server, t.client);
    tls_pair_done(&t);
}

static void limits(void **state)
{
    struct world w;
    world_init(&w, NULL, NULL);
    w.server.use = 1;                  /* leaves nearly everything */
    RS_AUTO(rs_chars) *p = rs_alloc(RS_STREAM_WRITE_MAX);
    rs_stream_write(w.client.s, p, RS_STREAM_READ_MAX + 4096);
    WAIT(&w, w.server.closed);
    assert_int_equal(w.server.why.code, RS_EXHAUSTED);
    world_done(&w);

    world_init(&w, NULL, NULL);
    WAIT(&w, w.server.opened && w.client.opened);
    rs_stream_pause(w.server.s);
    rs_stream_write(w.client.s, p, RS_STREAM_WRITE_MAX);
    rs_stream_write(w.client.s, p, RS_STREAM_WRITE_MAX);
    assert_false(w.client.closed);     /* never from inside the owner's call */
    WAIT(&w, w.client.closed);
    assert_int_equal(w.client.why.code, RS_EXHAUSTED);
    world_done(&w);
}

static void freed_in_callbacks(void **state)
{
    struct tls_pair t;
    tls_pair_init(&t);
    for (int i = 0; i < 4; i++) {
        struct world w;
        world_init(&w, i & 1 ? t.server : NULL, i & 1 ? t.client : NULL);
        if (i & 2)
            w.server.free_on_open = true;
        else
            w.server.free_on_data = true;
        rs_stream_write(w.client.s, "bye", 3);
        WAIT(&w, w.server.opened && !w.server.s && (w.client.eof || w.client.closed));
        world_done(&w);
    }
    tls_pair_done(&t);
}

static void connect_fails(void **state)
{
    static const char *const bad[] = { "127.0.0.1:1", "unix:/nonexistent/socket", "localhost:80", "127.0.0.1:99999", "[::1]", "" };
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        struct world w = { .loop = rs_loop_new() };
        w.client.w = &w;
        w.client.s = rs_stream_connect(w.loop, bad[i], NULL, NULL, 2000, &ops, &w.client);
        assert_false(w.client.closed);
        rs_stream_write(w.client.s, "x", 1);
        WAIT(&w, w.client.closed);
        assert_int_not_equal(w.client.why.code, RS_OK);
        rs_loop_free(w.loop);
    }
    /* never pending: freeing a connecting stream is silent */
    struct world w = { .loop = rs_loop_new() };
    rs_stream_free(rs_stream_connect(w.loop, "127.0.0.1:1", NULL, NULL, 2000, &ops, &w.client));
    rs_loop_free(w.loop);
}

static void handshake_deadline(void **state)
{
    struct tls_pair t;
    tls_pair_init(&t);
    struct rs_err e;
    struct world w = { .loop = rs_loop_new() };
    RS_AUTO_FD int fd = rs_listen("127.0.0.1:0", &e);      /* accepts in the kernel, never answers */
    RS_AUTO(rs_chars) *address = rs_printf("127.0.0.1:%d", rs_listen_port(fd));
    w.client.s = rs_stream_connect(w.loop, address, t.client, NULL, 50, &ops, &w.client);
    WAIT(&w, w.client.closed);
    assert_int_equal(w.client.why.code, RS_DEADLINE);
    rs_loop_free(w.loop);
    tls_pair_done(&t);
}

static void unix_socket(void **state)
{
    struct rs_err e;
    char dir[] = "/tmp/rs-stream-XXXXXX";
    assert_non_null(mkdtemp(dir));
    RS_AUTO(rs_chars) *address = rs_printf("unix:%s/s", dir);
    struct world w = { .loop = rs_loop_new() };
    rs_buf_init(&w.client.got, 100);
    rs_buf_init(&w.server.got, 100);
    w.server.echo = true;
    int old = rs_listen(address, &e);
    assert_true(old >= 0);
    close(old);
    int fd = rs_listen(address, &e);   /* replaces the old file */
    assert_true(fd >= 0);
    w.listener = rs_listener_new(w.loop, fd, accepted, &w);
    w.client.s = rs_stream_connect(w.loop, address, NULL, NULL, 1000, &ops, &w.client);
    rs_stream_write(w.client.s, "ping", 4);
    WAIT(&w, w.client.got.n == 4);
    world_done(&w);
    unlink(address + 5);
    rmdir(dir);
}

/* After a hand-over the rest goes to the new owner at once, and an end of file already seen is told again. */
static struct end second;

static size_t hand_over(void *ctx, rs_stream *s, rs_str data)
{
    rs_stream_set_ops(s, &ops, &second);
    return 2;
}

static void handed_over(void **state)
{
    struct world w;
    world_init(&w, NULL, NULL);
    second = (struct end){ 0 };
    rs_buf_init(&second.got, 100);
    WAIT(&w, w.server.opened);
    static const struct rs_stream_ops first = { NULL, hand_over, on_eof, NULL, on_close };
    rs_stream_set_ops(w.server.s, &first, &w.server);
    rs_stream_write(w.client.s, "abcdef", 6);
    WAIT(&w, second.got.n == 4);
    assert_memory_equal(second.got.p, "cdef", 4);
    rs_stream_shutdown(w.client.s);
    WAIT(&w, second.eof);
    rs_stream_set_ops(w.server.s, &ops, &w.server);
    WAIT(&w, w.server.eof);
    rs_buf_done(&second.got);
    world_done(&w);
}

/* A closing server lets a client that still sends read the answer. */
static void lingers(void **state)
{
    struct world w;
    world_init(&w, NULL, NULL);
    WAIT(&w, w.server.opened && w.client.opened);
    rs_stream_write(w.server.s, "413", 3);
    rs_stream_close_after_flush(w.server.s);
    RS_AUTO(rs_chars) *p = rs_alloc(8 << 20);
    rs_stream_write(w.client.s, p, 8 << 20);
    WAIT(&w, w.client.got.n == 3 && w.client.eof);
    WAIT(&w, w.client.drained);
    rs_stream_free(rs_take(w.client.s));
    WAIT(&w, w.server.closed);
    assert_int_equal(w.server.why.code, RS_OK);
    world_done(&w);
}

/* Idle, paused, half-closed: nothing of it may spin. */
static void no_busy_loop(void **state)
{
    struct world w;
    world_init(&w, NULL, NULL);
    WAIT(&w, w.server.opened && w.client.opened);
    rs_stream_pause(w.server.s);
    rs_stream_write(w.client.s, "data", 4);
    rs_stream_shutdown(w.client.s);
    bool never = false;
    rs_loop_run_until(w.loop, &never, 20);
    clock_t from = clock();
    rs_loop_run_until(w.loop, &never, 200);
    rs_stream_resume(w.server.s);
    WAIT(&w, w.server.eof);
    rs_loop_run_until(w.loop, &never, 200);
    assert_true((clock() - from) * 1000 / CLOCKS_PER_SEC < 100);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain), cmocka_unit_test(tls_mutual), cmocka_unit_test(tls_refusals), cmocka_unit_test(bulk_both),
        cmocka_unit_test(back_pressure_both), cmocka_unit_test(limits), cmocka_unit_test(freed_in_callbacks), cmocka_unit_test(connect_fails),
        cmocka_unit_test(handshake_deadline), cmocka_unit_test(unix_socket), cmocka_unit_test(handed_over), cmocka_unit_test(lingers),
        cmocka_unit_test(no_busy_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
