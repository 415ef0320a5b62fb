/* A Kubernetes API client: JSON requests, watches, pod tunnels. Loop thread only. Errors keep the server's Status:
 * message, and code by HTTP status (401 RS_UNAUTHENTICATED, 403 RS_FORBIDDEN, 404 RS_NOT_FOUND, 409 RS_EXISTS for AlreadyExists else
 * RS_ABORTED (conflict), 410 RS_RANGE, 422/400 RS_INVALID, 429 RS_EXHAUSTED, 5xx RS_UNAVAILABLE; no connection RS_UNAVAILABLE). */
#pragma once
#include "http/client.h"
#include "kube/config.h"

typedef struct rs_kube rs_kube;
typedef struct rs_kube_call rs_kube_call;

RS_MUST_USE int rs_kube_new(rs_kube **ret, rs_loop *loop, const struct rs_kube_config *config, struct rs_err *e);   /* copies config */
void rs_kube_free(rs_kube *k);
RS_DEFINE_AUTO(rs_kube, rs_kube_free)
rs_loop *rs_kube_loop(rs_kube *k);
const struct rs_kube_config *rs_kube_config_of(const rs_kube *k);

#define RS_MERGE_PATCH "application/merge-patch+json"
#define RS_STRATEGIC_PATCH "application/strategic-merge-patch+json"
#define RS_JSON_PATCH "application/json-patch+json"

/* Asynchronous call. body may be NULL; content_type NULL: application/json. done: answer is borrowed; why NULL on success. */
rs_kube_call *rs_kube_start(rs_kube *k, const char *method, const char *path, const char *content_type, const json_t *body,
                            void (*done)(void *ctx, json_t *answer, const struct rs_err *why), void *ctx);
void rs_kube_cancel(rs_kube_call *call);

/* Sequential form for commands: runs the loop until the answer is there (30 s). Not from callbacks. ret may be NULL. */
RS_MUST_USE int rs_kube_do(rs_kube *k, const char *method, const char *path, const char *content_type, const json_t *body,
                           json_t **ret, struct rs_err *e);
#define rs_kube_get(k, path, ret, e) rs_kube_do((k), "GET", (path), NULL, NULL, (ret), (e))
/* Plain-text GET (logs, /healthz, OpenID keys): body malloc'ed. */
RS_MUST_USE int rs_kube_get_text(rs_kube *k, const char *path, char **ret, struct rs_err *e);
/* Every item of a list, page by page (limit 500). New array in *ret; *ret_rv (may be NULL) the list's resourceVersion. */
RS_MUST_USE int rs_kube_list(rs_kube *k, const char *path, const char *label_selector, json_t **ret, char **ret_rv, struct rs_err *e);
/* Creates or brings to this content (GET, then POST, or a merge patch when something differs). *ret_changed may be NULL. */
RS_MUST_USE int rs_kube_apply(rs_kube *k, const json_t *object, bool dry_run, bool *ret_changed, struct rs_err *e);

/* A byte stream to a port of a pod (port-forward over WebSocket v4.channel.k8s.io); 127.0.0.1 inside the pod. */
struct rs_kube_tunnel_ops {
    void (*on_open)(void *ctx);
    void (*on_data)(void *ctx, rs_str data);
    void (*on_close)(void *ctx, const struct rs_err *why);
};
typedef struct rs_kube_tunnel rs_kube_tunnel;
/* Nothing is called from inside. timeout_ms covers getting the tunnel open. on_close at most once; may free the tunnel in any
 * callback, and must, once, by itself. The port is only known to be bad when data or on_close arrives. */
rs_kube_tunnel *rs_kube_port_forward(rs_kube *k, const char *namespace, const char *pod, int port, int timeout_ms,
                                     const struct rs_kube_tunnel_ops *ops, void *ctx);
void rs_kube_tunnel_write(rs_kube_tunnel *t, rs_str data);
void rs_kube_tunnel_free(rs_kube_tunnel *t);

/* One HTTP GET over such a tunnel (Envoy's admin port). done is called exactly once; the handle is valid until then and
 * serves to cancel (free, no callback follows). The body is bounded by max. */
typedef struct rs_kube_pod_get rs_kube_pod_get;
rs_kube_pod_get *rs_kube_pod_get_start(rs_kube *k, const char *namespace, const char *pod, int port, const char *target,
                                       int timeout_ms, size_t max, void (*done)(void *ctx, int status, rs_str body, const struct rs_err *why), void *ctx);
void rs_kube_pod_get_free(rs_kube_pod_get *g);
