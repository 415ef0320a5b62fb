#include "control/discovery.h"

#include "base/buf.h"
#include "base/log.h"
#include "control/config.h"
#include "xds/encode.h"
#include "xds/server.h"

struct rs_discovery {
    rs_loop *loop;
    rs_callers *callers;
    rs_xds_server *xds;
    rs_model *model;
    json_t *trust;                                       /* array with the PCDS resource, or empty */
    struct rs_discovery_stats stats;
};

/* One stream. */
struct client {
    rs_discovery *discovery;
    rs_xds_client *xds;
    rs_callers_call *call;
    bool opening, refused;                               /* the answer came while the question was asked */
    struct rs_caller caller;
    rs_envoy *envoy;                                     /* once it has named itself */
};

json_t *rs_discovery_trust_resource(const rs_bundle *bundle, const char *const *retired)
{
    json_t *pem = json_array();
    for (size_t i = 0; i < rs_bundle_count(bundle); i++)
        json_array_append_new(pem, json_string(rs_cert_pem(rs_bundle_root(bundle, i))));
    json_t *resource = rs_json_pack("{s:s, s:o}", "@type", RS_TYPE_PCDS, "ca_certificates_pem", pem);
    RS_AUTO_BUF names;
    rs_buf_init(&names, 64 * 1024);
    for (size_t i = 0; retired && retired[i]; i++)
        rs_buf_addf(&names, "%s%s", i ? "," : "", retired[i]);
    if (names.n)
        rs_json_set_str(rs_json_need(resource, "proxy_metadata"), "ROOTSHIFT_RETIRED_ROOTS", names.p);
    return resource;
}

/* ---- who asks ---- */

static void on_caller(void *ctx, const struct rs_caller *caller, const struct rs_err *why)
{
    struct client *c = ctx;
    c->call = NULL;
    if (why) {
        c->discovery->stats.refused++;
        rs_log_warning("discovery refused peer=%s: %s", rs_grpc_call_peer(rs_xds_client_call(c->xds)), why->msg);
        if (c->opening)
            c->refused = true;
        else
            rs_xds_client_refuse(c->xds, why->code == RS_UNAVAILABLE ? RS_UNAVAILABLE : RS_UNAUTHENTICATED, "authentication failure");
        return;
    }
    rs_caller_copy(&c->caller, caller);
    if (!c->opening)
        rs_xds_client_accept(c->xds);
}

static void on_open(void *ctx, rs_xds_client *xds)
{
    rs_discovery *d = ctx;
    struct client *c = rs_new(struct client);
    c->discovery = d;
    c->xds = xds;
    rs_xds_client_set_user(xds, c);
    d->stats.clients++;
    rs_str token = rs_bearer_token(rs_grpc_metadata(rs_xds_client_call(xds), "authorization"));
    c->opening = true;
    c->call = rs_callers_check(d->callers, token, on_caller, c);
    c->opening = false;
    if (c->refused)                                      /* both may end the client, so nothing follows */
        rs_xds_client_refuse(xds, RS_UNAUTHENTICATED, "authentication failure");
    else if (!c->call)
        rs_xds_client_accept(xds);
}

static void on_close(void *ctx, rs_xds_client *xds)
{
    rs_discovery *d = ctx;
    struct client *c = rs_xds_client_user(xds);
    d->stats.clients--;
    rs_callers_cancel(c->call);
    rs_caller_done(&c->caller);
    rs_envoy_free(c->envoy);
    free(c);
}

/* The namespace and account that a proxy names must be those of its token (facts istio-wire 7). */
static int identify(struct client *c, struct rs_err *e)
{
    const rs_xds_session *s = rs_xds_client_session(c->xds);
    RS_AUTO(rs_envoy) *p = NULL;
    if (rs_envoy_new(&p, rs_xds_session_node_id(s), rs_xds_session_node_metadata(s), e) < 0)
        return -1;
    const char *namespace = rs_json_str(p->metadata, "NAMESPACE");
    if (strcmp(p->namespace, c->caller.namespace) != 0 || (namespace && strcmp(namespace, c->caller.namespace) != 0) ||
        (*p->service_account && strcmp(p->service_account, c->caller.service_account) != 0))
        return RS_FAIL(e, RS_FORBIDDEN, "proxy %.200s says namespace %s, service account %s, but its token is of %s/%s", p->id, p->namespace,
                       p->service_account, c->caller.namespace, c->caller.service_account);
    c->envoy = rs_take(p);
    rs_log_info("discovery node=%s peer=%s", c->envoy->id, rs_grpc_call_peer(rs_xds_client_call(c->xds)));
    return 0;
}

/* ---- what it shall have ---- */

static rs_xds_snapshot *snapshot(void *ctx, rs_xds_client *xds)
{
    rs_discovery *d = ctx;
    struct client *c = rs_xds_client_user(xds);
    struct rs_err e;
    rs_xds_snapshot *s = NULL;
    if (!c->envoy && identify(c, &e) < 0) {
        d->stats.refused++;
        rs_log_warning("discovery refused: %s", e.msg);
        rs_xds_client_refuse(xds, e.code, e.msg);
        return NULL;
    }
    if (!d->model)
        return NULL;
    if (rs_config_snapshot(&s, d->model, c->envoy, d->trust, &e) < 0) {
        rs_log_error("configuration of %s could not be made, it keeps its last one: %s", c->envoy->id, e.msg);
        return NULL;
    }
    d->stats.snapshots++;
    return s;
}

static void on_answer(void *ctx, rs_xds_client *xds)
{
    rs_discovery *d = ctx;
    struct client *c = rs_xds_client_user(xds);
    struct rs_xds_state state;
    for (enum rs_xds_type t = 0; t < RS_XDS_TYPES; t++) {
        rs_xds_session_state(rs_xds_client_session(xds), t, &state);
        if (!state.rejected)
            continue;
        d->stats.nacks++;
        rs_log_error("proxy %s refused its configuration (%s): %s", c->envoy ? c->envoy->id : "?", rs_xds_type_url(t), state.error);
    }
}

rs_discovery *rs_discovery_new(rs_loop *loop, rs_callers *callers)
{
    static const struct rs_xds_server_ops ops = { .on_open = on_open, .snapshot = snapshot, .on_answer = on_answer, .on_close = on_close };
    rs_discovery *d = rs_new(rs_discovery);
    d->loop = loop;
    d->callers = callers;
    d->trust = json_array();
    d->xds = rs_xds_server_new(&ops, d);
    return d;
}

struct rs_grpc_method rs_discovery_method(rs_discovery *d) { return rs_xds_server_method(d->xds, RS_ADS_PATH); }

void rs_discovery_free(rs_discovery *d)
{
    if (!d)
        return;
    rs_xds_server_free(d->xds);
    rs_model_unref(d->model);
    json_decref(d->trust);
    free(d);
}

void rs_discovery_set_model(rs_discovery *d, rs_model *m)
{
    rs_model_ref(m);
    rs_model_unref(d->model);
    d->model = m;
    rs_xds_server_refresh(d->xds);
}

void rs_discovery_set_trust(rs_discovery *d, rs_bundle *bundle, const char *const *retired)
{
    json_array_clear(d->trust);
    if (bundle)
        json_array_append_new(d->trust, rs_discovery_trust_resource(bundle, retired));
    rs_xds_server_refresh(d->xds);
}

struct rs_discovery_stats rs_discovery_stats_of(const rs_discovery *d) { return d->stats; }

static void add_status(void *ctx, rs_xds_client *xds)
{
    const struct client *c = rs_xds_client_user(xds);
    const rs_xds_session *s = rs_xds_client_session(xds);
    const char *id = rs_xds_session_node_id(s);
    json_t *types = json_object();
    for (enum rs_xds_type t = 0; t < RS_XDS_TYPES; t++) {
        struct rs_xds_state state;
        rs_xds_session_state(s, t, &state);
        if (!state.subscribed)
            continue;
        const char *dot = strrchr(rs_xds_type_url(t), '.');
        json_object_set_new(types, dot ? dot + 1 : rs_xds_type_url(t),
                            rs_json_pack("{s:s, s:s, s:s}", "sent", state.sent, "acked", state.acked, "error", state.rejected ? state.error : ""));
    }
    json_array_append_new(ctx, rs_json_pack("{s:s, s:s, s:b, s:o}", "proxy", id ? id : "", "peer", rs_grpc_call_peer(rs_xds_client_call(c->xds)),
                                            "settled", rs_xds_session_settled(s) ? 1 : 0, "types", types));
}

json_t *rs_discovery_status(rs_discovery *d)
{
    json_t *out = json_array();
    rs_xds_server_each(d->xds, add_status, out);
    return out;
}
