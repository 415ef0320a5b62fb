#include "grpc/server.h"

#include <utlist.h>

#include "base/log.h"
#include "grpc/link.h"
#include "grpc/wire.h"

enum { DEFAULT_MESSAGE_MAX = 4 * 1024 * 1024 };

struct conn {
    rs_grpc_server *server;
    rs_link *link;
    struct conn *prev, *next;
};

struct rs_grpc_server {
    rs_loop *loop;
    struct rs_grpc_server_config config;
    struct rs_grpc_method *methods;
    struct conn *conns;
    size_t n_conns, n_calls;
    bool draining;
};

struct rs_grpc_call {
    rs_grpc_server *server;
    struct conn *conn;
    rs_h2_stream *stream;
    const struct rs_grpc_method *method;
    void *user;
    rs_timer *deadline;
    bool asked;                    /* unary: the request was delivered */
};

static void *ctx_of(const rs_grpc_call *call)
{
    return call->method->ctx ? call->method->ctx : call->server->config.ctx;
}

static void kick(rs_grpc_call *call)
{
    rs_link_kick(call->conn->link);
}

static void on_deadline(void *ctx)
{
    rs_grpc_finish(ctx, RS_DEADLINE, "deadline exceeded");
}

static const struct rs_grpc_method *find_method(const rs_grpc_server *s, const char *path)
{
    for (size_t i = 0; i < s->config.n_methods; i++)
        if (rs_streq(s->methods[i].path, path))
            return &s->methods[i];
    return NULL;
}

/* NULL and an answered stream when the request is no gRPC call that we know. */
static const struct rs_grpc_method *check_request(const rs_grpc_server *s, rs_h2_stream *stream)
{
    const char *type = rs_h2_field(stream, "content-type"), *path = rs_h2_field(stream, ":path");
    if (!rs_streq(rs_h2_field(stream, ":method"), "POST") || !type || !rs_starts(type, "application/grpc")) {
        rs_h2_finish(stream, RS_INVALID, "not a gRPC request");
        return NULL;
    }
    const struct rs_grpc_method *m = path ? find_method(s, path) : NULL;
    if (!m) {
        RS_AUTO(rs_chars) *text = rs_printf("unknown method %.200s", path ? path : "");
        rs_h2_finish(stream, RS_UNIMPLEMENTED, text);
    }
    return m;
}

static void open_call(struct conn *c, rs_h2_stream *stream)
{
    rs_grpc_server *s = c->server;
    if (s->draining)               /* came after the drain began: served once, then sent elsewhere */
        rs_h2_drain(rs_link_h2(c->link));
    const struct rs_grpc_method *m = check_request(s, stream);
    if (!m)
        return;
    rs_grpc_call *call = rs_new(rs_grpc_call);
    *call = (rs_grpc_call){ .server = s, .conn = c, .stream = stream, .method = m };
    rs_h2_set_user(stream, call);
    s->n_calls++;
    const char *timeout = rs_h2_field(stream, "grpc-timeout");
    int64_t ms;
    if (timeout && rs_grpc_timeout_parse(timeout, &ms)) {
        call->deadline = rs_timer_new(s->loop, on_deadline, call);
        rs_timer_set(call->deadline, ms);
    }
    if (m->streaming && m->on_open)
        m->on_open(ctx_of(call), call);
}

static void deliver(rs_grpc_call *call, rs_str message)
{
    if (!call->method->streaming && call->asked) {
        rs_grpc_finish(call, RS_INTERNAL, "a unary method got a second message");
        return;
    }
    call->asked = true;
    call->method->on_message(ctx_of(call), call, message);
}

static void half_closed(rs_grpc_call *call)
{
    const struct rs_grpc_method *m = call->method;
    if (!m->streaming) {
        if (!call->asked)
            rs_grpc_finish(call, RS_INTERNAL, "request without a message");
    } else if (m->on_half_close) {
        m->on_half_close(ctx_of(call), call);
    } else {
        rs_grpc_finish(call, RS_OK, NULL);
    }
}

static void close_call(rs_grpc_call *call)
{
    rs_timer_free(rs_take(call->deadline));
    call->server->n_calls--;
    if (call->method->on_close)
        call->method->on_close(ctx_of(call), call);
    free(call);
}

static void on_event(void *ctx, rs_link *l, const struct rs_h2_event *ev)
{
    rs_grpc_call *call = rs_h2_user(ev->stream);
    if (ev->kind == RS_H2_HEADERS)
        open_call(ctx, ev->stream);
    else if (!call)
        return;
    else if (ev->kind == RS_H2_MESSAGE)
        deliver(call, ev->message);
    else if (ev->kind == RS_H2_END)
        half_closed(call);
    else
        close_call(call);
}

static void on_down(void *ctx, rs_link *l, const struct rs_err *why)
{
    struct conn *c = ctx;
    if (why->code != RS_OK)
        rs_log_debug("gRPC connection of %s ended: %s", rs_stream_peer(rs_link_stream(l)), why->msg);
    DL_DELETE(c->server->conns, c);
    c->server->n_conns--;
    free(c);
}

static const struct rs_link_ops link_ops = { .on_event = on_event, .on_down = on_down };

static struct conn *conn_new(rs_grpc_server *s)
{
    struct conn *c = rs_new(struct conn);
    c->server = s;
    c->link = rs_link_new(s->loop, true, s->config.message_max, &link_ops, c);
    DL_APPEND(s->conns, c);
    s->n_conns++;
    return c;
}

rs_grpc_server *rs_grpc_server_new(rs_loop *loop, const struct rs_grpc_server_config *config)
{
    rs_grpc_server *s = rs_new(rs_grpc_server);
    s->loop = loop;
    s->config = *config;
    s->methods = rs_new_array(struct rs_grpc_method, config->n_methods);
    memcpy(s->methods, config->methods, config->n_methods * sizeof *s->methods);
    s->config.methods = s->methods;
    if (config->message_max == 0)
        s->config.message_max = DEFAULT_MESSAGE_MAX;
    if (config->tls)
        SSL_CTX_up_ref(config->tls);
    return s;
}

void rs_grpc_server_add(rs_grpc_server *s, int fd)
{
    struct conn *c = conn_new(s);
    rs_link_attach(c->link, rs_stream_accept(s->loop, fd, s->config.tls, rs_link_stream_ops(), c->link));
}

void rs_grpc_server_adopt(rs_grpc_server *s, rs_stream *stream, rs_str first_bytes)
{
    struct conn *c = conn_new(s);
    rs_link_attach(c->link, stream);
    rs_stream_set_ops(stream, rs_link_stream_ops(), c->link);
    rs_link_start(c->link, first_bytes);
}

void rs_grpc_server_set_tls(rs_grpc_server *s, SSL_CTX *tls)
{
    if (tls)
        SSL_CTX_up_ref(tls);
    SSL_CTX_free(s->config.tls);
    s->config.tls = tls;
}

void rs_grpc_server_drain(rs_grpc_server *s)
{
    s->draining = true;
    for (struct conn *c = s->conns; c; c = c->next) {
        rs_h2_drain(rs_link_h2(c->link));
        rs_link_kick(c->link);
    }
}

size_t rs_grpc_server_calls(const rs_grpc_server *s)
{
    return s->n_calls;
}

size_t rs_grpc_server_connections(const rs_grpc_server *s)
{
    return s->n_conns;
}

void rs_grpc_server_free(rs_grpc_server *s)
{
    if (!s)
        return;
    struct rs_err why;
    (void)RS_FAIL(&why, RS_CANCELLED, "server closed");
    while (s->conns)
        rs_link_close(s->conns->link, &why);
    SSL_CTX_free(s->config.tls);
    free(s->methods);
    free(s);
}

const char *rs_grpc_metadata(const rs_grpc_call *call, const char *name)
{
    return rs_h2_field(call->stream, name);
}

SSL *rs_grpc_call_ssl(const rs_grpc_call *call)
{
    return rs_stream_ssl(rs_link_stream(call->conn->link));
}

const char *rs_grpc_call_peer(const rs_grpc_call *call)
{
    return rs_stream_peer(rs_link_stream(call->conn->link));
}

void rs_grpc_set_user(rs_grpc_call *call, void *user)
{
    call->user = user;
}

void *rs_grpc_user(const rs_grpc_call *call)
{
    return call->user;
}

void rs_grpc_send(rs_grpc_call *call, rs_str message)
{
    rs_h2_send(call->stream, message);
    kick(call);
}

size_t rs_grpc_pending(const rs_grpc_call *call)
{
    return rs_h2_pending(call->stream);
}

void rs_grpc_finish(rs_grpc_call *call, enum rs_code code, const char *message)
{
    rs_h2_finish(call->stream, code, message);
    kick(call);
}
