#include "base/buf.h"
#include "base/log.h"
#include "base/time.h"
#include "cmd/rootshift-control/app.h"
#include "control/webhook.h"
#include "install/revision.h"

enum { REVIEW_MAX = 8 * 1024 * 1024, CALLS_END_MS = 10 * 1000, LOOK_MS = 50 };

const char *app_not_ready(const struct app *a)
{
    if (a->draining)
        return "stopping";
    if (a->ca_why)
        return a->ca_why;
    if (!a->trust_known && (a->set->ca_enabled || a->set->multi_root))
        return "the trust bundle is not recorded yet";
    const char *missing = rs_watch_missing(a->watch);
    return missing;
}

/* ---- 15017: webhooks ---- */

static void count(struct app *a, enum rs_webhook which, const struct rs_webhook_result *r)
{
    uint64_t *n = which == RS_WEBHOOK_VALIDATE ? (r->allowed ? &a->hooks_seen.valid : &a->hooks_seen.invalid)
                : !r->allowed ? &a->hooks_seen.refused : r->patched ? &a->hooks_seen.injected : &a->hooks_seen.left;
    ++*n;
}

static void on_review(void *ctx, rs_http_exchange *x)
{
    struct app *a = ctx;
    enum rs_webhook which;
    struct rs_webhook_result result;
    struct rs_err e;
    RS_AUTO(json_t) *answer = NULL;
    if (!rs_webhook_of_path(rs_http_path(x), &which)) {
        rs_http_reply(x, 404, "text/plain", RS_STR("not found\n"));
        return;
    }
    const rs_injector *injector = rs_watch_injector(a->watch);
    if (which == RS_WEBHOOK_INJECT && !injector) {
        rs_http_reply(x, 503, "text/plain", RS_STR("the injector's configuration is not read yet\n"));
        return;
    }
    if (rs_webhook_answer(which, injector, rs_http_body(x), &answer, &result, &e) < 0) {
        a->hooks_seen.broken++;
        rs_log_warning("webhook call was no review path=%s: %s", rs_http_path(x), e.msg);
        rs_http_reply(x, 400, "text/plain", rs_str_of(e.msg));
        return;
    }
    count(a, which, &result);
    RS_AUTO(rs_chars) *text = rs_json_text(answer);
    rs_http_reply(x, 200, "application/json", rs_str_of(text));
}

/* ---- 15014: metrics, version, state; 8080: readiness ---- */

static void metrics(const struct app *a, struct rs_buf *b)
{
    struct rs_discovery_stats d = rs_discovery_stats_of(a->discovery);
    rs_buf_addf(b, "# TYPE pilot_xds gauge\npilot_xds{version=\"%s\"} %zu\n", RS_VERSION, d.clients);
    rs_buf_addf(b, "# TYPE pilot_xds_pushes counter\npilot_xds_pushes{type=\"snapshot\"} %llu\n", (unsigned long long)d.snapshots);
    rs_buf_addf(b, "# TYPE pilot_total_xds_rejects counter\npilot_total_xds_rejects %llu\n", (unsigned long long)d.nacks);
    rs_buf_addf(b, "# TYPE rootshift_discovery_refused_total counter\nrootshift_discovery_refused_total %llu\n", (unsigned long long)d.refused);
    rs_buf_addf(b, "# TYPE sidecar_injection_requests_total counter\nsidecar_injection_requests_total %llu\n",
                (unsigned long long)(a->hooks_seen.injected + a->hooks_seen.left + a->hooks_seen.refused));
    rs_buf_addf(b, "# TYPE sidecar_injection_success_total counter\nsidecar_injection_success_total %llu\n", (unsigned long long)a->hooks_seen.injected);
    rs_buf_addf(b, "# TYPE sidecar_injection_failure_total counter\nsidecar_injection_failure_total %llu\n", (unsigned long long)a->hooks_seen.refused);
    rs_buf_addf(b, "# TYPE galley_validation_passed counter\ngalley_validation_passed %llu\n", (unsigned long long)a->hooks_seen.valid);
    rs_buf_addf(b, "# TYPE galley_validation_failed counter\ngalley_validation_failed %llu\n", (unsigned long long)a->hooks_seen.invalid);
    rs_bundle *bundle = rs_trust_bundle(a->trust);
    rs_buf_addf(b, "# TYPE rootshift_trust_roots gauge\nrootshift_trust_roots %zu\n", bundle ? rs_bundle_count(bundle) : 0);
    if (!a->ca)
        return;
    struct rs_ca_service_stats s = rs_ca_service_stats_of(a->ca);
    rs_buf_addf(b, "# TYPE citadel_server_csr_count counter\ncitadel_server_csr_count %llu\n", (unsigned long long)s.asked);
    rs_buf_addf(b, "# TYPE citadel_server_success_cert_issuance_count counter\ncitadel_server_success_cert_issuance_count %llu\n", (unsigned long long)s.issued);
    rs_buf_addf(b, "# TYPE rootshift_ca_refused_total counter\nrootshift_ca_refused_total %llu\n", (unsigned long long)s.refused);
    rs_buf_addf(b, "# TYPE rootshift_ca_failed_total counter\nrootshift_ca_failed_total %llu\n", (unsigned long long)s.failed);
}

static json_t *trust_state(const struct app *a)
{
    rs_bundle *bundle = rs_trust_bundle(a->trust);
    json_t *roots = json_array(), *kept = json_array(), *retired = json_array();
    char text[RS_DIGEST_TEXT];
    for (size_t i = 0; bundle && i < rs_bundle_count(bundle); i++)
        json_array_append_new(roots, json_string(rs_digest_text(rs_cert_digest(rs_bundle_root(bundle, i)), text)));
    for (const char *const *p = rs_trust_kept(a->trust); *p; p++)
        json_array_append_new(kept, json_string(*p));
    for (const char *const *p = rs_trust_retired(a->trust); *p; p++)
        json_array_append_new(retired, json_string(*p));
    return rs_json_pack("{s:o, s:o, s:o}", "roots", roots, "kept", kept, "retired", retired);
}

static void reply_json(rs_http_exchange *x, json_t *o)
{
    RS_AUTO(rs_chars) *text = rs_json_pretty(o);
    json_decref(o);
    rs_http_reply(x, 200, "application/json", rs_str_of(text));
}

static void on_monitor(void *ctx, rs_http_exchange *x)
{
    struct app *a = ctx;
    const char *path = rs_http_path(x);
    if (strcmp(path, "/metrics") == 0) {
        RS_AUTO_BUF b;
        rs_buf_init(&b, 1024 * 1024);
        metrics(a, &b);
        rs_http_reply(x, 200, "text/plain; version=0.0.4", rs_buf_str(&b));
    } else if (strcmp(path, "/version") == 0) {
        rs_http_reply(x, 200, "text/plain", RS_STR(RS_ASM_VERSION " (rootshift " RS_VERSION ")\n"));
    } else if (strcmp(path, "/debug/syncz") == 0) {
        reply_json(x, rs_discovery_status(a->discovery));
    } else if (strcmp(path, "/debug/trust") == 0) {
        reply_json(x, trust_state(a));
    } else {
        rs_http_reply(x, 404, "text/plain", RS_STR("not found\n"));
    }
}

static void on_ready(void *ctx, rs_http_exchange *x)
{
    struct app *a = ctx;
    if (strcmp(rs_http_path(x), "/ready") != 0) {
        rs_http_reply(x, 404, "text/plain", RS_STR("not found\n"));
        return;
    }
    const char *why = app_not_ready(a);
    RS_AUTO(rs_chars) *text = rs_printf("%s\n", why ? why : "ok");
    rs_http_reply(x, why ? 503 : 200, "text/plain", rs_str_of(text));
}

/* ---- servers ---- */

static void on_csr(void *ctx, rs_grpc_call *call, rs_str m) { rs_ca_service_istio(((struct app *)ctx)->ca, call, m); }
static void on_csr_closed(void *ctx, rs_grpc_call *call) { rs_ca_service_closed(((struct app *)ctx)->ca, call); }

static void add_grpc(void *ctx, int fd) { rs_grpc_server_add(((struct app *)ctx)->grpc, fd); }
static void add_web(void *ctx, int fd) { rs_http_server_add(((struct app *)ctx)->web, fd); }
static void add_monitor(void *ctx, int fd) { rs_http_server_add(((struct app *)ctx)->monitor, fd); }
static void add_ready(void *ctx, int fd) { rs_http_server_add(((struct app *)ctx)->ready, fd); }

void app_serving_changed(void *ctx)
{
    struct app *a = ctx;
    struct rs_err e;
    RS_AUTO(SSL_CTX) *h2 = NULL, *h1 = NULL;
    if (!a->grpc)
        return;
    if (rs_serving_context(a->serving, "h2", &h2, &e) < 0 || rs_serving_context(a->serving, "http/1.1", &h1, &e) < 0) {
        rs_log_error("the new serving certificate can't be used, the old one stays: %s", e.msg);
        return;
    }
    rs_grpc_server_set_tls(a->grpc, h2);
    rs_http_server_set_tls(a->web, h1);
    rs_root_cert_set_serving(a->root_cert, rs_serving_root(a->serving));
    rs_hooks_set_serving(a->hooks, rs_serving_root(a->serving));
}

static int listen_on(struct app *a, size_t i, const char *address, void (*fn)(void *ctx, int fd), struct rs_err *e)
{
    int fd = rs_listen(address, e);
    if (fd < 0)
        return rs_err_wrap(e, "listen on %s", address);
    rs_log_info("listening address=%s port=%d", address, rs_listen_port(fd));
    a->listeners[i] = rs_listener_new(a->loop, fd, fn, a);
    return 0;
}

int app_serve(struct app *a, struct rs_err *e)
{
    RS_AUTO(SSL_CTX) *h2 = NULL, *h1 = NULL;
    if (rs_serving_context(a->serving, "h2", &h2, e) < 0 || rs_serving_context(a->serving, "http/1.1", &h1, e) < 0)
        return -1;
    const struct rs_grpc_method methods[] = {
        rs_discovery_method(a->discovery),
        { .path = RS_ISTIO_CA_PATH, .on_message = on_csr, .on_close = on_csr_closed, .ctx = a },
    };
    a->grpc = rs_grpc_server_new(a->loop, &(struct rs_grpc_server_config){ .tls = h2, .methods = methods, .n_methods = a->ca ? 2 : 1, .ctx = a });
    a->web = rs_http_server_new(a->loop, &(struct rs_http_server_config){ .tls = h1, .body_max = REVIEW_MAX, .handle = on_review, .ctx = a });
    a->monitor = rs_http_server_new(a->loop, &(struct rs_http_server_config){ .body_max = 4096, .handle = on_monitor, .ctx = a });
    a->ready = rs_http_server_new(a->loop, &(struct rs_http_server_config){ .body_max = 4096, .handle = on_ready, .ctx = a });
    return listen_on(a, 0, a->set->grpc, add_grpc, e) < 0 || listen_on(a, 1, a->set->webhook, add_web, e) < 0 ||
           listen_on(a, 2, a->set->monitoring, add_monitor, e) < 0 || listen_on(a, 3, a->set->status, add_ready, e) < 0 ? -1 : 0;
}

/* ---- the end: unready, leadership handed over, then no new calls, then gone ---- */

static void on_released(void *ctx) { ((struct app *)ctx)->released = true; }

static void on_drain(void *ctx)
{
    struct app *a = ctx;
    if (!a->told) {                                      /* service addresses had time to forget us */
        a->told = true;
        rs_grpc_server_drain(a->grpc);
        rs_http_server_drain(a->web);
        a->drain_until_ms = rs_mono_ms() + CALLS_END_MS;
        rs_timer_set(a->drain, LOOK_MS);
        return;
    }
    /* Discovery streams never end by themselves; agents reconnect elsewhere when we close them. */
    size_t streams = rs_discovery_stats_of(a->discovery).clients, pending = a->ca ? rs_ca_service_pending(a->ca) : 0;
    bool idle = rs_grpc_server_calls(a->grpc) <= streams && pending == 0 && a->released;
    if (idle || rs_mono_ms() > a->drain_until_ms)
        rs_loop_stop(a->loop);
    else
        rs_timer_set(a->drain, LOOK_MS);
}

void app_stop(struct app *a)
{
    if (a->draining)
        return;
    rs_log_info("stopping");
    a->draining = true;
    a->drain = rs_timer_new(a->loop, on_drain, a);
    rs_root_cert_release(a->root_cert, on_released, a);
    rs_timer_set(a->drain, a->set->drain_ms);
}
