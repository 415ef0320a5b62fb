#include "unit.h"

#include "control/config.h"

static const char *const base =
    "{'services':[{'metadata':{'name':'web','namespace':'shop'},'spec':{'clusterIP':'10.96.0.7','selector':{'app':'web'},'ports':["
    "   {'name':'http','port':80,'targetPort':8080},{'name':'grpc-api','port':7070},{'name':'tcp-raw','port':9000}]}},"
    " {'metadata':{'name':'back','namespace':'store'},'spec':{'clusterIP':'10.96.0.8','ports':[{'name':'http','port':80}]}},"
    " {'metadata':{'name':'ingress','namespace':'istio-system'},'spec':{'clusterIP':'10.96.0.9','selector':{'istio':'ingressgateway'},'ports':[{'name':'http2','port':80,'targetPort':8080}]}}],"
    "'endpoint_slices':[{'metadata':{'name':'web-1','namespace':'shop','labels':{'kubernetes.io/service-name':'web'}},'addressType':'IPv4',"
    "   'ports':[{'name':'http','port':8080},{'name':'grpc-api','port':7070},{'name':'tcp-raw','port':9000}],"
    "   'endpoints':[{'addresses':['10.244.0.2'],'conditions':{'ready':true},'targetRef':{'kind':'Pod','name':'web-0'}}]}],"
    "'pods':[{'metadata':{'name':'web-0','namespace':'shop','labels':{'app':'web','security.istio.io/tlsMode':'istio'}},"
    "   'spec':{'serviceAccountName':'web','containers':[{'name':'c'}]},'status':{'podIP':'10.244.0.2'}},"
    "  {'metadata':{'name':'gw-0','namespace':'istio-system','labels':{'istio':'ingressgateway'}},'spec':{'serviceAccountName':'gw','containers':[{'name':'c'}]},'status':{'podIP':'10.244.0.3'}}],"
    "'mesh_config':{'trustDomain':'fleet.svc.id.goog','trustDomainAliases':['cluster.local']}}";

static json_t *world(const char *more)
{
    json_t *o = unit_json(base);
    RS_AUTO(json_t) *extra = unit_json(more);
    json_object_update(o, extra);
    return o;
}

static rs_model *model(const char *more)
{
    RS_AUTO(json_t) *o = world(more);
    return rs_model_build(&(struct rs_model_input){
        .revision = "r1", .root_namespace = "istio-system", .mesh_config = json_object_get(o, "mesh_config"), .services = json_object_get(o, "services"),
        .endpoint_slices = json_object_get(o, "endpoint_slices"), .pods = json_object_get(o, "pods"), .peer_authentications = json_object_get(o, "peers"),
        .authorization_policies = json_object_get(o, "authz"), .gateways = json_object_get(o, "gateways"), .virtual_services = json_object_get(o, "virtual") });
}

static json_t *resources(const char *more, const char *node)
{
    struct rs_err e;
    RS_AUTO(rs_model) *m = model(more);
    RS_AUTO(rs_envoy) *proxy = NULL;
    RS_AUTO(rs_xds_snapshot) *s = NULL;
    ASSERT_OK(rs_envoy_new(&proxy, node, NULL, &e));
    ASSERT_OK(rs_config_snapshot(&s, m, proxy, NULL, &e));       /* everything can be encoded */
    return rs_config_resources(m, proxy);
}

#define WEB "sidecar~10.244.0.2~web-0.shop~shop.svc.cluster.local"
#define GATEWAY "router~10.244.0.3~gw-0.istio-system~istio-system.svc.cluster.local"

/* Borrowed. type: last word of the type URL. */
static json_t *find(json_t *all, const char *type, const char *name)
{
    size_t i;
    json_t *o;
    json_array_foreach(all, i, o)
        if (rs_ends(rs_json_str(o, "@type"), type) && (rs_streq(rs_json_str(o, "name"), name) || rs_streq(rs_json_str(o, "cluster_name"), name)))
            return o;
    return NULL;
}

static bool has(const json_t *o, const char *part)
{
    RS_AUTO(rs_chars) *text = rs_json_text(o), *want = rs_strdup(part);
    for (char *p = want; *p; p++)
        if (*p == '\'')
            *p = '"';
    return strstr(text, want) != NULL;
}

static json_t *chain(json_t *all, const char *name)
{
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(find(all, ".Listener", "virtualInbound"), "filter_chains"), i, c)
        if (rs_streq(rs_json_str(c, "name"), name))
            return c;
    return NULL;
}

static void test_outbound(void **state)
{
    RS_AUTO(json_t) *all = resources("{}", WEB);
    json_t *c = find(all, ".Cluster", "outbound|80||web.shop.svc.cluster.local");
    assert_non_null(c);
    assert_true(has(c, "'sni':'outbound_.80_._.web.shop.svc.cluster.local'"));
    assert_true(has(c, "'exact':'spiffe://cluster.local/ns/shop/sa/web'") && has(c, "'exact':'spiffe://fleet.svc.id.goog/ns/shop/sa/web'"));
    assert_true(has(c, "'name':'ROOTCA'") && has(c, "'name':'default'"));
    assert_false(has(c, "http2_protocol_options"));
    assert_true(has(find(all, ".Cluster", "outbound|7070||web.shop.svc.cluster.local"), "http2_protocol_options"));
    c = find(all, ".ClusterLoadAssignment", "outbound|80||web.shop.svc.cluster.local");
    assert_true(has(c, "'port_value':8080") && has(c, "'tlsMode':'istio'"));
    assert_true(has(find(all, ".ClusterLoadAssignment", "outbound|80||back.store.svc.cluster.local"), "'endpoints':[]"));
    assert_non_null(find(all, ".Listener", "0.0.0.0_80"));
    assert_non_null(find(all, ".Listener", "0.0.0.0_7070"));
    assert_non_null(find(all, ".Listener", "10.96.0.7_9000"));
    assert_non_null(find(all, ".Listener", "virtualOutbound"));
    json_t *r = find(all, ".RouteConfiguration", "80");
    assert_true(has(r, "'domains':['web.shop.svc.cluster.local','web.shop.svc','web.shop','web','10.96.0.7']"));
    assert_true(has(r, "'domains':['back.store.svc.cluster.local','back.store.svc','back.store','10.96.0.8']"));
    assert_true(has(r, "'retriable_status_codes':[503]") && has(r, "'cluster':'PassthroughCluster'"));
    RS_AUTO(json_t) *closed = resources("{'mesh_config':{'outboundTrafficPolicy':{'mode':'REGISTRY_ONLY'}}}", WEB);
    assert_true(has(find(closed, ".RouteConfiguration", "80"), "'status':502"));
    assert_false(has(find(closed, ".Listener", "virtualOutbound"), "PassthroughCluster"));
}

static void test_inbound(void **state)
{
    RS_AUTO(json_t) *permissive = resources("{}", WEB), *strict = resources("{'peers':[{'metadata':{'name':'d','namespace':'istio-system'},'spec':{'mtls':{'mode':'STRICT'}}},"
        "{'metadata':{'name':'raw','namespace':'shop'},'spec':{'selector':{'matchLabels':{'app':'web'}},'portLevelMtls':{'9000':{'mode':'DISABLE'}}}}]}", WEB);
    assert_non_null(find(strict, ".Cluster", "inbound|8080||"));
    assert_non_null(find(strict, ".Cluster", "inbound|9000||"));
    assert_non_null(chain(permissive, "0.0.0.0_8080-plain"));
    assert_true(has(chain(permissive, "0.0.0.0_8080"), "istio-peer-exchange"));
    assert_null(chain(strict, "0.0.0.0_8080-plain"));
    json_t *c = chain(strict, "0.0.0.0_8080");
    assert_true(has(c, "'require_client_certificate':true") && has(c, "'prefix':'spiffe://fleet.svc.id.goog/'") && has(c, "'prefix':'spiffe://cluster.local/'"));
    assert_true(has(c, "'transport_protocol':'tls'") && has(c, "SANITIZE_SET"));
    assert_false(has(c, "application_protocols"));
    assert_null(json_object_get(chain(strict, "0.0.0.0_9000"), "transport_socket"));
    assert_non_null(json_object_get(chain(strict, "virtualInbound"), "transport_socket"));
    assert_true(has(chain(strict, "virtualInbound-blackhole"), "BlackHoleCluster"));
}

static void test_policies(void **state)
{
    RS_AUTO(json_t) *all = resources("{'authz':[{'metadata':{'name':'a','namespace':'shop'},'spec':{'rules':[{'from':[{'source':{'principals':['cluster.local/ns/store/sa/back','x/*']}}]},"
        "  {'from':[{'source':{'namespaces':['store']}}],'to':[{'operation':{'methods':['GET']}}]}]}},"
        "{'metadata':{'name':'d','namespace':'istio-system'},'spec':{'action':'DENY','rules':[{'from':[{'source':{'notNamespaces':['store']}}],'when':[{'key':'x','values':['y']}]}]}}]}", WEB);
    json_t *http = chain(all, "0.0.0.0_8080");
    assert_true(has(http, "'exact':'spiffe://fleet.svc.id.goog/ns/store/sa/back'") && has(http, "'exact':'spiffe://cluster.local/ns/store/sa/back'"));
    assert_true(has(http, "'prefix':'spiffe://x/'"));
    assert_true(has(http, "ns[shop]-policy[a]-rule[0]"));
    assert_false(has(http, "ns[shop]-policy[a]-rule[1]"));         /* has a condition that is not evaluated: allows nobody */
    assert_true(has(http, "'action':'DENY','policies':{'ns[istio-system]-policy[d]-rule[0]'"));
    assert_true(has(chain(all, "0.0.0.0_9000"), "envoy.filters.network.rbac") && has(chain(all, "virtualInbound"), "envoy.filters.network.rbac"));
    RS_AUTO(json_t) *nobody = resources("{'authz':[{'metadata':{'name':'none','namespace':'shop'},'spec':{}}]}", WEB);
    assert_true(has(chain(nobody, "0.0.0.0_8080"), "'rules':{'action':'ALLOW','policies':{}}"));
}

static void test_virtual_services(void **state)
{
    RS_AUTO(json_t) *all = resources("{'virtual':[{'metadata':{'name':'v','namespace':'shop'},'spec':{'hosts':['web'],'http':["
        "{'match':[{'uri':{'exact':'/a'}}],'rewrite':{'uri':'/b'},'timeout':'2s','retries':{'attempts':0},'route':[{'destination':{'host':'back.store.svc.cluster.local'}}]},"
        "{'route':[{'destination':{'host':'web','port':{'number':80}},'weight':90},{'destination':{'host':'back.store.svc.cluster.local','port':{'number':80}},'weight':10}]}]}}]}", WEB);
    json_t *r = find(all, ".RouteConfiguration", "80");
    assert_true(has(r, "{'path':'/a'}") && has(r, "'prefix_rewrite':'/b'") && has(r, "'timeout':'2.000s'") && has(r, "'retry_policy':null"));
    assert_true(has(r, "'weighted_clusters':{'clusters':[{'name':'outbound|80||web.shop.svc.cluster.local','weight':90},{'name':'outbound|80||back.store.svc.cluster.local','weight':10}]}"));
}

static void test_gateway(void **state)
{
    RS_AUTO(json_t) *all = resources("{'gateways':[{'metadata':{'name':'gw','namespace':'istio-system'},'spec':{'selector':{'istio':'ingressgateway'},"
        "'servers':[{'port':{'number':80,'name':'http','protocol':'HTTP'},'hosts':['*.example.com']},{'port':{'number':443,'name':'https','protocol':'HTTPS'},'tls':{'mode':'SIMPLE'},'hosts':['*']}]}},"
        "{'metadata':{'name':'other','namespace':'istio-system'},'spec':{'selector':{'istio':'other'},'servers':[{'port':{'number':81,'name':'http','protocol':'HTTP'},'hosts':['*']}]}}],"
        "'virtual':[{'metadata':{'name':'v','namespace':'shop'},'spec':{'hosts':['shop.example.com','elsewhere.org'],'gateways':['istio-system/gw'],'http':[{'route':[{'destination':{'host':'web','port':{'number':80}}}]}]}}]}", GATEWAY);
    json_t *r = find(all, ".RouteConfiguration", "http.8080");     /* what the Service maps 80 to */
    assert_true(has(r, "'domains':['shop.example.com']") && has(r, "'cluster':'outbound|80||web.shop.svc.cluster.local'"));
    json_t *l = find(all, ".Listener", "0.0.0.0_8080");
    assert_true(has(l, "'use_remote_address':true") && has(l, "'route_config_name':'http.8080'"));
    assert_null(find(all, ".Listener", "virtualInbound"));
    assert_null(find(all, ".Listener", "0.0.0.0_81"));
    assert_null(find(all, ".Listener", "0.0.0.0_443"));
}

/* The same objects in another order give the same bytes, so that nothing is pushed. */
static void test_stable(void **state)
{
    struct rs_err e;
    RS_AUTO(json_t) *o = world("{}"), *reversed = json_array();
    json_t *services = json_object_get(o, "services");
    for (size_t i = json_array_size(services); i > 0; i--)
        json_array_append(reversed, json_array_get(services, i - 1));
    RS_AUTO(rs_model) *a = model("{}"), *b = rs_model_build(&(struct rs_model_input){
        .revision = "r1", .root_namespace = "istio-system", .mesh_config = json_object_get(o, "mesh_config"), .services = reversed,
        .endpoint_slices = json_object_get(o, "endpoint_slices"), .pods = json_object_get(o, "pods") });
    RS_AUTO(rs_envoy) *proxy = NULL;
    RS_AUTO(rs_xds_snapshot) *sa = NULL, *sb = NULL;
    ASSERT_OK(rs_envoy_new(&proxy, WEB, NULL, &e));
    ASSERT_OK(rs_config_snapshot(&sa, a, proxy, NULL, &e));
    ASSERT_OK(rs_config_snapshot(&sb, b, proxy, NULL, &e));
    for (enum rs_xds_type t = 0; t < RS_XDS_TYPES; t++)
        assert_int_equal(rs_xds_snapshot_hash(sa, t), rs_xds_snapshot_hash(sb, t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outbound), cmocka_unit_test(test_inbound), cmocka_unit_test(test_policies), cmocka_unit_test(test_virtual_services),
        cmocka_unit_test(test_gateway), cmocka_unit_test(test_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
