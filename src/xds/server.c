#include "xds/server.h"

#include <utlist.h>

enum { ANSWER_MAX = 64 * 1024 * 1024 };

struct rs_xds_server {
    struct rs_xds_server_ops ops;
    void *ctx;
    rs_xds_client *clients;
};

struct rs_xds_client {
    rs_xds_server *server;
    rs_grpc_call *call;
    rs_xds_session *session;
    void *user;
    bool accepted, refused, asked; /* asked: the owner was asked for a snapshot */
    rs_xds_client *prev, *next;
};

static void flush(rs_xds_client *c)
{
    RS_AUTO_BUF out;
    rs_buf_init(&out, ANSWER_MAX);
    while (!c->refused && rs_xds_session_next(c->session, &out))
        rs_grpc_send(c->call, rs_buf_str(&out));
}

void rs_xds_client_refresh(rs_xds_client *c)
{
    if (!c->accepted || c->refused || !rs_xds_session_node_id(c->session))
        return;
    c->asked = true;
    RS_AUTO(rs_xds_snapshot) *snapshot = c->server->ops.snapshot(c->server->ctx, c);
    if (snapshot)
        rs_xds_session_set(c->session, snapshot);
    flush(c);
}

void rs_xds_client_accept(rs_xds_client *c)
{
    if (c->accepted)
        return;
    c->accepted = true;
    rs_xds_client_refresh(c);
}

void rs_xds_client_refuse(rs_xds_client *c, enum rs_code code, const char *message)
{
    c->refused = true;
    rs_grpc_finish(c->call, code, message);
}

static void on_open(void *ctx, rs_grpc_call *call)
{
    rs_xds_server *s = ctx;
    rs_xds_client *c = rs_new(rs_xds_client);
    c->server = s;
    c->call = call;
    c->session = rs_xds_session_new();
    rs_grpc_set_user(call, c);
    DL_APPEND(s->clients, c);
    if (s->ops.on_open)
        s->ops.on_open(s->ctx, c);
    else
        c->accepted = true;
}

static uint64_t answers(const rs_xds_client *c)
{
    struct rs_xds_state state;
    uint64_t n = 0;
    for (enum rs_xds_type t = 0; t < RS_XDS_TYPES; t++) {
        rs_xds_session_state(c->session, t, &state);
        n += state.acks + state.nacks;
    }
    return n;
}

static void on_message(void *ctx, rs_grpc_call *call, rs_str message)
{
    rs_xds_client *c = rs_grpc_user(call);
    struct rs_err e;
    uint64_t before = answers(c);
    if (c->refused)
        return;
    if (rs_xds_session_request(c->session, message, &e) < 0) {
        rs_xds_client_refuse(c, e.code, e.msg);
        return;
    }
    if (c->accepted && !c->asked)
        rs_xds_client_refresh(c);
    else if (c->accepted)
        flush(c);
    if (answers(c) != before && c->server->ops.on_answer)
        c->server->ops.on_answer(c->server->ctx, c);
}

static void on_close(void *ctx, rs_grpc_call *call)
{
    rs_xds_client *c = rs_grpc_user(call);
    if (c->server->ops.on_close)
        c->server->ops.on_close(c->server->ctx, c);
    DL_DELETE(c->server->clients, c);
    rs_xds_session_free(c->session);
    free(c);
}

rs_xds_server *rs_xds_server_new(const struct rs_xds_server_ops *ops, void *ctx)
{
    rs_xds_server *s = rs_new(rs_xds_server);
    s->ops = *ops;
    s->ctx = ctx;
    return s;
}

struct rs_grpc_method rs_xds_server_method(rs_xds_server *s, const char *path)
{
    return (struct rs_grpc_method){ .path = path, .streaming = true, .on_open = on_open, .on_message = on_message, .on_close = on_close, .ctx = s };
}

void rs_xds_server_free(rs_xds_server *s)
{
    if (!s)
        return;
    rs_assert(!s->clients);
    free(s);
}

void rs_xds_server_each(rs_xds_server *s, void (*fn)(void *ctx, rs_xds_client *c), void *ctx)
{
    rs_xds_client *c, *next;
    DL_FOREACH_SAFE(s->clients, c, next)
        fn(ctx, c);
}

static void refresh_one(void *ctx, rs_xds_client *c)
{
    rs_xds_client_refresh(c);
}

void rs_xds_server_refresh(rs_xds_server *s)
{
    rs_xds_server_each(s, refresh_one, NULL);
}

rs_grpc_call *rs_xds_client_call(const rs_xds_client *c)
{
    return c->call;
}

const rs_xds_session *rs_xds_client_session(const rs_xds_client *c)
{
    return c->session;
}

void rs_xds_client_set_user(rs_xds_client *c, void *user)
{
    c->user = user;
}

void *rs_xds_client_user(const rs_xds_client *c)
{
    return c->user;
}
