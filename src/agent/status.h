/* The agent's own HTTP port (15020): readiness, probes of the app's containers, what is trusted, statistics. Loop thread only. */
#pragma once
#include "agent/config.h"
#include "agent/envoy.h"

typedef struct rs_status rs_status;

struct rs_status_ops {
    json_t *(*trust)(void *ctx);                         /* answer of GET /trust; new reference */
    rs_envoy *(*envoy)(void *ctx);                       /* NULL when it does not run */
    bool (*draining)(void *ctx);
};
RS_MUST_USE int rs_status_new(rs_status **ret, rs_loop *loop, rs_http_client *http, const struct rs_agent_config *config,
                              const struct rs_status_ops *ops, void *ctx, struct rs_err *e);
void rs_status_free(rs_status *s);                       /* before http; NULL is a no-op */
