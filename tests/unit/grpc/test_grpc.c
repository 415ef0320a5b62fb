#include "unit.h"

#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/time.h"
#include "grpc/client.h"
#include "grpc/server.h"
#include "io/listen.h"
#include "io/loop.h"
#include "io/tls_fixture.h"

/* A server on a free port and a client of it, in one loop. */
struct world {
    rs_loop *loop;
    rs_grpc_server *server;
    rs_listener *listener;
    rs_grpc_channel *channel;
    int port;
    char *target;

    bool done, free_server_in_call, free_channel_in_close;
    size_t opened, closed, half_closed, messages, bytes;
    rs_grpc_call *held;
    char *seen_metadata;

    rs_grpc_stream *stream;
    struct rs_err status;
    struct rs_buf got;
    size_t got_messages, want_messages;
};

/* ---- methods of the server ---- */

static void echo(void *ctx, rs_grpc_call *call, rs_str m)
{
    struct world *w = ctx;
    const char *meta = rs_grpc_metadata(call, "authorization");
    free(w->seen_metadata);
    w->seen_metadata = rs_strdup(meta);
    rs_grpc_send(call, m);
    rs_grpc_finish(call, RS_OK, NULL);
}

static void refuse(void *ctx, rs_grpc_call *call, rs_str m)
{
    rs_grpc_finish(call, RS_FORBIDDEN, "nicht für dich: 100%");
}

static void hold(void *ctx, rs_grpc_call *call, rs_str m)
{
    struct world *w = ctx;
    w->held = call;
    if (w->free_server_in_call) {
        rs_grpc_server_free(w->server);
        w->server = NULL;
    }
}

static void hold_close(void *ctx, rs_grpc_call *call)
{
    struct world *w = ctx;
    w->closed++;
    w->held = NULL;
}

static void chat_open(void *ctx, rs_grpc_call *call)
{
    struct world *w = ctx;
    w->opened++;
    w->held = call;
    rs_grpc_set_user(call, w);
}

static void chat_message(void *ctx, rs_grpc_call *call, rs_str m)
{
    struct world *w = ctx;
    assert_ptr_equal(rs_grpc_user(call), w);
    w->messages++;
    w->bytes += m.n;
    rs_grpc_send(call, m);
}

static void chat_half_close(void *ctx, rs_grpc_call *call)
{
    struct world *w = ctx;
    w->half_closed++;
    rs_grpc_finish(call, RS_OK, NULL);
}

static const struct rs_grpc_method methods[] = {
    { .path = "/t.T/Echo", .on_message = echo },
    { .path = "/t.T/Refuse", .on_message = refuse },
    { .path = "/t.T/Hold", .on_message = hold, .on_close = hold_close },
    { .path = "/t.T/Chat", .streaming = true, .on_open = chat_open, .on_message = chat_message, .on_half_close = chat_half_close, .on_close = hold_close },
};

static void accepted(void *ctx, int fd)
{
    struct world *w = ctx;
    rs_grpc_server_add(w->server, fd);
}

static void serve(struct world *w, int port)
{
    struct rs_err e;
    struct rs_grpc_server_config config = { .methods = methods, .n_methods = RS_COUNT(methods), .message_max = 2 * 1024 * 1024, .ctx = w };
    w->server = rs_grpc_server_new(w->loop, &config);
    RS_AUTO(rs_chars) *address = rs_printf("127.0.0.1:%d", port);
    int fd = rs_listen(address, &e);
    if (fd < 0)
        fail_msg("%s", e.msg);
    w->port = rs_listen_port(fd);
    w->listener = rs_listener_new(w->loop, fd, accepted, w);
}

static int setup(void **state)
{
    struct world *w = rs_new(struct world);
    w->loop = rs_loop_new();
    serve(w, 0);
    w->target = rs_printf("127.0.0.1:%d", w->port);
    w->channel = rs_grpc_channel_new(w->loop, w->target, NULL, NULL);
    rs_buf_init(&w->got, 64 * 1024 * 1024);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    rs_grpc_channel_free(w->channel);
    rs_grpc_server_free(w->server);
    rs_listener_free(w->listener);
    rs_loop_free(w->loop);
    rs_buf_done(&w->got);
    free(w->target);
    free(w->seen_metadata);
    free(w);
    return 0;
}

/* ---- the client's side ---- */

static void unary_done(void *ctx, rs_str m, const struct rs_err *status)
{
    struct world *w = ctx;
    w->status = *status;
    rs_buf_clear(&w->got);
    rs_buf_add(&w->got, m.p, m.n);
    w->done = true;
}

static void call(struct world *w, const char *path, const char *const *metadata, rs_str request, int timeout_ms)
{
    w->done = false;
    rs_grpc_unary(w->channel, path, metadata, request, timeout_ms, unary_done, w);
    assert_true(rs_loop_run_until(w->loop, &w->done, 10000));
}

static void stream_message(void *ctx, rs_grpc_stream *s, rs_str m)
{
    struct world *w = ctx;
    rs_buf_add(&w->got, m.p, m.n);
    if (++w->got_messages == w->want_messages)
        w->done = true;
}

static void stream_close(void *ctx, rs_grpc_stream *s, const struct rs_err *status)
{
    struct world *w = ctx;
    w->status = *status;
    w->stream = NULL;
    w->done = true;
    if (w->free_channel_in_close)
        rs_grpc_channel_free(rs_take(w->channel));
}

static const struct rs_grpc_stream_ops stream_ops = { .on_message = stream_message, .on_close = stream_close };

static void open_chat(struct world *w, int timeout_ms)
{
    w->stream = rs_grpc_stream_open(w->channel, "/t.T/Chat", NULL, timeout_ms, &stream_ops, w);
}

static void run(struct world *w)
{
    w->done = false;
    assert_true(rs_loop_run_until(w->loop, &w->done, 10000));
}

/* Runs the loop until value is non-zero. */
static void run_for(struct world *w, const size_t *value, size_t want)
{
    for (int i = 0; i < 2000 && *value < want; i++) {
        bool never = false;
        rs_loop_run_until(w->loop, &never, 5);
    }
    assert_true(*value >= want);
}

/* ---- tests ---- */

static void test_unary(void **state)
{
    struct world *w = *state;
    const char *const metadata[] = { "authorization", "Bearer abc", "clusterid", "c1", NULL };
    call(w, "/t.T/Echo", metadata, RS_STR("hello\0world"), 5000);
    assert_int_equal(w->status.code, RS_OK);
    assert_true(rs_str_eq(rs_buf_str(&w->got), RS_STR("hello\0world")));
    assert_string_equal(w->seen_metadata, "Bearer abc");
    call(w, "/t.T/Echo", NULL, RS_STR(""), 0);
    assert_int_equal(w->status.code, RS_OK);
    assert_int_equal(w->got.n, 0);
    assert_int_equal(rs_grpc_server_connections(w->server), 1);
    assert_int_equal(rs_grpc_server_calls(w->server), 0);
}

static void test_errors(void **state)
{
    struct world *w = *state;
    call(w, "/t.T/Refuse", NULL, RS_STR("x"), 5000);
    assert_int_equal(w->status.code, RS_FORBIDDEN);
    assert_string_equal(w->status.msg, "nicht für dich: 100%");
    call(w, "/t.T/Nothing", NULL, RS_STR("x"), 5000);
    assert_int_equal(w->status.code, RS_UNIMPLEMENTED);
    assert_non_null(strstr(w->status.msg, "/t.T/Nothing"));

    size_t n = 2 * 1024 * 1024 + 1;
    RS_AUTO(rs_chars) *big = rs_alloc(n);
    call(w, "/t.T/Echo", NULL, (rs_str){ big, n }, 5000);
    assert_int_equal(w->status.code, RS_EXHAUSTED);
    call(w, "/t.T/Echo", NULL, (rs_str){ big, n - 1 }, 5000);
    assert_int_equal(w->status.code, RS_OK);
    assert_int_equal(w->got.n, n - 1);
}

static void test_deadlines(void **state)
{
    struct world *w = *state;
    int64_t begin = rs_mono_ms();
    call(w, "/t.T/Hold", NULL, RS_STR("x"), 50);
    assert_int_equal(w->status.code, RS_DEADLINE);
    assert_true(rs_mono_ms() - begin >= 50);
    run_for(w, &w->closed, 1);
    assert_int_equal(rs_grpc_server_calls(w->server), 0);
}

static void test_cancel(void **state)
{
    struct world *w = *state;
    rs_grpc_stream *s = rs_grpc_unary(w->channel, "/t.T/Echo", NULL, RS_STR("never sent"), 0, unary_done, w);
    rs_grpc_stream_cancel(s);
    open_chat(w, 0);
    run_for(w, &w->opened, 1);
    rs_grpc_stream_cancel(rs_take(w->stream));
    run_for(w, &w->closed, 1);
    assert_false(w->done);
}

static void test_streaming(void **state)
{
    struct world *w = *state;
    w->want_messages = 1000;
    open_chat(w, 0);
    for (int i = 0; i < 1000; i++) {
        char text[16];
        snprintf(text, sizeof text, "%04d", i);
        rs_grpc_stream_send(w->stream, rs_str_of(text));
    }
    run(w);
    for (size_t i = 0; i < 1000; i++) {
        char text[16];
        snprintf(text, sizeof text, "%04zu", i);
        assert_memory_equal(w->got.p + 4 * i, text, 4);
    }
    /* The server speaks unasked, then the client ends. */
    w->want_messages = 1001;
    rs_grpc_send(w->held, RS_STR("push"));
    run(w);
    assert_memory_equal(w->got.p + 4000, "push", 4);
    rs_grpc_stream_half_close(w->stream);
    run(w);
    assert_int_equal(w->status.code, RS_OK);
    assert_int_equal(w->half_closed, 1);
    assert_int_equal(w->closed, 1);
}

/* Messages of 1 MiB need many window updates in both directions; 32 MiB wait on each side. */
static void test_flow_control(void **state)
{
    struct world *w = *state;
    size_t n = 1024 * 1024;
    RS_AUTO(rs_chars) *big = rs_alloc(n);
    for (size_t i = 0; i < n; i++)
        big[i] = (char)(i * 31 >> 4);
    w->want_messages = 32;
    open_chat(w, 0);
    for (int i = 0; i < 32; i++)
        rs_grpc_stream_send(w->stream, (rs_str){ big, n });
    run(w);
    assert_int_equal(w->got.n, 32 * n);
    for (size_t i = 0; i < 32; i++)
        assert_memory_equal(w->got.p + i * n, big, n);
    assert_int_equal(rs_grpc_pending(w->held), 0);
}

static void test_many_calls(void **state)
{
    struct world *w = *state;
    enum { N = 2500 };             /* more than the server takes at once */
    size_t left = N;
    for (int i = 0; i < N; i++)
        rs_grpc_unary(w->channel, "/t.T/Echo", NULL, RS_STR("x"), 0, unary_done, w);
    while (left--) {
        w->done = false;
        if (rs_grpc_server_calls(w->server) == 0 && left == 0)
            break;
        bool never = false;
        rs_loop_run_until(w->loop, &never, 1);
        if (w->done && rs_grpc_server_calls(w->server) == 0)
            break;
    }
    assert_int_equal(w->status.code, RS_OK);
    assert_int_equal(rs_grpc_server_connections(w->server), 1);
}

static void test_client_gone(void **state)
{
    struct world *w = *state;
    open_chat(w, 0);
    run_for(w, &w->opened, 1);
    rs_grpc_channel_free(rs_take(w->channel));
    assert_int_equal(w->status.code, RS_CANCELLED);
    run_for(w, &w->closed, 1);
    assert_int_equal(rs_grpc_server_connections(w->server), 0);
}

static void test_server_gone_and_back(void **state)
{
    struct world *w = *state;
    open_chat(w, 0);
    run_for(w, &w->opened, 1);
    rs_grpc_server_free(w->server);
    rs_listener_free(w->listener);
    assert_int_equal(w->closed, 1);
    run(w);
    assert_int_equal(w->status.code, RS_UNAVAILABLE);
    call(w, "/t.T/Echo", NULL, RS_STR("x"), 0);
    assert_int_equal(w->status.code, RS_UNAVAILABLE);
    serve(w, w->port);
    for (int i = 0; i < 20; i++) {             /* the first attempt may still be under way */
        call(w, "/t.T/Echo", NULL, RS_STR("x"), 0);
        if (w->status.code == RS_OK)
            break;
    }
    assert_int_equal(w->status.code, RS_OK);
}

/* Draining: the running stream goes on, a new call is answered elsewhere or on a new connection, none is lost. */
static void test_drain(void **state)
{
    struct world *w = *state;
    w->want_messages = 1;
    open_chat(w, 0);
    run_for(w, &w->opened, 1);
    rs_grpc_server *old = w->server;
    rs_listener *old_listener = w->listener;
    serve(w, 0);
    rs_listener_free(w->listener);
    w->listener = NULL;
    rs_listener_free(old_listener);
    RS_AUTO(rs_chars) *address = rs_printf("127.0.0.1:%s", strrchr(w->target, ':') + 1);
    struct rs_err e;
    w->listener = rs_listener_new(w->loop, rs_listen(address, &e), accepted, w);

    rs_grpc_server_drain(old);
    for (int i = 0; i < 50; i++) {
        call(w, "/t.T/Echo", NULL, RS_STR("x"), 0);
        assert_int_equal(w->status.code, RS_OK);
    }
    assert_int_equal(rs_grpc_server_connections(old), 1);
    assert_int_equal(rs_grpc_server_connections(w->server), 1);
    rs_buf_clear(&w->got);
    rs_grpc_stream_send(w->stream, RS_STR("still here"));
    run(w);
    assert_true(rs_str_is(rs_buf_str(&w->got), "still here"));
    rs_grpc_stream_half_close(w->stream);
    run(w);
    assert_int_equal(w->status.code, RS_OK);
    for (int i = 0; i < 1000 && rs_grpc_server_connections(old); i++) {
        bool never = false;
        rs_loop_run_until(w->loop, &never, 5);
    }
    assert_int_equal(rs_grpc_server_connections(old), 0);
    rs_grpc_server_free(old);
}

static void test_freed_inside(void **state)
{
    struct world *w = *state;
    w->free_server_in_call = true;
    w->free_channel_in_close = true;
    w->stream = rs_grpc_stream_open(w->channel, "/t.T/Hold", NULL, 0, &stream_ops, w);
    rs_grpc_stream *second = rs_grpc_stream_open(w->channel, "/t.T/Echo", NULL, 0, &stream_ops, w);
    (void)second;
    rs_grpc_stream_send(w->stream, RS_STR("x"));
    run(w);
    assert_null(w->channel);
    assert_int_equal(w->closed, 1);
}

static void test_unix_and_bad_peers(void **state)
{
    struct world *w = *state;
    struct rs_err e;
    RS_AUTO(rs_chars) *address = rs_printf("unix:/tmp/rs-grpc-%d.sock", (int)getpid());
    rs_listener *l = rs_listener_new(w->loop, rs_listen(address, &e), accepted, w);
    rs_grpc_channel *tcp = w->channel;
    w->channel = rs_grpc_channel_new(w->loop, address, NULL, NULL);
    call(w, "/t.T/Echo", NULL, RS_STR("x"), 5000);
    assert_int_equal(w->status.code, RS_OK);
    rs_grpc_channel_free(w->channel);
    rs_listener_free(l);
    unlink(address + 5);

    w->channel = rs_grpc_channel_new(w->loop, "no-such-host.invalid:1", NULL, NULL);
    call(w, "/t.T/Echo", NULL, RS_STR("x"), 5000);
    assert_true(w->status.code == RS_UNAVAILABLE || w->status.code == RS_DEADLINE);
    rs_grpc_channel_free(w->channel);
    w->channel = tcp;
}

static void peer_echo(void *ctx, rs_grpc_call *call, rs_str m)
{
    RS_AUTO(X509) *peer = SSL_get1_peer_certificate(rs_grpc_call_ssl(call));
    RS_AUTO(rs_chars) *text = rs_printf("%s from %s", peer ? "known" : "unknown", rs_grpc_call_peer(call));
    rs_grpc_send(call, rs_str_of(text));
    rs_grpc_finish(call, RS_OK, NULL);
}

/* Over TLS; the client's certificate changes while the channel lives, the server's CA after that. */
static void test_tls(void **state)
{
    struct world *w = *state;
    static const struct rs_grpc_method who[] = { { .path = "/t.T/Who", .on_message = peer_echo } };
    struct tls_fixture f, other;
    tls_fixture_init(&f);
    tls_fixture_init(&other);
    RS_AUTO(SSL_CTX) *server = tls_fixture_ctx(&f, true, false), *foreign = tls_fixture_ctx(&other, true, false);
    RS_AUTO(SSL_CTX) *plain = tls_fixture_ctx(&f, false, false), *mutual = tls_fixture_ctx(&f, false, true);
    SSL_CTX_set_verify(server, SSL_VERIFY_PEER, NULL);             /* asked for, not required */
    rs_grpc_server_free(w->server);
    w->server = rs_grpc_server_new(w->loop, &(struct rs_grpc_server_config){ .tls = server, .methods = who, .n_methods = 1, .ctx = w });
    rs_grpc_channel *first = w->channel;
    w->channel = rs_grpc_channel_new(w->loop, w->target, plain, "localhost");
    call(w, "/t.T/Who", NULL, RS_STR(""), 5000);
    assert_int_equal(w->status.code, RS_OK);
    assert_non_null(strstr(w->got.p, "unknown from 127.0.0.1:"));
    rs_grpc_channel_set_tls(w->channel, mutual);
    call(w, "/t.T/Who", NULL, RS_STR(""), 5000);
    assert_int_equal(w->status.code, RS_OK);
    assert_memory_equal(w->got.p, "known", 5);
    rs_grpc_channel_free(w->channel);

    w->channel = rs_grpc_channel_new(w->loop, w->target, plain, "not.this.host");
    call(w, "/t.T/Who", NULL, RS_STR(""), 5000);
    assert_int_equal(w->status.code, RS_UNAVAILABLE);
    rs_grpc_channel_free(w->channel);
    rs_grpc_server_set_tls(w->server, foreign);
    w->channel = rs_grpc_channel_new(w->loop, w->target, plain, "localhost");
    call(w, "/t.T/Who", NULL, RS_STR(""), 5000);
    assert_int_equal(w->status.code, RS_UNAVAILABLE);
    assert_non_null(strstr(w->status.msg, "connect to localhost"));
    rs_grpc_channel_free(w->channel);
    w->channel = first;
    tls_fixture_done(&f);
    tls_fixture_done(&other);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_unary), T(test_errors), T(test_deadlines), T(test_cancel), T(test_streaming), T(test_flow_control), T(test_many_calls),
        T(test_client_gone), T(test_server_gone_and_back), T(test_drain), T(test_freed_inside), T(test_unix_and_bad_peers), T(test_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
