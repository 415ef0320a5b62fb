#include "agent/ads_proxy.h"

#include "agent/ads_wire.h"
#include "agent/ca_client.h"
#include "base/log.h"
#include "grpc/client.h"
#include "grpc/server.h"
#include "io/listen.h"
#include "xds/encode.h"
#include "xds/server.h"

enum { REQUEST_MAX = 16 * 1024 * 1024 };

struct rs_ads_proxy {
    rs_loop *loop;
    const struct rs_agent_config *config;
    const struct rs_ads_proxy_ops *ops;
    void *ctx;
    rs_listener *listener;
    rs_grpc_server *server;
    uint64_t connects;
    char last_error[512];
};

/* One stream of Envoy's with its upstream. */
struct session {
    rs_ads_proxy *proxy;
    rs_grpc_call *down;
    rs_grpc_channel *channel;
    rs_grpc_stream *up;                  /* NULL once ended */
    bool asked;                          /* for bundles */
};

static void end(struct session *s, const struct rs_err *why)
{
    rs_ads_proxy *p = s->proxy;
    snprintf(p->last_error, sizeof(p->last_error), "%s: %.400s", rs_code_name(why->code), why->msg);
    rs_log_info("control plane %s: stream ended: %s", p->config->discovery, p->last_error);
    if (s->down)
        rs_grpc_finish(s->down, why->code == RS_OK ? RS_UNAVAILABLE : why->code, why->msg);
}

/* ---- from the control plane ---- */

static void take_bundle(struct session *s, rs_str message)
{
    struct rs_ads_bundle b;
    struct rs_err e;
    if (rs_ads_bundle_read(&b, message, &e) < 0) {
        rs_log_warning("trust bundle ignored: %s", e.msg);
        return;
    }
    int rc = b.empty ? RS_FAIL(&e, RS_INVALID, "the bundle is empty") : s->proxy->ops->on_bundle(s->proxy->ctx, rs_buf_str(&b.pem), b.retired, &e);
    if (rc < 0)
        rs_log_warning("trust bundle refused: %s", e.msg);
    size_t n;
    RS_AUTO(rs_chars) *answer = rs_ads_bundle_request(b.version, b.nonce, rc < 0 ? e.msg : NULL, &n);
    if (s->up && !b.empty)
        rs_grpc_stream_send(s->up, (rs_str){ answer, n });
    rs_ads_bundle_done(&b);
}

static void on_up_message(void *ctx, rs_grpc_stream *up, rs_str message)
{
    struct session *s = ctx;
    struct rs_err e;
    rs_str type;
    if (rs_ads_type_url(message, &type, &e) < 0)
        rs_log_warning("from the control plane: %s", e.msg);
    else if (rs_str_is(type, RS_TYPE_PCDS))
        take_bundle(s, message);
    else if (s->down && type.n > 26 && memcmp(type.p, "type.googleapis.com/envoy.", 26) == 0)
        rs_grpc_send(s->down, message);
}

static void on_up_close(void *ctx, rs_grpc_stream *up, const struct rs_err *status)
{
    struct session *s = ctx;
    s->up = NULL;
    end(s, status);
}

/* ---- from Envoy ---- */

static int open_upstream(struct session *s, struct rs_err *e)
{
    static const struct rs_grpc_stream_ops ops = { on_up_message, on_up_close };
    const struct rs_agent_config *config = s->proxy->config;
    RS_AUTO(SSL_CTX) *tls = NULL;
    if (!rs_ends(config->discovery, ":15010") && rs_agent_tls(&tls, config->xds_root, e) < 0)
        return -1;
    RS_AUTO(rs_chars) *bearer = rs_agent_bearer(config->token_path);
    const char *metadata[] = { "clusterid", config->cluster_id, bearer ? "authorization" : NULL, bearer, NULL };
    s->channel = rs_grpc_channel_new(s->proxy->loop, config->discovery, tls, config->discovery_name);
    s->up = rs_grpc_stream_open(s->channel, RS_ADS_PATH, metadata, 0, &ops, s);
    s->proxy->connects++;
    return 0;
}

static void on_down_open(void *ctx, rs_grpc_call *call)
{
    struct session *s = rs_new(struct session);
    struct rs_err e;
    s->proxy = ctx;
    s->down = call;
    rs_grpc_set_user(call, s);
    if (open_upstream(s, &e) < 0) {
        e.code = RS_UNAVAILABLE;
        end(s, &e);
    }
}

static void on_down_message(void *ctx, rs_grpc_call *call, rs_str message)
{
    struct session *s = rs_grpc_user(call);
    struct rs_err e;
    rs_str type;
    if (!s->up)
        return;
    rs_grpc_stream_send(s->up, message);
    if (s->asked || !s->proxy->config->pcds || rs_ads_type_url(message, &type, &e) < 0 || !rs_str_is(type, RS_TYPE_LISTENER))
        return;
    size_t n;
    RS_AUTO(rs_chars) *request = rs_ads_bundle_request(NULL, NULL, NULL, &n);
    s->asked = true;
    rs_grpc_stream_send(s->up, (rs_str){ request, n });
}

static void on_down_half_close(void *ctx, rs_grpc_call *call)
{
    struct session *s = rs_grpc_user(call);
    if (s->up)
        rs_grpc_stream_half_close(s->up);
}

static void on_down_close(void *ctx, rs_grpc_call *call)
{
    struct session *s = rs_grpc_user(call);
    s->down = NULL;
    if (s->up)
        rs_grpc_stream_cancel(rs_take(s->up));
    rs_grpc_channel_free(s->channel);
    free(s);
}

static void accepted(void *ctx, int fd)
{
    rs_grpc_server_add(((rs_ads_proxy *)ctx)->server, fd);
}

int rs_ads_proxy_new(rs_ads_proxy **ret, rs_loop *loop, const struct rs_agent_config *config, const struct rs_ads_proxy_ops *ops,
                     void *ctx, struct rs_err *e)
{
    static const struct rs_grpc_method method = {
        .path = RS_ADS_PATH, .on_message = on_down_message, .streaming = true, .on_open = on_down_open, .on_half_close = on_down_half_close,
        .on_close = on_down_close,
    };
    RS_AUTO(rs_chars) *address = rs_printf("unix:%s/XDS", config->config_dir);
    int fd = rs_listen(address, e);
    if (fd < 0)
        return rs_err_wrap(e, "ADS");
    rs_ads_proxy *p = rs_new(rs_ads_proxy);
    p->loop = loop;
    p->config = config;
    p->ops = ops;
    p->ctx = ctx;
    p->server = rs_grpc_server_new(loop, &(struct rs_grpc_server_config){ .methods = &method, .n_methods = 1, .message_max = REQUEST_MAX, .ctx = p });
    p->listener = rs_listener_new(loop, fd, accepted, p);
    *ret = p;
    return 0;
}

json_t *rs_ads_proxy_status(const rs_ads_proxy *p)
{
    return rs_json_pack("{s:I, s:I, s:s}", "streams", (json_int_t)rs_grpc_server_calls(p->server), "connects", (json_int_t)p->connects,
                        "lastError", p->last_error);
}

void rs_ads_proxy_free(rs_ads_proxy *p)
{
    if (!p)
        return;
    rs_listener_free(p->listener);
    rs_grpc_server_free(p->server);
    free(p);
}
