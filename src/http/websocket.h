/* WebSocket (RFC 6455) over an rs_stream that was upgraded, on wslay. Messages are bounded (1 MiB). Loop thread only. */
#pragma once
#include "io/stream.h"

typedef struct rs_websocket rs_websocket;

struct rs_websocket_ops {
    void (*on_message)(void *ctx, rs_websocket *w, rs_str message, bool binary);
    void (*on_close)(void *ctx, rs_websocket *w, const struct rs_err *why);    /* RS_OK after a close frame; free w now or later */
    void (*on_drained)(void *ctx, rs_websocket *w);                            /* may be NULL */
};
/* Value of Sec-WebSocket-Accept for a key; malloc'ed. */
char *rs_websocket_accept_key(const char *key);
/* Takes over s; rest are bytes read past the handshake. Pings are answered. */
rs_websocket *rs_websocket_new(rs_stream *s, bool server, rs_str rest, const struct rs_websocket_ops *ops, void *ctx);
void rs_websocket_send(rs_websocket *w, const void *p, size_t n, bool binary);
size_t rs_websocket_pending(const rs_websocket *w);
void rs_websocket_pause(rs_websocket *w);
void rs_websocket_resume(rs_websocket *w);
void rs_websocket_close(rs_websocket *w, int code);      /* sends a close frame, flushes, then on_close */
void rs_websocket_free(rs_websocket *w);
