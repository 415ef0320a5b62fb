/* What the handlers of the kubelet's port share. Inside src/node only. */
#pragma once
#include "http/server.h"
#include "node/node_int.h"

/* The pod of a request, or NULL after a 404 was answered. */
rs_worker *rs_server_pod(rs_node *n, rs_http_exchange *x, const char *ns, const char *pod);
/* The container of a request that has run at least once, or NULL after an answer. */
struct rs_run *rs_server_container(rs_node *n, rs_http_exchange *x, const char *ns, const char *pod, const char *container);
void rs_server_refuse(rs_http_exchange *x, int status, const char *reason, const char *fmt, ...) RS_PRINTF(4, 5);

void rs_serve_logs(rs_node *n, rs_http_exchange *x, const char *ns, const char *pod, const char *container);
void rs_serve_exec(rs_node *n, rs_http_exchange *x, const char *ns, const char *pod, const char *container);
void rs_serve_attach(rs_node *n, rs_http_exchange *x, const char *ns, const char *pod, const char *container);
void rs_serve_forward(rs_node *n, rs_http_exchange *x, const char *ns, const char *pod);
