/* rootshift-ca: Mesh CA. Serves google.security.meshca.v1 (and Istio's own service) over TLS with an issuer (intermediate) and root of its own, and
 * under its own trust domain. In a pod: `rootshift-ca serve --trust_domain FLEET.svc.id.goog`. */
#include <signal.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/opt.h"
#include "base/time.h"
#include "ca/istio_ca.h"
#include "ca/service.h"
#include "http/server.h"
#include "io/listen.h"
#include "pki/tls.h"

enum { SERVING_TTL_MS = 24 * 3600 * 1000, CALLS_END_MS = 10000, LOOK_MS = 50 };

static const char *arg_trust_domain, *arg_listen = "0.0.0.0:8443", *arg_status = "0.0.0.0:8080", *arg_secret = "mesh-ca/mesh-ca-issuer", *arg_issuer_dir,
                  *arg_cluster = "Kubernetes", *arg_clusters, *arg_kubeconfig, *arg_context;
static struct rs_opt_list arg_audiences, arg_names;
static int64_t arg_ttl = 24ll * 3600 * 1000, arg_max_ttl = 90ll * 24 * 3600 * 1000, arg_drain = 3000;

static struct rs_opt options[] = {
    { .name = "trust_domain", .kind = RS_OPT_TEXT, .value = &arg_trust_domain, .arg = "DOMAIN", .env = "TRUST_DOMAIN", .help = "trust domain of every identity signed here (FLEET.svc.id.goog); required" },
    { .name = "audience", .kind = RS_OPT_LIST, .value = &arg_audiences, .arg = "NAME", .help = "audience that tokens must carry (default: the trust domain)" },
    { .name = "listen", .kind = RS_OPT_TEXT, .value = &arg_listen, .arg = "ADDRESS", .help = "where to serve gRPC (default 0.0.0.0:8443)" },
    { .name = "status", .kind = RS_OPT_TEXT, .value = &arg_status, .arg = "ADDRESS", .help = "where to serve /ready, /healthz and /metrics (default 0.0.0.0:8080)" },
    { .name = "secret", .kind = RS_OPT_TEXT, .value = &arg_secret, .arg = "NAMESPACE/NAME", .help = "Secret with ca-cert.pem, ca-key.pem, cert-chain.pem, root-cert.pem (default mesh-ca/mesh-ca-issuer)" },
    { .name = "issuer_dir", .kind = RS_OPT_TEXT, .value = &arg_issuer_dir, .arg = "DIR", .help = "read those four from files instead" },
    { .name = "name", .kind = RS_OPT_LIST, .value = &arg_names, .arg = "HOST", .help = "names of the serving certificate (default mesh-ca.mesh-ca.svc and mesh-ca.mesh-ca.svc.cluster.local)" },
    { .name = "cluster", .kind = RS_OPT_TEXT, .value = &arg_cluster, .arg = "NAME", .env = "CLUSTER_ID", .help = "name of the cluster whose API server keeps the records (default Kubernetes)" },
    { .name = "clusters", .kind = RS_OPT_TEXT, .value = &arg_clusters, .arg = "FILE", .help = "further clusters of the pool: JSON list of {name, issuer, jwks}" },
    { .name = "kubeconfig", .kind = RS_OPT_TEXT, .value = &arg_kubeconfig, .arg = "FILE", .help = "kubeconfig (default: the pod's service account)" },
    { .name = "context", .kind = RS_OPT_TEXT, .value = &arg_context, .arg = "NAME", .help = "context of the kubeconfig" },
    { .name = "ttl", .kind = RS_OPT_DURATION, .value = &arg_ttl, .arg = "TIME", .env = "DEFAULT_WORKLOAD_CERT_TTL", .help = "lifetime of a leaf when the caller asks for none (default 24h)" },
    { .name = "max_ttl", .kind = RS_OPT_DURATION, .value = &arg_max_ttl, .arg = "TIME", .env = "MAX_WORKLOAD_CERT_TTL", .help = "longest lifetime (default 2160h)" },
    { .name = "drain", .kind = RS_OPT_DURATION, .value = &arg_drain, .arg = "TIME", .help = "after SIGTERM, keep serving this long while clients learn of it (default 3s)" },
};

struct app {
    rs_loop *loop;
    rs_kube *kube;
    rs_authority *authority;
    rs_callers *callers;
    rs_records *records;
    rs_ca_service *service;
    rs_grpc_server *grpc;
    rs_http_server *status;
    rs_listener *grpc_listener, *status_listener;
    rs_timer *renew, *drain;
    bool draining, told;
    int64_t drain_until_ms;
};

/* ---- the issuer ---- */

static int secret_from_dir(json_t **ret, const char *dir, struct rs_err *e)
{
    static const char *const files[] = { "ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem" };
    RS_AUTO(json_t) *data = json_object();
    for (size_t i = 0; i < RS_COUNT(files); i++) {
        RS_AUTO(rs_chars) *path = rs_printf("%s/%s", dir, files[i]);
        char *text = NULL;
        size_t n;
        if (rs_file_read(path, 1024 * 1024, &text, &n, e) < 0)
            return -1;
        char *base = rs_base64(text, n);
        rs_json_set_str(data, files[i], base);
        rs_free_cleansed(base, strlen(base));
        rs_free_cleansed(text, n);
    }
    *ret = rs_json_pack("{s:{s:s, s:s}, s:O}", "metadata", "namespace", dir, "name", "issuer", "data", data);
    return 0;
}

static int read_issuer(struct app *a, json_t **ret, struct rs_err *e)
{
    if (arg_issuer_dir)
        return secret_from_dir(ret, arg_issuer_dir, e);
    const char *slash = strchr(arg_secret, '/');
    if (!slash)
        return RS_FAIL(e, RS_INVALID, "--secret %s: not NAMESPACE/NAME", arg_secret);
    RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/%.*s/secrets/%s", (int)(slash - arg_secret), arg_secret, slash + 1);
    if (rs_kube_get(a->kube, path, ret, e) < 0)
        return rs_err_wrap(e, "read Secret %s", arg_secret);
    return 0;
}

static int load_authority(struct app *a, struct rs_err *e)
{
    RS_AUTO(json_t) *secret = NULL;
    struct rs_ca_material m;
    if (read_issuer(a, &secret, e) < 0 || rs_ca_material_read(&m, secret, e) < 0)
        return -1;
    int r = rs_authority_new(&a->authority, &(struct rs_authority_config){
        .name = "mesh-ca", .trust_domain = arg_trust_domain, .ca_cert = rs_str_of(m.ca_cert), .ca_key = { m.key->p, m.key->n },
        .cert_chain = rs_str_of(m.cert_chain), .root_cert = rs_str_of(m.root_cert), .default_ttl_ms = arg_ttl, .max_ttl_ms = arg_max_ttl }, rs_now_ms(), e);
    rs_ca_material_done(&m);
    return r < 0 ? rs_err_wrap(e, "issuer") : 0;
}

/* ---- serving certificate ---- */

static int serving_context(struct app *a, SSL_CTX **ret, struct rs_err *e)
{
    static const char *const defaults[] = { "mesh-ca.mesh-ca.svc", "mesh-ca.mesh-ca.svc.cluster.local", NULL };
    const char *names[RS_OPT_LIST_MAX + 1] = { NULL };
    for (size_t i = 0; i < arg_names.n; i++)
        names[i] = arg_names.v[i];
    RS_AUTO(EVP_PKEY) *key = NULL;
    struct rs_issued issued;
    if (rs_key_generate(&key, RS_KEY_P256, e) < 0 ||
        rs_authority_issue_server(a->authority, key, arg_names.n ? names : defaults, SERVING_TTL_MS, rs_now_ms(), &issued, e) < 0)
        return -1;
    RS_AUTO_BUF chain;
    rs_buf_init(&chain, 1024 * 1024);
    for (char **p = issued.chain; p[0] && p[1]; p++)       /* all but the root, which clients have */
        rs_buf_adds(&chain, *p);
    RS_AUTO(rs_secret) *pem = rs_key_to_pem(key);
    int r = rs_tls_server(ret, rs_buf_str(&chain), (rs_str){ pem->p, pem->n }, NULL, false, "h2", e);
    rs_issued_done(&issued);
    return r;
}

static void on_renew(void *ctx)
{
    struct app *a = ctx;
    struct rs_err e;
    RS_AUTO(SSL_CTX) *tls = NULL;
    if (serving_context(a, &tls, &e) < 0) {
        rs_log_error("serving certificate not renewed, the old one stays: %s", e.msg);
        rs_timer_set(a->renew, 60 * 1000);
        return;
    }
    rs_grpc_server_set_tls(a->grpc, tls);
    rs_timer_set(a->renew, SERVING_TTL_MS / 2);
}

/* ---- HTTP ---- */

static void on_status(void *ctx, rs_http_exchange *x)
{
    struct app *a = ctx;
    const char *path = rs_http_path(x);
    if (strcmp(path, "/ready") == 0) {
        rs_http_reply(x, a->draining ? 503 : 200, "text/plain", a->draining ? RS_STR("draining\n") : RS_STR("ok\n"));
    } else if (strcmp(path, "/healthz") == 0) {
        rs_http_reply(x, 200, "text/plain", RS_STR("ok\n"));
    } else if (strcmp(path, "/metrics") == 0) {
        struct rs_ca_service_stats s = rs_ca_service_stats_of(a->service);
        RS_AUTO(rs_chars) *text = rs_printf(
            "# TYPE rootshift_ca_requests_total counter\nrootshift_ca_requests_total %llu\n"
            "# TYPE rootshift_ca_answers_total counter\nrootshift_ca_answers_total{result=\"issued\"} %llu\n"
            "rootshift_ca_answers_total{result=\"refused\"} %llu\nrootshift_ca_answers_total{result=\"failed\"} %llu\n",
            (unsigned long long)s.asked, (unsigned long long)s.issued, (unsigned long long)s.refused, (unsigned long long)s.failed);
        rs_http_reply(x, 200, "text/plain; version=0.0.4", rs_str_of(text));
    } else {
        rs_http_reply(x, 404, "text/plain", RS_STR("not found\n"));
    }
}

static void on_mesh(void *ctx, rs_grpc_call *call, rs_str m) { rs_ca_service_mesh(((struct app *)ctx)->service, call, m); }
static void on_istio(void *ctx, rs_grpc_call *call, rs_str m) { rs_ca_service_istio(((struct app *)ctx)->service, call, m); }
static void on_closed(void *ctx, rs_grpc_call *call) { rs_ca_service_closed(((struct app *)ctx)->service, call); }
static void on_grpc_connection(void *ctx, int fd) { rs_grpc_server_add(((struct app *)ctx)->grpc, fd); }
static void on_status_connection(void *ctx, int fd) { rs_http_server_add(((struct app *)ctx)->status, fd); }

/* ---- the end ---- */

static void on_drain(void *ctx)
{
    struct app *a = ctx;
    bool idle = rs_grpc_server_calls(a->grpc) == 0 && rs_ca_service_pending(a->service) == 0;
    if (!a->told) {                            /* clients had time to learn of it: no new calls from here on */
        a->told = true;
        rs_grpc_server_drain(a->grpc);
        a->drain_until_ms = rs_mono_ms() + CALLS_END_MS;
    } else if (idle || rs_mono_ms() > a->drain_until_ms) {
        rs_loop_stop(a->loop);
        return;
    }
    rs_timer_set(a->drain, LOOK_MS);
}

static void on_stop(void *ctx, int signo)
{
    struct app *a = ctx;
    if (a->draining)
        return;
    rs_log_info("stopping");
    a->draining = true;
    rs_timer_set(a->drain, arg_drain);
}

/* ---- start ---- */

static int add_clusters(struct app *a, struct rs_err *e)
{
    if (rs_callers_add_cluster(a->callers, arg_cluster, NULL, NULL, a->kube, e) < 0)
        return -1;
    if (!arg_clusters)
        return 0;
    RS_AUTO(rs_chars) *text = NULL;
    RS_AUTO(json_t) *list = NULL;
    size_t n, i;
    json_t *c;
    if (rs_file_read(arg_clusters, RS_FILE_MAX, &text, &n, e) < 0 || rs_json_parse(&list, (rs_str){ text, n }, e) < 0)
        return rs_err_wrap(e, "--clusters %s", arg_clusters);
    json_array_foreach(list, i, c) {
        const char *name = rs_json_str(c, "name"), *issuer = rs_json_str(c, "issuer");
        if (!name || !issuer || !json_object_get(c, "jwks"))
            return RS_FAIL(e, RS_INVALID, "--clusters %s: entry %zu lacks name, issuer or jwks", arg_clusters, i + 1);
        if (rs_callers_add_cluster(a->callers, name, issuer, json_object_get(c, "jwks"), NULL, e) < 0)
            return rs_err_wrap(e, "--clusters %s", arg_clusters);
    }
    return 0;
}

static int listen_on(struct app *a, const char *address, void (*fn)(void *, int), rs_listener **ret, struct rs_err *e)
{
    int fd = rs_listen(address, e);
    if (fd < 0)
        return rs_err_wrap(e, "listen on %s", address);
    rs_log_info("listening address=%s port=%d", address, rs_listen_port(fd));
    *ret = rs_listener_new(a->loop, fd, fn, a);
    return 0;
}

static int start(struct app *a, struct rs_err *e)
{
    static const struct rs_grpc_method methods[] = {
        { .path = RS_MESH_CA_PATH, .on_message = on_mesh, .on_close = on_closed },
        { .path = RS_ISTIO_CA_PATH, .on_message = on_istio, .on_close = on_closed },       /* agents without a Mesh CA client */
    };
    const char *audiences[RS_OPT_LIST_MAX + 1] = { arg_trust_domain };
    for (size_t i = 0; i < arg_audiences.n; i++)
        audiences[i] = arg_audiences.v[i];
    struct rs_kube_config config;
    if (rs_kube_config_load(&config, arg_kubeconfig, arg_context, e) < 0)
        return -1;
    int r = rs_kube_new(&a->kube, a->loop, &config, e);
    rs_kube_config_done(&config);
    if (r < 0 || load_authority(a, e) < 0)
        return -1;
    a->callers = rs_callers_by_keys(a->loop, audiences);
    a->records = rs_records_new(a->kube);
    a->service = rs_ca_service_new(a->loop, a->callers, a->records);
    rs_ca_service_set_authority(a->service, a->authority, NULL);
    RS_AUTO(SSL_CTX) *tls = NULL;
    if (add_clusters(a, e) < 0 || serving_context(a, &tls, e) < 0)
        return -1;
    a->grpc = rs_grpc_server_new(a->loop, &(struct rs_grpc_server_config){
        .tls = tls, .methods = methods, .n_methods = RS_COUNT(methods), .message_max = RS_CA_MESSAGE_MAX, .ctx = a });
    a->status = rs_http_server_new(a->loop, &(struct rs_http_server_config){ .body_max = 4096, .handle = on_status, .ctx = a });
    a->renew = rs_timer_new(a->loop, on_renew, a);
    a->drain = rs_timer_new(a->loop, on_drain, a);
    rs_timer_set(a->renew, SERVING_TTL_MS / 2);
    return listen_on(a, arg_status, on_status_connection, &a->status_listener, e) < 0 ||
           listen_on(a, arg_listen, on_grpc_connection, &a->grpc_listener, e) < 0 ? -1 : 0;
}

static void stop(struct app *a)
{
    rs_listener_free(a->grpc_listener);
    rs_listener_free(a->status_listener);
    rs_timer_free(a->renew);
    rs_timer_free(a->drain);
    rs_callers_free(a->callers);
    rs_records_free(a->records);
    if (a->grpc)
        rs_grpc_server_free(a->grpc);
    if (a->status)
        rs_http_server_free(a->status);
    rs_kube_free(a->kube);
    rs_ca_service_free(a->service);
    rs_authority_unref(a->authority);
    rs_loop_free(a->loop);
}

static int run(struct rs_err *e)
{
    struct app a = { .loop = rs_loop_new() };
    char when[RS_TIME_TEXT];
    int r = start(&a, e);
    if (r == 0) {
        rs_loop_on_signal(a.loop, SIGTERM, on_stop, &a);
        rs_loop_on_signal(a.loop, SIGINT, on_stop, &a);
        rs_log_info("serving trust_domain=%s issuer=\"%s\" until=%s", rs_authority_trust_domain(a.authority),
                    rs_cert_subject(rs_authority_cert(a.authority)), rs_time_text(rs_cert_not_after(rs_authority_cert(a.authority)), when));
        rs_loop_run(a.loop);
    }
    stop(&a);
    return r;
}

int main(int argc, char **argv)
{
    struct rs_err e;
    int positional;
    rs_log_init("rootshift-ca", RS_LOG_INFO);
    int r = rs_opt_parse(options, RS_COUNT(options), argc, argv, &positional, &e);
    if (r == 1) {
        printf("usage: rootshift-ca serve --trust_domain DOMAIN [options]\n\nMesh CA: google.security.meshca.v1 over TLS.\n\n");
        rs_opt_help(stdout, options, RS_COUNT(options));
        return 0;
    }
    if (r == 0 && (positional != 1 || strcmp(argv[1], "serve") != 0))
        r = RS_FAIL(&e, RS_INVALID, "usage: rootshift-ca serve --trust_domain DOMAIN [options]");
    if (r == 0 && !arg_trust_domain)
        r = RS_FAIL(&e, RS_INVALID, "--trust_domain is missing (FLEET.svc.id.goog)");
    if (r == 0)
        r = run(&e);
    if (r < 0) {
        fprintf(stderr, "rootshift-ca: %s\n", e.msg);
        return rs_code_exit(e.code);
    }
    return 0;
}
