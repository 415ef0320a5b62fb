/* gRPC client: a channel is one HTTP/2 connection, made when first needed and again after it was lost (back-off 100 ms to
 * 5 s with jitter). A call waits for the next attempt to connect and fails with RS_UNAVAILABLE together with it; nothing is
 * retried here. After the server's GOAWAY running calls go on and new ones get a new connection.
 * Loop thread only; callbacks may free the channel. Answers of up to 64 MiB are accepted. */
#pragma once
#include "base/err.h"
#include "io/stream.h"

typedef struct rs_grpc_channel rs_grpc_channel;
typedef struct rs_grpc_stream rs_grpc_stream;

/* target: "host:port" (resolved at each connect) or "unix:/path". tls NULL: plain. server_name NULL: the host. */
rs_grpc_channel *rs_grpc_channel_new(rs_loop *loop, const char *target, SSL_CTX *tls, const char *server_name);
void rs_grpc_channel_set_tls(rs_grpc_channel *c, SSL_CTX *tls);                /* from the next connect on; drops an idle connection */
void rs_grpc_channel_free(rs_grpc_channel *c);           /* running calls end with RS_CANCELLED, callbacks included */

struct rs_grpc_stream_ops {
    void (*on_message)(void *ctx, rs_grpc_stream *s, rs_str message);
    /* Always last; s is gone after it. status->code RS_OK for a clean end; RS_UNAVAILABLE when the connection failed. */
    void (*on_close)(void *ctx, rs_grpc_stream *s, const struct rs_err *status);
};
/* metadata: name, value, name, value, ..., NULL. timeout_ms 0: none. Messages sent before the connection is up are queued. */
rs_grpc_stream *rs_grpc_stream_open(rs_grpc_channel *c, const char *path, const char *const *metadata, int timeout_ms,
                                    const struct rs_grpc_stream_ops *ops, void *ctx);
void rs_grpc_stream_send(rs_grpc_stream *s, rs_str message);
void rs_grpc_stream_half_close(rs_grpc_stream *s);
void rs_grpc_stream_cancel(rs_grpc_stream *s);           /* no callback follows */

/* One request, one answer; done exactly once: message valid when status->code is RS_OK. Returns a handle for cancel. */
rs_grpc_stream *rs_grpc_unary(rs_grpc_channel *c, const char *path, const char *const *metadata, rs_str request, int timeout_ms,
                              void (*done)(void *ctx, rs_str message, const struct rs_err *status), void *ctx);
