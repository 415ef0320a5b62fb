/* Installing Mesh CA in a cluster: a root whose key stays in the operator's output directory (0600), an intermediate in the
 * cluster, and the service. Sequential: runs the client's loop; not from callbacks. */
#pragma once
#include "kube/client.h"

struct rs_mesh_ca_install {
    const char *fleet, *output_dir, *hub, *tag;
    int64_t timeout_ms;
    void (*say)(void *ctx, const char *line);
    void *ctx;
};
/* A Mesh CA that is there already keeps its root and intermediate; one of another fleet is refused (RS_INVALID). Returns
 * once its Deployment is available. */
RS_MUST_USE int rs_mesh_ca_install(rs_kube *k, const struct rs_mesh_ca_install *in, struct rs_err *e);
