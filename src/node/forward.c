/* Port-forward: TCP connections to 127.0.0.1 inside a pod, each on a pair of channels (data, error). */
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>
#include "base/buf.h"
#include "node/link.h"
#include "node/server_int.h"
#include "node/wire.h"

enum { BEHIND_MAX = 1024 * 1024, EARLY_MAX = 4 * 1024 * 1024, CONNECTIONS_MAX = 1024, PORTS_MAX = 32, CONNECT_MS = 10000 };

static const char *const ws_protocols[] = { "SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io", "v5.channel.k8s.io", NULL };
static const char *const spdy_protocols[] = { "portforward.k8s.io", NULL };
static const struct rs_wire_protocols protocols = { ws_protocols, spdy_protocols };

struct session;
struct connection {
    struct session *s;
    char *request_id;
    int port;
    uint32_t data_id, error_id;
    bool has_data, has_error, fin_in, eof_out;
    int fd;                            /* while connecting */
    rs_fd_watch *connecting;
    rs_timer *timer;
    rs_stream *stream;
    struct rs_buf early;               /* came before the connection was there */
    struct connection *prev, *next;
};

struct session {
    rs_node *node;
    rs_wire *wire;
    char *netns, *pod;
    struct connection *list;
    size_t n;
};

static void connection_free(struct connection *c)
{
    DL_DELETE(c->s->list, c);
    c->s->n--;
    rs_fd_watch_free(c->connecting);
    if (c->fd >= 0)
        close(c->fd);
    rs_timer_free(c->timer);
    rs_stream_free(c->stream);
    rs_buf_done(&c->early);
    free(c->request_id);
    free(c);
}

static void on_close(void *ctx, rs_wire *w)
{
    struct session *s = ctx;

    while (s->list)
        connection_free(s->list);
    rs_wire_free(s->wire);
    free(s->netns);
    free(s->pod);
    free(s);
}

/* The last word on a connection: an error text, or none. With fixed channels that ends the whole session. */
static void finish(struct connection *c, const char *error)
{
    struct session *s = c->s;
    bool numbered = rs_wire_numbered(s->wire);

    if (c->has_error)
        rs_wire_send(s->wire, c->error_id, rs_str_of(error), !numbered);
    if (c->has_data && !c->eof_out)
        rs_wire_send(s->wire, c->data_id, RS_STR(""), !numbered);
    connection_free(c);
    if (numbered)
        rs_wire_close(s->wire);
}

static void fail(struct connection *c, const char *why)
{
    RS_AUTO(rs_chars) *text = rs_printf("error forwarding port %d to pod %s: failed to connect to localhost:%d inside namespace: %s", c->port, c->s->pod, c->port, why);

    finish(c, text);
}

/* ---- the pod's side ---- */

static size_t pod_data(void *ctx, rs_stream *st, rs_str data)
{
    struct connection *c = ctx;

    rs_wire_send(c->s->wire, c->data_id, data, false);
    if (rs_wire_pending(c->s->wire) > BEHIND_MAX)
        rs_stream_pause(st);
    return data.n;
}

static void pod_eof(void *ctx, rs_stream *st)
{
    struct connection *c = ctx;

    if (rs_wire_numbered(c->s->wire) || c->fin_in) {
        finish(c, "");
        return;
    }
    c->eof_out = true;
    rs_wire_send(c->s->wire, c->data_id, RS_STR(""), true);
}

static void pod_drained(void *ctx, rs_stream *st)
{
    struct connection *c = ctx;

    rs_wire_resume(c->s->wire);
}

static void pod_close(void *ctx, rs_stream *st, const struct rs_err *why) { finish(ctx, ""); }

static const struct rs_stream_ops pod_ops = { .on_data = pod_data, .on_eof = pod_eof, .on_drained = pod_drained, .on_close = pod_close };

static void on_connected(void *ctx, bool readable, bool writable)
{
    struct connection *c = ctx;
    int error = 0;
    socklen_t n = sizeof(error);

    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    rs_fd_watch_free(c->connecting);
    c->connecting = NULL;
    rs_timer_cancel(c->timer);
    if (error != 0) {
        fail(c, strerror(error));
        return;
    }
    int fd = c->fd;
    c->fd = -1;
    c->stream = rs_stream_accept(c->s->node->loop, fd, NULL, &pod_ops, c);
    if (c->early.n > 0)
        rs_stream_write(c->stream, c->early.p, c->early.n);
    rs_buf_clear(&c->early);
    if (c->fin_in)
        rs_stream_shutdown(c->stream);
}

static void on_late(void *ctx) { fail(ctx, "timed out"); }

static void connect_now(struct connection *c)
{
    struct rs_err e;

    c->fd = rs_link_connect(c->s->netns, c->port, &e);
    if (c->fd < 0) {
        fail(c, e.msg);
        return;
    }
    c->timer = rs_timer_new(c->s->node->loop, on_late, c);
    rs_timer_set(c->timer, CONNECT_MS);
    c->connecting = rs_fd_watch_new(c->s->node->loop, c->fd, false, true, on_connected, c);
}

/* ---- the client's side ---- */

static struct connection *connection_new(struct session *s, const char *request_id, int port)
{
    struct connection *c = rs_new(struct connection);

    *c = (struct connection){ .s = s, .request_id = rs_strdup(request_id), .port = port, .fd = -1 };
    rs_buf_init(&c->early, EARLY_MAX);
    DL_APPEND(s->list, c);
    s->n++;
    return c;
}

static struct connection *by_id(struct session *s, uint32_t id, bool *ret_data)
{
    struct connection *c;

    DL_FOREACH(s->list, c) {
        *ret_data = c->has_data && c->data_id == id;
        if (*ret_data || (c->has_error && c->error_id == id))
            return c;
    }
    return NULL;
}

static void on_channel(void *ctx, rs_wire *w, uint32_t id, const char *const *names, const char *const *values, size_t n)
{
    struct session *s = ctx;
    const char *type = "", *request_id = "";
    uint64_t port = 0;
    struct connection *c;

    for (size_t i = 0; i < n; i++) {
        if (rs_streq(names[i], "streamtype"))
            type = values[i];
        else if (rs_streq(names[i], "requestid"))
            request_id = values[i];
        else if (rs_streq(names[i], "port") && !rs_str_u64(rs_str_of(values[i]), &port))
            port = 0;
    }
    DL_FOREACH(s->list, c)
        if (rs_streq(c->request_id, request_id))
            break;
    if (port < 1 || port > 65535 || (!c && s->n >= CONNECTIONS_MAX)) {
        rs_wire_reset(w, id);
        return;
    }
    if (!c)
        c = connection_new(s, request_id, (int)port);
    if (rs_streq(type, "error") && !c->has_error) {
        c->has_error = true;
        c->error_id = id;
    } else if (rs_streq(type, "data") && !c->has_data) {
        c->has_data = true;
        c->data_id = id;
    }
    if (c->has_error && c->has_data && c->fd < 0 && !c->stream)
        connect_now(c);
}

static void on_data(void *ctx, rs_wire *w, uint32_t id, rs_str data, bool fin)
{
    struct session *s = ctx;
    bool is_data;
    struct connection *c = by_id(s, id, &is_data);

    if (!c || !is_data || c->fin_in)
        return;
    c->fin_in = fin;
    if (!c->stream) {
        rs_buf_add(&c->early, data.p, data.n);
        if (c->early.over)
            fail(c, "too much was sent before the connection was there");
        return;
    }
    if (data.n > 0)
        rs_stream_write(c->stream, data.p, data.n);
    if (fin && c->eof_out) {
        finish(c, "");
        return;
    }
    if (fin)
        rs_stream_shutdown(c->stream);
    if (rs_stream_pending(c->stream) > BEHIND_MAX)
        rs_wire_pause(w);
}

static void on_reset(void *ctx, rs_wire *w, uint32_t id)
{
    bool is_data;
    struct connection *c = by_id(ctx, id, &is_data);

    if (c && is_data)
        connection_free(c);
}

static void on_drained(void *ctx, rs_wire *w)
{
    struct session *s = ctx;
    struct connection *c, *next;

    DL_FOREACH_SAFE(s->list, c, next)
        if (c->stream)
            rs_stream_resume(c->stream);
}

/* Fixed channels: port i of the query is data channel 2i and error channel 2i+1, announced by the port's number. */
static void open_numbered(struct session *s, const char *query)
{
    uint32_t k = 0;
    char *text;

    for (size_t i = 0; (text = rs_http_query(query, "ports", i)); i++) {
        char **list = rs_split(text, ',');
        for (char **p = list; *p; p++) {
            uint64_t port;
            if (!rs_str_u64(rs_str_of(*p), &port) || port < 1 || port > 65535 || k >= PORTS_MAX)
                continue;
            struct connection *c = connection_new(s, *p, (int)port);
            const char little[2] = { (char)(port & 255), (char)(port >> 8) };
            c->has_data = c->has_error = true;
            c->data_id = 2 * k;
            c->error_id = 2 * k + 1;
            rs_wire_send(s->wire, c->data_id, (rs_str){ little, 2 }, false);
            rs_wire_send(s->wire, c->error_id, (rs_str){ little, 2 }, false);
            k++;
        }
        rs_strv_free(list);
        free(text);
    }
    struct connection *c, *next;
    DL_FOREACH_SAFE(s->list, c, next)
        connect_now(c);
    if (k == 0)
        rs_wire_close(s->wire);
}

void rs_serve_forward(rs_node *n, rs_http_exchange *x, const char *ns, const char *pod)
{
    static const struct rs_wire_ops ops = { .on_channel = on_channel, .on_data = on_data, .on_reset = on_reset, .on_drained = on_drained, .on_close = on_close };
    rs_worker *w = rs_server_pod(n, x, ns, pod);
    if (!w)
        return;
    if (w->pod->ground != RS_POD_UP) {
        rs_server_refuse(x, 400, "BadRequest", "unable to forward port because pod %s is not running", pod);
        return;
    }
    RS_AUTO(rs_chars) *query = rs_strdup(rs_http_query_raw(x));
    struct session *s = rs_new(struct session);
    *s = (struct session){ .node = n, .netns = rs_strdup(w->netns), .pod = rs_strdup(pod) };
    s->wire = rs_wire_accept(x, &protocols, &ops, s);
    if (!s->wire) {
        free(s->netns);
        free(s->pod);
        free(s);
        return;
    }
    if (rs_wire_numbered(s->wire))
        open_numbered(s, query);
}
