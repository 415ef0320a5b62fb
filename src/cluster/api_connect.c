/* log, exec, attach, portforward: tunnelled as bytes to the node's own port, so that framing (SPDY, WebSocket) is the
 * node's job; proxy: the same to the pod's or Service's port. */
#include "cluster/api_int.h"

#include "base/buf.h"
#include "kube/object.h"

enum { DIAL_MS = 10000, PENDING_MAX = 4 * 1024 * 1024 };

struct tunnel {
    rs_api_call *call;             /* until the far side is connected */
    rs_stream *near, *far;
    struct rs_buf head;            /* the request as the far side gets it */
    bool near_eof, far_eof;
};

static void tunnel_free(struct tunnel *t)
{
    if (t->call)
        rs_call_free(t->call);
    rs_stream_free(t->near);
    rs_stream_free(t->far);
    rs_buf_done(&t->head);
    free(t);
}

static size_t copy(rs_stream *from, rs_stream *to, rs_str data)
{
    rs_stream_write(to, data.p, data.n);
    if (rs_stream_pending(to) > PENDING_MAX)
        rs_stream_pause(from);
    return data.n;
}

static size_t near_data(void *ctx, rs_stream *s, rs_str data)
{
    struct tunnel *t = ctx;
    return copy(s, t->far, data);
}

static size_t far_data(void *ctx, rs_stream *s, rs_str data)
{
    struct tunnel *t = ctx;
    return t->near ? copy(s, t->near, data) : 0;
}

static void near_eof(void *ctx, rs_stream *s)
{
    struct tunnel *t = ctx;
    (void)s;
    t->near_eof = true;
    rs_stream_shutdown(t->far);
    if (t->far_eof)
        rs_stream_close_after_flush(t->far);
}

static void far_eof(void *ctx, rs_stream *s)
{
    struct tunnel *t = ctx;
    (void)s;
    t->far_eof = true;
    if (t->near)
        rs_stream_close_after_flush(t->near);
}

static void near_drained(void *ctx, rs_stream *s)
{
    struct tunnel *t = ctx;
    (void)s;
    if (!t->far_eof)
        rs_stream_resume(t->far);
}

static void far_drained(void *ctx, rs_stream *s)
{
    struct tunnel *t = ctx;
    (void)s;
    if (t->near && !t->near_eof)
        rs_stream_resume(t->near);
}

static void near_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    (void)s, (void)why;
    tunnel_free(ctx);
}

static void far_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    struct tunnel *t = ctx;
    (void)s;
    if (t->call) {                             /* never connected */
        rs_api_call *c = rs_take(t->call);
        rs_call_refuse(c, rs_status_internal("error dialing backend: %s", why->msg));
        tunnel_free(t);
    } else if (t->near && !t->far_eof) {
        t->far_eof = true;                     /* what came before goes out first */
        rs_stream_close_after_flush(t->near);
    } else if (!t->near) {
        tunnel_free(t);
    }
}

static const struct rs_stream_ops near_ops = { .on_data = near_data, .on_eof = near_eof, .on_drained = near_drained, .on_close = near_close };

/* The far side is there: from now on the client's connection is only bytes. */
static void far_open(void *ctx, rs_stream *s)
{
    struct tunnel *t = ctx;
    rs_api_call *c = rs_take(t->call);
    char *rest = NULL;
    size_t n = 0;
    rs_http_exchange *x = rs_take(c->x);
    if (!x) {                                  /* the client did not wait */
        rs_call_free(c);
        tunnel_free(t);
        return;
    }
    rs_str body = rs_http_body(x);
    rs_stream_write(s, t->head.p, t->head.n);
    rs_stream_write(s, body.p, body.n);
    rs_http_on_abort(x, NULL, NULL);
    t->near = rs_http_take_over(x, &rest, &n);
    rs_call_free(c);
    if (n)
        rs_stream_write(s, rest, n);
    free(rest);
    rs_stream_set_ops(t->near, &near_ops, t);
    rs_stream_resume(t->near);
}

static const struct rs_stream_ops far_ops = { .on_open = far_open, .on_data = far_data, .on_eof = far_eof, .on_drained = far_drained, .on_close = far_close };

/* Headers go on as they came, without credentials; a request that is no upgrade ends its connection. */
static void write_head(struct rs_buf *b, rs_http_exchange *x, const char *target, const char *host)
{
    static const char *const own[] = { "host", "authorization", "content-length", "transfer-encoding", "keep-alive", "proxy-connection" };
    const struct rs_http_headers *h = rs_http_request_headers(x);
    bool upgrade = rs_http_headers_has_token(h, "connection", "upgrade");
    rs_buf_addf(b, "%s %s HTTP/1.1\r\nHost: %s\r\n", rs_http_method(x), target, host);
    for (size_t i = 0; i < h->n; i++) {
        bool skip = !upgrade && rs_streq(h->v[i].name, "connection");
        for (size_t k = 0; k < RS_COUNT(own); k++)
            skip = skip || rs_streq(h->v[i].name, own[k]);
        if (!skip)
            rs_buf_addf(b, "%s: %s\r\n", h->v[i].name, h->v[i].value);
    }
    if (!upgrade)
        rs_buf_adds(b, "Connection: close\r\n");
    if (rs_http_body(x).n || strcmp(rs_http_method(x), "GET"))
        rs_buf_addf(b, "Content-Length: %zu\r\n", rs_http_body(x).n);
    rs_buf_adds(b, "\r\n");
}

static void open_tunnel(rs_api_call *c, const char *address, SSL_CTX *tls, const char *server_name, const char *target)
{
    struct tunnel *t = rs_new(struct tunnel);
    rs_buf_init(&t->head, 256 * 1024);
    write_head(&t->head, c->x, target, address);
    t->call = c;
    t->far = rs_stream_connect(c->api->loop, address, tls, server_name, DIAL_MS, &far_ops, t);
}

/* --- to the node --- */

static bool has_container(const json_t *pod, const char *list, const char *name)
{
    size_t i;
    json_t *c;
    json_array_foreach(rs_json_at(pod, "spec", list), i, c)
        if (rs_streq(rs_json_str(c, "name"), name))
            return true;
    return false;
}

static char *container_names(const json_t *pod, const char *list)
{
    char *s = rs_strdup("");
    size_t i;
    json_t *c;
    json_array_foreach(rs_json_at(pod, "spec", list), i, c) {
        char *more = rs_printf("%s%s%s", s, *s ? " " : "", rs_json_str(c, "name") ? rs_json_str(c, "name") : "");
        free(s);
        s = more;
    }
    return s;
}

/* The container that is meant; NULL and a refusal when that is not clear. malloc'ed. */
static char *choose_container(const rs_api_call *c, const json_t *pod, json_t **refusal)
{
    char *name = rs_call_param(c, "container");
    const json_t *list = rs_json_at(pod, "spec", "containers");
    if (name && *name) {
        if (has_container(pod, "containers", name) || has_container(pod, "initContainers", name) || has_container(pod, "ephemeralContainers", name))
            return name;
        *refusal = rs_status_bad_request("container %s is not valid for pod %s", name, c->name);
        free(name);
        return NULL;
    }
    free(name);
    if (json_array_size(list) == 1)
        return rs_strdup(rs_json_str(json_array_get(list, 0), "name"));
    RS_AUTO(rs_chars) *names = container_names(pod, "containers"), *inits = container_names(pod, "initContainers");
    *refusal = rs_status_bad_request("a container name must be specified for pod %s, choose one of: [%s]%s%s%s", c->name, names,
                                     *inits ? " or one of the init containers: [" : "", inits, *inits ? "]" : "");
    return NULL;
}

static char *node_address(const rs_api_call *c, const char *name)
{
    rs_record *r = rs_api_get(c->api, "nodes", "", name);
    size_t i;
    json_t *a;
    if (!r)
        return NULL;
    const json_t *doc = rs_record_doc(r);
    json_array_foreach(rs_json_at(doc, "status", "addresses"), i, a)
        if (rs_streq(rs_json_str(a, "type"), "InternalIP") && rs_json_str(a, "address"))
            return rs_printf("%s:%lld", rs_json_str(a, "address"), (long long)rs_json_int(doc, 10250, "status", "daemonEndpoints", "kubeletEndpoint", "Port"));
    return NULL;
}

/* kube-apiserver renames what exec and attach are asked for; the names that came in stay beside it. */
static char *node_query(const rs_api_call *c)
{
    static const struct { const char *ours, *theirs; } names[] = { { "stdin", "input" }, { "stdout", "output" }, { "stderr", "error" }, { "tty", "tty" } };
    RS_AUTO_BUF b;
    rs_buf_init(&b, 256 * 1024);
    rs_buf_adds(&b, c->query);
    for (size_t i = 0; i < RS_COUNT(names) && (rs_streq(c->sub, "exec") || rs_streq(c->sub, "attach")); i++)
        if (rs_call_flag(c, names[i].ours) && strcmp(names[i].ours, names[i].theirs))
            rs_buf_addf(&b, "%s%s=1", b.n ? "&" : "", names[i].theirs);
    return rs_buf_take(&b);
}

static char *node_target(const rs_api_call *c, const json_t *pod, json_t **refusal)
{
    RS_AUTO(rs_chars) *query = node_query(c);
    const char *mark = *query ? "?" : "";
    if (rs_streq(c->sub, "portforward"))
        return rs_printf("/portForward/%s/%s%s%s", c->namespace, c->name, mark, query);
    RS_AUTO(rs_chars) *container = choose_container(c, pod, refusal);
    if (!container)
        return NULL;
    const char *verb = rs_streq(c->sub, "log") ? "containerLogs" : c->sub;
    return rs_printf("/%s/%s/%s/%s%s%s", verb, c->namespace, c->name, container, mark, query);
}

static void to_node(rs_api_call *c)
{
    struct rs_err e;
    rs_record *r = rs_api_get(c->api, "pods", c->namespace, c->name);
    const char *node = r ? rs_json_str(rs_record_doc(r), "spec", "nodeName") : NULL;
    json_t *refusal = r ? NULL : rs_status_not_found("", "pods", c->name);
    RS_AUTO(rs_chars) *target = refusal ? NULL : node_target(c, rs_record_doc(r), &refusal);
    if (!refusal && (!node || !*node)) {
        if (rs_streq(c->sub, "log")) {
            rs_call_reply_text(c, 200, "text/plain", RS_STR(""));
            return;
        }
        refusal = rs_status_bad_request("pod %s does not have a host assigned", c->name);
    }
    RS_AUTO(rs_chars) *address = refusal ? NULL : node_address(c, node);
    SSL_CTX *tls = NULL;
    if (!refusal && !address)
        refusal = rs_status_internal("node \"%s\" has no address", node);
    if (!refusal && rs_cluster_pki_node_tls(&tls, c->api->pki, &e) < 0)
        refusal = rs_status_internal("%s", e.msg);
    if (refusal)
        rs_call_refuse(c, refusal);
    else
        open_tunnel(c, address, tls, node, target);
    SSL_CTX_free(tls);
}

/* --- to a port --- */

/* "[scheme:]name[:port]" of a proxied object. */
static void split_proxy_name(char *spec, const char **scheme, const char **name, const char **port)
{
    *scheme = "http";
    *port = NULL;
    if (rs_starts(spec, "http:") || rs_starts(spec, "https:")) {
        *scheme = spec;
        spec = strchr(spec, ':');
        *spec++ = 0;
    }
    *name = spec;
    char *colon = strchr(spec, ':');
    if (colon) {
        *colon = 0;
        *port = colon[1] ? colon + 1 : NULL;
    }
}

static char *pod_port_address(const json_t *pod, const char *port)
{
    const char *ip = rs_json_str(pod, "status", "podIP");
    size_t i, k;
    json_t *c, *p;
    uint64_t n;
    if (!ip || !*ip)
        return NULL;
    if (port && rs_str_u64(rs_str_of(port), &n))
        return rs_printf("%s:%s", ip, port);
    json_array_foreach(rs_json_at(pod, "spec", "containers"), i, c)
        json_array_foreach(json_object_get(c, "ports"), k, p)
            if (!port || rs_streq(rs_json_str(p, "name"), port))
                return rs_printf("%s:%lld", ip, (long long)rs_json_int(p, 0, "containerPort"));
    return port ? NULL : rs_printf("%s:80", ip);
}

static char *service_port_address(const rs_api_call *c, const char *name, const char *port)
{
    rs_record *service = rs_api_get(c->api, "services", c->namespace, name), *ep = rs_api_get(c->api, "endpoints", c->namespace, name);
    const char *port_name = NULL;
    size_t i;
    json_t *p, *s;
    bool found = false;
    json_array_foreach(service ? rs_json_at(rs_record_doc(service), "spec", "ports") : NULL, i, p) {
        RS_AUTO(rs_chars) *number = rs_printf("%lld", (long long)rs_json_int(p, 0, "port"));
        if (!found && (!port || rs_streq(number, port) || rs_streq(rs_json_str(p, "name"), port))) {
            found = true;
            port_name = rs_json_str(p, "name");
        }
    }
    json_array_foreach(found && ep ? json_object_get(rs_record_doc(ep), "subsets") : NULL, i, s) {
        const char *ip = rs_json_str(json_array_get(json_object_get(s, "addresses"), 0), "ip");
        size_t k;
        json_array_foreach(json_object_get(s, "ports"), k, p)
            if (ip && strcmp(rs_json_str(p, "name") ? rs_json_str(p, "name") : "", port_name ? port_name : "") == 0)
                return rs_printf("%s:%lld", ip, (long long)rs_json_int(p, 0, "port"));
    }
    return NULL;
}

/* What follows "/proxy" in the target as it was sent, with its query. */
static const char *proxied_target(const char *raw)
{
    const char *p = strstr(raw, "/proxy");
    p = p ? p + strlen("/proxy") : "/";
    return *p == '/' ? p : "/";
}

static void to_port(rs_api_call *c)
{
    struct rs_err e;
    RS_AUTO(rs_chars) *spec = rs_strdup(c->name), *address = NULL;
    const char *scheme, *name, *port;
    split_proxy_name(spec, &scheme, &name, &port);
    bool pod = rs_streq(c->res->key, "pods");
    rs_record *r = rs_api_get(c->api, c->res->key, c->namespace, name);
    SSL_CTX *tls = NULL;
    json_t *refusal = r ? NULL : rs_status_not_found("", c->res->plural, name);
    if (r)
        address = pod ? pod_port_address(rs_record_doc(r), port) : service_port_address(c, name, port);
    if (!refusal && !address)
        refusal = rs_status(503, "ServiceUnavailable", "no endpoints available for %s \"%s\"", pod ? "pod" : "service", name);
    if (!refusal && rs_streq(scheme, "https") && rs_tls_client_insecure(&tls, RS_STR(""), RS_STR(""), "http/1.1", &e) < 0)
        refusal = rs_status_internal("%s", e.msg);
    if (refusal)
        rs_call_refuse(c, refusal);
    else
        open_tunnel(c, address, tls, name, proxied_target(rs_http_target(c->x)));
    SSL_CTX_free(tls);
}

void rs_api_connect(rs_api_call *c)
{
    if (!c->name) {
        rs_call_refuse(c, rs_status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource"));
        return;
    }
    if (rs_streq(c->sub, "proxy"))
        to_port(c);
    else
        to_node(c);
}
