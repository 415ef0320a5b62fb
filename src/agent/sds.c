#include "agent/sds.h"

#include "base/log.h"
#include "io/listen.h"
#include "xds/encode.h"
#include "xds/server.h"

struct rs_sds {
    const rs_identity *identity;
    rs_listener *listener;
    rs_xds_server *xds;
    rs_grpc_server *grpc;
    rs_xds_snapshot *snapshot;           /* NULL: nothing to give yet */
};

static void add(rs_xds_snapshot *to, json_t *secret)
{
    struct rs_err e;
    if (rs_xds_snapshot_add(to, secret, &e) < 0)
        rs_log_error("secret %s: %s", rs_json_str(secret, "name"), e.msg);
    json_decref(secret);
}

static json_t *inline_bytes(rs_str bytes)
{
    char *text = rs_base64(bytes.p, bytes.n);
    json_t *o = rs_json_pack("{s:s}", "inline_bytes", text);
    rs_free_cleansed(text, strlen(text));
    return o;
}

static void build(rs_sds *s)
{
    const char *chain = rs_identity_chain(s->identity);
    const rs_secret *key = rs_identity_key(s->identity);
    const rs_bundle *roots = rs_identity_roots(s->identity);
    rs_xds_snapshot_unref(s->snapshot);
    s->snapshot = rs_xds_snapshot_new();
    if (chain)
        add(s->snapshot, rs_json_pack("{s:s, s:s, s:{s:o, s:o}}", "@type", RS_TYPE_SECRET, "name", "default", "tls_certificate",
                                      "certificate_chain", inline_bytes(rs_str_of(chain)), "private_key", inline_bytes((rs_str){ key->p, key->n })));
    if (rs_bundle_count(roots) > 0)
        add(s->snapshot, rs_json_pack("{s:s, s:s, s:{s:o}}", "@type", RS_TYPE_SECRET, "name", "ROOTCA", "validation_context",
                                      "trusted_ca", inline_bytes(rs_str_of(rs_bundle_pem(roots)))));
}

static rs_xds_snapshot *snapshot(void *ctx, rs_xds_client *c)
{
    return rs_xds_snapshot_ref(((rs_sds *)ctx)->snapshot);
}

static void on_answer(void *ctx, rs_xds_client *c)
{
    struct rs_xds_state state;
    rs_xds_session_state(rs_xds_client_session(c), RS_XDS_SECRET, &state);
    if (state.rejected)
        rs_log_warning("Envoy rejects a secret: %s", state.error);
}

static void accepted(void *ctx, int fd)
{
    rs_grpc_server_add(((rs_sds *)ctx)->grpc, fd);
}

int rs_sds_new(rs_sds **ret, rs_loop *loop, const char *path, const rs_identity *identity, struct rs_err *e)
{
    static const struct rs_xds_server_ops ops = { .snapshot = snapshot, .on_answer = on_answer };
    RS_AUTO(rs_chars) *address = rs_printf("unix:%s", path);
    int fd = rs_listen(address, e);
    if (fd < 0)
        return rs_err_wrap(e, "SDS");
    rs_sds *s = rs_new(rs_sds);
    s->identity = identity;
    s->xds = rs_xds_server_new(&ops, s);
    struct rs_grpc_method method = rs_xds_server_method(s->xds, RS_SDS_PATH);
    s->grpc = rs_grpc_server_new(loop, &(struct rs_grpc_server_config){ .methods = &method, .n_methods = 1 });
    s->listener = rs_listener_new(loop, fd, accepted, s);
    build(s);
    *ret = s;
    return 0;
}

void rs_sds_refresh(rs_sds *s)
{
    build(s);
    rs_xds_server_refresh(s->xds);
}

void rs_sds_free(rs_sds *s)
{
    if (!s)
        return;
    rs_listener_free(s->listener);
    rs_grpc_server_free(s->grpc);
    rs_xds_server_free(s->xds);
    rs_xds_snapshot_unref(s->snapshot);
    free(s);
}
