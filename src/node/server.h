/* The kubelet's port: containerLogs, exec, attach and portForward, for clients with a certificate of the cluster's CA.
 * Loop thread only. */
#pragma once
#include "node/node.h"

typedef struct rs_server rs_server;
RS_MUST_USE int rs_server_new(rs_server **ret, rs_node *n, struct rs_err *e);
int rs_server_port(const rs_server *s);
