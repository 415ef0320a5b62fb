/* Discovery server for tests with a real Envoy: `ads_server DIR` serves ADS and SDS to every node.
 *   DIR/objects.json   {"revision", "mesh_config", "services", "endpoint_slices", "pods", ...} of struct rs_model_input
 *   DIR/NODE-ID.json   further resources of one node (secrets), optional
 * SIGHUP reads them anew. One JSON line on stdout for every change of a stream: {"stream", "node", "settled",
 * "rejected": {type: error}} or {"stream", "closed"}. */
#include <signal.h>
#include <stdio.h>

#include "base/file.h"
#include "base/log.h"
#include "control/config.h"
#include "io/listen.h"
#include "xds/server.h"

struct world { const char *dir; rs_xds_server *xds; int streams; };

static json_t *read_json(const char *dir, const char *name)
{
    struct rs_err e;
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s.json", dir, name), *text = NULL;
    json_t *o = NULL;
    size_t n;
    if (rs_file_read(path, RS_FILE_MAX, &text, &n, &e) < 0)
        return NULL;
    if (rs_json_parse(&o, (rs_str){ text, n }, &e) < 0)
        rs_log_error("%s: %s", path, e.msg);
    return o;
}

static rs_model *read_model(const char *dir)
{
    RS_AUTO(json_t) *o = read_json(dir, "objects");
    return rs_model_build(&(struct rs_model_input){
        .revision = "test", .root_namespace = "istio-system", .mesh_config = json_object_get(o, "mesh_config"),
        .services = json_object_get(o, "services"), .endpoint_slices = json_object_get(o, "endpoint_slices"), .pods = json_object_get(o, "pods"),
        .peer_authentications = json_object_get(o, "peer_authentications"), .authorization_policies = json_object_get(o, "authorization_policies"),
        .gateways = json_object_get(o, "gateways"), .virtual_services = json_object_get(o, "virtual_services") });
}

static rs_xds_snapshot *snapshot(void *ctx, rs_xds_client *c)
{
    struct world *w = ctx;
    struct rs_err e;
    const rs_xds_session *s = rs_xds_client_session(c);
    RS_AUTO(rs_model) *m = read_model(w->dir);
    RS_AUTO(rs_envoy) *proxy = NULL;
    RS_AUTO(json_t) *extra = read_json(w->dir, rs_xds_session_node_id(s));
    rs_xds_snapshot *ret = NULL;
    if (rs_envoy_new(&proxy, rs_xds_session_node_id(s), rs_xds_session_node_metadata(s), &e) < 0 ||
        rs_config_snapshot(&ret, m, proxy, extra, &e) < 0) {
        rs_log_error("%s", e.msg);
        rs_xds_client_refuse(c, e.code, e.msg);
    }
    return ret;
}

static void print_line(json_t *line)
{
    RS_AUTO(rs_chars) *text = rs_json_text(line);
    puts(text);
    fflush(stdout);
    json_decref(line);
}

static void on_open(void *ctx, rs_xds_client *c)
{
    struct world *w = ctx;
    rs_xds_client_set_user(c, (void *)(intptr_t)++w->streams);
    rs_xds_client_accept(c);
}

static void on_close(void *ctx, rs_xds_client *c)
{
    print_line(rs_json_pack("{si sb}", "stream", (int)(intptr_t)rs_xds_client_user(c), "closed", 1));
}

static void on_answer(void *ctx, rs_xds_client *c)
{
    const rs_xds_session *s = rs_xds_client_session(c);
    struct rs_xds_state state;
    RS_AUTO(json_t) *rejected = json_object();
    for (enum rs_xds_type t = 0; t < RS_XDS_TYPES; t++) {
        rs_xds_session_state(s, t, &state);
        if (state.rejected)
            json_object_set_new(rejected, strrchr(rs_xds_type_url(t), '.') + 1, json_string(state.error));
    }
    print_line(rs_json_pack("{si ss sb sO}", "stream", (int)(intptr_t)rs_xds_client_user(c), "node", rs_xds_session_node_id(s),
        "settled", rs_xds_session_settled(s), "rejected", rejected));
}

static void accepted(void *ctx, int fd)
{
    rs_grpc_server_add(ctx, fd);
}

static void on_hup(void *ctx, int signo)
{
    rs_xds_server_refresh(ctx);
}

int main(int argc, char **argv)
{
    struct rs_err e;
    if (argc != 3) {
        fprintf(stderr, "usage: ads_server DIR ADDRESS\n");
        return 2;
    }
    rs_log_init("ads_server", RS_LOG_INFO);
    rs_loop *loop = rs_loop_new();
    struct world w = { .dir = argv[1] };
    w.xds = rs_xds_server_new(&(struct rs_xds_server_ops){ .on_open = on_open, .snapshot = snapshot, .on_answer = on_answer, .on_close = on_close }, &w);
    const struct rs_grpc_method methods[] = { rs_xds_server_method(w.xds, RS_ADS_PATH), rs_xds_server_method(w.xds, RS_SDS_PATH) };
    rs_grpc_server *grpc = rs_grpc_server_new(loop, &(struct rs_grpc_server_config){ .methods = methods, .n_methods = RS_COUNT(methods) });
    int fd = rs_listen(argv[2], &e);
    if (fd < 0) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    rs_listener_new(loop, fd, accepted, grpc);
    rs_loop_on_signal(loop, SIGHUP, on_hup, w.xds);
    puts("ready");
    fflush(stdout);
    rs_loop_run(loop);
    return 0;
}
