#include "http/websocket.h"

#include <openssl/evp.h>
#include <wslay/wslay.h>

#include "base/random.h"

enum { MESSAGE_MAX = 1024 * 1024 };

struct rs_websocket {
    rs_stream *stream;
    wslay_event_context_ptr ctx;
    const struct rs_websocket_ops *ops;
    void *user;
    rs_str in;                         /* being read by wslay */
    int busy;                          /* calls on the stack that still need w */
    bool freed, paused, closing;
    struct rs_err why;                 /* for on_close, when closing */
};

static void enter(rs_websocket *w)
{
    w->busy++;
}

static void leave(rs_websocket *w)
{
    if (--w->busy > 0 || !w->freed)
        return;
    wslay_event_context_free(w->ctx);
    free(w);
}

void rs_websocket_free(rs_websocket *w)
{
    if (!w || w->freed)
        return;
    w->freed = true;
    rs_stream_free(rs_take(w->stream));
    enter(w);
    leave(w);
}

char *rs_websocket_accept_key(const char *key)
{
    RS_AUTO(rs_chars) *text = rs_printf("%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    rs_assert(EVP_Digest(text, strlen(text), hash, &n, EVP_sha1(), NULL) == 1);
    return rs_base64(hash, n);
}

/* ---- wslay's side ---- */

static ssize_t give_bytes(wslay_event_context_ptr ctx, uint8_t *buf, size_t n, int flags, void *user)
{
    rs_websocket *w = user;
    if (w->in.n == 0 || w->freed || w->paused) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    if (n > w->in.n)
        n = w->in.n;
    memcpy(buf, w->in.p, n);
    w->in.p += n;
    w->in.n -= n;
    return (ssize_t)n;
}

static ssize_t take_bytes(wslay_event_context_ptr ctx, const uint8_t *p, size_t n, int flags, void *user)
{
    rs_websocket *w = user;
    if (w->stream)
        rs_stream_write(w->stream, p, n);
    return (ssize_t)n;
}

static int make_mask(wslay_event_context_ptr ctx, uint8_t *buf, size_t n, void *user)
{
    rs_random(buf, n);
    return 0;
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m, void *user)
{
    rs_websocket *w = user;
    if (w->freed || w->closing || (m->opcode != WSLAY_TEXT_FRAME && m->opcode != WSLAY_BINARY_FRAME))
        return;
    w->ops->on_message(w->user, w, (rs_str){ (const char *)m->msg, m->msg_length }, m->opcode == WSLAY_BINARY_FRAME);
}

static void flush(rs_websocket *w)
{
    while (!w->freed && wslay_event_want_write(w->ctx))
        if (wslay_event_send(w->ctx) != 0)
            break;
}

/* What was said last is on its way: on_close follows when it is gone. */
static void finish(rs_websocket *w)
{
    if (w->freed || w->closing)
        return;
    w->closing = true;
    rs_stream_close_after_flush(w->stream);
}

/* wslay stops reading after a close frame and after answering a broken or oversized frame with one. */
static void after_read(rs_websocket *w)
{
    flush(w);
    if (w->freed || w->closing || wslay_event_get_read_enabled(w->ctx))
        return;
    if (!wslay_event_get_close_received(w->ctx))
        (void)RS_FAIL(&w->why, RS_INVALID, "%s: WebSocket closed with code %u", rs_stream_peer(w->stream), wslay_event_get_status_code_sent(w->ctx));
    finish(w);
}

/* ---- the stream's side ---- */

static size_t stream_data(void *ctx, rs_stream *s, rs_str data)
{
    rs_websocket *w = ctx;
    enter(w);
    w->in = data;
    int rc = wslay_event_recv(w->ctx);
    size_t used = data.n - w->in.n;
    w->in = (rs_str){ NULL, 0 };
    if (rc != 0 && !w->freed) {
        (void)RS_FAIL(&w->why, RS_INVALID, "%s: WebSocket reading failed (%d)", rs_stream_peer(s), rc);
        finish(w);
    }
    if (!w->freed)
        after_read(w);
    if (w->freed || w->closing)
        used = data.n;
    leave(w);
    return used;
}

static void stream_drained(void *ctx, rs_stream *s)
{
    rs_websocket *w = ctx;
    if (w->ops->on_drained)
        w->ops->on_drained(w->user, w);
}

static void stream_closed(void *ctx, rs_stream *s, const struct rs_err *why)
{
    rs_websocket *w = ctx;
    struct rs_err e = w->closing ? w->why : *why;
    if (!w->closing && e.code == RS_OK)
        (void)RS_FAIL(&e, RS_UNAVAILABLE, "%s: WebSocket ended without a close frame", rs_stream_peer(s));
    w->closing = true;
    enter(w);
    w->ops->on_close(w->user, w, &e);
    leave(w);
}

static const struct rs_stream_ops stream_ops = { .on_data = stream_data, .on_drained = stream_drained, .on_close = stream_closed };

rs_websocket *rs_websocket_new(rs_stream *s, bool server, rs_str rest, const struct rs_websocket_ops *ops, void *ctx)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = give_bytes, .send_callback = take_bytes, .genmask_callback = make_mask, .on_msg_recv_callback = on_message,
    };
    rs_websocket *w = rs_new(rs_websocket);
    w->stream = s;
    w->ops = ops;
    w->user = ctx;
    rs_assert((server ? wslay_event_context_server_init : wslay_event_context_client_init)(&w->ctx, &callbacks, w) == 0);
    wslay_event_config_set_max_recv_msg_length(w->ctx, MESSAGE_MAX);
    rs_stream_set_ops(s, &stream_ops, w);
    rs_stream_unread(s, rest.p, rest.n);
    return w;
}

/* ---- the owner's calls ---- */

void rs_websocket_send(rs_websocket *w, const void *p, size_t n, bool binary)
{
    struct wslay_event_msg m = { .opcode = binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME, .msg = p, .msg_length = n };
    if (w->freed || w->closing || wslay_event_queue_msg(w->ctx, &m) != 0)
        return;
    if (!w->busy)
        flush(w);                      /* else after wslay has returned */
}

size_t rs_websocket_pending(const rs_websocket *w)
{
    return (w->stream ? rs_stream_pending(w->stream) : 0) + wslay_event_get_queued_msg_length(w->ctx);
}

void rs_websocket_pause(rs_websocket *w)
{
    w->paused = true;
    if (w->stream)
        rs_stream_pause(w->stream);
}

void rs_websocket_resume(rs_websocket *w)
{
    w->paused = false;
    if (w->stream)
        rs_stream_resume(w->stream);
}

void rs_websocket_close(rs_websocket *w, int code)
{
    if (w->freed || w->closing)
        return;
    wslay_event_queue_close(w->ctx, (uint16_t)code, NULL, 0);
    flush(w);
    finish(w);
}
