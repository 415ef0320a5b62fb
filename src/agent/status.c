#include "agent/status.h"

#include "agent/envoy_stats.h"
#include "http/server.h"
#include "io/listen.h"

enum { PROBE_BODY_MAX = 10 * 1024, PROBE_HEADERS_MAX = 32 };

struct rs_status {
    rs_http_client *http;
    const struct rs_agent_config *config;
    const struct rs_status_ops *ops;
    void *ctx;
    rs_listener *listener;
    rs_http_server *server;
    struct rs_readiness readiness;
};

/* An answer that waits for somebody else's. */
struct pending { rs_status *status; rs_http_exchange *x; rs_http_call *call; };

static void text(rs_http_exchange *x, int status, const char *s)
{
    rs_http_reply(x, status, "text/plain; charset=utf-8", rs_str_of(s));
}

static void gone(void *ctx, rs_http_exchange *x)
{
    struct pending *p = ctx;
    rs_http_cancel(p->call);
    free(p);
}

static struct pending *wait_for(rs_status *s, rs_http_exchange *x)
{
    struct pending *p = rs_new(struct pending);
    p->status = s;
    p->x = x;
    rs_http_on_abort(x, gone, p);
    return p;
}

/* ---- readiness ---- */

static void ready_answered(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    struct pending *p = ctx;
    char reason[256];
    RS_AUTO(rs_chars) *stats = r ? rs_strndup(r->body.p, r->body.n) : NULL;
    if (p->status->ops->draining(p->status->ctx))
        text(p->x, 503, "draining");
    else if (!r)
        text(p->x, 503, why->msg);
    else if (!rs_readiness_look(&p->status->readiness, stats, reason))
        text(p->x, 503, reason);
    else
        text(p->x, 200, "");
    free(p);
}

static void ready(rs_status *s, rs_http_exchange *x)
{
    rs_envoy *v = s->ops->envoy(s->ctx);
    if (s->ops->draining(s->ctx) || !v) {
        text(x, 503, v ? "draining" : "Envoy does not run");
        return;
    }
    struct pending *p = wait_for(s, x);
    p->call = rs_envoy_ask(v, "GET", "/stats?usedonly&filter=" RS_READY_FILTER, ready_answered, p);
}

static void stats_answered(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    struct pending *p = ctx;
    if (r)
        rs_http_reply(p->x, r->status, rs_http_headers_get(&r->headers, "content-type"), r->body);
    else
        text(p->x, 503, why->msg);
    free(p);
}

static void stats(rs_status *s, rs_http_exchange *x)
{
    rs_envoy *v = s->ops->envoy(s->ctx);
    if (!v) {
        text(x, 503, "Envoy does not run");
        return;
    }
    struct pending *p = wait_for(s, x);
    p->call = rs_envoy_ask(v, "GET", "/stats/prometheus", stats_answered, p);
}

/* ---- the app's probes ---- */

static void probe_answered(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    struct pending *p = ctx;
    if (r && r->status >= 200)
        rs_http_reply(p->x, r->status, "text/plain; charset=utf-8", r->body);
    else
        text(p->x, 500, why ? why->msg : "no answer");
    free(p);
}

/* Probes go where the kubelet's would: to the pod's address; from 127.0.0.6, which no redirection touches. */
static void probe(rs_status *s, rs_http_exchange *x, const json_t *prober)
{
    const json_t *get = json_object_get(prober, "httpGet");
    const char *scheme = rs_json_str(get, "scheme"), *path = rs_json_str(get, "path"), *host = rs_json_str(get, "host");
    bool tls = scheme && strcmp(scheme, "HTTPS") == 0;
    RS_AUTO(rs_chars) *url = rs_printf("%s://%s:%d%s%s", tls ? "https" : "http", host ? host : s->config->ip, (int)rs_json_int(get, 0, "port"),
                                       path && *path == '/' ? "" : "/", path ? path : "");
    char *headers[PROBE_HEADERS_MAX + 1] = { NULL };
    size_t i, n = 0;
    json_t *h;
    json_array_foreach(json_object_get(get, "httpHeaders"), i, h)
        if (rs_json_str(h, "name") && rs_json_str(h, "value") && n < PROBE_HEADERS_MAX)
            headers[n++] = rs_printf("%s: %s", rs_json_str(h, "name"), rs_json_str(h, "value"));
    struct rs_http_request r = {
        .method = "GET", .url = url, .headers = (const char *const *)headers, .insecure = true, .fresh_connection = true, .max_body = PROBE_BODY_MAX,
        .source_ip = "127.0.0.6", .timeout_ms = (int)rs_json_int(prober, 1, "timeoutSeconds") * 1000,
    };
    struct pending *p = wait_for(s, x);
    p->call = rs_http_start(s->http, &r, probe_answered, p);
    for (i = 0; i < n; i++)
        free(headers[i]);
}

/* ---- server ---- */

static void handle(void *ctx, rs_http_exchange *x)
{
    rs_status *s = ctx;
    const char *path = rs_http_path(x);
    const json_t *prober = json_object_get(s->config->probers, path);
    if (!rs_streq(rs_http_method(x), "GET")) {
        text(x, 405, "only GET");
    } else if (rs_streq(path, "/healthz/ready")) {
        ready(s, x);
    } else if (rs_streq(path, "/stats/prometheus") || rs_streq(path, "/metrics")) {
        stats(s, x);
    } else if (rs_streq(path, "/trust")) {
        RS_AUTO(json_t) *o = s->ops->trust(s->ctx);
        RS_AUTO(rs_chars) *body = rs_json_pretty(o);
        rs_http_reply(x, 200, "application/json", rs_str_of(body));
    } else if (prober) {
        probe(s, x, prober);
    } else {
        text(x, 404, "not found");
    }
}

static void accepted(void *ctx, int fd)
{
    rs_http_server_add(((rs_status *)ctx)->server, fd);
}

int rs_status_new(rs_status **ret, rs_loop *loop, rs_http_client *http, const struct rs_agent_config *config,
                  const struct rs_status_ops *ops, void *ctx, struct rs_err *e)
{
    RS_AUTO(rs_chars) *address = rs_printf("0.0.0.0:%d", config->status_port);
    int fd = rs_listen(address, e);
    if (fd < 0)
        return rs_err_wrap(e, "agent's port");
    rs_status *s = rs_new(rs_status);
    s->http = http;
    s->config = config;
    s->ops = ops;
    s->ctx = ctx;
    s->server = rs_http_server_new(loop, &(struct rs_http_server_config){ .body_max = 4096, .handle = handle, .ctx = s });
    s->listener = rs_listener_new(loop, fd, accepted, s);
    *ret = s;
    return 0;
}

void rs_status_free(rs_status *s)
{
    if (!s)
        return;
    rs_listener_free(s->listener);
    rs_http_server_free(s->server);
    free(s);
}
