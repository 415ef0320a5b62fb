#include "unit.h"

#include "envoy_config.pb-c.h"
#include "xds/encode.h"

static rs_str encode(struct rs_buf *out, const char *text)
{
    struct rs_err e;
    RS_AUTO(json_t) *o = unit_json(text);
    rs_buf_init(out, 1 << 20);
    ASSERT_OK(rs_xds_encode(o, out, &e));
    return rs_buf_str(out);
}

static void test_cluster(void **state)
{
    RS_AUTO_BUF out;
    encode(&out, "{'@type':'" RS_TYPE_CLUSTER "','name':'outbound|80||a','type':'EDS','connect_timeout':'1.5s','lb_policy':'LEAST_REQUEST',"
                 "'eds_cluster_config':{'eds_config':{'ads':{},'initial_fetch_timeout':'0s','resource_api_version':'V3'}},"
                 "'circuit_breakers':{'thresholds':[{'max_connections':4294967295,'track_remaining':true}]},"
                 "'transport_socket_matches':[{'name':'tlsMode-istio','match':{'tlsMode':'istio'},'transport_socket':{'name':'x',"
                 "  'typed_config':{'@type':'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext','sni':'s'}}}],"
                 "'typed_extension_protocol_options':{'k':{'@type':'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',"
                 "  'explicit_http_config':{'http2_protocol_options':{'max_concurrent_streams':5}}}}}");
    Envoy__Cluster *c = envoy__cluster__unpack(NULL, out.n, (uint8_t *)out.p);
    assert_non_null(c);
    assert_string_equal(c->name, "outbound|80||a");
    assert_int_equal(c->type, ENVOY__CLUSTER__DISCOVERY_TYPE__EDS);
    assert_int_equal(c->connect_timeout->seconds, 1);
    assert_int_equal(c->connect_timeout->nanos, 500000000);
    assert_non_null(c->eds_cluster_config->eds_config->ads);
    assert_int_equal(c->circuit_breakers->thresholds[0]->max_connections->value, UINT32_MAX);
    assert_string_equal(c->transport_socket_matches[0]->match->fields[0]->key, "tlsMode");
    assert_string_equal(c->transport_socket_matches[0]->match->fields[0]->value->string_value, "istio");
    Envoy__Any *any = c->transport_socket_matches[0]->transport_socket->typed_config;
    Envoy__UpstreamTlsContext *tls = envoy__upstream_tls_context__unpack(NULL, any->value.len, any->value.data);
    assert_string_equal(tls->sni, "s");
    assert_string_equal(c->typed_extension_protocol_options[0]->key, "k");
    any = c->typed_extension_protocol_options[0]->value;
    Envoy__UpstreamHttpProtocolOptions *http = envoy__upstream_http_protocol_options__unpack(NULL, any->value.len, any->value.data);
    assert_int_equal(http->explicit_http_config->http2_protocol_options->max_concurrent_streams->value, 5);
    envoy__upstream_http_protocol_options__free_unpacked(http, NULL);
    envoy__upstream_tls_context__free_unpacked(tls, NULL);
    envoy__cluster__free_unpacked(c, NULL);
}

static void test_secret(void **state)
{
    RS_AUTO_BUF out;
    encode(&out, "{'@type':'" RS_TYPE_SECRET "','name':'default','tls_certificate':{'certificate_chain':{'inline_bytes':'Y2hhaW4='},'private_key':{'inline_string':'key'}}}");
    Envoy__Secret *s = envoy__secret__unpack(NULL, out.n, (uint8_t *)out.p);
    assert_int_equal(s->tls_certificate->certificate_chain->inline_bytes.len, 5);
    assert_memory_equal(s->tls_certificate->certificate_chain->inline_bytes.data, "chain", 5);
    assert_string_equal(s->tls_certificate->private_key->inline_string, "key");
    envoy__secret__free_unpacked(s, NULL);
}

static void test_rbac(void **state)
{
    RS_AUTO_BUF out;
    encode(&out, "{'@type':'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC','rules':{'action':'DENY','policies':{'p':{"
                 "'permissions':[{'any':true}],'principals':[{'and_ids':{'ids':[{'or_ids':{'ids':[{'authenticated':{'principal_name':{'exact':'a'}}},{'any':true}]}},"
                 "{'not_id':{'or_ids':{'ids':[{'authenticated':{'principal_name':{'safe_regex':{'regex':'.*'}}}}]}}}]}}]}}}}");
    Envoy__HttpRbac *r = envoy__http_rbac__unpack(NULL, out.n, (uint8_t *)out.p);
    Envoy__RbacRules__Policy *p = r->rules->policies[0]->value;
    assert_int_equal(p->principals[0]->and_ids->n_ids, 2);
    assert_string_equal(p->principals[0]->and_ids->ids[0]->or_ids->ids[0]->authenticated->principal_name->exact, "a");
    envoy__http_rbac__free_unpacked(r, NULL);
}

static void refuse(const char *part, const char *text)
{
    struct rs_err e;
    RS_AUTO(json_t) *o = unit_json(text);
    RS_AUTO_BUF out;
    rs_buf_init(&out, 1 << 20);
    ASSERT_FAILS(RS_INVALID, part, rs_xds_encode(o, &out, &e));
}

static void test_errors(void **state)
{
#define CLUSTER "{'@type':'" RS_TYPE_CLUSTER "','name':'c',"
    refuse("unknown type x", "{'@type':'x'}");
    refuse("colour: Cluster has no such field", CLUSTER "'colour':1}");
    refuse("eds_cluster_config.eds_config.adz", CLUSTER "'eds_cluster_config':{'eds_config':{'adz':{}}}}");
    refuse("circuit_breakers.thresholds[1].max_requests", CLUSTER "'circuit_breakers':{'thresholds':[{},{'max_requests':'5'}]}}");
    refuse("type: not a value of enum", CLUSTER "'type':'XDS'}");
    refuse("connect_timeout: not a duration", CLUSTER "'connect_timeout':'5'}");
    refuse("connect_timeout: not a duration", CLUSTER "'connect_timeout':'5.s'}");
    refuse("excludes", "{'@type':'" RS_TYPE_SECRET "','name':'s','tls_certificate':{},'validation_context':{}}");
    refuse("transport_socket.typed_config: unknown type y", CLUSTER "'transport_socket':{'typed_config':{'@type':'y'}}}");
    refuse("not base64", "{'@type':'" RS_TYPE_SECRET "','tls_certificate':{'private_key':{'inline_bytes':'!'}}}");
    refuse("metadata.filter_metadata.a.b: only text", CLUSTER "'metadata':{'filter_metadata':{'a':{'b':{}}}}}");
    refuse("out of range", CLUSTER "'circuit_breakers':{'thresholds':[{'max_requests':4294967296}]}}");
}

/* protobuf-c unpacks without a limit on depth: no message of ours may contain itself. */
static void walk(const ProtobufCMessageDescriptor *d, const ProtobufCMessageDescriptor **up, size_t depth)
{
    for (size_t i = 0; i < depth; i++)
        if (up[i] == d)
            fail_msg("%s contains itself", d->name);
    assert_true(depth < 40);
    up[depth] = d;
    for (unsigned i = 0; i < d->n_fields; i++)
        if (d->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
            walk(d->fields[i].descriptor, up, depth + 1);
}

static void test_no_cycles(void **state)
{
    const ProtobufCMessageDescriptor *up[40];
    walk(&envoy__discovery_request__descriptor, up, 0);
    walk(&envoy__discovery_response__descriptor, up, 0);
    walk(&envoy__cluster__descriptor, up, 0);
    walk(&envoy__listener__descriptor, up, 0);
    walk(&envoy__http_connection_manager__descriptor, up, 0);
    walk(&envoy__http_rbac__descriptor, up, 0);
    walk(&envoy__proxy_config__descriptor, up, 0);
    walk(&envoy__secret__descriptor, up, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cluster), cmocka_unit_test(test_secret), cmocka_unit_test(test_rbac), cmocka_unit_test(test_errors), cmocka_unit_test(test_no_cycles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
