#include "grpc/client.h"

#include <utlist.h>

#include "base/random.h"
#include "base/time.h"
#include "grpc/link.h"
#include "grpc/wire.h"
#include "io/resolve.h"

enum {
    ANSWER_MAX = 64 * 1024 * 1024, CONNECT_MS = 5000, BACKOFF_MIN_MS = 100, BACKOFF_MAX_MS = 5000,
    METADATA_MAX = 24,             /* pairs */
};

enum state { IDLE, WAITING, CONNECTING, READY };

struct conn {
    rs_grpc_channel *channel;
    rs_link *link;
    struct conn *prev, *next;
};

struct rs_grpc_channel {
    rs_loop *loop;
    int refs;                      /* owner, a running resolve, code on the stack that calls out */
    bool freed;
    char *address, *host, *authority, *server_name;      /* address: of a Unix socket, else NULL */
    int port;
    SSL_CTX *tls;
    enum state state;
    struct conn *current, *conns;  /* conns: all, those that drain included */
    rs_grpc_stream *waiting;
    rs_timer *retry;
    int64_t not_before, backoff;
};

struct rs_grpc_stream {
    rs_grpc_channel *channel;
    struct conn *conn;
    rs_h2_stream *h2;              /* NULL while waiting for a connection */
    struct rs_grpc_stream_ops ops;
    void *ctx;
    rs_timer *deadline;
    bool closing, doomed;
    struct unary *unary;           /* context of rs_grpc_unary, or NULL */
    rs_grpc_stream *prev, *next;   /* while waiting */
    char *path, **metadata;
    int timeout_ms;
    struct rs_buf queue;           /* framed messages while waiting */
    bool half_closed;
};

struct unary {
    void (*done)(void *ctx, rs_str message, const struct rs_err *status);
    void *ctx;
    char *message;
    size_t n;
    bool answered;
};

static void connect_soon(rs_grpc_channel *c);

static void channel_unref(rs_grpc_channel *c)
{
    if (--c->refs > 0)
        return;
    rs_timer_free(c->retry);
    SSL_CTX_free(c->tls);
    free(c->address);
    free(c->host);
    free(c->authority);
    free(c->server_name);
    free(c);
}

/* ---- streams ---- */

static void stream_free(rs_grpc_stream *s)
{
    rs_timer_free(s->deadline);
    rs_buf_done(&s->queue);
    rs_strv_free(s->metadata);
    if (s->unary)
        free(s->unary->message);
    free(s->unary);
    free(s->path);
    free(s);
}

/* Leaves the channel: no list and no h2 stream knows s any more. */
static void stream_detach(rs_grpc_stream *s)
{
    if (s->h2) {
        rs_h2_set_user(s->h2, NULL);
        rs_h2_reset(s->h2);
        rs_link_kick(s->conn->link);
    } else {
        DL_DELETE(s->channel->waiting, s);
    }
    s->h2 = NULL;
}

static void stream_end(rs_grpc_stream *s, const struct rs_err *status)
{
    s->closing = true;
    rs_timer_cancel(s->deadline);
    s->ops.on_close(s->ctx, s, status);
    stream_free(s);
}

static void on_deadline(void *ctx)
{
    rs_grpc_stream *s = ctx;
    struct rs_err e;
    (void)RS_FAIL(&e, RS_DEADLINE, "%s: no answer in %d ms", s->path, s->timeout_ms);
    stream_detach(s);
    stream_end(s, &e);
}

static void stream_bind(rs_grpc_stream *s, struct conn *conn)
{
    char timeout[16];
    rs_grpc_channel *c = s->channel;
    struct rs_h2_field f[8 + METADATA_MAX];
    size_t n = 0;
    f[n++] = (struct rs_h2_field){ ":method", "POST" };
    f[n++] = (struct rs_h2_field){ ":scheme", c->tls ? "https" : "http" };
    f[n++] = (struct rs_h2_field){ ":path", s->path };
    f[n++] = (struct rs_h2_field){ ":authority", c->authority };
    f[n++] = (struct rs_h2_field){ "te", "trailers" };
    f[n++] = (struct rs_h2_field){ "content-type", "application/grpc" };
    f[n++] = (struct rs_h2_field){ "user-agent", "rootshift/" RS_VERSION };
    if (s->timeout_ms > 0) {
        rs_grpc_timeout_text(s->timeout_ms, timeout);
        f[n++] = (struct rs_h2_field){ "grpc-timeout", timeout };
    }
    for (char **m = s->metadata; *m; m += 2)
        f[n++] = (struct rs_h2_field){ m[0], m[1] };
    DL_DELETE(c->waiting, s);
    s->conn = conn;
    s->h2 = rs_h2_request(rs_link_h2(conn->link), f, n, s);
    rs_assert(s->h2);              /* the caller looked whether the connection takes streams */
    rs_str rest = rs_buf_str(&s->queue), message;
    struct rs_err e;
    while (rs_grpc_frame_peek(rest, RS_H2_QUEUE_MAX, &message, &e) > 0) {
        rs_h2_send(s->h2, message);
        rest.p += RS_GRPC_PREFIX + message.n;
        rest.n -= RS_GRPC_PREFIX + message.n;
    }
    rs_buf_done(&s->queue);
    if (s->half_closed)
        rs_h2_half_close(s->h2);
    rs_link_kick(conn->link);
}

static bool usable(const rs_grpc_channel *c)
{
    return c->state == READY && !rs_h2_draining(rs_link_h2(c->current->link));
}

static void bind_waiting(rs_grpc_channel *c)
{
    while (c->waiting && usable(c))
        stream_bind(c->waiting, c->current);
}

static void fail_waiting(rs_grpc_channel *c, const struct rs_err *why)
{
    /* Only those that wait now, which are the first ones: a callback may open the next one or cancel another. */
    rs_grpc_stream *s;
    DL_FOREACH(c->waiting, s)
        s->doomed = true;
    c->refs++;
    while ((s = c->waiting) && s->doomed) {
        DL_DELETE(c->waiting, s);
        stream_end(s, why);
    }
    channel_unref(c);
}

/* ---- the connection ---- */

static void back_off(rs_grpc_channel *c)
{
    c->not_before = rs_mono_ms() + c->backoff / 2 + (int64_t)rs_random_below((uint64_t)c->backoff);
    c->backoff = c->backoff * 2 < BACKOFF_MAX_MS ? c->backoff * 2 : BACKOFF_MAX_MS;
}

static void on_open(void *ctx, rs_link *l)
{
    struct conn *conn = ctx;
    conn->channel->state = READY;
    bind_waiting(conn->channel);
}

/* A connection that drains is left to its calls; the next call gets another one. */
static void look_for_goaway(struct conn *conn)
{
    rs_grpc_channel *c = conn->channel;
    if (c->current != conn || c->state != READY || !rs_h2_draining(rs_link_h2(conn->link)))
        return;
    c->current = NULL;
    c->state = IDLE;
    rs_link_close_when_idle(conn->link);
    if (c->waiting)
        connect_soon(c);
}

static void on_event(void *ctx, rs_link *l, const struct rs_h2_event *ev)
{
    struct conn *conn = ctx;
    rs_grpc_stream *s = rs_h2_user(ev->stream);
    if (ev->kind == RS_H2_HEADERS)
        conn->channel->backoff = BACKOFF_MIN_MS;
    if (!s)
        return;
    if (ev->kind == RS_H2_MESSAGE) {
        s->ops.on_message(s->ctx, s, ev->message);
    } else if (ev->kind == RS_H2_CLOSED) {
        struct rs_err status;
        rs_h2_status(ev->stream, &status);
        s->h2 = NULL;
        stream_end(s, &status);
    }
}

static void on_down(void *ctx, rs_link *l, const struct rs_err *why)
{
    struct conn *conn = ctx;
    rs_grpc_channel *c = conn->channel;
    DL_DELETE(c->conns, conn);
    bool was_current = c->current == conn, was_ready = c->state == READY, drained = rs_h2_draining(rs_link_h2(l));
    free(conn);
    if (!was_current || c->freed)
        return;
    c->current = NULL;
    c->state = IDLE;
    if (!was_ready || !drained)
        back_off(c);
    if (!was_ready) {
        struct rs_err e = *why;
        if (e.code == RS_OK)
            (void)RS_FAIL(&e, RS_UNAVAILABLE, "connection closed");
        e.code = RS_UNAVAILABLE;
        rs_err_wrap(&e, "connect to %s", c->authority);
        fail_waiting(c, &e);
    } else if (c->waiting) {
        connect_soon(c);
    }
}

static const struct rs_link_ops link_ops = { .on_open = on_open, .on_event = on_event, .on_down = on_down };

static void connect_to(rs_grpc_channel *c, const char *address)
{
    struct conn *conn = rs_new(struct conn);
    conn->channel = c;
    conn->link = rs_link_new(c->loop, false, ANSWER_MAX, &link_ops, conn);
    DL_APPEND(c->conns, conn);
    c->current = conn;
    rs_link_attach(conn->link, rs_stream_connect(c->loop, address, c->tls, c->server_name, CONNECT_MS, rs_link_stream_ops(), conn->link));
}

static void on_resolved(void *ctx, const char *address, const struct rs_err *why)
{
    rs_grpc_channel *c = ctx;
    if (!c->freed && address) {
        connect_to(c, address);
    } else if (!c->freed) {
        struct rs_err e = *why;
        e.code = RS_UNAVAILABLE;
        c->state = IDLE;
        back_off(c);
        fail_waiting(c, &e);
    }
    channel_unref(c);
}

static void on_retry(void *ctx)
{
    rs_grpc_channel *c = ctx;
    c->state = CONNECTING;
    if (c->address) {
        connect_to(c, c->address);
    } else {
        c->refs++;
        rs_resolve(c->loop, c->host, c->port, on_resolved, c);
    }
}

static void connect_soon(rs_grpc_channel *c)
{
    if (c->state != IDLE || c->freed)
        return;
    int64_t wait = c->not_before - rs_mono_ms();
    c->state = WAITING;
    rs_timer_set(c->retry, wait > 0 ? wait : 0);
}

/* ---- the channel ---- */

rs_grpc_channel *rs_grpc_channel_new(rs_loop *loop, const char *target, SSL_CTX *tls, const char *server_name)
{
    rs_grpc_channel *c = rs_new(rs_grpc_channel);
    c->loop = loop;
    c->refs = 1;
    c->backoff = BACKOFF_MIN_MS;
    c->retry = rs_timer_new(loop, on_retry, c);
    const char *colon = strrchr(target, ':');
    if (rs_starts(target, "unix:")) {
        c->address = rs_strdup(target);
        c->authority = rs_strdup(server_name ? server_name : "localhost");
    } else {
        c->host = colon ? rs_strndup(target, (size_t)(colon - target)) : rs_strdup(target);
        c->port = colon ? atoi(colon + 1) : tls ? 443 : 80;
        c->authority = rs_strdup(server_name ? server_name : target);
    }
    c->server_name = rs_strdup(server_name ? server_name : c->host);
    rs_grpc_channel_set_tls(c, tls);
    return c;
}

void rs_grpc_channel_set_tls(rs_grpc_channel *c, SSL_CTX *tls)
{
    if (tls)
        SSL_CTX_up_ref(tls);
    SSL_CTX_free(c->tls);
    c->tls = tls;
    if (c->state == READY && rs_h2_streams(rs_link_h2(c->current->link)) == 0) {
        struct conn *old = c->current;
        c->current = NULL;
        c->state = IDLE;
        rs_link_close_when_idle(old->link);
    }
}

void rs_grpc_channel_free(rs_grpc_channel *c)
{
    if (!c)
        return;
    struct rs_err why;
    (void)RS_FAIL(&why, RS_CANCELLED, "channel closed");
    c->freed = true;
    rs_timer_cancel(c->retry);
    while (c->conns)
        rs_link_close(c->conns->link, &why);
    while (c->waiting)
        fail_waiting(c, &why);
    channel_unref(c);
}

rs_grpc_stream *rs_grpc_stream_open(rs_grpc_channel *c, const char *path, const char *const *metadata, int timeout_ms,
                                    const struct rs_grpc_stream_ops *ops, void *ctx)
{
    rs_assert(!c->freed);
    rs_grpc_stream *s = rs_new(rs_grpc_stream);
    size_t n = 0;
    while (metadata && metadata[n])
        n++;
    rs_assert(n % 2 == 0 && n / 2 <= METADATA_MAX);
    s->metadata = rs_new_array(char *, n + 1);
    for (size_t i = 0; i < n; i++)
        s->metadata[i] = rs_strdup(metadata[i]);
    s->channel = c;
    s->path = rs_strdup(path);
    s->ops = *ops;
    s->ctx = ctx;
    s->timeout_ms = timeout_ms;
    rs_buf_init(&s->queue, RS_H2_QUEUE_MAX);
    s->deadline = rs_timer_new(c->loop, on_deadline, s);
    if (timeout_ms > 0)
        rs_timer_set(s->deadline, timeout_ms);
    DL_APPEND(c->waiting, s);
    if (c->current)
        look_for_goaway(c->current);
    bind_waiting(c);
    if (!s->h2)
        connect_soon(c);
    return s;
}

void rs_grpc_stream_send(rs_grpc_stream *s, rs_str message)
{
    if (s->closing)
        return;
    if (!s->h2) {
        rs_grpc_frame_add(&s->queue, message);
        rs_assert(!s->queue.over);
        return;
    }
    rs_h2_send(s->h2, message);
    rs_link_kick(s->conn->link);
}

void rs_grpc_stream_half_close(rs_grpc_stream *s)
{
    s->half_closed = true;
    if (s->h2) {
        rs_h2_half_close(s->h2);
        rs_link_kick(s->conn->link);
    }
}

void rs_grpc_stream_cancel(rs_grpc_stream *s)
{
    if (!s || s->closing)
        return;
    stream_detach(s);
    stream_free(s);
}

/* ---- unary calls ---- */

static void unary_message(void *ctx, rs_grpc_stream *s, rs_str message)
{
    struct unary *u = ctx;
    if (u->answered)
        return;
    u->answered = true;
    u->message = rs_strndup(message.p, message.n);
    u->n = message.n;
}

static void unary_close(void *ctx, rs_grpc_stream *s, const struct rs_err *status)
{
    struct unary *u = ctx;
    struct rs_err e = *status;
    if (e.code == RS_OK && !u->answered)
        (void)RS_FAIL(&e, RS_INTERNAL, "%s: answer without a message", s->path);
    u->done(u->ctx, (rs_str){ u->message ? u->message : "", u->n }, &e);
}

rs_grpc_stream *rs_grpc_unary(rs_grpc_channel *c, const char *path, const char *const *metadata, rs_str request, int timeout_ms,
                              void (*done)(void *ctx, rs_str message, const struct rs_err *status), void *ctx)
{
    static const struct rs_grpc_stream_ops ops = { .on_message = unary_message, .on_close = unary_close };
    struct unary *u = rs_new(struct unary);
    u->done = done;
    u->ctx = ctx;
    rs_grpc_stream *s = rs_grpc_stream_open(c, path, metadata, timeout_ms, &ops, u);
    s->unary = u;
    rs_grpc_stream_send(s, request);
    rs_grpc_stream_half_close(s);
    return s;
}
