#include "node/prober.h"
#include "base/buf.h"
#include "io/stream.h"
#include "node/exec.h"

enum { OUTPUT_MAX = 4096 };

struct rs_prober {
    void (*done)(void *ctx, bool passed, const char *message);
    void *ctx;
    int64_t timeout_ms;
    rs_timer *timer;                   /* time limit, or the end of a sleep, or a failure told later */
    bool sleeping;
    char *early;                       /* failure found at once */
    rs_http_call *call;
    rs_stream *stream;
    rs_exec *exec;
    struct rs_buf output;
};

int rs_prober_port(const json_t *port, const json_t *container)
{
    const json_t *list = json_object_get(container, "ports");
    size_t i;
    json_t *p;
    uint64_t n;

    if (json_is_integer(port))
        return (int)json_integer_value(port);
    json_array_foreach(list, i, p)
        if (json_is_string(port) && rs_streq(rs_json_str(p, "name"), json_string_value(port)))
            return (int)rs_json_int(p, 0, "containerPort");
    return json_is_string(port) && rs_str_u64(rs_str_of(json_string_value(port)), &n) && n < 65536 ? (int)n : 0;
}

static void stop(rs_prober *p)
{
    rs_timer_cancel(p->timer);
    rs_http_cancel(p->call);
    p->call = NULL;
    rs_stream_free(p->stream);
    p->stream = NULL;
    rs_exec_free(p->exec);
    p->exec = NULL;
}

static void finish(rs_prober *p, bool passed, const char *message)
{
    stop(p);
    p->done(p->ctx, passed, message);          /* may free p */
}

static void on_timer(void *ctx)
{
    rs_prober *p = ctx;

    if (p->early || p->sleeping) {
        RS_AUTO(rs_chars) *text = rs_take(p->early);
        finish(p, p->sleeping, text ? text : "");
        return;
    }
    RS_AUTO(rs_chars) *text = rs_printf("no answer in %llds", (long long)(p->timeout_ms + 999) / 1000);
    finish(p, false, text);
}

static void fail_soon(rs_prober *p, const char *text)
{
    p->early = rs_strdup(text);
    rs_timer_set(p->timer, 0);
}

static void on_http(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    rs_prober *p = ctx;

    p->call = NULL;
    if (!r) {
        finish(p, false, why->msg);
        return;
    }
    RS_AUTO(rs_chars) *text = rs_printf("HTTP probe failed with statuscode: %d", r->status);
    finish(p, r->status >= 200 && r->status < 400, text);
}

static void start_http(rs_prober *p, const struct rs_prober_target *t, const json_t *h)
{
    const char *host = rs_json_str(h, "host"), *path = rs_json_str(h, "path"), *scheme = rs_json_str(h, "scheme"), *headers[34];
    const json_t *list = json_object_get(h, "httpHeaders");
    int port = rs_prober_port(json_object_get(h, "port"), t->container);
    size_t i, n = 0;
    json_t *v;
    char *owned[32];

    if (port < 1) {
        fail_soon(p, "the port of the probe is not one of the container");
        return;
    }
    json_array_foreach(list, i, v)
        if (n < RS_COUNT(owned) && rs_json_str(v, "name") && rs_json_str(v, "value")) {
            owned[n] = rs_printf("%s: %s", rs_json_str(v, "name"), rs_json_str(v, "value"));
            headers[n] = owned[n];
            n++;
        }
    size_t n_owned = n;
    headers[n++] = "User-Agent: kube-probe/1.26";
    headers[n] = NULL;
    RS_AUTO(rs_chars) *url = rs_printf("%s://%s:%d%s%s", rs_streq(scheme, "HTTPS") ? "https" : "http", host ? host : t->ip, port,
                                       path && *path == '/' ? "" : "/", path ? path : "");
    struct rs_http_request r = { .method = "GET", .url = url, .headers = headers, .insecure = true, .timeout_ms = (int)p->timeout_ms,
                                 .max_body = 64 * 1024, .fresh_connection = true };
    p->call = rs_http_start(t->http, &r, on_http, p);
    for (i = 0; i < n_owned; i++)
        free(owned[i]);
}

static void tcp_open(void *ctx, rs_stream *s) { finish(ctx, true, ""); }
static size_t tcp_data(void *ctx, rs_stream *s, rs_str data) { return data.n; }
static void tcp_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    RS_AUTO(rs_chars) *text = rs_strdup(why->msg);
    finish(ctx, false, text);
}

static void start_tcp(rs_prober *p, const struct rs_prober_target *t, const json_t *h)
{
    static const struct rs_stream_ops ops = { .on_open = tcp_open, .on_data = tcp_data, .on_close = tcp_close };
    const char *host = rs_json_str(h, "host");
    int port = rs_prober_port(json_object_get(h, "port"), t->container);

    if (port < 1) {
        fail_soon(p, "the port of the probe is not one of the container");
        return;
    }
    RS_AUTO(rs_chars) *address = rs_printf("%s:%d", host ? host : t->ip, port);
    p->stream = rs_stream_connect(t->loop, address, NULL, NULL, (int)p->timeout_ms, &ops, p);
}

static void exec_output(void *ctx, int stream, rs_str bytes)
{
    rs_prober *p = ctx;
    size_t room = OUTPUT_MAX - p->output.n;

    rs_buf_add(&p->output, bytes.p, bytes.n < room ? bytes.n : room);
}

static void exec_exit(void *ctx, int code)
{
    rs_prober *p = ctx;
    RS_AUTO(rs_chars) *text = p->output.n ? rs_strndup(p->output.p, p->output.n) : rs_printf("exit code %d", code);

    finish(p, code == 0, text);
}

static void start_exec(rs_prober *p, const struct rs_prober_target *t, const json_t *h)
{
    static const struct rs_exec_ops ops = { .on_output = exec_output, .on_exit = exec_exit };
    struct rs_exec_spec spec = { .id = t->id, .runc_root = t->runc_root, .command = json_object_get(h, "command") };
    struct rs_err e;

    if (rs_exec_start(&p->exec, t->loop, &spec, &ops, p, &e) < 0)
        fail_soon(p, e.msg);
}

rs_prober *rs_prober_start(const struct rs_prober_target *t, const json_t *handler, int64_t timeout_ms,
                           void (*done)(void *ctx, bool passed, const char *message), void *ctx)
{
    rs_prober *p = rs_new(rs_prober);
    const json_t *h;

    p->done = done;
    p->ctx = ctx;
    p->timeout_ms = timeout_ms;
    rs_buf_init(&p->output, OUTPUT_MAX + 1);
    p->timer = rs_timer_new(t->loop, on_timer, p);
    rs_timer_set(p->timer, timeout_ms);
    if ((h = json_object_get(handler, "httpGet")))
        start_http(p, t, h);
    else if ((h = json_object_get(handler, "tcpSocket")))
        start_tcp(p, t, h);
    else if ((h = json_object_get(handler, "exec")))
        start_exec(p, t, h);
    else if ((h = json_object_get(handler, "sleep"))) {
        p->sleeping = rs_json_int(h, 0, "seconds") * 1000 <= timeout_ms;
        rs_timer_set(p->timer, p->sleeping ? rs_json_int(h, 0, "seconds") * 1000 : timeout_ms);
    } else
        fail_soon(p, "a handler of no kind that is known here");
    return p;
}

void rs_prober_free(rs_prober *p)
{
    if (!p)
        return;
    stop(p);
    rs_timer_free(p->timer);
    rs_buf_done(&p->output);
    free(p->early);
    free(p);
}
