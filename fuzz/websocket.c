#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct end { rs_websocket *w; bool closed; };

static void on_message(void *ctx, rs_websocket *w, rs_str m, bool binary)
{
    rs_assert(m.n <= 1024 * 1024);
    rs_websocket_send(w, m.p, m.n, binary);
}

static void on_close(void *ctx, rs_websocket *w, const struct rs_err *why)
{
    struct end *e = ctx;
    rs_websocket_free(rs_take(e->w));
    e->closed = true;
}

/* A client writes the input and goes away: whatever it was, the server must come to its end. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rs_websocket_ops ops = { on_message, on_close, NULL };
    static rs_loop *loop;
    struct end e = { 0 };
    int fd[2], room = 1 << 20;
    if (!loop)
        loop = rs_loop_new();
    if (size > 64 * 1024)
        return 0;
    rs_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
    setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    rs_assert(write(fd[1], data, size) == (ssize_t)size);
    close(fd[1]);
    static const struct rs_stream_ops none;
    rs_stream *s = rs_stream_accept(loop, fd[0], NULL, &none, NULL);
    e.w = rs_websocket_new(s, true, RS_STR(""), &ops, &e);
    rs_assert(rs_loop_run_until(loop, &e.closed, 10000));
    return 0;
}
