/* Shared by config*.c. Every function here returns a new reference unless it says otherwise. */
#pragma once
#include "control/config.h"
#include "xds/encode.h"

#define RS_EXT RS_TYPE_PREFIX "envoy.extensions."

/* One proxy that is being configured. */
struct rs_config {
    const rs_model *m;
    const rs_envoy *proxy;
    const struct rs_model_pod *pod;          /* NULL: the model does not know it (yet) */
    const json_t *labels;                    /* of the pod; never NULL */
    json_t *out;                             /* all resources */
};
void rs_config_emit(struct rs_config *c, json_t *resource);              /* steals */

/* ---- config_cluster.c ---- */
char *rs_config_outbound_name(const char *host, int port);               /* malloc'ed */
char *rs_config_inbound_name(int port);                                  /* malloc'ed */
void rs_config_clusters(struct rs_config *c);                            /* outbound with endpoints, and the fixed ones */
void rs_config_inbound_cluster(struct rs_config *c, int port, enum rs_protocol protocol);
json_t *rs_config_ads(void);                                             /* ConfigSource */
json_t *rs_config_downstream_tls(const rs_model *m);                     /* TransportSocket of inbound mutual TLS */

/* ---- config_listener.c ---- */
void rs_config_listeners(struct rs_config *c);                           /* of a sidecar */
json_t *rs_config_address(const char *ip, int port);
json_t *rs_config_tcp_filter(struct rs_config *c, const char *stat_prefix, const char *cluster);
enum rs_config_hcm { RS_HCM_INBOUND_TLS, RS_HCM_INBOUND_PLAIN, RS_HCM_OUTBOUND, RS_HCM_GATEWAY };
/* route: {"rds": ...} or {"route_config": ...} (stolen); http_filters: before the router (stolen, may be NULL). */
json_t *rs_config_http_filter(struct rs_config *c, enum rs_config_hcm kind, const char *stat_prefix, json_t *route, json_t *http_filters);
json_t *rs_config_rds(const char *name);                                 /* {"rds": ...} */

/* ---- config_route.c ---- */
void rs_config_routes(struct rs_config *c);                              /* route configuration of every outbound HTTP port */
/* Routes of a VirtualService, with a last one to fallback_host:fallback_port when none of them takes everything (NULL: none). */
json_t *rs_config_routes_of(struct rs_config *c, const struct rs_model_virtual_service *vs, const char *fallback_host, int fallback_port);
json_t *rs_config_route(const char *name, const char *operation, json_t *match, json_t *action);     /* steals both */
json_t *rs_config_prefix_all(void);                                      /* RouteMatch */

/* ---- config_policy.c ---- */
/* Appends RBAC filters (network or HTTP) for the proxy's policies, DENY before ALLOW. */
void rs_config_rbac(struct rs_config *c, bool http, json_t *filters);

/* ---- config_gateway.c ---- */
void rs_config_gateway(struct rs_config *c);
