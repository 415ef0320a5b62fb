#include <utlist.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/time.h"
#include "cmd/rootshift-echo/echo.h"
#include "http/server.h"
#include "io/listen.h"

/* Callers learn within moments that we are leaving; who still asks after this much quiet was never told. */
enum { QUIET_MS = 1500, DRAIN_MAX_MS = 20000 };

struct tcp_connection {
    echo_server *server;
    rs_stream *stream;
    struct tcp_connection *prev, *next;
};

struct echo_server {
    rs_loop *loop;
    struct echo_self *self;
    rs_http_server *http;
    rs_listener *http_listener, *tcp_listener;
    struct tcp_connection *connections;
    rs_timer *quiet;
    int64_t last_ms, drain_ms;       /* last request; when draining began, or 0 */
    void (*done)(void *ctx);
    void *done_ctx;
};

/* Member of the first element of X-Forwarded-Client-Cert: By=…;Hash=…;Subject="…";URI=… (Envoy's format). */
static char *xfcc_member(const char *xfcc, const char *name)
{
    size_t n = strlen(name);
    bool quoted = false, start = true;
    for (const char *p = xfcc; p && *p; p++) {
        if (start && strncasecmp(p, name, n) == 0 && p[n] == '=') {
            p += n + 1;
            return rs_strndup(p, strcspn(p, ";,"));
        }
        if (*p == '"')
            quoted = !quoted;
        if (*p == ',' && !quoted)
            return NULL;
        start = *p == ';' && !quoted;
    }
    return NULL;
}

/* A probe is not a caller: it goes on for as long as the pod is there. In the mesh, callers come with their certificate. */
static bool is_probe(const echo_server *s, rs_http_exchange *x, const char *xfcc)
{
    const char *agent = rs_http_header(x, "user-agent");
    return (agent && rs_starts(agent, "kube-probe")) || (s->self->identity && !xfcc);
}

static void answer(void *ctx, rs_http_exchange *x)
{
    echo_server *s = ctx;
    const char *xfcc = rs_http_header(x, "x-forwarded-client-cert");
    if (!is_probe(s, x, xfcc))
        s->last_ms = rs_mono_ms();
    RS_AUTO(rs_chars) *peer = xfcc_member(xfcc, "URI"), *by = xfcc_member(xfcc, "By");
    RS_AUTO(json_t) *o = rs_json_pack("{s:s, s:s, s:s*, s:s*}", "workload", s->self->workload, "pod", s->self->pod, "peer", peer, "by", by);
    RS_AUTO(rs_chars) *text = rs_json_pretty(o);
    rs_http_reply(x, 200, "application/json", rs_str_of(text));
}

static void tcp_gone(struct tcp_connection *c)
{
    DL_DELETE(c->server->connections, c);
    rs_stream_free(c->stream);
    free(c);
}

static size_t tcp_data(void *ctx, rs_stream *stream, rs_str data)
{
    struct tcp_connection *c = ctx;
    size_t used = 0;
    for (const char *end; (end = memchr(data.p + used, '\n', data.n - used)); ) {
        unsigned long number;
        RS_AUTO(rs_chars) *line = rs_strndup(data.p + used, (size_t)(end - data.p) - used);
        used = (size_t)(end - data.p) + 1;
        if (sscanf(line, "ping %lu", &number) != 1)
            continue;
        bool last = c->server->drain_ms != 0;
        RS_AUTO(rs_chars) *text = rs_printf("pong %lu %s %s%s\n", number, c->server->self->workload,
                                            c->server->self->identity ? c->server->self->identity : "-", last ? " last" : "");
        c->server->last_ms = rs_mono_ms();
        rs_stream_write(stream, text, strlen(text));
        if (last) {
            rs_stream_shutdown(stream);
            return data.n;
        }
    }
    return used;
}

static void tcp_close(void *ctx, rs_stream *stream, const struct rs_err *why) { tcp_gone(ctx); }

static void tcp_accept(void *ctx, int fd)
{
    static const struct rs_stream_ops ops = { .on_data = tcp_data, .on_close = tcp_close };
    struct tcp_connection *c = rs_new(struct tcp_connection);
    c->server = ctx;
    DL_APPEND(c->server->connections, c);
    c->stream = rs_stream_accept(c->server->loop, fd, NULL, &ops, c);
}

static void http_accept(void *ctx, int fd) { rs_http_server_add(((echo_server *)ctx)->http, fd); }

int echo_server_new(echo_server **ret, rs_loop *loop, struct echo_self *self, const char *http, const char *tcp, struct rs_err *e)
{
    int http_fd = rs_listen(http, e);
    if (http_fd < 0)
        return -1;
    int tcp_fd = rs_listen(tcp, e);
    if (tcp_fd < 0)
        return -1;
    echo_server *s = rs_new(echo_server);
    s->loop = loop;
    s->self = self;
    s->http = rs_http_server_new(loop, &(struct rs_http_server_config){ .body_max = 1024 * 1024, .handle = answer, .ctx = s });
    s->http_listener = rs_listener_new(loop, http_fd, http_accept, s);
    s->tcp_listener = rs_listener_new(loop, tcp_fd, tcp_accept, s);
    *ret = s;
    return 0;
}

static void quiet_yet(void *ctx)
{
    echo_server *s = ctx;
    int64_t now = rs_mono_ms(), quiet = now - (s->last_ms > s->drain_ms ? s->last_ms : s->drain_ms);
    if ((quiet >= QUIET_MS && !s->connections) || now - s->drain_ms >= DRAIN_MAX_MS) {
        s->done(s->done_ctx);
        return;
    }
    rs_timer_set(s->quiet, 100);
}

void echo_server_drain(echo_server *s, void (*done)(void *ctx), void *ctx)
{
    s->drain_ms = rs_mono_ms();
    s->done = done;
    s->done_ctx = ctx;
    s->quiet = rs_timer_new(s->loop, quiet_yet, s);
    rs_timer_set(s->quiet, 100);
}
