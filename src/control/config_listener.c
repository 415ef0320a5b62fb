#include "control/config_int.h"

enum { PORT_OUTBOUND = 15001, PORT_INBOUND = 15006 };

json_t *rs_config_address(const char *ip, int port)
{
    return rs_json_pack("{s{ss si}}", "socket_address", "address", ip, "port_value", port);
}

static json_t *access_log(struct rs_config *c)
{
    const char *path = rs_json_str(c->m->mesh_config, "accessLogFile");
    if (!path || !*path)
        return json_array();
    return rs_json_pack("[{ss s{ss ss}}]", "name", "envoy.access_loggers.file", "typed_config",
        "@type", RS_EXT "access_loggers.file.v3.FileAccessLog", "path", path);
}

json_t *rs_config_tcp_filter(struct rs_config *c, const char *stat_prefix, const char *cluster)
{
    return rs_json_pack("{ss s{ss ss ss ss so}}", "name", "envoy.filters.network.tcp_proxy", "typed_config",
        "@type", RS_EXT "filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix", stat_prefix, "cluster", cluster, "idle_timeout", "3600s",
        "access_log", access_log(c));
}

json_t *rs_config_rds(const char *name)
{
    return rs_json_pack("{s{so ss}}", "rds", "config_source", rs_config_ads(), "route_config_name", name);
}

json_t *rs_config_http_filter(struct rs_config *c, enum rs_config_hcm kind, const char *stat_prefix, json_t *route, json_t *http_filters)
{
    json_t *filters = http_filters ? http_filters : json_array();
    json_array_append_new(filters, rs_json_pack("{ss s{ss}}", "name", "envoy.filters.http.router", "typed_config", "@type", RS_EXT "filters.http.router.v3.Router"));
    json_t *hcm = rs_json_pack("{ss ss so ss sb ss s[{ss}] sb so}",
        "@type", RS_EXT "filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix", stat_prefix,
        "http_filters", filters, "stream_idle_timeout", "0s", "normalize_path", 1, "server_name", "istio-envoy",
        "upgrade_configs", "upgrade_type", "websocket", "use_remote_address", kind == RS_HCM_GATEWAY, "access_log", access_log(c));
    json_object_update(hcm, route);
    json_decref(route);
    if (kind == RS_HCM_OUTBOUND)
        json_object_set_new(hcm, "server_header_transformation", json_string("PASS_THROUGH"));
    if (kind == RS_HCM_INBOUND_TLS) {
        /* The app learns who called from Envoy alone: what the caller claims is thrown away. */
        json_object_set_new(hcm, "forward_client_cert_details", json_string("SANITIZE_SET"));
        json_object_set_new(hcm, "set_current_client_cert_details", rs_json_pack("{sb sb sb}", "subject", 1, "dns", 1, "uri", 1));
    }
    return rs_json_pack("{ss so}", "name", "envoy.filters.network.http_connection_manager", "typed_config", hcm);
}

/* ---- inbound ---- */

static json_t *listener_filters(bool inspect_tls)
{
    json_t *list = rs_json_pack("[{ss s{ss}}]", "name", "envoy.filters.listener.original_dst", "typed_config",
        "@type", RS_EXT "filters.listener.original_dst.v3.OriginalDst");
    if (inspect_tls)
        json_array_append_new(list, rs_json_pack("{ss s{ss}}", "name", "envoy.filters.listener.tls_inspector", "typed_config",
            "@type", RS_EXT "filters.listener.tls_inspector.v3.TlsInspector"));
    return list;
}

/* One port of the app (0: every port that no service names). */
struct inbound { int port; enum rs_protocol protocol; const char *service; };

static json_t *inbound_filters(struct rs_config *c, const struct inbound *in, bool tls)
{
    RS_AUTO(rs_chars) *cluster = in->port ? rs_config_inbound_name(in->port) : rs_strdup("InboundPassthroughClusterIpv4");
    json_t *filters = json_array();
    if (in->protocol != RS_PROTO_HTTP && in->protocol != RS_PROTO_HTTP2) {
        rs_config_rbac(c, false, filters);
        json_array_append_new(filters, rs_config_tcp_filter(c, cluster, cluster));
        return filters;
    }
    RS_AUTO(rs_chars) *host = rs_printf("inbound|http|%d", in->port), *operation = rs_printf("%s:%d/*", in->service, in->port);
    RS_AUTO(rs_chars) *prefix = rs_printf("inbound_0.0.0.0_%d", in->port);
    json_t *action = rs_json_pack("{ss ss s{ss ss}}", "cluster", cluster, "timeout", "0s",
        "max_stream_duration", "max_stream_duration", "0s", "grpc_timeout_header_max", "0s");
    json_t *route = rs_json_pack("{s{ss sb s[{ss s[s] s[o]}]}}", "route_config", "name", cluster, "validate_clusters", 0,
        "virtual_hosts", "name", host, "domains", "*", "routes", rs_config_route("default", operation, rs_config_prefix_all(), action));
    json_t *http = json_array();
    rs_config_rbac(c, true, http);
    json_array_append_new(filters, rs_config_http_filter(c, tls ? RS_HCM_INBOUND_TLS : RS_HCM_INBOUND_PLAIN, prefix, route, http));
    return filters;
}

static void add_chain(json_t *chains, const struct inbound *in, const char *suffix, const char *transport, json_t *alpn, json_t *tls, json_t *filters)
{
    RS_AUTO(rs_chars) *name = in->port ? rs_printf("0.0.0.0_%d%s", in->port, suffix) : rs_printf("virtualInbound%s", suffix);
    json_t *match = json_object();
    if (in->port)
        json_object_set_new(match, "destination_port", json_integer(in->port));
    if (transport)
        json_object_set_new(match, "transport_protocol", json_string(transport));
    if (alpn)
        json_object_set_new(match, "application_protocols", alpn);
    json_t *chain = rs_json_pack("{ss so so}", "name", name, "filter_chain_match", match, "filters", filters);
    if (tls)
        json_object_set_new(chain, "transport_socket", tls);
    json_array_append_new(chains, chain);
}

static void inbound_chains(struct rs_config *c, json_t *chains, const struct inbound *in)
{
    enum rs_mtls mode = rs_model_mtls(c->m, c->proxy->namespace, c->labels, in->port);
    if (mode == RS_MTLS_DISABLE) {
        add_chain(chains, in, "", NULL, NULL, NULL, inbound_filters(c, in, false));
        return;
    }
    /* PERMISSIVE tells the mesh's own TLS by its ALPN; any other TLS is the app's and passes through as bytes. */
    bool strict = mode == RS_MTLS_STRICT;
    json_t *alpn = strict ? NULL : rs_json_pack("[sssss]", "istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2");
    add_chain(chains, in, "", "tls", alpn, rs_config_downstream_tls(c->m), inbound_filters(c, in, true));
    if (strict)
        return;
    struct inbound bytes = { in->port, RS_PROTO_TCP, in->service };
    add_chain(chains, in, "-app-tls", "tls", NULL, NULL, inbound_filters(c, &bytes, false));
    add_chain(chains, in, "-plain", "raw_buffer", NULL, NULL, inbound_filters(c, in, false));
}

/* Target ports of the services that select this pod, each once. */
static void inbound_ports(struct rs_config *c, json_t *chains)
{
    json_t *seen = json_object();
    for (size_t i = 0; i < c->m->n_services; i++) {
        const struct rs_model_service *s = &c->m->services[i];
        if (!rs_model_selects(s, c->proxy->namespace, c->labels))
            continue;
        for (size_t j = 0; j < s->n_ports; j++) {
            struct inbound in = { c->pod ? rs_model_target_port(c->m, s, &s->ports[j], c->pod) : 0, s->ports[j].protocol, s->host };
            char key[16];
            snprintf(key, sizeof key, "%d", in.port);
            if (in.port == 0 || json_object_get(seen, key))
                continue;
            json_object_set_new(seen, key, json_true());
            rs_config_inbound_cluster(c, in.port, in.protocol);
            inbound_chains(c, chains, &in);
        }
    }
    json_decref(seen);
}

static void virtual_inbound(struct rs_config *c)
{
    json_t *chains = json_array();
    /* Sent to the port itself, not redirected: would loop. */
    json_array_append_new(chains, rs_json_pack("{ss s{si} s[o]}", "name", "virtualInbound-blackhole", "filter_chain_match", "destination_port", PORT_INBOUND,
        "filters", rs_config_tcp_filter(c, "BlackHoleCluster", "BlackHoleCluster")));
    inbound_ports(c, chains);
    inbound_chains(c, chains, &(struct inbound){ 0, RS_PROTO_TCP, "" });
    rs_config_emit(c, rs_json_pack("{ss ss so so so ss ss sb}", "@type", RS_TYPE_LISTENER, "name", "virtualInbound", "address", rs_config_address("0.0.0.0", PORT_INBOUND),
        "filter_chains", chains, "listener_filters", listener_filters(true), "traffic_direction", "INBOUND",
        "listener_filters_timeout", "5s", "continue_on_listener_filters_timeout", 1));
}

/* ---- outbound ---- */

static void outbound_listener(struct rs_config *c, const char *name, const char *ip, int port, json_t *filter)
{
    rs_config_emit(c, rs_json_pack("{ss ss so sb ss s[{s[o]}]}", "@type", RS_TYPE_LISTENER, "name", name, "address", rs_config_address(ip, port),
        "bind_to_port", 0, "traffic_direction", "OUTBOUND", "filter_chains", "filters", filter));
}

static void outbound_http(struct rs_config *c, json_t *seen, int port)
{
    RS_AUTO(rs_chars) *name = rs_printf("0.0.0.0_%d", port), *stat_prefix = rs_printf("outbound_0.0.0.0_%d", port), *route = rs_printf("%d", port);
    if (json_object_get(seen, name))
        return;
    json_object_set_new(seen, name, json_true());
    outbound_listener(c, name, "0.0.0.0", port, rs_config_http_filter(c, RS_HCM_OUTBOUND, stat_prefix, rs_config_rds(route), NULL));
}

static void outbound_tcp(struct rs_config *c, json_t *seen, const struct rs_model_service *s, int port)
{
    if (!s->address)
        return;                    /* headless: reached as a pod, through the PassthroughCluster */
    RS_AUTO(rs_chars) *name = rs_printf("%s_%d", s->address, port), *cluster = rs_config_outbound_name(s->host, port);
    if (json_object_get(seen, name))
        return;
    json_object_set_new(seen, name, json_true());
    outbound_listener(c, name, s->address, port, rs_config_tcp_filter(c, cluster, cluster));
}

static const char *unknown_destinations(struct rs_config *c)
{
    return rs_streq(rs_json_str(c->m->mesh_config, "outboundTrafficPolicy", "mode"), "REGISTRY_ONLY") ? "BlackHoleCluster" : "PassthroughCluster";
}

static void virtual_outbound(struct rs_config *c)
{
    const char *cluster = unknown_destinations(c);
    rs_config_emit(c, rs_json_pack("{ss ss so sb ss s[{ss s{si} s[o]} {ss s[o]}]}", "@type", RS_TYPE_LISTENER, "name", "virtualOutbound",
        "address", rs_config_address("0.0.0.0", PORT_OUTBOUND), "use_original_dst", 1, "traffic_direction", "OUTBOUND", "filter_chains",
        "name", "virtualOutbound-blackhole", "filter_chain_match", "destination_port", PORT_OUTBOUND,
            "filters", rs_config_tcp_filter(c, "BlackHoleCluster", "BlackHoleCluster"),
        "name", "virtualOutbound-catchall-tcp", "filters", rs_config_tcp_filter(c, cluster, cluster)));
    json_t *seen = json_object();
    for (size_t i = 0; i < c->m->n_services; i++) {
        const struct rs_model_service *s = &c->m->services[i];
        for (size_t j = 0; j < s->n_ports; j++) {
            const struct rs_model_port *p = &s->ports[j];
            if (p->protocol == RS_PROTO_HTTP || p->protocol == RS_PROTO_HTTP2)
                outbound_http(c, seen, p->number);
            else
                outbound_tcp(c, seen, s, p->number);
        }
    }
    json_decref(seen);
}

void rs_config_listeners(struct rs_config *c)
{
    virtual_outbound(c);
    virtual_inbound(c);
}
