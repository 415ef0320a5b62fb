/* One request, one verdict. The HTTP client is our own few lines instead of libcurl, because libcurl silently sends a
 * request again when a kept connection died, and a retried request must count as failed here. */
#include "base/buf.h"
#include "base/time.h"
#include "cmd/rootshift-echo/echo.h"
#include "io/stream.h"

struct ask {
    echo_connection *c;              /* NULL once the connection object is gone */
    rs_stream *stream;
    rs_timer *deadline;
    echo_verdict verdict;
    void *ctx;
    bool fresh, closing;             /* closing: the answer said that it was the last one */
    unsigned long number;
};

struct echo_connection {
    rs_loop *loop;
    const struct echo_target *t;
    const struct echo_self *self;
    rs_stream *kept;                 /* idle or in use by `busy` */
    struct ask *busy;
    unsigned long count;
};

static void ask_over(struct ask *a, const char *why, const char *peer, const char *by)
{
    echo_connection *c = a->c;
    bool keep = !a->fresh && !why && !a->closing;
    if (!a->fresh) {
        c->busy = NULL;
        c->kept = keep ? a->stream : NULL;
    }
    if (!keep)
        rs_stream_free(a->stream);
    rs_timer_free(a->deadline);
    a->verdict(a->ctx, why, peer, by);
    free(a);
}

/* "X;URI=spiffe://…" style members of the JSON answer, checked against what the target must be. */
static void judge(struct ask *a, const char *workload, const char *peer, const char *by)
{
    const struct echo_target *t = a->c->t;
    char why[512] = "";
    if (t->expect && !rs_streq(workload, t->expect))
        snprintf(why, sizeof(why), "wrong peer: %s answered instead of %s", workload ? workload : "nobody", t->expect);
    else if (t->expect_path && !(by && rs_ends(by, t->expect_path)))
        snprintf(why, sizeof(why), "wrong peer identity: %s", by ? by : "none");
    ask_over(a, *why ? why : NULL, peer, by);
}

static const char *header(rs_str head, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = head.p; (p = memmem(p, (size_t)(head.p + head.n - p), "\r\n", 2)); ) {
        p += 2;
        if ((size_t)(head.p + head.n - p) > n + 1 && strncasecmp(p, name, n) == 0 && p[n] == ':') {
            for (p += n + 1; *p == ' '; p++)
                ;
            return p;
        }
    }
    return NULL;
}

static void http_answer(struct ask *a, int status, rs_str body)
{
    struct rs_err e;
    RS_AUTO(json_t) *o = NULL;
    if (status != 200) {
        char why[400];
        snprintf(why, sizeof(why), "status %d: %.*s", status, (int)(body.n < 360 ? body.n : 360), body.p);
        ask_over(a, why, NULL, NULL);
        return;
    }
    if (rs_json_parse(&o, body, &e) < 0) {
        ask_over(a, "unreadable answer", NULL, NULL);
        return;
    }
    judge(a, rs_json_str(o, "workload"), rs_json_str(o, "peer"), rs_json_str(o, "by"));
}

static size_t http_data(struct ask *a, rs_str data)
{
    const char *end = memmem(data.p, data.n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    rs_str head = { data.p, (size_t)(end - data.p) };
    const char *length = header(head, "content-length"), *connection = header(head, "connection");
    size_t head_n = head.n + 4, body_n = length ? strtoul(length, NULL, 10) : 0;
    if (!length || body_n > 65536 || head.n < 12) {
        ask_over(a, "answer without a length", NULL, NULL);
        return data.n;
    }
    if (data.n < head_n + body_n)
        return 0;
    a->closing = connection && strncasecmp(connection, "close", 5) == 0;
    http_answer(a, atoi(head.p + 9), (rs_str){ data.p + head_n, body_n });
    return head_n + body_n;
}

static size_t tcp_data(struct ask *a, rs_str data)
{
    const char *end = memchr(data.p, '\n', data.n);
    if (!end)
        return 0;
    size_t n = (size_t)(end - data.p) + 1;
    RS_AUTO(rs_chars) *line = rs_strndup(data.p, n - 1);
    char workload[128] = "", by[256] = "", last[8] = "";
    unsigned long number = 0;
    if (sscanf(line, "pong %lu %127s %255s %7s", &number, workload, by, last) < 3 || number != a->number) {
        ask_over(a, "unreadable answer", NULL, NULL);
        return n;
    }
    a->closing = rs_streq(last, "last");
    judge(a, workload, a->c->self->identity, by);
    return n;
}

static size_t on_data(void *ctx, rs_stream *s, rs_str data)
{
    struct ask *a = ctx;
    return a->c->t->protocol == ECHO_HTTP ? http_data(a, data) : tcp_data(a, data);
}

static void on_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    RS_AUTO(rs_chars) *text = rs_printf("connection cut before the answer%s%s", why->code == RS_OK ? "" : ": ", why->code == RS_OK ? "" : why->msg);
    ask_over(ctx, text, NULL, NULL);
}

/* A kept connection that nobody is using may be closed by the other side at any time. */
static size_t idle_data(void *ctx, rs_stream *s, rs_str data) { return data.n; }
static void idle_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    echo_connection *c = ctx;
    rs_stream_free(s);
    c->kept = NULL;
}

static const struct rs_stream_ops busy_ops = { .on_data = on_data, .on_close = on_close };
static const struct rs_stream_ops idle_ops = { .on_data = idle_data, .on_close = idle_close };

static void late(void *ctx)
{
    ask_over(ctx, "late: no answer within the deadline", NULL, NULL);
}

echo_connection *echo_connection_new(rs_loop *loop, const struct echo_target *t, const struct echo_self *self)
{
    echo_connection *c = rs_new(echo_connection);
    *c = (echo_connection){ .loop = loop, .t = t, .self = self };
    return c;
}

void echo_connection_free(echo_connection *c)
{
    if (!c)
        return;
    rs_assert(!c->busy);
    rs_stream_free(c->kept);
    free(c);
}

static void send_request(struct ask *a)
{
    const struct echo_target *t = a->c->t;
    RS_AUTO(rs_chars) *text = t->protocol == ECHO_TCP ? rs_printf("ping %lu\n", a->number)
        : rs_printf("GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: rootshift-echo\r\n%s\r\n", t->http_host, a->fresh ? "Connection: close\r\n" : "");
    rs_stream_write(a->stream, text, strlen(text));
}

/* After a verdict the kept stream waits with other callbacks. */
static void to_idle(echo_connection *c)
{
    if (c->kept && !c->busy)
        rs_stream_set_ops(c->kept, &idle_ops, c);
}

struct relay { echo_verdict verdict; void *ctx; echo_connection *c; };
static void relay_verdict(void *ctx, const char *why, const char *peer, const char *by)
{
    struct relay r = *(struct relay *)ctx;
    free(ctx);
    to_idle(r.c);
    r.verdict(r.ctx, why, peer, by);
}

void echo_ask(echo_connection *c, bool fresh, int deadline_ms, echo_verdict verdict, void *ctx)
{
    struct relay *r = rs_new(struct relay);
    *r = (struct relay){ verdict, ctx, c };
    struct ask *a = rs_new(struct ask);
    *a = (struct ask){ .c = c, .verdict = relay_verdict, .ctx = r, .fresh = fresh || c->busy, .number = ++c->count };
    if (!a->fresh) {
        c->busy = a;
        a->stream = c->kept;
    }
    if (a->stream)
        rs_stream_set_ops(a->stream, &busy_ops, a);
    else
        a->stream = rs_stream_connect(c->loop, c->t->address, NULL, NULL, deadline_ms, &busy_ops, a);
    a->deadline = rs_timer_new(c->loop, late, a);
    rs_timer_set(a->deadline, deadline_ms);
    send_request(a);
}
