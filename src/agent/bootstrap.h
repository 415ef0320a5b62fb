/* Envoy's bootstrap as the agent writes it (facts istio-wire 2.7): ADS and SDS over Unix sockets, readiness and Prometheus
 * listeners. Pure. */
#pragma once
#include "base/json.h"

struct rs_bootstrap {
    const char *node_id;                 /* sidecar~IP~POD.NS~NS.svc.cluster.local */
    const char *cluster;                 /* canonical service name */
    const json_t *metadata;              /* node metadata; borrowed */
    const char *ads_path, *sds_path;     /* Unix sockets */
    int admin_port, agent_port, ready_port, prometheus_port;     /* 15000, 15020, 15021, 15090 */
};
json_t *rs_bootstrap_json(const struct rs_bootstrap *b);         /* new reference */
