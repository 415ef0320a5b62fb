/* Bytes to a port of a pod: WebSocket with subprotocol v4.channel.k8s.io; channel 0 carries data, 1 the error text, and
 * the first message of each is the port number (2 bytes, little endian). */
#include "base/random.h"
#include "base/secret.h"
#include "http/websocket.h"
#include "io/resolve.h"
#include "kube/client_int.h"

enum { MESSAGE_MAX = 64 * 1024 };

/* The resolver cannot be cancelled: this outlives the tunnel if it must. */
struct lookup { rs_kube_tunnel *t; };

struct rs_kube_tunnel {
    rs_kube *k;
    char *path, *what;
    int timeout_ms;
    rs_timer *begin;                     /* nothing is reported from inside rs_kube_port_forward */
    rs_kube_call *login;                 /* a call that makes the exec plugin run */
    struct lookup *lookup;
    rs_http_dial *dial;
    char *key;
    rs_websocket *ws;
    bool seen[2];                        /* the port number of a channel has come */
    struct rs_kube_tunnel_ops ops;
    void *ctx;
    bool over;
    unsigned busy;
    bool dead;
};

static void destroy(rs_kube_tunnel *t)
{
    rs_timer_free(t->begin);
    rs_kube_cancel(t->login);
    if (t->lookup)
        t->lookup->t = NULL;
    rs_http_dial_cancel(t->dial);
    rs_websocket_free(t->ws);
    free(t->path);
    free(t->what);
    free(t->key);
    free(t);
}

void rs_kube_tunnel_free(rs_kube_tunnel *t)
{
    if (!t)
        return;
    t->dead = true;
    if (t->busy == 0)
        destroy(t);
}

static void hold(rs_kube_tunnel *t) { t->busy++; }

static void release(rs_kube_tunnel *t)
{
    if (--t->busy == 0 && t->dead)
        destroy(t);
}

static void closed(rs_kube_tunnel *t, const struct rs_err *why)
{
    struct rs_err e = *why;
    if (t->over || t->dead)
        return;
    t->over = true;
    if (e.code != RS_OK)
        rs_err_wrap(&e, "%s", t->what);
    t->ops.on_close(t->ctx, &e);
}

static void on_message(void *ctx, rs_websocket *w, rs_str m, bool binary)
{
    rs_kube_tunnel *t = ctx;
    if (m.n == 0 || t->over || t->dead)
        return;
    unsigned channel = (unsigned char)m.p[0];
    m = (rs_str){ m.p + 1, m.n - 1 };
    if (channel > 1)
        return;
    if (!t->seen[channel]) {
        size_t skip = m.n < 2 ? m.n : 2;
        t->seen[channel] = true;
        m = (rs_str){ m.p + skip, m.n - skip };
    }
    if (m.n == 0)
        return;
    hold(t);
    if (channel == 0) {
        t->ops.on_data(t->ctx, m);
    } else {
        struct rs_err e;
        rs_str text = rs_str_trim(m);
        rs_err_set(&e, RS_UNAVAILABLE, 0, __FILE__, __LINE__, "%.*s", (int)text.n, text.p);
        closed(t, &e);
    }
    release(t);
}

static void ws_closed(void *ctx, rs_websocket *w, const struct rs_err *why)
{
    rs_kube_tunnel *t = ctx;
    hold(t);
    closed(t, why);
    release(t);
}

static const struct rs_websocket_ops ws_ops = { .on_message = on_message, .on_close = ws_closed };

static void dialled(void *ctx, rs_stream *s, const struct rs_http_headers *h, rs_str rest, const struct rs_err *why)
{
    rs_kube_tunnel *t = ctx;
    struct rs_err e = { 0 };
    t->dial = NULL;
    if (why) {
        e = *why;
    } else {
        RS_AUTO(rs_chars) *accept = rs_websocket_accept_key(t->key);
        const char *got = rs_http_headers_get(h, "sec-websocket-accept"), *proto = rs_http_headers_get(h, "sec-websocket-protocol");
        if (!rs_streq(got, accept))
            rs_err_set(&e, RS_UNAVAILABLE, 0, __FILE__, __LINE__, "wrong Sec-WebSocket-Accept");
        else if (!rs_streq(proto, "v4.channel.k8s.io"))
            rs_err_set(&e, RS_UNIMPLEMENTED, 0, __FILE__, __LINE__, "the server chose subprotocol \"%s\"", proto ? proto : "");
    }
    hold(t);
    if (e.code != RS_OK) {
        rs_stream_free(s);
        closed(t, &e);
    } else {
        t->ws = rs_websocket_new(s, false, rest, &ws_ops, t);
        if (!t->over && !t->dead && t->ops.on_open)
            t->ops.on_open(t->ctx);
    }
    release(t);
}

static void dial(rs_kube_tunnel *t, const char *address, const struct rs_kube_endpoint *to)
{
    unsigned char nonce[16];
    rs_random(nonce, sizeof(nonce));
    t->key = rs_base64(nonce, sizeof(nonce));
    RS_AUTO(rs_chars) *key = rs_printf("Sec-WebSocket-Key: %s", t->key), *target = rs_printf("%s%s", to->prefix, t->path);
    RS_AUTO(rs_chars) *host = rs_printf(strchr(to->server_name, ':') ? "Host: [%s]:%d" : "Host: %s:%d", to->server_name, to->port);
    char *auth = rs_kube_authorization(t->k);
    const char *headers[] = { host, key, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: v4.channel.k8s.io",
                              "User-Agent: rootshift/" RS_VERSION, auth, NULL };
    t->dial = rs_http_dial_upgrade(rs_kube_loop(t->k), address, to->tls, to->tls ? to->server_name : NULL, "GET", target, headers, "websocket",
                                   t->timeout_ms, dialled, t);
    if (auth)
        rs_free_cleansed(auth, strlen(auth));
}

static void fail(rs_kube_tunnel *t, const struct rs_err *why)
{
    hold(t);
    closed(t, why);
    release(t);
}

static void resolved(void *ctx, const char *address, const struct rs_err *why)
{
    struct lookup *l = ctx;
    rs_kube_tunnel *t = l->t;
    struct rs_kube_endpoint to;
    struct rs_err e;
    free(l);
    if (!t)
        return;
    t->lookup = NULL;
    if (!address)
        fail(t, why);
    else if (rs_kube_endpoint(t->k, &to, &e) < 0)
        fail(t, &e);
    else
        dial(t, address, &to);
}

static void look_up(rs_kube_tunnel *t)
{
    struct rs_kube_endpoint to;
    struct rs_err e;
    if (rs_kube_endpoint(t->k, &to, &e) < 0) {
        fail(t, &e);
        return;
    }
    t->lookup = rs_new(struct lookup);
    t->lookup->t = t;
    rs_resolve(rs_kube_loop(t->k), to.host, to.port, resolved, t->lookup);
}

static void logged_in(void *ctx, rs_str body, const struct rs_err *why)
{
    rs_kube_tunnel *t = ctx;
    t->login = NULL;
    if (why)
        fail(t, why);
    else
        look_up(t);
}

static void begin(void *ctx)
{
    rs_kube_tunnel *t = ctx;
    if (rs_kube_credential_ready(t->k))
        look_up(t);
    else
        t->login = rs_kube_start_raw(t->k, &(struct rs_kube_raw){
            .method = "GET", .path = "/version", .timeout_ms = t->timeout_ms, .done = logged_in, .ctx = t });
}

rs_kube_tunnel *rs_kube_port_forward(rs_kube *k, const char *namespace, const char *pod, int port, int timeout_ms,
                                     const struct rs_kube_tunnel_ops *ops, void *ctx)
{
    rs_kube_tunnel *t = rs_new(rs_kube_tunnel);
    t->k = k;
    t->path = rs_printf("/api/v1/namespaces/%s/pods/%s/portforward?ports=%d", namespace, pod, port);
    t->what = rs_printf("port-forward %s/%s:%d", namespace, pod, port);
    t->timeout_ms = timeout_ms;
    t->ops = *ops;
    t->ctx = ctx;
    t->begin = rs_timer_new(rs_kube_loop(k), begin, t);
    rs_timer_set(t->begin, 0);
    return t;
}

void rs_kube_tunnel_write(rs_kube_tunnel *t, rs_str data)
{
    char *message = t->ws && !t->over ? rs_alloc(MESSAGE_MAX + 1) : NULL;
    for (size_t n; message && data.n; data = (rs_str){ data.p + n, data.n - n }) {
        n = data.n < MESSAGE_MAX ? data.n : MESSAGE_MAX;
        message[0] = 0;
        memcpy(message + 1, data.p, n);
        rs_websocket_send(t->ws, message, n + 1, true);
    }
    free(message);
}
