/* One HTTP/2 connection that carries gRPC messages, as server or client, on nghttp2. Pure: bytes in (feed), bytes out
 * (pull), events out (next); no sockets, no clock, no callbacks, so it may be used from anywhere between two calls.
 * Internal to src/grpc and its fuzz target. */
#pragma once
#include "base/buf.h"
#include "base/err.h"

typedef struct rs_h2 rs_h2;
typedef struct rs_h2_stream rs_h2_stream;

enum {
    RS_H2_HEADERS_MAX = 64 * 1024,             /* of one stream, in and out counted apart */
    RS_H2_STREAMS_MAX = 1000,                  /* at once, opened by the peer */
    RS_H2_WINDOW = 1024 * 1024,                /* per stream */
    RS_H2_WINDOW_CONNECTION = 4 * 1024 * 1024,
    RS_H2_QUEUE_MAX = 64 * 1024 * 1024,        /* messages waiting on one stream */
    RS_H2_FEED_MAX = 64 * 1024,                /* bytes to feed between two rounds of events */
};

enum rs_h2_event_kind {
    RS_H2_HEADERS,                 /* the peer's (first) header block is complete */
    RS_H2_MESSAGE,
    RS_H2_END,                     /* the peer half-closed after its last message */
    RS_H2_CLOSED,                  /* always last; the stream is gone at the next call of rs_h2_next */
};
struct rs_h2_event {
    enum rs_h2_event_kind kind;
    rs_h2_stream *stream;
    rs_str message;                /* RS_H2_MESSAGE; valid until the next call of rs_h2_next */
};

rs_h2 *rs_h2_new(bool server, size_t message_max);
void rs_h2_free(rs_h2 *h);                     /* streams without their CLOSED are dropped silently */

/* At most RS_H2_FEED_MAX bytes; then take all events before the next feed. -1: the connection is broken beyond a GOAWAY. */
RS_MUST_USE int rs_h2_feed(rs_h2 *h, rs_str bytes, struct rs_err *e);
bool rs_h2_next(rs_h2 *h, struct rs_h2_event *ret);
/* Next bytes for the peer, valid until the next call on h; empty when there are none now. Sending may cause events. */
rs_str rs_h2_pull(rs_h2 *h);
bool rs_h2_over(const rs_h2 *h);               /* nothing will be sent or received any more */
void rs_h2_abort(rs_h2 *h, const struct rs_err *why);      /* connection lost: every stream gets RS_H2_CLOSED */

void rs_h2_ping(rs_h2 *h);
uint64_t rs_h2_pongs(const rs_h2 *h);          /* answers seen so far */
/* Server, two steps so that no request is lost: announce, and when the peer has answered a ping, close to new streams. */
void rs_h2_drain(rs_h2 *h);
bool rs_h2_draining(const rs_h2 *h);           /* no new streams: drain was called, or the peer sent GOAWAY */
size_t rs_h2_streams(const rs_h2 *h);

struct rs_h2_field { const char *name, *value; };
/* Client: opens a stream. NULL when the connection takes no more. */
rs_h2_stream *rs_h2_request(rs_h2 *h, const struct rs_h2_field *fields, size_t n, void *user);
void rs_h2_half_close(rs_h2_stream *s);
/* Server: trailers after what is queued (headers and trailers in one when nothing was sent). */
void rs_h2_finish(rs_h2_stream *s, enum rs_code code, const char *message);
/* Both. Nothing happens on a stream that is closed or finished. */
void rs_h2_send(rs_h2_stream *s, rs_str message);
size_t rs_h2_pending(const rs_h2_stream *s);
void rs_h2_reset(rs_h2_stream *s);             /* CANCEL; nothing more is delivered but CLOSED */

const char *rs_h2_field(const rs_h2_stream *s, const char *name);     /* headers and trailers received; NULL when absent */
void rs_h2_set_user(rs_h2_stream *s, void *user);
void *rs_h2_user(const rs_h2_stream *s);
/* After RS_H2_CLOSED. Client: the call's status (RS_OK or what went wrong). Server: RS_OK when the answer went out whole. */
void rs_h2_status(const rs_h2_stream *s, struct rs_err *ret);
