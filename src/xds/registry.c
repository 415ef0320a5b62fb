#include "xds/registry.h"

#include "base/str.h"
#include "envoy_config.pb-c.h"
#include "xds/encode.h"

#define EXT RS_TYPE_PREFIX "envoy.extensions."

static const struct { const char *url; const ProtobufCMessageDescriptor *descriptor; } types[] = {
    { RS_TYPE_CLUSTER, &envoy__cluster__descriptor },
    { RS_TYPE_ENDPOINT, &envoy__cluster_load_assignment__descriptor },
    { RS_TYPE_LISTENER, &envoy__listener__descriptor },
    { RS_TYPE_ROUTE, &envoy__route_configuration__descriptor },
    { RS_TYPE_SECRET, &envoy__secret__descriptor },
    { RS_TYPE_PCDS, &envoy__proxy_config__descriptor },
    { EXT "transport_sockets.tls.v3.UpstreamTlsContext", &envoy__upstream_tls_context__descriptor },
    { EXT "transport_sockets.tls.v3.DownstreamTlsContext", &envoy__downstream_tls_context__descriptor },
    { EXT "transport_sockets.raw_buffer.v3.RawBuffer", &envoy__empty__descriptor },
    { EXT "upstreams.http.v3.HttpProtocolOptions", &envoy__upstream_http_protocol_options__descriptor },
    { EXT "filters.network.http_connection_manager.v3.HttpConnectionManager", &envoy__http_connection_manager__descriptor },
    { EXT "filters.network.tcp_proxy.v3.TcpProxy", &envoy__tcp_proxy__descriptor },
    { EXT "filters.network.rbac.v3.RBAC", &envoy__network_rbac__descriptor },
    { EXT "filters.http.rbac.v3.RBAC", &envoy__http_rbac__descriptor },
    { EXT "filters.http.router.v3.Router", &envoy__router__descriptor },
    { EXT "filters.listener.original_dst.v3.OriginalDst", &envoy__original_dst__descriptor },
    { EXT "filters.listener.tls_inspector.v3.TlsInspector", &envoy__tls_inspector__descriptor },
    { EXT "filters.listener.http_inspector.v3.HttpInspector", &envoy__http_inspector__descriptor },
    { EXT "access_loggers.file.v3.FileAccessLog", &envoy__file_access_log__descriptor },
    { EXT "access_loggers.stream.v3.StdoutAccessLog", &envoy__empty__descriptor },
    { EXT "retry.host.previous_hosts.v3.PreviousHostsPredicate", &envoy__empty__descriptor },
};

const ProtobufCMessageDescriptor *rs_xds_descriptor(const char *type_url)
{
    for (size_t i = 0; i < RS_COUNT(types); i++)
        if (rs_streq(types[i].url, type_url))
            return types[i].descriptor;
    return NULL;
}
