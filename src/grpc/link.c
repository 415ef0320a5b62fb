#include "grpc/link.h"

enum { PENDING_MAX = 256 * 1024, PING_EVERY_MS = 30 * 1000, PING_ANSWER_MS = 10 * 1000 };

struct rs_link {
    rs_loop *loop;
    rs_stream *stream;
    rs_h2 *h2;
    rs_timer *kick, *alive;
    const struct rs_link_ops *ops;
    void *ctx;
    int depth;                     /* calls into the owner under way */
    bool open, dead, told, heard, pinged, close_when_idle, closing;
};

static void pump(rs_link *l);

static void release(rs_link *l)
{
    rs_timer_free(l->kick);
    rs_timer_free(l->alive);
    rs_stream_free(l->stream);
    rs_h2_free(l->h2);
    free(l);
}

static void take_events(rs_link *l, bool even_dead)
{
    struct rs_h2_event ev;
    while ((even_dead || !l->dead) && rs_h2_next(l->h2, &ev))
        l->ops->on_event(l->ctx, l, &ev);
}

/* May be called again by a callback that it runs; then it returns only after the owner was told everything. */
void rs_link_close(rs_link *l, const struct rs_err *why)
{
    l->depth++;
    if (!l->dead) {
        struct rs_err copy = *why;
        if (copy.code == RS_OK)    /* clean for the connection, but not for a call that is still open */
            (void)RS_FAIL(&copy, RS_UNAVAILABLE, "connection closed by the peer");
        l->dead = true;
        rs_h2_abort(l->h2, &copy);
    }
    take_events(l, true);
    if (!l->told) {
        l->told = true;
        l->ops->on_down(l->ctx, l, why);
    }
    if (--l->depth == 0)
        release(l);
}

static bool write_out(rs_link *l)
{
    bool any = false;
    while (!l->dead && rs_stream_pending(l->stream) < PENDING_MAX) {
        rs_str bytes = rs_h2_pull(l->h2);
        if (bytes.n == 0)
            break;
        rs_stream_write(l->stream, bytes.p, bytes.n);
        any = true;
    }
    return any;
}

/* Events, then output, until neither causes the other. */
static void pump(rs_link *l)
{
    if (!l->open || l->dead)
        return;
    l->depth++;
    do {
        take_events(l, false);
    } while (write_out(l));
    bool idle = l->close_when_idle && rs_h2_streams(l->h2) == 0;
    if (!l->dead && !l->closing && (rs_h2_over(l->h2) || idle)) {
        l->closing = true;
        rs_stream_close_after_flush(l->stream);
    }
    if (--l->depth == 0 && l->dead)
        release(l);
}

static void on_kick(void *ctx)
{
    pump(ctx);
}

static void on_alive(void *ctx)
{
    rs_link *l = ctx;
    if (l->pinged && !l->heard) {
        struct rs_err e;
        (void)RS_FAIL(&e, RS_UNAVAILABLE, "the peer has not answered for %d s", PING_ANSWER_MS / 1000);
        rs_link_close(l, &e);
        return;
    }
    bool ping = !l->heard && rs_h2_streams(l->h2) > 0;
    l->pinged = ping;
    l->heard = false;
    rs_timer_set(l->alive, ping ? PING_ANSWER_MS : PING_EVERY_MS);
    if (ping) {
        rs_h2_ping(l->h2);
        pump(l);
    }
}

static void on_open(void *ctx, rs_stream *s)
{
    rs_link *l = ctx;
    l->depth++;
    l->open = true;
    rs_timer_set(l->alive, PING_EVERY_MS);
    if (l->ops->on_open)
        l->ops->on_open(l->ctx, l);
    l->depth--;
    if (l->dead)
        release(l);
    else
        pump(l);
}

static size_t on_data(void *ctx, rs_stream *s, rs_str data)
{
    rs_link *l = ctx;
    struct rs_err e;
    size_t used = 0;
    l->heard = true;
    l->depth++;
    while (used < data.n && !l->dead) {
        rs_str piece = { data.p + used, data.n - used };
        if (piece.n > RS_H2_FEED_MAX)
            piece.n = RS_H2_FEED_MAX;
        used += piece.n;
        if (rs_h2_feed(l->h2, piece, &e) < 0) {
            take_events(l, false);
            rs_link_close(l, &e);
            break;
        }
        pump(l);
    }
    if (--l->depth == 0 && l->dead)
        release(l);
    return data.n;
}

static void on_drained(void *ctx, rs_stream *s)
{
    pump(ctx);
}

static void on_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    rs_link_close(ctx, why);
}

static const struct rs_stream_ops stream_ops = { .on_open = on_open, .on_data = on_data, .on_drained = on_drained, .on_close = on_close };

const struct rs_stream_ops *rs_link_stream_ops(void)
{
    return &stream_ops;
}

rs_link *rs_link_new(rs_loop *loop, bool server, size_t message_max, const struct rs_link_ops *ops, void *ctx)
{
    rs_link *l = rs_new(rs_link);
    l->loop = loop;
    l->h2 = rs_h2_new(server, message_max);
    l->kick = rs_timer_new(loop, on_kick, l);
    l->alive = rs_timer_new(loop, on_alive, l);
    l->ops = ops;
    l->ctx = ctx;
    return l;
}

void rs_link_attach(rs_link *l, rs_stream *stream)
{
    l->stream = stream;
}

void rs_link_start(rs_link *l, rs_str first_bytes)
{
    l->depth++;
    l->open = true;
    rs_timer_set(l->alive, PING_EVERY_MS);
    if (first_bytes.n)
        on_data(l, l->stream, first_bytes);
    else
        pump(l);
    if (--l->depth == 0 && l->dead)
        release(l);
}

rs_h2 *rs_link_h2(rs_link *l)
{
    return l->h2;
}

rs_stream *rs_link_stream(rs_link *l)
{
    return l->stream;
}

void rs_link_kick(rs_link *l)
{
    if (l->depth == 0 && l->open && !l->dead)
        rs_timer_set(l->kick, 0);
}

void rs_link_close_when_idle(rs_link *l)
{
    l->close_when_idle = true;
    rs_link_kick(l);
}
