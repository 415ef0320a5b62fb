#include "control/config_int.h"

char *rs_config_outbound_name(const char *host, int port)
{
    return rs_printf("outbound|%d||%s", port, host);
}

char *rs_config_inbound_name(int port)
{
    return rs_printf("inbound|%d||", port);
}

json_t *rs_config_ads(void)
{
    return rs_json_pack("{s{} ss ss}", "ads", "initial_fetch_timeout", "0s", "resource_api_version", "V3");
}

/* ---- mutual TLS: keys and roots come from the agent (SDS names default and ROOTCA) ---- */

static json_t *sds(const char *name)
{
    return rs_json_pack("{ss s{s{ss ss sb s[{s{ss}}]} ss ss}}", "name", name, "sds_config",
        "api_config_source", "api_type", "GRPC", "transport_api_version", "V3", "set_node_on_first_message_only", 1,
            "grpc_services", "envoy_grpc", "cluster_name", "sds-grpc",
        "initial_fetch_timeout", "0s", "resource_api_version", "V3");
}

/* Istio writes match_subject_alt_names, which Envoy has deprecated and logs at every update. */
static json_t *uri_matcher(const char *how, const char *text)
{
    return rs_json_pack("{ss s{ss}}", "san_type", "URI", "matcher", how, text);
}

/* matchers: list of the above (stolen), empty: any peer under our roots. */
static json_t *common_tls(json_t *alpn, json_t *matchers)
{
    json_t *validation = json_object();
    if (json_array_size(matchers))
        json_object_set(validation, "match_typed_subject_alt_names", matchers);
    json_decref(matchers);
    return rs_json_pack("{s{ss ss s[ssssss]} so s[o] s{so so}}",
        "tls_params", "tls_minimum_protocol_version", "TLSv1_2", "tls_maximum_protocol_version", "TLSv1_3", "cipher_suites",
            "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-GCM-SHA256",
        "alpn_protocols", alpn,
        "tls_certificate_sds_secret_configs", sds("default"),
        "combined_validation_context", "default_validation_context", validation, "validation_context_sds_secret_config", sds("ROOTCA"));
}

json_t *rs_config_downstream_tls(const rs_model *m)
{
    json_t *matchers = json_array();
    for (size_t i = 0; i < m->trust_domains.n; i++) {
        RS_AUTO(rs_chars) *prefix = rs_printf("spiffe://%s/", m->trust_domains.v[i]);
        json_array_append_new(matchers, uri_matcher("prefix", prefix));
    }
    return rs_json_pack("{ss s{ss so sb}}", "name", "envoy.transport_sockets.tls", "typed_config",
        "@type", RS_EXT "transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context", common_tls(rs_json_pack("[ss]", "h2", "http/1.1"), matchers), "require_client_certificate", 1);
}

/* Istio also offers istio-peer-exchange, which would oblige us to its metadata filter: plain Envoy has none. */
static json_t *upstream_tls(const rs_model *m, const struct rs_model_service *s, const struct rs_model_port *p)
{
    struct rs_texts sans = { 0 };
    rs_model_sans(m, &s->accounts, &sans);
    json_t *matchers = json_array(), *alpn = rs_json_pack("[s]", "istio");
    for (size_t i = 0; i < sans.n; i++)
        json_array_append_new(matchers, uri_matcher("exact", sans.v[i]));
    rs_texts_done(&sans);
    if (p->protocol == RS_PROTO_HTTP2)
        json_array_append_new(alpn, json_string("h2"));
    RS_AUTO(rs_chars) *sni = rs_printf("outbound_.%d_._.%s", p->number, s->host);
    return rs_json_pack("{ss s{ss so ss}}", "name", "envoy.transport_sockets.tls", "typed_config",
        "@type", RS_EXT "transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context", common_tls(alpn, matchers), "sni", sni);
}

/* ---- clusters ---- */

static json_t *no_limits(void)
{
    static const json_int_t all = UINT32_MAX;
    return rs_json_pack("{s[{sI sI sI sI sb}]}", "thresholds", "max_connections", all, "max_pending_requests", all,
        "max_requests", all, "max_retries", all, "track_remaining", 1);
}

static void speak_http2(json_t *cluster)
{
    json_object_set_new(cluster, "typed_extension_protocol_options", rs_json_pack("{s{ss s{s{}}}}",
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "@type", RS_EXT "upstreams.http.v3.HttpProtocolOptions", "explicit_http_config", "http2_protocol_options"));
}

static void outbound(struct rs_config *c, const struct rs_model_service *s, const struct rs_model_port *p)
{
    RS_AUTO(rs_chars) *name = rs_config_outbound_name(s->host, p->number);
    json_t *cluster = rs_json_pack("{ss ss ss s{so ss} ss ss so}", "@type", RS_TYPE_CLUSTER, "name", name, "type", "EDS",
        "eds_cluster_config", "eds_config", rs_config_ads(), "service_name", name,
        "connect_timeout", "10s", "lb_policy", "LEAST_REQUEST", "circuit_breakers", no_limits());
    json_object_set_new(cluster, "transport_socket_matches", rs_json_pack("[{ss s{ss} so} {ss s{} s{ss s{ss}}}]",
        "name", "tlsMode-istio", "match", "tlsMode", "istio", "transport_socket", upstream_tls(c->m, s, p),
        "name", "tlsMode-disabled", "match", "transport_socket", "name", "envoy.transport_sockets.raw_buffer",
            "typed_config", "@type", RS_EXT "transport_sockets.raw_buffer.v3.RawBuffer"));
    if (p->protocol == RS_PROTO_HTTP2)
        speak_http2(cluster);
    rs_config_emit(c, cluster);
}

static void endpoints(struct rs_config *c, const struct rs_model_service *s, const struct rs_model_port *p)
{
    RS_AUTO(rs_chars) *name = rs_config_outbound_name(s->host, p->number);
    json_t *list = json_array();
    for (size_t i = 0; i < p->n_endpoints; i++) {
        const struct rs_model_endpoint *ep = &p->endpoints[i];
        json_t *one = rs_json_pack("{s{so} si}", "endpoint", "address", rs_config_address(ep->address, ep->port), "load_balancing_weight", 1);
        if (ep->mesh)
            json_object_set_new(one, "metadata", rs_json_pack("{s{s{ss}}}", "filter_metadata", "envoy.transport_socket_match", "tlsMode", "istio"));
        json_array_append_new(list, one);
    }
    json_t *localities = json_array();
    if (json_array_size(list))
        json_array_append_new(localities, rs_json_pack("{sO si}", "lb_endpoints", list, "load_balancing_weight", (int)p->n_endpoints));
    json_decref(list);
    rs_config_emit(c, rs_json_pack("{ss ss so}", "@type", RS_TYPE_ENDPOINT, "cluster_name", name, "endpoints", localities));
}

static json_t *original_destination(const char *name)
{
    return rs_json_pack("{ss ss ss ss ss so}", "@type", RS_TYPE_CLUSTER, "name", name, "type", "ORIGINAL_DST", "lb_policy", "CLUSTER_PROVIDED",
        "connect_timeout", "10s", "circuit_breakers", no_limits());
}

/* What comes from Envoy to the app bears 127.0.0.6, so that it is told from what the app says to itself. */
static json_t *to_the_app(const char *name)
{
    json_t *cluster = original_destination(name);
    json_object_set_new(cluster, "cleanup_interval", json_string("60s"));
    json_object_set_new(cluster, "upstream_bind_config", rs_json_pack("{s{ss si}}", "source_address", "address", "127.0.0.6", "port_value", 0));
    return cluster;
}

void rs_config_inbound_cluster(struct rs_config *c, int port, enum rs_protocol protocol)
{
    RS_AUTO(rs_chars) *name = rs_config_inbound_name(port);
    json_t *cluster = to_the_app(name);
    if (protocol == RS_PROTO_HTTP2)
        speak_http2(cluster);
    rs_config_emit(c, cluster);
}

void rs_config_clusters(struct rs_config *c)
{
    for (size_t i = 0; i < c->m->n_services; i++) {
        const struct rs_model_service *s = &c->m->services[i];
        for (size_t j = 0; j < s->n_ports; j++) {
            outbound(c, s, &s->ports[j]);
            endpoints(c, s, &s->ports[j]);
        }
    }
    rs_config_emit(c, rs_json_pack("{ss ss ss ss}", "@type", RS_TYPE_CLUSTER, "name", "BlackHoleCluster", "type", "STATIC", "connect_timeout", "10s"));
    if (c->proxy->router)
        return;
    rs_config_emit(c, original_destination("PassthroughCluster"));
    rs_config_emit(c, to_the_app("InboundPassthroughClusterIpv4"));
}
