/* ADS for Envoy on a Unix socket, passed on to the control plane byte for byte: one upstream connection for each of Envoy's
 * streams, made with the roots and token of that moment. Trust bundles (PCDS) are asked for on the same stream, after Envoy's
 * first request for listeners, and consumed here. When the upstream fails, Envoy's stream ends and Envoy comes again; it keeps
 * its configuration meanwhile. Loop thread only. */
#pragma once
#include "agent/config.h"
#include "io/loop.h"

typedef struct rs_ads_proxy rs_ads_proxy;

struct rs_ads_proxy_ops {
    /* A bundle came; an error is told to the control plane as a NACK. */
    int (*on_bundle)(void *ctx, rs_str pem, const char *retired, struct rs_err *e);
};
RS_MUST_USE int rs_ads_proxy_new(rs_ads_proxy **ret, rs_loop *loop, const struct rs_agent_config *config, const struct rs_ads_proxy_ops *ops,
                                 void *ctx, struct rs_err *e);
json_t *rs_ads_proxy_status(const rs_ads_proxy *p);      /* {streams, connects, lastError}; new reference */
void rs_ads_proxy_free(rs_ads_proxy *p);                 /* NULL is a no-op */
