/* SPDY/3.1 framing as kubectl's exec and port-forward use it (facts kubernetes-api 3.12, 3.13). A pure core: bytes in,
 * callbacks and bytes out, so that it runs over a plain upgraded stream and inside WebSocket messages alike. Server side. */
#pragma once
#include "base/buf.h"
#include "base/err.h"

typedef struct rs_spdy rs_spdy;
struct rs_spdy_ops {
    /* A stream was opened; names in headers are lower case. Answer with rs_spdy_accept or rs_spdy_reset. */
    void (*on_stream)(void *ctx, rs_spdy *s, uint32_t id, const char *const *names, const char *const *values, size_t n);
    void (*on_data)(void *ctx, rs_spdy *s, uint32_t id, rs_str data, bool fin);
    void (*on_reset)(void *ctx, rs_spdy *s, uint32_t id);
    void (*on_output)(void *ctx, rs_spdy *s, rs_str bytes);      /* bytes for the peer */
    void (*on_goaway)(void *ctx, rs_spdy *s);
};
rs_spdy *rs_spdy_new(const struct rs_spdy_ops *ops, void *ctx);
void rs_spdy_free(rs_spdy *s);
/* Feeds bytes; RS_INVALID or RS_EXHAUSTED on a broken or oversized frame (the connection is to be closed). */
RS_MUST_USE int rs_spdy_input(rs_spdy *s, rs_str bytes, struct rs_err *e);
void rs_spdy_accept(rs_spdy *s, uint32_t id);                    /* SYN_REPLY */
void rs_spdy_reset(rs_spdy *s, uint32_t id, uint32_t status);
void rs_spdy_data(rs_spdy *s, uint32_t id, rs_str data, bool fin);
