/* The upgrade request of a client: head out, head in, then the stream is somebody else's. */
#include "http/client.h"

#include <strings.h>

#include "base/buf.h"
#include "http/h1.h"

enum { BODY_SHOWN = 4096 };

struct rs_http_dial {
    rs_stream *stream;
    rs_timer *timer;
    char *proto, *what;
    struct rs_buf request;
    struct rs_h1_head head;            /* of a refusal, whose body is being read */
    struct rs_h1_body decoder;
    struct rs_buf body;
    void (*done)(void *ctx, rs_stream *s, const struct rs_http_headers *h, rs_str rest, const struct rs_err *why);
    void *ctx;
};

static void dial_free(rs_http_dial *d)
{
    rs_stream_free(d->stream);
    rs_timer_free(d->timer);
    free(d->proto);
    free(d->what);
    rs_buf_done(&d->request);
    rs_buf_done(&d->body);
    rs_h1_head_done(&d->head);
    free(d);
}

void rs_http_dial_cancel(rs_http_dial *d)
{
    if (d)
        dial_free(d);
}

static void fail(rs_http_dial *d, const struct rs_err *why)
{
    struct rs_err e = *why;
    rs_stream_free(rs_take(d->stream));
    d->done(d->ctx, NULL, NULL, RS_STR(""), &e);
    dial_free(d);
}

static enum rs_code code_of(int status)
{
    switch (status) {
    case 400: case 422: return RS_INVALID;
    case 401: return RS_UNAUTHENTICATED;
    case 403: return RS_FORBIDDEN;
    case 404: return RS_NOT_FOUND;
    case 409: return RS_ABORTED;
    case 429: return RS_EXHAUSTED;
    default: return status >= 500 ? RS_UNAVAILABLE : RS_UNKNOWN;
    }
}

static void refused(rs_http_dial *d)
{
    struct rs_err e;
    rs_str body = rs_str_trim(rs_buf_str(&d->body));
    (void)RS_FAIL(&e, code_of(d->head.status), "%s: answered %d %s: %.*s", d->what, d->head.status, rs_http_reason(d->head.status),
                  (int)(body.n < 400 ? body.n : 400), body.p);
    fail(d, &e);
}

static size_t refusal_data(rs_http_dial *d, rs_str data)
{
    struct rs_err e;
    size_t used;
    if (rs_h1_body_feed(&d->decoder, data, &used, &d->body, &e) != 0)
        refused(d);
    return data.n;
}

static size_t switched(rs_http_dial *d, struct rs_h1_head *head, rs_str rest)
{
    struct rs_err e;
    if (!rs_http_headers_has_token(&head->headers, "upgrade", d->proto)) {
        (void)RS_FAIL(&e, RS_INVALID, "%s: switched to another protocol than %s", d->what, d->proto);
        fail(d, &e);
        return rest.n;
    }
    rs_stream *s = rs_take(d->stream);
    d->done(d->ctx, s, &head->headers, rest, NULL);
    dial_free(d);
    return rest.n;
}

static size_t on_data(void *ctx, rs_stream *s, rs_str data)
{
    rs_http_dial *d = ctx;
    if (d->head.status)
        return refusal_data(d, data);
    struct rs_h1_head head = { 0 };
    struct rs_err e;
    size_t used = 0;
    int rc = rs_h1_response(&head, data, &used, &e);
    if (rc == 0)
        return 0;
    if (rc < 0) {
        rs_err_wrap(&e, "%s", d->what);
        fail(d, &e);
        return data.n;
    }
    rs_str rest = { data.p + used, data.n - used };
    if (head.status == 101) {
        switched(d, &head, rest);
        rs_h1_head_done(&head);
        return data.n;
    }
    if (head.status < 200) {
        rs_h1_head_done(&head);
        return used + (rest.n ? on_data(ctx, s, rest) : 0);
    }
    d->head = head;
    rs_h1_body_init(&d->decoder, &head);
    if (head.body == RS_H1_BODY_NONE)
        refused(d);
    else if (rest.n)
        refusal_data(d, rest);
    return data.n;
}

static void on_open(void *ctx, rs_stream *s)
{
    rs_http_dial *d = ctx;
    rs_stream_write(s, d->request.p, d->request.n);
}

static void on_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    rs_http_dial *d = ctx;
    struct rs_err e = *why;
    if (d->head.status) {
        refused(d);
        return;
    }
    if (e.code == RS_OK)
        (void)RS_FAIL(&e, RS_UNAVAILABLE, "%s: connection closed without an answer", d->what);
    else
        rs_err_wrap(&e, "%s", d->what);
    fail(d, &e);
}

static void timed_out(void *ctx)
{
    rs_http_dial *d = ctx;
    struct rs_err e;
    if (d->head.status) {
        refused(d);
        return;
    }
    (void)RS_FAIL(&e, RS_DEADLINE, "%s: no answer in time", d->what);
    fail(d, &e);
}

static const struct rs_stream_ops ops = { .on_open = on_open, .on_data = on_data, .on_close = on_close };

rs_http_dial *rs_http_dial_upgrade(rs_loop *loop, const char *address, SSL_CTX *tls, const char *server_name, const char *method,
                                   const char *target, const char *const *extra_headers, const char *proto, int timeout_ms,
                                   void (*done)(void *ctx, rs_stream *s, const struct rs_http_headers *h, rs_str rest, const struct rs_err *why), void *ctx)
{
    rs_http_dial *d = rs_new(rs_http_dial);
    d->done = done;
    d->ctx = ctx;
    d->proto = rs_strdup(proto);
    d->what = rs_printf("%s %s", method, target);
    rs_buf_init(&d->request, RS_H1_HEAD_MAX);
    rs_buf_init(&d->body, BODY_SHOWN);
    bool has_host = false;
    rs_buf_addf(&d->request, "%s %s HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: %s\r\n", method, target, proto);
    for (const char *const *h = extra_headers; h && *h; h++) {
        rs_str line = rs_str_trim(rs_str_of(*h));
        RS_AUTO(rs_chars) *text = rs_strndup(line.p, line.n);
        for (char *p = text; (p = strpbrk(p, "\r\n")); )
            *p = ' ';                  /* must not begin a line of its own */
        rs_buf_addf(&d->request, "%s\r\n", text);
        has_host |= strncasecmp(*h, "host:", 5) == 0;
    }
    if (!has_host)
        rs_buf_addf(&d->request, "Host: %s\r\n", server_name ? server_name : rs_starts(address, "unix:") ? "localhost" : address);
    if (strcasecmp(method, "GET") != 0)
        rs_buf_adds(&d->request, "Content-Length: 0\r\n");
    rs_buf_adds(&d->request, "\r\n");
    d->timer = rs_timer_new(loop, timed_out, d);
    if (timeout_ms > 0)
        rs_timer_set(d->timer, timeout_ms);
    d->stream = rs_stream_connect(loop, address, tls, server_name, timeout_ms, &ops, d);
    return d;
}
