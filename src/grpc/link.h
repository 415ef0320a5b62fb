/* Ties an rs_h2 to an rs_stream: moves bytes both ways with bounded buffers, hands out events, keeps the connection alive
 * with pings (30 s, answer within 10 s). Internal to src/grpc. Loop thread only. */
#pragma once
#include "grpc/h2.h"
#include "io/stream.h"

typedef struct rs_link rs_link;

struct rs_link_ops {
    void (*on_open)(void *ctx, rs_link *l);                            /* usable; not called for adopted streams; may be NULL */
    void (*on_event)(void *ctx, rs_link *l, const struct rs_h2_event *ev);
    /* After the CLOSED of every stream; the link frees itself afterwards. */
    void (*on_down)(void *ctx, rs_link *l, const struct rs_err *why);
};

/* stream: open, or still connecting or handshaking (then on_open tells). */
rs_link *rs_link_new(rs_loop *loop, bool server, size_t message_max, const struct rs_link_ops *ops, void *ctx);
void rs_link_attach(rs_link *l, rs_stream *stream);                    /* once; l owns it */
const struct rs_stream_ops *rs_link_stream_ops(void);                  /* with the link as ctx */
void rs_link_start(rs_link *l, rs_str first_bytes);                    /* an open stream was attached */
rs_h2 *rs_link_h2(rs_link *l);
rs_stream *rs_link_stream(rs_link *l);
void rs_link_kick(rs_link *l);                                         /* something was submitted on the h2 */
void rs_link_close(rs_link *l, const struct rs_err *why);              /* now: events, on_down, gone */
/* Closes once the last stream ended and everything was written. */
void rs_link_close_when_idle(rs_link *l);
