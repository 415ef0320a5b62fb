/* The agent beside a real Envoy, with a control plane and a CA made of our own servers. */
#include "unit.h"

#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "grpc/server.h"
#include "http/client.h"
#include "http/server.h"
#include "io/listen.h"
#include "istio_ca.pb-c.h"
#include "mesh/planted.h"
#include "pki/csr.h"
#include "pki/tls.h"
#include "xds/encode.h"
#include "xds/server.h"

struct world {
    rs_loop *loop;
    char dir[64];
    struct planted_ca a, b, serving;
    struct planted_ca *signer;
    int64_t ttl_ms;
    int issued, refused;
    bool ca_down, wrong_key;

    rs_listener *control_listener, *app_listener;
    rs_grpc_server *control;
    rs_xds_server *xds;
    rs_xds_snapshot *snapshot;
    rs_http_server *app;
    rs_http_exchange *held;

    struct rs_agent_config config;
    rs_agent *agent;
    bool ended, ok;
    int inbound_port, app_port;
    rs_http_client *http;
};

#define WAIT(w, condition) do { \
        for (int unit_i_ = 0; !(condition); unit_i_++) { \
            bool never_ = false; \
            rs_loop_run_until((w)->loop, &never_, 5); \
            if (unit_i_ > 4000) fail_msg("timed out waiting for " #condition); } } while (0)

/* ---- CA ---- */

static void on_csr(void *ctx, rs_grpc_call *call, rs_str m)
{
    struct world *w = ctx;
    struct rs_err e;
    const char *token = rs_grpc_metadata(call, "authorization");
    if (w->ca_down || !rs_streq(token, "Bearer the token") || !rs_streq(rs_grpc_metadata(call, "clusterid"), "Kubernetes")) {
        w->refused++;
        rs_grpc_finish(call, w->ca_down ? RS_UNAVAILABLE : RS_UNAUTHENTICATED, "no");
        return;
    }
    Istio__V1__Auth__IstioCertificateRequest *r = istio__v1__auth__istio_certificate_request__unpack(NULL, m.n, (const uint8_t *)m.p);
    RS_AUTO(EVP_PKEY) *key = NULL;
    RS_AUTO(rs_cert) *leaf = NULL;
    const char *const sans[] = { "spiffe://ca.local/ns/shop/sa/cart", NULL };
    struct rs_issuer issuer = { w->signer->cert, w->signer->key };
    assert_non_null(r);
    ASSERT_OK(rs_csr_read(&key, rs_str_of(r->csr), &e));
    ASSERT_OK(rs_issue_leaf(&leaf, &issuer, w->wrong_key ? w->a.key : key, sans, rs_now_ms(), w->ttl_ms, &e));
    char *chain[] = { (char *)(uintptr_t)rs_cert_pem(leaf), (char *)(uintptr_t)rs_cert_pem(w->signer->cert) };
    Istio__V1__Auth__IstioCertificateResponse answer = ISTIO__V1__AUTH__ISTIO_CERTIFICATE_RESPONSE__INIT;
    answer.cert_chain = chain;
    answer.n_cert_chain = 2;
    RS_AUTO(rs_chars) *bytes = rs_alloc(istio__v1__auth__istio_certificate_response__get_packed_size(&answer));
    size_t n = istio__v1__auth__istio_certificate_response__pack(&answer, (uint8_t *)bytes);
    istio__v1__auth__istio_certificate_request__free_unpacked(r, NULL);
    w->issued++;
    rs_grpc_send(call, (rs_str){ bytes, n });
    rs_grpc_finish(call, RS_OK, NULL);
}

/* ---- control plane ---- */

static json_t *sds(const char *name)
{
    return rs_json_pack("{s:s, s:{s:s, s:s, s:{s:s, s:s, s:b, s:[{s:{s:s}}]}}}", "name", name, "sds_config", "initial_fetch_timeout", "0s",
                        "resource_api_version", "V3", "api_config_source", "api_type", "GRPC", "transport_api_version", "V3",
                        "set_node_on_first_message_only", 1, "grpc_services", "envoy_grpc", "cluster_name", "sds-grpc");
}

static json_t *inbound(const struct world *w)
{
    json_t *tls = rs_json_pack("{s:s, s:b, s:{s:[o], s:o}}", "@type", RS_TYPE_PREFIX "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                               "require_client_certificate", 1, "common_tls_context", "tls_certificate_sds_secret_configs", sds("default"),
                               "validation_context_sds_secret_config", sds("ROOTCA"));
    json_t *manager = rs_json_pack("{s:s, s:s, s:{s:[{s:s, s:[s], s:[{s:{s:s}, s:{s:s}}]}]}, s:[{s:s, s:{s:s}}]}",
        "@type", RS_TYPE_PREFIX "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix", "inbound",
        "route_config", "virtual_hosts", "name", "all", "domains", "*", "routes", "match", "prefix", "/", "route", "cluster", "app",
        "http_filters", "name", "envoy.filters.http.router", "typed_config", "@type", RS_TYPE_PREFIX "envoy.extensions.filters.http.router.v3.Router");
    return rs_json_pack("{s:s, s:s, s:{s:{s:s, s:i}}, s:[{s:[{s:s, s:o}], s:{s:s, s:o}}]}", "@type", RS_TYPE_LISTENER, "name", "inbound",
                        "address", "socket_address", "address", "127.0.0.1", "port_value", w->inbound_port, "filter_chains",
                        "filters", "name", "envoy.filters.network.http_connection_manager", "typed_config", manager,
                        "transport_socket", "name", "envoy.transport_sockets.tls", "typed_config", tls);
}

static json_t *app_cluster(const struct world *w)
{
    return rs_json_pack("{s:s, s:s, s:s, s:s, s:{s:s, s:[{s:[{s:{s:{s:{s:s, s:i}}}}]}]}}", "@type", RS_TYPE_CLUSTER, "name", "app", "type", "STATIC",
                        "connect_timeout", "1s", "load_assignment", "cluster_name", "app", "endpoints", "lb_endpoints", "endpoint",
                        "address", "socket_address", "address", "127.0.0.1", "port_value", w->app_port);
}

static void add(rs_xds_snapshot *s, json_t *o)
{
    struct rs_err e;
    ASSERT_OK(rs_xds_snapshot_add(s, o, &e));
    json_decref(o);
}

/* What the control plane distributes from now on. */
static void distribute(struct world *w, const char *bundle_pem, const char *retired)
{
    rs_xds_snapshot_unref(w->snapshot);
    w->snapshot = rs_xds_snapshot_new();
    add(w->snapshot, app_cluster(w));
    add(w->snapshot, inbound(w));
    json_t *config = rs_json_pack("{s:s, s:[s]}", "@type", RS_TYPE_PCDS, "ca_certificates_pem", bundle_pem);
    if (retired)
        json_object_set_new(config, "proxy_metadata", rs_json_pack("{s:s}", "ROOTSHIFT_RETIRED_ROOTS", retired));
    add(w->snapshot, config);
    rs_xds_server_refresh(w->xds);
}

static rs_xds_snapshot *snapshot_for(void *ctx, rs_xds_client *c)
{
    return rs_xds_snapshot_ref(((struct world *)ctx)->snapshot);
}

/* ---- the app ---- */

static void app_handle(void *ctx, rs_http_exchange *x)
{
    struct world *w = ctx;
    if (rs_streq(rs_http_path(x), "/slow"))
        w->held = x;
    else
        rs_http_reply(x, rs_streq(rs_http_path(x), "/sick") ? 500 : 200, "text/plain", RS_STR("from the app"));
}

static void control_accepted(void *ctx, int fd)
{
    rs_grpc_server_add(((struct world *)ctx)->control, fd);
}

static void app_accepted(void *ctx, int fd)
{
    rs_http_server_add(((struct world *)ctx)->app, fd);
}

/* ---- set-up ---- */

static int free_port(void)
{
    struct rs_err e;
    RS_AUTO_FD int fd = rs_listen("127.0.0.1:0", &e);
    assert_true(fd >= 0);
    return rs_listen_port(fd);
}

static void write_file(const struct world *w, const char *name, const char *text)
{
    struct rs_err e;
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s", w->dir, name);
    ASSERT_OK(rs_file_write(path, rs_str_of(text), 0600, &e));
}

static int start_control(struct world *w)
{
    static const struct rs_xds_server_ops ops = { .snapshot = snapshot_for };
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = NULL;
    RS_AUTO(rs_cert) *leaf = NULL;
    RS_AUTO(SSL_CTX) *tls = NULL;
    const char *const sans[] = { "istiod.istio-system.svc", NULL };
    struct rs_issuer issuer = { w->serving.cert, w->serving.key };
    ASSERT_OK(rs_key_generate(&key, RS_KEY_P256, &e));
    ASSERT_OK(rs_issue_leaf(&leaf, &issuer, key, sans, rs_now_ms(), 3600000, &e));
    RS_AUTO(rs_secret) *pem = rs_key_to_pem(key);
    ASSERT_OK(rs_tls_server(&tls, rs_str_of(rs_cert_pem(leaf)), (rs_str){ pem->p, pem->n }, NULL, false, "h2", &e));
    w->xds = rs_xds_server_new(&ops, w);
    const struct rs_grpc_method methods[] = {
        rs_xds_server_method(w->xds, RS_ADS_PATH),
        { .path = "/istio.v1.auth.IstioCertificateService/CreateCertificate", .on_message = on_csr, .ctx = w },
    };
    w->control = rs_grpc_server_new(w->loop, &(struct rs_grpc_server_config){ .tls = tls, .methods = methods, .n_methods = 2, .ctx = w });
    int fd = rs_listen("127.0.0.1:0", &e);
    assert_true(fd >= 0);
    w->control_listener = rs_listener_new(w->loop, fd, control_accepted, w);
    return rs_listen_port(fd);
}

static void on_end(void *ctx, bool ok)
{
    struct world *w = ctx;
    w->ended = true;
    w->ok = ok;
}

static void replace(char **text, char *now)
{
    free(*text);
    *text = now;
}

static void load_config(struct world *w, int control_port)
{
    struct rs_err e;
    char *const paths[] = {
        (char *)"POD_NAME=cart-1", (char *)"POD_NAMESPACE=shop", (char *)"INSTANCE_IP=127.0.0.1", (char *)"SERVICE_ACCOUNT=cart",
        (char *)"PROXY_CONFIG_XDS_AGENT=true", (char *)"MINIMUM_DRAIN_DURATION=400ms", (char *)"MAXIMUM_DRAIN_DURATION=10s",
        rs_printf("ENVOY_STATUS_PORT=%d", free_port()), rs_printf("ENVOY_PROMETHEUS_PORT=%d", free_port()),
        rs_printf("PROXY_CONFIG={discoveryAddress: 'localhost:%d', configPath: '%s/proxy', statusPort: %d, proxyAdminPort: %d, concurrency: 1}", control_port,
                  w->dir, free_port(), free_port()),
        rs_printf("ISTIO_KUBE_APP_PROBERS={\"/app-health/app/readyz\":{\"httpGet\":{\"path\":\"/ok\",\"port\":%d,\"scheme\":\"HTTP\"}},"
                  "\"/app-health/app/livez\":{\"httpGet\":{\"path\":\"/sick\",\"port\":%d}}}", w->app_port, w->app_port),
        NULL };
    ASSERT_OK(rs_agent_config_load(&w->config, "sidecar", paths, &e));
    for (size_t i = 7; paths[i]; i++)
        free(paths[i]);
    replace(&w->config.ca_root, rs_printf("%s/root-cert.pem", w->dir));
    replace(&w->config.xds_root, rs_printf("%s/root-cert.pem", w->dir));
    replace(&w->config.token_path, rs_printf("%s/token", w->dir));
    replace(&w->config.sds_path, rs_printf("%s/sds/socket", w->dir));
}

static void world_init(struct world *w)
{
    struct rs_err e;
    *w = (struct world){ .loop = rs_loop_new(), .dir = "/tmp/rs-agent-XXXXXX", .ttl_ms = 3600000 };
    assert_non_null(mkdtemp(w->dir));
    w->a = planted_root(NULL, "a");
    w->b = planted_root(NULL, "b");
    w->serving = planted_root(NULL, "serving");
    w->signer = &w->a;
    w->inbound_port = free_port();
    w->http = rs_http_client_new(w->loop);
    w->app = rs_http_server_new(w->loop, &(struct rs_http_server_config){ .body_max = 4096, .handle = app_handle, .ctx = w });
    int fd = rs_listen("127.0.0.1:0", &e);
    assert_true(fd >= 0);
    w->app_port = rs_listen_port(fd);
    w->app_listener = rs_listener_new(w->loop, fd, app_accepted, w);
    load_config(w, start_control(w));
    write_file(w, "root-cert.pem", rs_cert_pem(w->serving.cert));
    write_file(w, "token", "the token\n");
    distribute(w, rs_cert_pem(w->a.cert), NULL);
    ASSERT_OK(rs_agent_new(&w->agent, w->loop, &w->config, on_end, w, &e));
}

static void world_done(struct world *w)
{
    struct rs_err e;
    if (!w->ended) {
        rs_agent_stop(w->agent);
        rs_agent_stop(w->agent);
        WAIT(w, w->ended);
    }
    rs_agent_free(w->agent);
    rs_http_client_free(w->http);
    rs_listener_free(w->control_listener);
    rs_listener_free(w->app_listener);
    rs_grpc_server_free(w->control);
    rs_xds_server_free(w->xds);
    rs_xds_snapshot_unref(w->snapshot);
    rs_http_server_free(w->app);
    rs_loop_free(w->loop);
    rs_agent_config_done(&w->config);
    planted_root_done(&w->a);
    planted_root_done(&w->b);
    planted_root_done(&w->serving);
    ASSERT_OK(rs_remove_tree(w->dir, &e));
}

/* ---- asking ---- */

struct got { bool done; int status; char *body; };

static void got_done(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    struct got *g = ctx;
    g->done = true;
    g->status = r ? r->status : 0;
    g->body = r ? rs_strndup(r->body.p, r->body.n) : rs_strdup(why->msg);
}

/* Status of GET on a local port, 0 when it cannot be had. */
static int get(struct world *w, int port, const char *path, char **ret_body)
{
    RS_AUTO(rs_chars) *url = rs_printf("http://127.0.0.1:%d%s", port, path);
    struct rs_http_request r = { .method = "GET", .url = url, .timeout_ms = 5000, .fresh_connection = true };
    struct got g = { 0 };
    rs_http_start(w->http, &r, got_done, &g);
    WAIT(w, g.done);
    if (ret_body)
        *ret_body = rs_take(g.body);
    free(g.body);
    return g.status;
}

/* A client of the mesh: certificate under `ca`, trusting both roots, over a real handshake. */
struct peer { rs_stream *s; struct rs_buf got; bool closed; rs_cert *server; };

static void peer_open(void *ctx, rs_stream *s)
{
    ((struct peer *)ctx)->server = rs_tls_peer(rs_stream_ssl(s));
}

static size_t peer_data(void *ctx, rs_stream *s, rs_str data)
{
    rs_buf_add(&((struct peer *)ctx)->got, data.p, data.n);
    return data.n;
}

static void peer_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    struct peer *p = ctx;
    p->closed = true;
    rs_stream_free(rs_take(p->s));
}

static const struct rs_stream_ops peer_ops = { .on_open = peer_open, .on_data = peer_data, .on_close = peer_close };

static void peer_connect(struct world *w, struct peer *p, const struct planted_ca *ca)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = NULL;
    RS_AUTO(rs_cert) *leaf = NULL;
    RS_AUTO(SSL_CTX) *tls = NULL;
    RS_AUTO(rs_bundle) *roots = NULL;
    const char *const sans[] = { "spiffe://x/ns/shop/sa/client", NULL };
    struct rs_issuer issuer = { ca->cert, ca->key };
    RS_AUTO(rs_chars) *both = rs_printf("%s%s", rs_cert_pem(w->a.cert), rs_cert_pem(w->b.cert)), *address = rs_printf("127.0.0.1:%d", w->inbound_port);
    ASSERT_OK(rs_key_generate(&key, RS_KEY_P256, &e));
    ASSERT_OK(rs_issue_leaf(&leaf, &issuer, key, sans, rs_now_ms(), 3600000, &e));
    ASSERT_OK(rs_bundle_parse(&roots, rs_str_of(both), &e));
    RS_AUTO(rs_secret) *pem = rs_key_to_pem(key);
    ASSERT_OK(rs_tls_client(&tls, roots, rs_str_of(rs_cert_pem(leaf)), (rs_str){ pem->p, pem->n }, "http/1.1", &e));
    *p = (struct peer){ 0 };
    rs_buf_init(&p->got, 65536);
    p->s = rs_stream_connect(w->loop, address, tls, NULL, 3000, &peer_ops, p);
}

static void peer_done(struct peer *p)
{
    rs_stream_free(p->s);
    rs_buf_done(&p->got);
    rs_cert_unref(p->server);
}

static void peer_ask(struct peer *p, const char *path)
{
    RS_AUTO(rs_chars) *request = rs_printf("GET %s HTTP/1.1\r\nHost: cart\r\n\r\n", path);
    rs_stream_write(p->s, request, strlen(request));
}

/* True when a client under ca gets its answer; *ret_leaf (may be NULL) is what the server showed. */
static bool served(struct world *w, const struct planted_ca *ca, rs_digest *ret_leaf)
{
    struct peer p;
    peer_connect(w, &p, ca);
    peer_ask(&p, "/");
    WAIT(w, p.closed || (p.got.n && strstr(p.got.p, "from the app")));
    bool ok = p.got.n && strstr(p.got.p, "200 OK");
    if (ret_leaf && p.server)
        *ret_leaf = *rs_cert_digest(p.server);
    peer_done(&p);
    return ok;
}

static json_t *trust(struct world *w)
{
    RS_AUTO(rs_chars) *body = NULL;
    struct rs_err e;
    json_t *o = NULL;
    assert_int_equal(get(w, w->config.status_port, "/trust", &body), 200);
    ASSERT_OK(rs_json_parse(&o, rs_str_of(body), &e));
    return o;
}

static json_int_t trust_number(struct world *w, const char *name)
{
    RS_AUTO(json_t) *o = trust(w);
    return rs_json_int(o, -1, name);
}

static size_t roots_held(struct world *w)
{
    RS_AUTO(json_t) *o = trust(w);
    return json_array_size(json_object_get(o, "roots"));
}

static bool ready(struct world *w)
{
    return get(w, w->config.ready_port, "/healthz/ready", NULL) == 200;
}

/* ---- tests ---- */

static void serves_and_renews(void **state)
{
    struct world w;
    rs_digest first, now;
    world_init(&w);
    w.ttl_ms = 4000;                     /* + 2 min back-dating; renewed after 2 s */
    WAIT(&w, ready(&w));
    assert_true(served(&w, &w.a, &first));
    assert_int_equal(get(&w, w.config.status_port, "/app-health/app/readyz", NULL), 200);
    assert_int_equal(get(&w, w.config.status_port, "/app-health/app/livez", NULL), 500);
    assert_int_equal(get(&w, w.config.status_port, "/app-health/other/livez", NULL), 404);
    RS_AUTO(rs_chars) *stats = NULL;
    assert_int_equal(get(&w, w.config.status_port, "/stats/prometheus", &stats), 200);
    assert_non_null(strstr(stats, "envoy_server_live"));
    w.ca_down = true;                    /* what is held stays in use while the CA does not answer */
    WAIT(&w, w.refused >= 2);
    assert_true(served(&w, &w.a, &now));
    w.ca_down = false;
    now = first;
    for (int i = 0; rs_digest_eq(&first, &now) && i < 200; i++)
        assert_true(served(&w, &w.a, &now));           /* no request fails while it changes */
    assert_false(rs_digest_eq(&first, &now));
    world_done(&w);
}

static void roots_come_and_stay(void **state)
{
    struct world w;
    char digest[RS_DIGEST_TEXT];
    world_init(&w);
    RS_AUTO(rs_chars) *both = rs_printf("%s%s", rs_cert_pem(w.a.cert), rs_cert_pem(w.b.cert));
    WAIT(&w, ready(&w));
    assert_false(served(&w, &w.b, NULL));
    distribute(&w, both, NULL);
    WAIT(&w, served(&w, &w.b, NULL));
    assert_true(served(&w, &w.a, NULL));
    assert_int_equal(w.issued, 1);       /* trust changes never re-issue */
    distribute(&w, rs_cert_pem(w.a.cert), NULL);       /* b was lost on the way: kept, and told */
    WAIT(&w, trust_number(&w, "refusedShrinkings") == 1);
    assert_true(served(&w, &w.b, NULL));
    distribute(&w, "garbage", NULL);
    WAIT(&w, trust_number(&w, "refusedShrinkings") == 2);
    assert_int_equal(roots_held(&w), 2);
    distribute(&w, rs_cert_pem(w.a.cert), rs_digest_text(rs_cert_digest(w.b.cert), digest));
    WAIT(&w, roots_held(&w) == 1);
    WAIT(&w, !served(&w, &w.b, NULL));
    assert_true(served(&w, &w.a, NULL));
    world_done(&w);
}

static void refuses_a_wrong_answer(void **state)
{
    struct world w;
    world_init(&w);
    w.wrong_key = true;
    WAIT(&w, w.issued >= 2);
    RS_AUTO(json_t) *o = trust(&w);
    assert_non_null(strstr(rs_json_str(o, "lastError"), "another key"));
    assert_null(json_object_get(o, "leaf"));
    w.wrong_key = false;
    WAIT(&w, trust_number(&w, "certificatesReceived") == 1);
    WAIT(&w, ready(&w) && served(&w, &w.a, NULL));
    world_done(&w);
}

/* The control plane comes back with another serving root; root-cert.pem was changed meanwhile. */
static void control_plane_restarts(void **state)
{
    struct world w;
    world_init(&w);
    WAIT(&w, ready(&w) && served(&w, &w.a, NULL));
    rs_listener_free(rs_take(w.control_listener));
    rs_grpc_server_free(rs_take(w.control));
    rs_xds_server_free(rs_take(w.xds));
    assert_true(served(&w, &w.a, NULL));
    struct planted_ca old = w.serving;
    w.serving = planted_root(NULL, "new serving");
    planted_root_done(&old);
    write_file(&w, "root-cert.pem", rs_cert_pem(w.serving.cert));
    int port = start_control(&w);
    replace(&w.config.discovery, rs_printf("localhost:%d", port));
    RS_AUTO(rs_chars) *both = rs_printf("%s%s", rs_cert_pem(w.a.cert), rs_cert_pem(w.b.cert));
    distribute(&w, both, NULL);
    WAIT(&w, roots_held(&w) == 2);
    WAIT(&w, served(&w, &w.b, NULL));
    world_done(&w);
}

static void stop_drops_nothing(void **state)
{
    struct world w;
    struct peer slow, idle;
    world_init(&w);
    WAIT(&w, ready(&w) && served(&w, &w.a, NULL));
    peer_connect(&w, &slow, &w.a);
    peer_ask(&slow, "/slow");
    WAIT(&w, w.held);
    peer_connect(&w, &idle, &w.a);
    peer_ask(&idle, "/");
    WAIT(&w, idle.got.n && strstr(idle.got.p, "from the app"));
    rs_agent_stop(w.agent);
    assert_int_equal(get(&w, w.config.status_port, "/healthz/ready", NULL), 503);
    rs_buf_clear(&idle.got);
    peer_ask(&idle, "/");                /* still served, and told to go */
    WAIT(&w, idle.got.n && strstr(idle.got.p, "from the app"));
    assert_non_null(strcasestr(idle.got.p, "connection: close"));
    peer_done(&idle);                    /* as every client does that reads this */
    assert_true(served(&w, &w.a, NULL)); /* so is who has not heard of it */
    bool never = false;
    rs_loop_run_until(w.loop, &never, 1000);
    assert_false(w.ended);               /* longer than the minimum, because somebody waits */
    rs_http_reply(rs_take(w.held), 200, "text/plain", RS_STR("from the app, late"));
    WAIT(&w, slow.got.n && strstr(slow.got.p, "late"));
    peer_done(&slow);
    WAIT(&w, w.ended);
    assert_true(w.ok);
    world_done(&w);
}

int main(void)
{
    rs_log_init("test", RS_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_and_renews), cmocka_unit_test(roots_come_and_stay), cmocka_unit_test(refuses_a_wrong_answer),
        cmocka_unit_test(control_plane_restarts), cmocka_unit_test(stop_drops_nothing),
    };
    RS_AUTO(rs_chars) *envoy = rs_program_find("envoy");
    if (!envoy) {
        printf("1..0 # SKIP no envoy\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
