#include "unit.h"

#include "base/json_patch.h"
#include "control/inject.h"
#include "install/data.h"
#include "kube/object.h"

static const char mesh[] = "trustDomain: acme.svc.id.goog\ndefaultConfig:\n  discoveryAddress: istiod-r1.istio-system.svc:15012\n"
                           "  proxyMetadata: {CA_PROVIDER: GoogleCA, PROXY_CONFIG_XDS_AGENT: 'true'}\n";
static const char values[] = "{\"global\":{\"hub\":\"rootshift\",\"tag\":\"0.1\",\"caAddress\":\"mesh-ca.mesh-ca.svc:443\",\"imagePullPolicy\":\"IfNotPresent\","
                             "\"jwtPolicy\":\"third-party-jwt\",\"pilotCertProvider\":\"istiod\",\"meshID\":\"m\",\"network\":\"\",\"proxy\":{\"image\":\"agent\"},"
                             "\"multiCluster\":{\"clusterName\":\"Kubernetes\"},\"sds\":{\"token\":{\"aud\":\"acme.svc.id.goog\"}}}}";

static rs_injector *injector(void)
{
    rs_injector *i = NULL;
    struct rs_err e;
    ASSERT_OK(rs_injector_new(&i, "r1", rs_data_text("injection.yaml"), values, mesh, &e));
    return i;
}

/* The pod after injection, or NULL with the reason. */
static json_t *inject(const char *pod_text, const char **ret_why)
{
    RS_AUTO(rs_injector) *i = injector();
    RS_AUTO(json_t) *pod = unit_json(pod_text), *patch = NULL;
    struct rs_err e;
    json_t *out = NULL;
    ASSERT_OK(rs_inject(i, pod, "shop", &patch, ret_why, &e));
    if (patch)
        ASSERT_OK(rs_json_patch_apply(&out, pod, patch, &e));
    return out;
}

static json_t *named(const json_t *pod, const char *list, const char *name)
{
    size_t i;
    json_t *o;
    json_array_foreach(rs_json_at(pod, "spec", list), i, o)
        if (rs_streq(rs_json_str(o, "name"), name))
            return o;
    return NULL;
}

static const char *env(const json_t *container, const char *name)
{
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(container, "env"), i, o)
        if (rs_streq(rs_json_str(o, "name"), name))
            return rs_json_str(o, "value");
    return NULL;
}

static void sidecar(void **state)
{
    const char *why;
    RS_AUTO(json_t) *pod = inject(
        "{'metadata':{'generateName':'web-5d9f-','labels':{'app':'web','pod-template-hash':'5d9f'},"
        "'annotations':{'traffic.sidecar.istio.io/excludeInboundPorts':'9999','proxy.istio.io/config':'proxyMetadata: {EXTRA: yes-it-is}'},"
        "'ownerReferences':[{'controller':true,'apiVersion':'apps/v1','kind':'ReplicaSet','name':'web-5d9f'}]},"
        "'spec':{'containers':[{'name':'app','image':'rootshift/echo','ports':[{'name':'main','containerPort':8080}],"
        "'readinessProbe':{'httpGet':{'path':'/ok','port':'main'},'timeoutSeconds':2},'livenessProbe':{'tcpSocket':{'port':8080}}}]}}", &why);
    assert_non_null(pod);
    json_t *proxy = named(pod, "containers", "istio-proxy"), *init = named(pod, "initContainers", "istio-init");
    assert_string_equal(rs_json_str(proxy, "image"), "rootshift/agent:0.1");
    assert_string_equal(rs_json_str(init, "image"), "rootshift/agent:0.1");
    assert_string_equal(env(init, "EXCLUDE_INBOUND_PORTS"), "9999");
    assert_string_equal(env(proxy, "CA_ADDR"), "mesh-ca.mesh-ca.svc:443");
    assert_string_equal(env(proxy, "CA_PROVIDER"), "GoogleCA");
    assert_string_equal(env(proxy, "EXTRA"), "yes-it-is");
    assert_string_equal(env(proxy, "TRUST_DOMAIN"), "acme.svc.id.goog");
    assert_string_equal(env(proxy, "MAXIMUM_DRAIN_DURATION"), "27s");
    assert_string_equal(env(proxy, "ISTIO_META_WORKLOAD_NAME"), "web");
    assert_string_equal(env(proxy, "ISTIO_META_OWNER"), "kubernetes://apis/apps/v1/namespaces/shop/deployments/web");
    assert_string_equal(env(proxy, "ISTIO_KUBE_APP_PROBERS"),
        "{\"/app-health/app/readyz\":{\"httpGet\":{\"path\":\"/ok\",\"port\":8080,\"scheme\":\"HTTP\"},\"timeoutSeconds\":2}}");
    json_t *app = named(pod, "containers", "app");
    assert_string_equal(rs_json_str(app, "readinessProbe", "httpGet", "path"), "/app-health/app/readyz");
    assert_int_equal(rs_json_int(app, 0, "readinessProbe", "httpGet", "port"), 15020);
    assert_non_null(rs_json_at(app, "livenessProbe", "tcpSocket"));
    assert_string_equal(rs_object_label(pod, "security.istio.io/tlsMode"), "istio");
    assert_string_equal(rs_object_label(pod, "service.istio.io/canonical-name"), "web");
    assert_string_equal(rs_object_label(pod, "service.istio.io/canonical-revision"), "latest");
    assert_null(rs_object_label(pod, "istio.io/rev"));
    RS_AUTO(json_t) *status = unit_json(rs_object_annotation(pod, "sidecar.istio.io/status"));
    assert_string_equal(rs_json_str(status, "revision"), "r1");
    assert_string_equal(json_string_value(json_array_get(json_object_get(status, "initContainers"), 0)), "istio-init");
    assert_string_equal(rs_json_str(json_array_get(rs_json_at(named(pod, "volumes", "istio-token"), "projected", "sources"), 0), "serviceAccountToken", "audience"), "acme.svc.id.goog");
}

static void gateway(void **state)
{
    const char *why;
    RS_AUTO(json_t) *pod = inject(
        "{'metadata':{'name':'gw','labels':{'istio':'ingressgateway'},'annotations':{'inject.istio.io/templates':'gateway'}},"
        "'spec':{'volumes':[{'name':'sa'}],'containers':[{'name':'istio-proxy','image':'auto','imagePullPolicy':'Always','ports':[{'containerPort':8080}],"
        "'env':[{'name':'TRUST_DOMAIN','value':'mine'}],'resources':{'requests':{'cpu':'1'}},'volumeMounts':[{'name':'sa','mountPath':'/sa'}]}]}}", &why);
    assert_non_null(pod);
    assert_int_equal(json_array_size(rs_json_at(pod, "spec", "containers")), 1);
    json_t *proxy = named(pod, "containers", "istio-proxy");
    assert_string_equal(rs_json_str(proxy, "image"), "rootshift/agent:0.1");
    assert_string_equal(rs_json_str(proxy, "imagePullPolicy"), "IfNotPresent");
    assert_string_equal(json_string_value(json_array_get(json_object_get(proxy, "args"), 1)), "router");
    assert_string_equal(env(proxy, "TRUST_DOMAIN"), "mine");
    assert_int_equal(json_array_size(json_object_get(proxy, "ports")), 2);
    assert_null(rs_json_at(pod, "spec", "initContainers"));
    assert_non_null(named(pod, "volumes", "sa"));
    assert_int_equal(json_array_size(json_object_get(proxy, "volumeMounts")), 7);
}

static void left_alone(void **state)
{
    static const char *const pods[] = {
        "{'metadata':{'name':'a'},'spec':{'hostNetwork':true,'containers':[]}}",
        "{'metadata':{'name':'a','labels':{'sidecar.istio.io/inject':'false'}},'spec':{'containers':[]}}",
        "{'metadata':{'name':'a','annotations':{'sidecar.istio.io/inject':'false'}},'spec':{'containers':[]}}",
        "{'metadata':{'name':'a','annotations':{'sidecar.istio.io/status':'{}'}},'spec':{'containers':[]}}",
    };
    for (size_t i = 0; i < RS_COUNT(pods); i++) {
        const char *why = NULL;
        assert_null(inject(pods[i], &why));
        assert_non_null(why);
    }
    const char *why = NULL;
    RS_AUTO(json_t) *label_wins = inject("{'metadata':{'name':'a','labels':{'sidecar.istio.io/inject':'true'},"
        "'annotations':{'sidecar.istio.io/inject':'false'}},'spec':{'containers':[]}}", &why);
    assert_non_null(label_wins);
}

static void refused(void **state)
{
    RS_AUTO(rs_injector) *i = injector();
    static const char *const pods[] = {
        "{'metadata':{'annotations':{'inject.istio.io/templates':'nope'}},'spec':{'containers':[]}}",
        "{'metadata':{'annotations':{'proxy.istio.io/config':'['}},'spec':{'containers':[]}}",
        "{'metadata':{'annotations':{'proxy.istio.io/config':'text'}},'spec':{'containers':[]}}",
    };
    for (size_t k = 0; k < RS_COUNT(pods); k++) {
        RS_AUTO(json_t) *pod = unit_json(pods[k]), *patch = NULL;
        const char *why;
        struct rs_err e = { 0 };
        ASSERT_FAILS(RS_INVALID, "istio.io/", rs_inject(i, pod, "shop", &patch, &why, &e));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sidecar), cmocka_unit_test(gateway), cmocka_unit_test(left_alone), cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
