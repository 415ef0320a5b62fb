#include "unit.h"

#include "control/model.h"

static json_t *objects(const char *text)
{
    return unit_json(text);
}

struct world { json_t *mesh, *services, *slices, *pods, *peers, *authz, *gateways, *virtual_services; };

static struct world world(void)
{
    return (struct world){
        .mesh = objects("{'trustDomain':'acme.svc.id.goog','trustDomainAliases':['cluster.local','acme.svc.id.goog']}"),
        .services = objects("[{'metadata':{'name':'web','namespace':'shop'},'spec':{'clusterIP':'10.96.0.7','selector':{'app':'web'},'ports':["
            "{'name':'http','port':80,'targetPort':'main'},{'name':'tcp-raw','port':9000},{'name':'dns','port':53,'protocol':'UDP'}]}},"
            "{'metadata':{'name':'ext','namespace':'shop'},'spec':{'type':'ExternalName'}}]"),
        .slices = objects("[{'metadata':{'name':'web-1','namespace':'shop','labels':{'kubernetes.io/service-name':'web'}},'addressType':'IPv4',"
            "'ports':[{'name':'http','port':8080},{'name':'tcp-raw','port':9000}],'endpoints':["
            "{'addresses':['10.244.0.3'],'conditions':{'ready':true},'targetRef':{'kind':'Pod','name':'web-b'}},"
            "{'addresses':['10.244.0.2'],'conditions':{},'targetRef':{'kind':'Pod','name':'web-a'}},"
            "{'addresses':['10.244.0.4'],'conditions':{'ready':false},'targetRef':{'kind':'Pod','name':'web-c'}}]}]"),
        .pods = objects("[{'metadata':{'name':'web-b','namespace':'shop','labels':{'app':'web','security.istio.io/tlsMode':'istio'}},"
            "'spec':{'serviceAccountName':'web','containers':[{'name':'c','ports':[{'name':'main','containerPort':8080}]}]},'status':{'podIP':'10.244.0.3'}},"
            "{'metadata':{'name':'web-a','namespace':'shop','labels':{'app':'web'}},'spec':{'serviceAccountName':'web'},'status':{'podIP':'10.244.0.2'}},"
            "{'metadata':{'name':'web-c','namespace':'shop','labels':{'app':'web','pod-template-hash':'5d9'},'ownerReferences':[{'controller':true,'kind':'ReplicaSet','name':'web-5d9'}]},"
            "'spec':{'serviceAccountName':'other','containers':[{'name':'c','ports':[{'name':'main','containerPort':8081}]}]},'status':{'podIP':'10.244.0.4'}},"
            "{'metadata':{'name':'done','namespace':'shop'},'status':{'podIP':'10.244.0.2','phase':'Succeeded'}}]"),
        .peers = objects("[{'metadata':{'name':'default','namespace':'istio-system','creationTimestamp':'2026-01-01T00:00:00Z'},'spec':{'mtls':{'mode':'STRICT'}}},"
            "{'metadata':{'name':'web','namespace':'shop','creationTimestamp':'2026-01-02T00:00:00Z'},'spec':{'selector':{'matchLabels':{'app':'web'}},"
            "'mtls':{'mode':'UNSET'},'portLevelMtls':{'9000':{'mode':'DISABLE'}}}}]"),
        .authz = objects("[{'metadata':{'name':'b','namespace':'shop'},'spec':{'rules':[{'from':[{'source':{'principals':['cluster.local/ns/a/sa/b']}}]}]}},"
            "{'metadata':{'name':'a','namespace':'istio-system'},'spec':{'action':'DENY','rules':[{'from':[{'source':{'namespaces':['evil']}}],'to':[{'operation':{'ports':['1']}}]}]}},"
            "{'metadata':{'name':'c','namespace':'shop'},'spec':{'action':'AUDIT'}},"
            "{'metadata':{'name':'d','namespace':'shop'},'spec':{'selector':{'matchLabels':{'app':'db'}}}}]"),
        .gateways = objects("[{'metadata':{'name':'gw','namespace':'istio-system'},'spec':{'selector':{'istio':'ingressgateway'},'servers':["
            "{'port':{'number':80,'name':'http','protocol':'HTTP'},'hosts':['shop/*.example.com','plain']}]}}]"),
        .virtual_services = objects("[{'metadata':{'name':'vs','namespace':'shop'},'spec':{'hosts':['*'],'gateways':['istio-system/gw'],'http':["
            "{'match':[{'uri':{'prefix':'/x'}}],'route':[{'destination':{'host':'web','port':{'number':80}}}],'timeout':'2s'},"
            "{'match':[{'headers':{'a':{'exact':'b'}}}],'route':[{'destination':{'host':'web'}}]},"
            "{'route':[{'destination':{'host':'web'},'weight':10},{'destination':{'host':'other.example.com'},'weight':90}]}]}}]"),
    };
}

static rs_model *build(struct world *w)
{
    rs_model *m = rs_model_build(&(struct rs_model_input){
        .revision = "r1", .root_namespace = "istio-system", .mesh_config = w->mesh, .services = w->services, .endpoint_slices = w->slices,
        .pods = w->pods, .peer_authentications = w->peers, .authorization_policies = w->authz, .gateways = w->gateways,
        .virtual_services = w->virtual_services });
    json_t *const all[] = { w->mesh, w->services, w->slices, w->pods, w->peers, w->authz, w->gateways, w->virtual_services };
    for (size_t i = 0; i < RS_COUNT(all); i++)
        json_decref(all[i]);                             /* the model keeps its own references */
    return m;
}

static void services(void **state)
{
    struct world w = world();
    RS_AUTO(rs_model) *m = build(&w);
    const struct rs_model_service *s = rs_model_service_by_host(m, "web.shop.svc.cluster.local");
    assert_non_null(s);
    assert_int_equal(s->n_ports, 2);
    assert_int_equal(s->ports[0].protocol, RS_PROTO_HTTP);
    assert_int_equal(s->ports[1].protocol, RS_PROTO_TCP);
    assert_int_equal(s->ports[0].n_endpoints, 2);
    assert_string_equal(s->ports[0].endpoints[0].address, "10.244.0.2");
    assert_false(s->ports[0].endpoints[0].mesh);         /* not injected */
    assert_true(s->ports[0].endpoints[1].mesh);
    assert_false(s->ports[1].endpoints[1].mesh);         /* port 9000: DISABLE */
    assert_int_equal(s->accounts.n, 2);                  /* also of the pod that isn't ready */
    assert_string_equal(s->accounts.v[0], "shop/other");
    const struct rs_model_pod *c = rs_model_pod_by_name(m, "shop", "web-c");
    assert_int_equal(rs_model_target_port(m, s, &s->ports[0], c), 8081);
    assert_int_equal(rs_model_target_port(m, s, &s->ports[1], c), 9000);
    assert_string_equal(c->workload, "web");
    assert_string_equal(rs_model_pod_by_ip(m, "10.244.0.2")->name, "web-a");
    assert_null(rs_model_pod_by_ip(m, "10.9.9.9"));
    assert_true(rs_model_service_by_host(m, "ext.shop.svc.cluster.local")->external_name);

    struct rs_texts sans = { 0 };
    rs_model_sans(m, &s->accounts, &sans);
    assert_int_equal(sans.n, 4);
    assert_string_equal(sans.v[0], "spiffe://acme.svc.id.goog/ns/shop/sa/other");
    rs_texts_done(&sans);
}

static void collect(void *ctx, const struct rs_model_authz *a)
{
    strcat(ctx, a->name);
}

static void policies(void **state)
{
    struct world w = world();
    RS_AUTO(rs_model) *m = build(&w);
    RS_AUTO(json_t) *web = unit_json("{'app':'web'}");
    assert_int_equal(rs_model_mtls(m, "shop", web, 0), RS_MTLS_STRICT);
    assert_int_equal(rs_model_mtls(m, "shop", web, 9000), RS_MTLS_DISABLE);
    assert_int_equal(rs_model_mtls(m, "elsewhere", NULL, 9000), RS_MTLS_STRICT);
    char order[16] = "";
    rs_model_each_authz(m, "shop", web, collect, order);
    assert_string_equal(order, "ab");
    assert_true(m->authz[0].rules[0].unsupported);

    struct rs_texts p = { 0 };
    rs_model_expand_principal(m, "cluster.local/ns/a/sa/b", &p);
    assert_int_equal(p.n, 2);
    assert_string_equal(p.v[0], "acme.svc.id.goog/ns/a/sa/b");
    rs_texts_done(&p);
    static const char *const kept[] = { "other.td/ns/a/sa/b", "*", "*/ns/a/sa/b", "cluster.local/a", "spiffe://x/y" };
    for (size_t i = 0; i < RS_COUNT(kept); i++) {
        rs_model_expand_principal(m, kept[i], &p);
        assert_int_equal(p.n, 1);
        assert_string_equal(p.v[0], kept[i]);
        rs_texts_done(&p);
    }
}

static void routes(void **state)
{
    struct world w = world();
    RS_AUTO(rs_model) *m = build(&w);
    assert_int_equal(m->gateways[0].servers[0].protocol, RS_PROTO_HTTP);
    assert_string_equal(m->gateways[0].servers[0].hosts.v[0], "*.example.com");
    const struct rs_model_virtual_service *v = &m->virtual_services[0];
    assert_int_equal(v->n_http, 2);                      /* the route by header is left out */
    assert_string_equal(v->http[0].to[0].host, "web.shop.svc.cluster.local");
    assert_int_equal(v->http[0].timeout_ms, 2000);
    assert_int_equal(v->http[1].n_to, 2);
    assert_string_equal(v->http[1].to[1].host, "other.example.com");
    assert_string_equal(v->gateways.v[0], "istio-system/gw");
}

static void nodes(void **state)
{
    struct rs_err e;
    RS_AUTO(json_t) *meta = unit_json("{'SERVICE_ACCOUNT':'web','ISTIO_REVISION':'r1','LABELS':{'app':'web'}}");
    RS_AUTO(rs_envoy) *p = NULL;
    ASSERT_OK(rs_envoy_new(&p, "sidecar~10.244.0.7~web.x-1.shop~shop.svc.cluster.local", meta, &e));
    assert_string_equal(p->pod, "web.x-1");
    assert_string_equal(p->namespace, "shop");
    assert_string_equal(p->service_account, "web");
    static const char *const bad[] = { "", "sidecar", "ztunnel~1~a.b~c", "sidecar~1~ab~c", "sidecar~1~.b~c", "sidecar~1~a.~c", "sidecar~1~a.b~c~d" };
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        rs_envoy *none = NULL;
        assert_int_equal(rs_envoy_new(&none, bad[i], NULL, &e), -1);
    }
}

static void empty(void **state)
{
    RS_AUTO(rs_model) *m = rs_model_build(&(struct rs_model_input){ 0 });
    assert_string_equal(m->trust_domain, "cluster.local");
    assert_int_equal(rs_model_mtls(m, "x", NULL, 0), RS_MTLS_PERMISSIVE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(services), cmocka_unit_test(policies), cmocka_unit_test(routes), cmocka_unit_test(nodes), cmocka_unit_test(empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
