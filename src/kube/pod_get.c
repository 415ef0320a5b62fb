/* One HTTP GET over a tunnel. */
#include "base/buf.h"
#include "http/h1.h"
#include "kube/client.h"

struct rs_kube_pod_get {
    rs_kube_tunnel *tunnel;
    rs_timer *timer;
    char *request, *what;
    struct rs_buf in, body;
    struct rs_h1_head head;
    struct rs_h1_body decoder;
    bool have_head;
    void (*done)(void *ctx, int status, rs_str body, const struct rs_err *why);
    void *ctx;
};

void rs_kube_pod_get_free(rs_kube_pod_get *g)
{
    if (!g)
        return;
    rs_kube_tunnel_free(g->tunnel);
    rs_timer_free(g->timer);
    free(g->request);
    free(g->what);
    rs_buf_done(&g->in);
    rs_buf_done(&g->body);
    rs_h1_head_done(&g->head);
    free(g);
}

/* The handle ends with this. */
static void finish(rs_kube_pod_get *g, const struct rs_err *why)
{
    struct rs_err e;
    rs_kube_tunnel_free(rs_take(g->tunnel));
    rs_timer_cancel(g->timer);
    if (why) {
        e = *why;
        rs_err_wrap(&e, "%s", g->what);
    }
    g->done(g->ctx, why ? 0 : g->head.status, rs_buf_str(&g->body), why ? &e : NULL);
    rs_kube_pod_get_free(g);
}

/* 1: the answer is whole. */
static int parse(rs_kube_pod_get *g, struct rs_err *e)
{
    size_t used = 0;
    while (!g->have_head) {
        int rc = rs_h1_response(&g->head, rs_buf_str(&g->in), &used, e);
        if (rc <= 0)
            return rc;
        rs_buf_drop(&g->in, used);
        if (g->head.status >= 200) {
            g->have_head = true;
            rs_h1_body_init(&g->decoder, &g->head);
        } else {
            rs_h1_head_done(&g->head);
            g->head = (struct rs_h1_head){ 0 };
        }
    }
    if (g->head.body == RS_H1_BODY_NONE)
        return 1;
    int rc = rs_h1_body_feed(&g->decoder, rs_buf_str(&g->in), &used, &g->body, e);
    if (rc >= 0)
        rs_buf_drop(&g->in, used);
    return rc;
}

static void on_open(void *ctx)
{
    rs_kube_pod_get *g = ctx;
    rs_kube_tunnel_write(g->tunnel, rs_str_of(g->request));
}

static void on_data(void *ctx, rs_str data)
{
    rs_kube_pod_get *g = ctx;
    struct rs_err e = { 0 };
    rs_buf_add(&g->in, data.p, data.n);
    int rc = g->in.over ? RS_FAIL(&e, RS_EXHAUSTED, "answer too long") : parse(g, &e);
    if (rc != 0)
        finish(g, rc < 0 ? &e : NULL);
}

static void on_close(void *ctx, const struct rs_err *why)
{
    rs_kube_pod_get *g = ctx;
    struct rs_err e;
    if (why->code == RS_OK && g->have_head && g->head.body == RS_H1_BODY_TO_END) {
        finish(g, NULL);
    } else if (why->code == RS_OK) {
        rs_err_set(&e, RS_UNAVAILABLE, 0, __FILE__, __LINE__, "connection closed before the answer was complete");
        finish(g, &e);
    } else {
        finish(g, why);
    }
}

static void timed_out(void *ctx)
{
    struct rs_err e;
    rs_err_set(&e, RS_DEADLINE, 0, __FILE__, __LINE__, "no answer in time");
    finish(ctx, &e);
}

rs_kube_pod_get *rs_kube_pod_get_start(rs_kube *k, const char *namespace, const char *pod, int port, const char *target,
                                       int timeout_ms, size_t max, void (*done)(void *ctx, int status, rs_str body, const struct rs_err *why), void *ctx)
{
    static const struct rs_kube_tunnel_ops ops = { .on_open = on_open, .on_data = on_data, .on_close = on_close };
    rs_kube_pod_get *g = rs_new(rs_kube_pod_get);
    g->request = rs_printf("GET %s HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\nAccept: */*\r\n\r\n", target, port);
    g->what = rs_printf("GET %s of %s/%s:%d", target, namespace, pod, port);
    rs_buf_init(&g->in, RS_H1_HEAD_MAX + 2 * 1024 * 1024);
    rs_buf_init(&g->body, max);
    g->done = done;
    g->ctx = ctx;
    g->timer = rs_timer_new(rs_kube_loop(k), timed_out, g);
    rs_timer_set(g->timer, timeout_ms);
    g->tunnel = rs_kube_port_forward(k, namespace, pod, port, timeout_ms, &ops, g);
    return g;
}
