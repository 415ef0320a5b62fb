#include "http/server.h"

#include <time.h>
#include <utlist.h>

#include "base/buf.h"
#include "http/h1.h"

enum {
    HEAD_MS = 30000,                   /* from a head's first byte to its last */
    IDLE_MS = 60000,                   /* between requests, and between two bytes of a body */
    ANSWERS_MAX = 1024 * 1024,         /* unsent answers beyond which no further request is read */
};

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct conn {
    rs_http_server *server;
    rs_stream *stream;                 /* NULL once closed or handed over */
    rs_timer *timer;
    enum { HEAD, BODY, ANSWERING, CLOSING } state;
    bool served_one, head_started, eof;
    size_t unsent;                     /* when the timer was last looked at */
    rs_http_exchange *x;               /* in BODY and ANSWERING */
    int busy;                          /* calls on the stack that still need c */
    bool gone;
    struct conn *prev, *next;
};

struct rs_http_server {
    rs_loop *loop;
    struct rs_http_server_config config;
    struct conn *conns;
    size_t n;
    bool draining;
};

/* Without a connection (c is NULL) it is a shell that waits for its handler to finish with it. */
struct rs_http_exchange {
    struct conn *c;
    struct rs_h1_head head;
    struct rs_h1_body decoder;
    struct rs_buf body;
    char *path;
    const char *query;                 /* into head.target */
    struct rs_http_headers extra;
    bool streaming, chunked, no_body;
    rs_loop *loop;
    rs_timer *late_abort;              /* on_abort was set when the client had gone already */
    void (*on_abort)(void *ctx, rs_http_exchange *x);
    void *abort_ctx;
};

static const struct rs_stream_ops conn_ops;

/* ---- life ---- */

static void exchange_free(rs_http_exchange *x)
{
    rs_h1_head_done(&x->head);
    rs_buf_done(&x->body);
    rs_http_headers_done(&x->extra);
    rs_timer_free(x->late_abort);
    free(x->path);
    free(x);
}

/* The client is gone while x waits for its answer. */
static void exchange_abort(rs_http_exchange *x)
{
    x->c = NULL;
    if (!x->on_abort)
        return;                        /* its handler will answer into the void and so end it */
    x->on_abort(x->abort_ctx, x);
    exchange_free(x);
}

static void conn_enter(struct conn *c)
{
    c->busy++;
}

static void conn_leave(struct conn *c)
{
    if (--c->busy == 0 && c->gone)
        free(c);
}

/* Forgets the connection; the stream, if still ours, is freed. */
static void conn_end(struct conn *c)
{
    if (c->gone)
        return;
    c->gone = true;
    conn_enter(c);
    DL_DELETE(c->server->conns, c);
    c->server->n--;
    rs_timer_free(c->timer);
    rs_stream_free(rs_take(c->stream));
    rs_http_exchange *x = rs_take(c->x);
    if (x && c->state == ANSWERING)
        exchange_abort(x);
    else if (x)
        exchange_free(x);
    conn_leave(c);
}

static void conn_close_politely(struct conn *c)
{
    c->state = CLOSING;
    rs_timer_cancel(c->timer);
    rs_stream_close_after_flush(c->stream);
}

static void conn_timed_out(void *ctx)
{
    struct conn *c = ctx;
    size_t unsent = rs_stream_pending(c->stream);
    if (c->state == HEAD && !c->head_started && unsent > 0 && unsent != c->unsent) {
        c->unsent = unsent;            /* still fetching the last answer */
        rs_timer_set(c->timer, IDLE_MS);
        return;
    }
    conn_end(c);
}

/* ---- writing ---- */

static void add_date(struct rs_buf *out)
{
    static _Thread_local time_t when;
    static _Thread_local char text[64];
    time_t now = time(NULL);
    if (now != when) {
        struct tm tm;
        strftime(text, sizeof(text), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&now, &tm));
        when = now;
    }
    rs_buf_adds(out, text);
}

/* A value can come from elsewhere: it must not be able to begin a new line. */
static void add_field(struct rs_buf *out, const char *name, const char *value)
{
    rs_buf_adds(out, name);
    rs_buf_adds(out, ": ");
    for (; *value; value++)
        rs_buf_add(out, (unsigned char)*value < 0x20 && *value != '\t' ? " " : value, 1);
    rs_buf_adds(out, "\r\n");
}

static bool must_close(const struct conn *c, const rs_http_exchange *x)
{
    return !x->head.keep_alive || c->server->draining || c->eof;
}

static void add_head(struct rs_buf *out, const rs_http_exchange *x, int status, const char *content_type)
{
    rs_buf_addf(out, "HTTP/1.1 %d %s\r\n", status, rs_http_reason(status));
    add_date(out);
    if (content_type)
        add_field(out, "Content-Type", content_type);
    for (size_t i = 0; i < x->extra.n; i++)
        add_field(out, x->extra.v[i].name, x->extra.v[i].value);
    if (x->c && status != 101 && must_close(x->c, x))
        rs_buf_adds(out, "Connection: close\r\n");
}

/* Answers what never became an exchange. */
static void refuse(struct conn *c, int status, const char *why)
{
    RS_AUTO_BUF out;
    rs_buf_init(&out, 8192);
    rs_buf_addf(&out, "HTTP/1.1 %d %s\r\n", status, rs_http_reason(status));
    add_date(&out);
    rs_buf_addf(&out, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s\n", strlen(why) + 1, why);
    rs_stream_write(c->stream, out.p, out.n);
    if (c->x)
        exchange_free(rs_take(c->x));
    conn_close_politely(c);
}

/* ---- reading ---- */

static void dispatch(struct conn *c)
{
    c->state = ANSWERING;
    rs_timer_cancel(c->timer);
    c->server->config.handle(c->server->config.ctx, c->x);     /* may end c, x and the server */
}

static int split_target(rs_http_exchange *x)
{
    char *mark = strchr(x->head.target, '?');
    x->query = mark ? mark + 1 : "";
    x->path = rs_http_unescape(x->head.target, mark ? (size_t)(mark - x->head.target) : strlen(x->head.target));
    return x->path ? 0 : -1;
}

static void begin_exchange(struct conn *c, const struct rs_h1_head *head)
{
    rs_http_exchange *x = c->x = rs_new(rs_http_exchange);
    x->c = c;
    x->loop = c->server->loop;
    x->head = *head;
    x->no_body = rs_streq(head->method, "HEAD");
    rs_buf_init(&x->body, c->server->config.body_max);
    rs_h1_body_init(&x->decoder, head);
    c->state = BODY;
    c->served_one = true;
    if (split_target(x) < 0)
        refuse(c, 400, "broken escape in the request target");
    else if (head->body == RS_H1_BODY_LENGTH && head->length > c->server->config.body_max)
        refuse(c, 413, "request body is too large");
    else if (head->body == RS_H1_BODY_NONE)
        dispatch(c);
    else if (head->expect_continue)
        rs_stream_write(c->stream, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

static void hand_over_h2(struct conn *c, rs_str first)
{
    rs_http_server *server = c->server;
    rs_stream *s = rs_take(c->stream);
    conn_end(c);
    server->config.handle_h2(server->config.ctx, s, first);
}

/* Returns how many bytes it used; sets *more when it makes sense to call again. */
static size_t step_head(struct conn *c, rs_str data, bool *more)
{
    size_t n = data.n < sizeof(preface) - 1 ? data.n : sizeof(preface) - 1;
    if (!c->served_one && c->server->config.handle_h2 && memcmp(data.p, preface, n) == 0) {
        if (n < sizeof(preface) - 1)
            return 0;
        hand_over_h2(c, data);
        return data.n;
    }
    if (!c->head_started) {
        c->head_started = true;
        rs_timer_set(c->timer, HEAD_MS);
    }
    struct rs_h1_head head = { 0 };
    struct rs_err e;
    size_t used = 0;
    int status = 400, rc = rs_h1_request(&head, data, &used, &status, &e);
    if (rc < 0)
        refuse(c, status, e.msg);
    if (rc <= 0)
        return rc < 0 ? data.n : 0;
    c->head_started = false;
    rs_timer_set(c->timer, IDLE_MS);
    begin_exchange(c, &head);
    *more = true;
    return used;
}

static size_t step_body(struct conn *c, rs_str data, bool *more)
{
    struct rs_err e;
    size_t used = 0;
    int rc = rs_h1_body_feed(&c->x->decoder, data, &used, &c->x->body, &e);
    if (rc < 0) {
        refuse(c, e.code == RS_EXHAUSTED ? 413 : 400, e.msg);
        return data.n;
    }
    rs_timer_set(c->timer, IDLE_MS);
    *more = rc > 0;
    if (rc > 0)
        dispatch(c);
    return used;
}

static size_t conn_data(void *ctx, rs_stream *s, rs_str data)
{
    struct conn *c = ctx;
    size_t used = 0;
    bool more = true;
    conn_enter(c);
    while (more && used < data.n && !c->gone) {
        rs_str rest = { data.p + used, data.n - used };
        more = false;
        if (c->state == ANSWERING || (c->state == HEAD && rs_stream_pending(s) > ANSWERS_MAX))
            rs_stream_pause(s);        /* pipelined: its turn comes after the answer */
        else if (c->state == HEAD)
            used += step_head(c, rest, &more);
        else if (c->state == BODY)
            used += step_body(c, rest, &more);
        else
            used = data.n;
    }
    conn_leave(c);
    return used;
}

static void conn_open(void *ctx, rs_stream *s)
{
    struct conn *c = ctx;
    conn_enter(c);
    if (c->server->config.handle_h2 && rs_streq(rs_stream_alpn(s), "h2"))
        hand_over_h2(c, RS_STR(""));
    conn_leave(c);
}

/* A half-closing client still gets the answer to what it asked, unless the handler waits for just this to stop. */
static void conn_eof(void *ctx, rs_stream *s)
{
    struct conn *c = ctx;
    c->eof = true;
    if (c->state == ANSWERING && (c->x->streaming || c->x->on_abort))
        conn_end(c);
    else if (c->state == HEAD || c->state == BODY)
        conn_close_politely(c);
}

static void conn_drained(void *ctx, rs_stream *s)
{
    struct conn *c = ctx;
    if (c->state == HEAD)
        rs_stream_resume(s);
}

static void conn_closed(void *ctx, rs_stream *s, const struct rs_err *why)
{
    conn_end(ctx);
}

static const struct rs_stream_ops conn_ops = { conn_open, conn_data, conn_eof, conn_drained, conn_closed };

/* ---- server ---- */

rs_http_server *rs_http_server_new(rs_loop *loop, const struct rs_http_server_config *config)
{
    rs_http_server *s = rs_new(rs_http_server);
    s->loop = loop;
    s->config = *config;
    if (s->config.tls)
        SSL_CTX_up_ref(s->config.tls);
    return s;
}

void rs_http_server_add(rs_http_server *s, int fd)
{
    struct conn *c = rs_new(struct conn);
    c->server = s;
    c->timer = rs_timer_new(s->loop, conn_timed_out, c);
    rs_timer_set(c->timer, HEAD_MS);
    c->stream = rs_stream_accept(s->loop, fd, s->config.tls, &conn_ops, c);
    DL_APPEND(s->conns, c);
    s->n++;
}

void rs_http_server_set_tls(rs_http_server *s, SSL_CTX *tls)
{
    if (tls)
        SSL_CTX_up_ref(tls);
    SSL_CTX_free(s->config.tls);
    s->config.tls = tls;
}

void rs_http_server_drain(rs_http_server *s)
{
    struct conn *c, *next;
    s->draining = true;
    DL_FOREACH_SAFE(s->conns, c, next)
        if (c->state == HEAD && c->served_one && !c->head_started && !c->busy)
            conn_close_politely(c);
}

size_t rs_http_server_connections(const rs_http_server *s)
{
    return s->n;
}

void rs_http_server_free(rs_http_server *s)
{
    if (!s)
        return;
    while (s->conns)
        conn_end(s->conns);
    SSL_CTX_free(s->config.tls);
    free(s);
}

/* ---- exchange: request ---- */

const char *rs_http_method(const rs_http_exchange *x)
{
    return x->head.method;
}

const char *rs_http_path(const rs_http_exchange *x)
{
    return x->path;
}

const char *rs_http_target(const rs_http_exchange *x)
{
    return x->head.target;
}

const char *rs_http_query_raw(const rs_http_exchange *x)
{
    return x->query;
}

const struct rs_http_headers *rs_http_request_headers(const rs_http_exchange *x)
{
    return &x->head.headers;
}

const char *rs_http_header(const rs_http_exchange *x, const char *name)
{
    return rs_http_headers_get(&x->head.headers, name);
}

rs_str rs_http_body(const rs_http_exchange *x)
{
    return rs_buf_str(&x->body);
}

rs_stream *rs_http_connection(const rs_http_exchange *x)
{
    return x->c ? x->c->stream : NULL;
}

static void abort_late(void *ctx)
{
    exchange_abort(ctx);
}

void rs_http_on_abort(rs_http_exchange *x, void (*fn)(void *ctx, rs_http_exchange *x), void *ctx)
{
    x->on_abort = fn;
    x->abort_ctx = ctx;
    if (x->c || !fn || x->late_abort)
        return;
    x->late_abort = rs_timer_new(x->loop, abort_late, x);
    rs_timer_set(x->late_abort, 0);
}

/* ---- exchange: answer ---- */

void rs_http_add_header(rs_http_exchange *x, const char *name, const char *value)
{
    rs_http_headers_add(&x->extra, name, value);
}

/* The answer is written: x ends, and the connection with it or goes on to the next request. */
static void exchange_done(rs_http_exchange *x)
{
    struct conn *c = x->c;
    if (c) {
        c->x = NULL;
        if (must_close(c, x)) {
            conn_close_politely(c);
        } else {
            c->state = HEAD;
            rs_timer_set(c->timer, IDLE_MS);
            if (rs_stream_pending(c->stream) <= ANSWERS_MAX)
                rs_stream_resume(c->stream);
        }
    }
    exchange_free(x);
}

void rs_http_reply(rs_http_exchange *x, int status, const char *content_type, rs_str body)
{
    rs_assert(!x->streaming && status >= 200 && status <= 599);
    if (x->c) {
        bool bodiless = status == 204 || status == 304;
        RS_AUTO_BUF out;
        rs_buf_init(&out, 1024 * 1024);
        add_head(&out, x, status, bodiless ? NULL : content_type);
        if (!bodiless)
            rs_buf_addf(&out, "Content-Length: %zu\r\n", body.n);
        rs_buf_adds(&out, "\r\n");
        rs_stream_write(x->c->stream, out.p, out.n);
        if (!bodiless && !x->no_body)
            rs_stream_write(x->c->stream, body.p, body.n);
    }
    exchange_done(x);
}

void rs_http_stream_begin(rs_http_exchange *x, int status, const char *content_type)
{
    rs_assert(!x->streaming);
    x->streaming = true;
    x->chunked = x->head.minor == 1;
    if (!x->chunked)
        x->head.keep_alive = false;    /* the end of the connection ends the body */
    if (!x->c)
        return;
    RS_AUTO_BUF out;
    rs_buf_init(&out, 1024 * 1024);
    add_head(&out, x, status, content_type);
    rs_buf_adds(&out, x->chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
    rs_stream_write(x->c->stream, out.p, out.n);
}

void rs_http_stream_write(rs_http_exchange *x, const void *p, size_t n)
{
    rs_assert(x->streaming);
    if (!x->c || n == 0 || x->no_body)
        return;
    char size[24];
    if (x->chunked)
        rs_stream_write(x->c->stream, size, (size_t)snprintf(size, sizeof(size), "%zx\r\n", n));
    rs_stream_write(x->c->stream, p, n);
    if (x->chunked)
        rs_stream_write(x->c->stream, "\r\n", 2);
}

size_t rs_http_stream_pending(const rs_http_exchange *x)
{
    return x->c ? rs_stream_pending(x->c->stream) : 0;
}

void rs_http_stream_end(rs_http_exchange *x)
{
    rs_assert(x->streaming);
    if (x->c && x->chunked && !x->no_body)
        rs_stream_write(x->c->stream, "0\r\n\r\n", 5);
    exchange_done(x);
}

rs_stream *rs_http_take_over(rs_http_exchange *x, char **ret_rest, size_t *ret_rest_n)
{
    *ret_rest = rs_strdup("");
    *ret_rest_n = 0;
    rs_stream *s = NULL;
    if (x->c) {
        struct conn *c = x->c;
        c->x = NULL;
        s = rs_take(c->stream);
        conn_end(c);
        rs_stream_resume(s);
    }
    exchange_free(x);
    return s;
}

rs_stream *rs_http_upgrade(rs_http_exchange *x, const char *proto, char **ret_rest, size_t *ret_rest_n)
{
    if (x->c) {
        RS_AUTO_BUF out;
        rs_buf_init(&out, 1024 * 1024);
        add_head(&out, x, 101, NULL);
        rs_buf_adds(&out, "Connection: Upgrade\r\n");
        add_field(&out, "Upgrade", proto);
        rs_buf_adds(&out, "\r\n");
        rs_stream_write(x->c->stream, out.p, out.n);
    }
    return rs_http_take_over(x, ret_rest, ret_rest_n);
}
