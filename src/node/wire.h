/* An upgraded connection of kubectl and its kin: several byte channels on one connection. Three framings (facts
 * kubernetes-api 3.12, 3.13): SPDY/3.1, SPDY/3.1 inside WebSocket messages, WebSocket messages that begin with the number of
 * their channel. Loop thread only. */
#pragma once
#include "http/server.h"

typedef struct rs_wire rs_wire;
struct rs_wire_ops {
    /* SPDY: the peer opened a channel with these headers. */
    void (*on_channel)(void *ctx, rs_wire *w, uint32_t id, const char *const *names, const char *const *values, size_t n);
    void (*on_data)(void *ctx, rs_wire *w, uint32_t id, rs_str data, bool fin);
    void (*on_reset)(void *ctx, rs_wire *w, uint32_t id);
    void (*on_drained)(void *ctx, rs_wire *w);
    void (*on_close)(void *ctx, rs_wire *w);           /* the connection is over; last. Free it now or later */
};
/* What one kind of request speaks, best first; NULL-terminated. */
struct rs_wire_protocols { const char *const *websocket, *const *spdy; };

/* Answers 101 and takes x over, or answers 400 and returns NULL. */
rs_wire *rs_wire_accept(rs_http_exchange *x, const struct rs_wire_protocols *p, const struct rs_wire_ops *ops, void *ctx);
/* True when channels are fixed numbers (no on_channel). */
bool rs_wire_numbered(const rs_wire *w);
void rs_wire_send(rs_wire *w, uint32_t id, rs_str data, bool fin);
void rs_wire_reset(rs_wire *w, uint32_t id);
size_t rs_wire_pending(const rs_wire *w);
void rs_wire_pause(rs_wire *w);
void rs_wire_resume(rs_wire *w);
void rs_wire_close(rs_wire *w);                        /* orderly: on_close follows */
void rs_wire_free(rs_wire *w);                         /* at once, also inside callbacks; NULL is a no-op */
