/* Envoy resources written as JSON in Envoy's own names (snake_case, "@type" where Envoy has an Any) to protobuf bytes, by
 * walking the descriptors of proto/envoy_config.proto. As protobuf's JSON form: Duration "1.5s", wrappers as plain values,
 * enums by name, bytes as base64 (and inline_string where a DataSource should be text), maps as objects, Struct as object
 * of scalars. An unknown member, a wrong type or two members of one oneof are errors that name the path. Pure. */
#pragma once
#include "base/buf.h"
#include "base/json.h"

#define RS_TYPE_PREFIX "type.googleapis.com/"
#define RS_TYPE_CLUSTER RS_TYPE_PREFIX "envoy.config.cluster.v3.Cluster"
#define RS_TYPE_ENDPOINT RS_TYPE_PREFIX "envoy.config.endpoint.v3.ClusterLoadAssignment"
#define RS_TYPE_LISTENER RS_TYPE_PREFIX "envoy.config.listener.v3.Listener"
#define RS_TYPE_ROUTE RS_TYPE_PREFIX "envoy.config.route.v3.RouteConfiguration"
#define RS_TYPE_SECRET RS_TYPE_PREFIX "envoy.extensions.transport_sockets.tls.v3.Secret"
#define RS_TYPE_PCDS RS_TYPE_PREFIX "istio.mesh.v1alpha1.ProxyConfig"

/* resource["@type"] names the message; its bytes (without an Any around) are appended to out. */
RS_MUST_USE int rs_xds_encode(const json_t *resource, struct rs_buf *out, struct rs_err *e);
