/* The other end for a foreign gRPC implementation: `grpc_peer server` prints its port and serves; `grpc_peer client TARGET`
 * runs its calls and prints one line each: NAME CODE BYTES. */
#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "grpc/client.h"
#include "grpc/server.h"
#include "io/listen.h"

static void echo(void *ctx, rs_grpc_call *call, rs_str m)
{
    const char *code = rs_grpc_metadata(call, "x-code");
    rs_grpc_send(call, m);
    rs_grpc_finish(call, code ? (enum rs_code)atoi(code) : RS_OK, code ? "wünschte sich %" : NULL);
}

static void hold(void *ctx, rs_grpc_call *call, rs_str m)
{
}

static void held_gone(void *ctx, rs_grpc_call *call)
{
    printf("held call gone\n");
    fflush(stdout);
}

static void chat(void *ctx, rs_grpc_call *call, rs_str m)
{
    rs_grpc_send(call, m);
    if (rs_str_is(m, "bye"))
        rs_grpc_finish(call, RS_ABORTED, "as you wish");
}

static void accepted(void *ctx, int fd)
{
    rs_grpc_server_add(ctx, fd);
}

static void on_term(void *ctx, int signo)
{
    rs_grpc_server_drain(ctx);
}

static int server(rs_loop *loop)
{
    static const struct rs_grpc_method methods[] = {
        { .path = "/t.T/Echo", .on_message = echo },
        { .path = "/t.T/Hold", .on_message = hold, .on_close = held_gone },
        { .path = "/t.T/Chat", .streaming = true, .on_message = chat },
    };
    struct rs_err e;
    struct rs_grpc_server_config config = { .methods = methods, .n_methods = RS_COUNT(methods) };
    rs_grpc_server *s = rs_grpc_server_new(loop, &config);
    int fd = rs_listen("127.0.0.1:0", &e);
    printf("%d\n", rs_listen_port(fd));
    fflush(stdout);
    rs_listener_new(loop, fd, accepted, s);
    rs_loop_on_signal(loop, SIGUSR1, on_term, s);
    rs_loop_run(loop);
    return 0;
}

struct result { bool done; size_t bytes, messages; enum rs_code code; };

static void unary_done(void *ctx, rs_str m, const struct rs_err *status)
{
    *(struct result *)ctx = (struct result){ true, m.n, 1, status->code };
    if (status->code != RS_OK)
        fprintf(stderr, "%s\n", status->msg);
}

static void on_message(void *ctx, rs_grpc_stream *s, rs_str m)
{
    struct result *r = ctx;
    r->bytes += m.n;
    if (++r->messages == 20)
        rs_grpc_stream_half_close(s);
}

static void on_close(void *ctx, rs_grpc_stream *s, const struct rs_err *status)
{
    struct result *r = ctx;
    r->code = status->code;
    r->done = true;
}

static void report(rs_loop *loop, const char *name, struct result *r)
{
    rs_loop_run_until(loop, &r->done, 20000);
    printf("%s %s %zu\n", name, r->done ? rs_code_name(r->code) : "NOT_DONE", r->bytes);
}

static int client(rs_loop *loop, const char *target)
{
    static const struct rs_grpc_stream_ops ops = { .on_message = on_message, .on_close = on_close };
    rs_grpc_channel *c = rs_grpc_channel_new(loop, target, NULL, NULL);
    size_t n = 1024 * 1024;
    RS_AUTO(rs_chars) *big = rs_alloc(n);
    const char *const metadata[] = { "x-code", "7", NULL };
    struct { const char *name, *path; const char *const *metadata; size_t n; int timeout_ms; } calls[] = {
        { "empty", "/t.T/Echo", NULL, 0, 5000 }, { "big", "/t.T/Echo", NULL, n, 5000 }, { "refused", "/t.T/Echo", metadata, 1, 5000 },
        { "unknown", "/t.T/Nothing", NULL, 1, 5000 }, { "late", "/t.T/Hold", NULL, 1, 100 },
    };
    for (size_t i = 0; i < RS_COUNT(calls); i++) {
        struct result r = { 0 };
        rs_grpc_unary(c, calls[i].path, calls[i].metadata, (rs_str){ big, calls[i].n }, calls[i].timeout_ms, unary_done, &r);
        report(loop, calls[i].name, &r);
    }
    struct result r = { 0 };
    rs_grpc_stream *s = rs_grpc_stream_open(c, "/t.T/Chat", NULL, 0, &ops, &r);
    for (int i = 0; i < 20; i++)
        rs_grpc_stream_send(s, (rs_str){ big, n });
    report(loop, "chat", &r);
    rs_grpc_channel_free(c);
    return 0;
}

int main(int argc, char **argv)
{
    rs_log_init("grpc_peer", RS_LOG_WARNING);
    rs_loop *loop = rs_loop_new();
    if (argc == 2 && rs_streq(argv[1], "server"))
        return server(loop);
    if (argc == 3 && rs_streq(argv[1], "client"))
        return client(loop, argv[2]);
    fprintf(stderr, "usage: grpc_peer server | client TARGET\n");
    return 2;
}
