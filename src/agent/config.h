/* What the agent is told by its environment (facts istio-wire 2.1, ARCHITECTURE 3 and 4). Read once at start. Paths are
 * relative to the working directory, as Istio's are. */
#pragma once
#include "base/json.h"
#include "pki/key.h"

enum rs_agent_ca { RS_AGENT_ISTIO_CA, RS_AGENT_MESH_CA };

struct rs_agent_config {
    char *role;                          /* "sidecar" or "router" */
    char *pod, *namespace, *service_account, *ip, *trust_domain, *cluster_id;
    char *discovery;                     /* host:port of the control plane */
    char *discovery_name;                /* name its certificate must bear */
    enum rs_agent_ca ca;
    char *ca_address, *ca_name;
    char *ca_root, *xds_root;            /* file with the roots that sign those servers; "SYSTEM": the system's */
    char *token_path, *config_dir, *sds_path, *podinfo_dir;
    char *envoy;                         /* program; NULL: looked up */
    int status_port, admin_port, ready_port, prometheus_port, concurrency;
    enum rs_key_kind key_kind;
    int64_t ttl_ms;
    double renew_ratio, renew_jitter;
    bool pcds;                           /* PROXY_CONFIG_XDS_AGENT */
    int64_t drain_min_ms, drain_max_ms;  /* how long a stop waits for connections to end */
    json_t *proxy_config;                /* PROXY_CONFIG, an object */
    json_t *probers;                     /* ISTIO_KUBE_APP_PROBERS, an object */
    json_t *metadata;                    /* of the node, for the control plane */
};
/* environment: "NAME=value", NULL-terminated. RS_INVALID names the variable that is missing or wrong. */
RS_MUST_USE int rs_agent_config_load(struct rs_agent_config *c, const char *role, char *const *environment, struct rs_err *e);
void rs_agent_config_done(struct rs_agent_config *c);

char *rs_agent_node_id(const struct rs_agent_config *c);         /* sidecar~IP~POD.NS~NS.svc.cluster.local */
char *rs_agent_node_cluster(const struct rs_agent_config *c);    /* canonical service name.NS */
char *rs_agent_identity(const struct rs_agent_config *c);        /* spiffe://... that is asked for */
