#include "node/server.h"
#include <stdarg.h>
#include "base/file.h"
#include "base/time.h"
#include "io/listen.h"
#include "kube/config.h"
#include "node/logs.h"
#include "node/server_int.h"
#include "pki/issue.h"
#include "pki/tls.h"

enum { BODY_MAX = 64 * 1024, PEM_MAX = 256 * 1024 };

struct rs_server {
    rs_node *node;
    rs_http_server *http;
    rs_listener *listener;
    int port;
};

void rs_server_refuse(rs_http_exchange *x, int status, const char *reason, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    RS_AUTO(json_t) *o = rs_json_pack("{s:s, s:s, s:{}, s:s, s:s, s:s, s:i}", "kind", "Status", "apiVersion", "v1", "metadata", "status", "Failure",
                                      "message", text, "reason", reason, "code", status);
    RS_AUTO(rs_chars) *body = rs_json_text(o);
    rs_http_reply(x, status, "application/json", rs_str_of(body));
}

rs_worker *rs_server_pod(rs_node *n, rs_http_exchange *x, const char *ns, const char *pod)
{
    rs_worker *w = rs_worker_find(n, ns, pod);

    if (!w)
        rs_server_refuse(x, 404, "NotFound", "pod \"%s/%s\" is not run by this node", ns, pod);
    return w;
}

struct rs_run *rs_server_container(rs_node *n, rs_http_exchange *x, const char *ns, const char *pod, const char *container)
{
    rs_worker *w = rs_server_pod(n, x, ns, pod);
    int i = w ? rs_pod_find(w->pod, container) : -1;

    if (!w)
        return NULL;
    if (i < 0) {
        rs_server_refuse(x, 400, "BadRequest", "container %s is not valid for pod %s", container, pod);
        return NULL;
    }
    if (!w->runs[i].log) {
        const char *why = w->pod->c[i].wait_reason;
        rs_server_refuse(x, 400, "BadRequest", "container \"%s\" in pod \"%s\" is waiting to start: %s", container, pod,
                         why ? why : w->pod->n_init > 0 && i >= (int)w->pod->n_init ? "PodInitializing" : "ContainerCreating");
        return NULL;
    }
    return &w->runs[i];
}

/* ---- logs ---- */

struct log_call { rs_node *node; rs_http_exchange *x; rs_logs *logs; char *ns, *pod, *container; int attempt; };

static void log_free(struct log_call *c)
{
    rs_logs_free(c->logs);
    free(c->ns);
    free(c->pod);
    free(c->container);
    free(c);
}

static void log_abort(void *ctx, rs_http_exchange *x) { log_free(ctx); }

static void log_text(void *ctx, int stream, rs_str text)
{
    struct log_call *c = ctx;

    rs_http_stream_write(c->x, text.p, text.n);
}

static bool log_ended(void *ctx)
{
    struct log_call *c = ctx;
    rs_worker *w = rs_worker_find(c->node, c->ns, c->pod);
    int i = w ? rs_pod_find(w->pod, c->container) : -1;

    return i < 0 || w->pod->c[i].attempt != c->attempt || w->pod->c[i].phase != RS_CONTAINER_RUNNING;
}

static void log_end(void *ctx)
{
    struct log_call *c = ctx;

    rs_http_stream_end(c->x);
    log_free(c);
}

static int64_t number(const char *query, const char *name, int64_t fallback)
{
    RS_AUTO(rs_chars) *text = rs_http_query(query, name, 0);
    uint64_t n;

    return text && rs_str_u64(rs_str_of(text), &n) ? (int64_t)n : fallback;
}

static bool flag(const char *query, const char *name)
{
    RS_AUTO(rs_chars) *text = rs_http_query(query, name, 0);

    return text && (rs_streq(text, "1") || rs_streq(text, "t") || rs_streq(text, "T") || rs_streq(text, "true") || rs_streq(text, "True") || rs_streq(text, "TRUE"));
}

void rs_serve_logs(rs_node *n, rs_http_exchange *x, const char *ns, const char *pod, const char *container)
{
    static const struct rs_logs_ops ops = { log_text, log_ended, log_end };
    const char *q = rs_http_query_raw(x);
    struct rs_run *r = rs_server_container(n, x, ns, pod, container);
    if (!r)
        return;
    const struct rs_container *c = &r->w->pod->c[r->i];
    int64_t seconds = number(q, "sinceSeconds", 0), since = seconds > 0 ? rs_now_ms() - seconds * 1000 : 0;
    RS_AUTO(rs_chars) *since_time = rs_http_query(q, "sinceTime", 0), *path = rs_strdup(r->log);
    bool previous = flag(q, "previous");

    if (since_time && !rs_time_parse(since_time, &since)) {
        rs_server_refuse(x, 400, "BadRequest", "sinceTime \"%s\" is no time", since_time);
        return;
    }
    if (previous) {
        const struct rs_ended *last = c->phase == RS_CONTAINER_RUNNING ? &c->last : &c->ended;
        int attempt = c->attempt - 1;                  /* while it waits for a restart: the run that ended last */
        if (!last->set || attempt < 0) {
            rs_server_refuse(x, 400, "BadRequest", "previous terminated container \"%s\" in pod \"%s\" not found", container, pod);
            return;
        }
        free(path);
        path = rs_printf("%s/%s/%d.log", r->w->log_dir, container, attempt);
    }
    struct rs_logs_options o = { .follow = flag(q, "follow") && !previous, .timestamps = flag(q, "timestamps"), .tail = number(q, "tailLines", -1),
                                 .since_ms = since, .limit = number(q, "limitBytes", -1) };
    struct log_call *call = rs_new(struct log_call);
    *call = (struct log_call){ n, x, NULL, rs_strdup(ns), rs_strdup(pod), rs_strdup(container), c->attempt };
    rs_http_stream_begin(x, 200, "text/plain");
    rs_http_on_abort(x, log_abort, call);
    call->logs = rs_logs_start(n->loop, path, &o, &ops, call);
}

/* ---- requests ---- */

static void handle(void *ctx, rs_http_exchange *x)
{
    struct rs_server *s = ctx;
    char **part = rs_split(rs_http_path(x), '/');
    size_t n = 0;

    while (part[n])
        n++;
    const char *what = n > 1 ? part[1] : "";
    if (n == 5 && rs_streq(what, "containerLogs"))
        rs_serve_logs(s->node, x, part[2], part[3], part[4]);
    else if (n == 5 && rs_streq(what, "exec"))
        rs_serve_exec(s->node, x, part[2], part[3], part[4]);
    else if (n == 5 && rs_streq(what, "attach"))
        rs_serve_attach(s->node, x, part[2], part[3], part[4]);
    else if (n == 4 && rs_streq(what, "portForward"))
        rs_serve_forward(s->node, x, part[2], part[3]);
    else if (n == 2 && rs_streq(what, "healthz"))
        rs_http_reply(x, 200, "text/plain", RS_STR("ok"));
    else
        rs_server_refuse(x, 404, "NotFound", "the node does not serve %.200s", rs_http_path(x));
    rs_strv_free(part);
}

/* ---- start ---- */

static int client_roots(rs_bundle **ret, const rs_node *n, struct rs_err *e)
{
    RS_AUTO(rs_chars) *pem = NULL;

    if (n->args->client_ca) {
        if (rs_file_read(n->args->client_ca, PEM_MAX, &pem, NULL, e) < 0)
            return -1;
    } else
        pem = rs_strdup(rs_kube_config_of(n->kube)->ca_pem);
    if (!pem)
        return RS_FAIL(e, RS_INVALID, "no CA for clients: give --client-ca-file or a kubeconfig with certificate-authority-data");
    return rs_bundle_parse(ret, rs_str_of(pem), e);
}

/* Nobody verifies a kubelet by its name by default, so that a certificate made at each start is enough. */
static int own_certificate(char **ret_cert, char **ret_key, const rs_node *n, struct rs_err *e)
{
    RS_AUTO(EVP_PKEY) *ca_key = NULL;
    RS_AUTO(EVP_PKEY) *key = NULL;
    RS_AUTO(rs_cert) *ca = NULL;
    RS_AUTO(rs_cert) *leaf = NULL;
    const char *const sans[] = { n->args->name, n->host_ip, "127.0.0.1", NULL };
    int64_t now = rs_now_ms(), year = 365LL * 24 * 3600 * 1000;

    if (rs_key_generate(&ca_key, RS_KEY_P256, e) < 0 || rs_key_generate(&key, RS_KEY_P256, e) < 0 ||
        rs_issue_root(&ca, ca_key, "rootshift-node", n->args->name, now, year, e) < 0)
        return -1;
    struct rs_issuer by = { ca, ca_key };
    if (rs_issue_leaf(&leaf, &by, key, sans, now, year, e) < 0)
        return -1;
    RS_AUTO(rs_secret) *pem = rs_key_to_pem(key);
    *ret_cert = rs_printf("%s%s", rs_cert_pem(leaf), rs_cert_pem(ca));
    *ret_key = rs_strndup(pem->p, pem->n);
    return 0;
}

static int make_tls(SSL_CTX **ret, const rs_node *n, struct rs_err *e)
{
    RS_AUTO(rs_chars) *cert = NULL, *key = NULL;
    RS_AUTO(rs_bundle) *roots = NULL;
    int r;

    if (n->args->tls_cert && n->args->tls_key)
        r = rs_file_read(n->args->tls_cert, PEM_MAX, &cert, NULL, e) < 0 ? -1 : rs_file_read(n->args->tls_key, PEM_MAX, &key, NULL, e);
    else
        r = own_certificate(&cert, &key, n, e);
    if (r < 0 || client_roots(&roots, n, e) < 0)
        return -1;
    return rs_tls_server(ret, rs_str_of(cert), rs_str_of(key), roots, true, "http/1.1", e);
}

static void on_connection(void *ctx, int fd)
{
    rs_server *s = ctx;

    rs_http_server_add(s->http, fd);
}

int rs_server_new(rs_server **ret, rs_node *n, struct rs_err *e)
{
    RS_AUTO(SSL_CTX) *tls = NULL;

    if (make_tls(&tls, n, e) < 0)
        return rs_err_wrap(e, "certificates of the kubelet port");
    int fd = rs_listen(n->args->listen, e);
    if (fd < 0)
        return rs_err_wrap(e, "kubelet port");
    rs_server *s = rs_new(rs_server);
    s->node = n;
    s->port = rs_listen_port(fd);
    struct rs_http_server_config config = { .tls = tls, .body_max = BODY_MAX, .handle = handle, .ctx = s };
    s->http = rs_http_server_new(n->loop, &config);
    s->listener = rs_listener_new(n->loop, fd, on_connection, s);
    *ret = s;
    return 0;
}

int rs_server_port(const rs_server *s) { return s->port; }
