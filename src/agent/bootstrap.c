#include "agent/bootstrap.h"

#define TYPE "type.googleapis.com/"

static json_t *socket_address(const char *address, int port)
{
    return rs_json_pack("{s:{s:s, s:i}}", "socket_address", "address", address, "port_value", port);
}

static json_t *endpoint(const char *cluster, json_t *address)
{
    return rs_json_pack("{s:s, s:[{s:[{s:{s:o}}]}]}", "cluster_name", cluster, "endpoints", "lb_endpoints", "endpoint", "address", address);
}

/* A server on this machine; http2 for gRPC over a Unix socket. */
static json_t *local_cluster(const char *name, const char *path, int port)
{
    json_t *address = path ? rs_json_pack("{s:{s:s}}", "pipe", "path", path) : socket_address("127.0.0.1", port);
    json_t *c = rs_json_pack("{s:s, s:s, s:s, s:o}", "name", name, "type", "STATIC", "connect_timeout", "1s", "load_assignment", endpoint(name, address));
    if (path)
        json_object_set_new(c, "typed_extension_protocol_options", rs_json_pack("{s:{s:s, s:{s:{}}}}",
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "@type", TYPE "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config", "http2_protocol_options"));
    return c;
}

/* A listener of the pod itself that forwards one path to one local cluster. */
static json_t *local_listener(const char *name, int port, const char *path, const char *cluster)
{
    json_t *router = rs_json_pack("{s:s, s:{s:s}}", "name", "envoy.filters.http.router", "typed_config", "@type",
                                  TYPE "envoy.extensions.filters.http.router.v3.Router");
    json_t *routes = rs_json_pack("{s:[{s:s, s:[s], s:[{s:{s:s}, s:{s:s}}]}]}", "virtual_hosts", "name", "backend", "domains", "*",
                                  "routes", "match", "prefix", path, "route", "cluster", cluster);
    json_t *manager = rs_json_pack("{s:s, s:s, s:s, s:o, s:[o]}", "@type",
        TYPE "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "codec_type", "AUTO", "stat_prefix", name,
        "route_config", routes, "http_filters", router);
    return rs_json_pack("{s:s, s:o, s:[{s:[{s:s, s:o}]}]}", "name", name, "address", socket_address("0.0.0.0", port), "filter_chains", "filters",
                        "name", "envoy.filters.network.http_connection_manager", "typed_config", manager);
}

json_t *rs_bootstrap_json(const struct rs_bootstrap *b)
{
    json_t *ads = rs_json_pack("{s:s, s:s, s:b, s:[{s:{s:s}}]}", "api_type", "GRPC", "transport_api_version", "V3", "set_node_on_first_message_only", 1,
                               "grpc_services", "envoy_grpc", "cluster_name", "xds-grpc");
    json_t *dynamic = rs_json_pack("{s:o, s:{s:{}, s:s, s:s}, s:{s:{}, s:s, s:s}}", "ads_config", ads,
                                   "lds_config", "ads", "initial_fetch_timeout", "0s", "resource_api_version", "V3",
                                   "cds_config", "ads", "initial_fetch_timeout", "0s", "resource_api_version", "V3");
    json_t *clusters = json_array();
    json_array_append_new(clusters, local_cluster("prometheus_stats", NULL, b->admin_port));
    json_array_append_new(clusters, local_cluster("agent", NULL, b->agent_port));
    json_array_append_new(clusters, local_cluster("sds-grpc", b->sds_path, 0));
    json_array_append_new(clusters, local_cluster("xds-grpc", b->ads_path, 0));
    json_t *listeners = json_array();
    json_array_append_new(listeners, local_listener("prometheus", b->prometheus_port, "/stats/prometheus", "prometheus_stats"));
    json_array_append_new(listeners, local_listener("readiness", b->ready_port, "/healthz/ready", "agent"));
    json_t *o = rs_json_pack("{s:{s:s, s:s, s:O}, s:o, s:{s:o, s:o}, s:{s:o}}", "node", "id", b->node_id, "cluster", b->cluster, "metadata", b->metadata,
                             "dynamic_resources", dynamic, "static_resources", "clusters", clusters, "listeners", listeners,
                             "admin", "address", socket_address("127.0.0.1", b->admin_port));
    return o;
}
