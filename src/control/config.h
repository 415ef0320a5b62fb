/* Envoy configuration of one proxy, from the mesh model. Pure; names and shapes are Istio's (clusters
 * "outbound|80||web.shop.svc.cluster.local", "inbound|8080||", "BlackHoleCluster", "PassthroughCluster"; listeners
 * "virtualInbound" 15006, "virtualOutbound" 15001, "0.0.0.0_80", "10.96.0.7_9000"; routes "80", gateways "http.8080").
 * Equal inputs give equal bytes. Written by config_{cluster,listener,route,policy,gateway}.c. */
#pragma once
#include "control/model.h"
#include "xds/snapshot.h"

/* All clusters, endpoints, listeners and routes as JSON (xds/encode.h). New reference. */
json_t *rs_config_resources(const rs_model *m, const rs_envoy *proxy);

/* The same, encoded. extra: further resources (the trust bundle for PCDS), or NULL. */
RS_MUST_USE int rs_config_snapshot(rs_xds_snapshot **ret, const rs_model *m, const rs_envoy *proxy, const json_t *extra, struct rs_err *e);
