#include "node/wire.h"
#include <strings.h>
#include "http/spdy.h"
#include "http/websocket.h"

enum { CHANNEL_CLOSE = 255, CHANNELS = 64 };

struct rs_wire {
    struct rs_wire_ops ops;
    void *ctx;
    rs_stream *stream;                 /* plain SPDY */
    rs_websocket *ws;
    rs_spdy *spdy;
    bool v5;                           /* knows the message that closes a channel */
    bool closing, over, freed;
    unsigned busy;
};

static void free_now(rs_wire *w)
{
    rs_stream_free(w->stream);
    rs_websocket_free(w->ws);
    rs_spdy_free(w->spdy);
    free(w);
}

void rs_wire_free(rs_wire *w)
{
    if (!w)
        return;
    w->freed = true;
    if (w->busy == 0)
        free_now(w);
}

/* Callbacks of the layers below run between enter and leave, so that freeing inside them waits. */
static void enter(rs_wire *w) { w->busy++; }

static void leave(rs_wire *w)
{
    if (--w->busy == 0 && w->freed)
        free_now(w);
}

static void end(rs_wire *w)
{
    if (w->over || w->freed)
        return;
    w->over = true;
    w->ops.on_close(w->ctx, w);
}

/* ---- SPDY ---- */

static void spdy_stream(void *ctx, rs_spdy *s, uint32_t id, const char *const *names, const char *const *values, size_t n)
{
    rs_wire *w = ctx;

    if (w->freed || w->over)
        return;
    rs_spdy_accept(s, id);
    w->ops.on_channel(w->ctx, w, id, names, values, n);
}

static void spdy_data(void *ctx, rs_spdy *s, uint32_t id, rs_str data, bool fin)
{
    rs_wire *w = ctx;

    if (!w->freed && !w->over)
        w->ops.on_data(w->ctx, w, id, data, fin);
}

static void spdy_reset(void *ctx, rs_spdy *s, uint32_t id)
{
    rs_wire *w = ctx;

    if (!w->freed && !w->over && w->ops.on_reset)
        w->ops.on_reset(w->ctx, w, id);
}

static void spdy_output(void *ctx, rs_spdy *s, rs_str bytes)
{
    rs_wire *w = ctx;

    if (w->ws)
        rs_websocket_send(w->ws, bytes.p, bytes.n, true);
    else if (w->stream)
        rs_stream_write(w->stream, bytes.p, bytes.n);
}

static void spdy_goaway(void *ctx, rs_spdy *s) { }

static const struct rs_spdy_ops spdy_ops = { spdy_stream, spdy_data, spdy_reset, spdy_output, spdy_goaway };

static void spdy_input(rs_wire *w, rs_str bytes)
{
    struct rs_err e;

    if (rs_spdy_input(w->spdy, bytes, &e) < 0)
        end(w);
}

/* ---- plain stream ---- */

static size_t stream_data(void *ctx, rs_stream *s, rs_str data)
{
    rs_wire *w = ctx;

    enter(w);
    spdy_input(w, data);
    leave(w);
    return data.n;
}

static void stream_drained(void *ctx, rs_stream *s)
{
    rs_wire *w = ctx;

    enter(w);
    if (!w->over && w->ops.on_drained)
        w->ops.on_drained(w->ctx, w);
    leave(w);
}

static void stream_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    rs_wire *w = ctx;

    enter(w);
    end(w);
    leave(w);
}

static void stream_eof(void *ctx, rs_stream *s)
{
    rs_wire *w = ctx;

    enter(w);
    end(w);
    leave(w);
}

static const struct rs_stream_ops stream_ops = { .on_data = stream_data, .on_eof = stream_eof, .on_drained = stream_drained, .on_close = stream_close };

/* ---- WebSocket ---- */

static void ws_message(void *ctx, rs_websocket *ws, rs_str m, bool binary)
{
    rs_wire *w = ctx;

    enter(w);
    if (w->spdy) {
        spdy_input(w, m);
    } else if (m.n > 0 && !w->over) {
        uint32_t channel = (unsigned char)m.p[0];
        if (w->v5 && channel == CHANNEL_CLOSE && m.n >= 2)
            w->ops.on_data(w->ctx, w, (unsigned char)m.p[1], RS_STR(""), true);
        else if (channel < CHANNELS)
            w->ops.on_data(w->ctx, w, channel, (rs_str){ m.p + 1, m.n - 1 }, false);
    }
    leave(w);
}

static void ws_close(void *ctx, rs_websocket *ws, const struct rs_err *why)
{
    rs_wire *w = ctx;

    enter(w);
    end(w);
    leave(w);
}

static void ws_drained(void *ctx, rs_websocket *ws)
{
    rs_wire *w = ctx;

    enter(w);
    if (!w->over && w->ops.on_drained)
        w->ops.on_drained(w->ctx, w);
    leave(w);
}

static const struct rs_websocket_ops ws_ops = { ws_message, ws_close, ws_drained };

/* ---- handshake ---- */

/* The first of ours that the client offers in one or several headers of that name. */
static const char *choose(const struct rs_http_headers *h, const char *header, const char *const *ours)
{
    for (; ours && *ours; ours++)
        for (size_t i = 0; i < h->n; i++) {
            if (!rs_streq(h->v[i].name, header))
                continue;
            char **offered = rs_split(h->v[i].value, ',');
            bool found = false;
            for (char **o = offered; *o; o++)
                found |= rs_str_is(rs_str_trim(rs_str_of(*o)), *ours);
            rs_strv_free(offered);
            if (found)
                return *ours;
        }
    return NULL;
}

static void refuse(rs_http_exchange *x, const char *text)
{
    RS_AUTO(rs_chars) *body = rs_printf("{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"%s\",\"reason\":\"BadRequest\",\"code\":400}", text);

    rs_http_reply(x, 400, "application/json", rs_str_of(body));
}

static rs_wire *accept_websocket(rs_http_exchange *x, const char *proto, rs_wire *w)
{
    const char *key = rs_http_header(x, "sec-websocket-key");
    RS_AUTO(rs_chars) *accept = rs_websocket_accept_key(key ? key : ""), *rest = NULL;
    size_t n;

    rs_http_add_header(x, "Sec-WebSocket-Accept", accept);
    rs_http_add_header(x, "Sec-WebSocket-Protocol", proto);
    if (rs_starts(proto, "SPDY/3.1+"))
        w->spdy = rs_spdy_new(&spdy_ops, w);
    w->v5 = rs_starts(proto, "v5.");
    rs_stream *s = rs_http_upgrade(x, "websocket", &rest, &n);
    if (!s) {
        free_now(w);
        return NULL;
    }
    w->ws = rs_websocket_new(s, true, (rs_str){ rest ? rest : "", n }, &ws_ops, w);
    return w;
}

static rs_wire *accept_spdy(rs_http_exchange *x, const char *proto, rs_wire *w)
{
    RS_AUTO(rs_chars) *rest = NULL;
    size_t n;

    rs_http_add_header(x, "X-Stream-Protocol-Version", proto);
    w->spdy = rs_spdy_new(&spdy_ops, w);
    w->stream = rs_http_upgrade(x, "SPDY/3.1", &rest, &n);
    if (!w->stream) {
        free_now(w);
        return NULL;
    }
    rs_stream_set_ops(w->stream, &stream_ops, w);
    rs_stream_unread(w->stream, rest, n);
    return w;
}

rs_wire *rs_wire_accept(rs_http_exchange *x, const struct rs_wire_protocols *p, const struct rs_wire_ops *ops, void *ctx)
{
    const struct rs_http_headers *h = rs_http_request_headers(x);
    bool ws = rs_http_headers_has_token(h, "upgrade", "websocket");
    const char *proto = ws ? choose(h, "sec-websocket-protocol", p->websocket) : choose(h, "x-stream-protocol-version", p->spdy);

    if (!rs_http_headers_has_token(h, "connection", "upgrade") || (!ws && !rs_http_headers_has_token(h, "upgrade", "SPDY/3.1"))) {
        refuse(x, "you must specify at least 1 upgrade header: SPDY/3.1 or websocket");
        return NULL;
    }
    if (!proto || (ws && !rs_http_header(x, "sec-websocket-key"))) {
        refuse(x, "none of the offered protocols is spoken here");
        return NULL;
    }
    rs_wire *w = rs_new(rs_wire);
    w->ops = *ops;
    w->ctx = ctx;
    return ws ? accept_websocket(x, proto, w) : accept_spdy(x, proto, w);
}

/* ---- use ---- */

bool rs_wire_numbered(const rs_wire *w) { return !w->spdy; }

void rs_wire_send(rs_wire *w, uint32_t id, rs_str data, bool fin)
{
    if (w->over || w->freed)
        return;
    if (w->spdy) {
        rs_spdy_data(w->spdy, id, data, fin);
        return;
    }
    if (data.n > 0) {
        char *message = rs_alloc(data.n + 1);
        message[0] = (char)id;
        memcpy(message + 1, data.p, data.n);
        rs_websocket_send(w->ws, message, data.n + 1, true);
        free(message);
    }
    if (fin && w->v5)
        rs_websocket_send(w->ws, (const char[]){ (char)CHANNEL_CLOSE, (char)id }, 2, true);
}

void rs_wire_reset(rs_wire *w, uint32_t id)
{
    if (w->spdy && !w->over && !w->freed)
        rs_spdy_reset(w->spdy, id, 5);
}

size_t rs_wire_pending(const rs_wire *w)
{
    return w->over ? 0 : w->ws ? rs_websocket_pending(w->ws) : rs_stream_pending(w->stream);
}

void rs_wire_pause(rs_wire *w)
{
    if (w->ws)
        rs_websocket_pause(w->ws);
    else
        rs_stream_pause(w->stream);
}

void rs_wire_resume(rs_wire *w)
{
    if (w->over)
        return;
    if (w->ws)
        rs_websocket_resume(w->ws);
    else
        rs_stream_resume(w->stream);
}

/* With SPDY the client ends the connection once it has read everything: closing first could cut what is on its way. */
void rs_wire_close(rs_wire *w)
{
    if (w->closing || w->over)
        return;
    w->closing = true;
    if (w->ws)
        rs_websocket_close(w->ws, 1000);
    else
        rs_stream_shutdown(w->stream);
}
