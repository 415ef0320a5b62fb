/* Field selectors, defaults, checks, conversion, discovery: what the API server knows of single kinds. */
#include "cluster/convert.h"
#include "cluster/defaults.h"
#include "cluster/discovery.h"
#include "cluster/field_selector.h"
#include "cluster/status.h"
#include "cluster/validate.h"
#include "unit.h"

static rs_registry *registry;

static const struct rs_resource *resource(const char *key)
{
    const struct rs_resource *r = rs_registry_find_key(registry, key);
    assert_non_null(r);
    return r;
}

static bool selects(const char *key, const char *text, const char *doc)
{
    struct rs_err e;
    RS_AUTO(rs_field_selector) *s = NULL;
    RS_AUTO(json_t) *d = unit_json(doc);
    ASSERT_OK(rs_field_selector_parse(&s, text, resource(key), &e));
    return rs_field_selector_matches(s, d);
}

static void test_field_selectors(void **state)
{
    struct rs_err e;
    rs_field_selector *s = NULL;
    static const char pod[] = "{'metadata':{'name':'a','namespace':'n'},'spec':{'nodeName':'x'},'status':{'phase':'Running'}}";
    assert_true(selects("pods", "metadata.name=a,spec.nodeName==x", pod));
    assert_true(selects("pods", "status.phase!=Failed", pod));
    assert_false(selects("pods", "status.phase!=Running", pod));
    assert_true(selects("pods", "status.podIP=", pod));
    assert_true(selects("pods", "", pod));
    assert_true(selects("nodes", "spec.unschedulable=false", "{}"));
    assert_true(selects("events", "involvedObject.name=a,involvedObject.uid=", "{'involvedObject':{'name':'a'}}"));
    assert_true(selects("secrets", "type=Opaque", "{'type':'Opaque'}"));
    ASSERT_FAILS(RS_INVALID, "field label not supported: spec.x", rs_field_selector_parse(&s, "spec.x=1", resource("pods"), &e));
    ASSERT_FAILS(RS_INVALID, "spec.nodeName", rs_field_selector_parse(&s, "spec.nodeName=1", resource("services"), &e));
    ASSERT_FAILS(RS_INVALID, "can't understand", rs_field_selector_parse(&s, "nonsense", resource("pods"), &e));
}

static void test_defaults(void **state)
{
    RS_AUTO(json_t) *pod = unit_json("{'metadata':{'name':'p'},'spec':{'containers':[{'name':'a','image':'x:1','ports':[{'containerPort':1}],"
        "'readinessProbe':{'httpGet':{'port':1}}},{'name':'b','image':'reg:5000/x'}],'volumes':[{'name':'s','secret':{}},{'name':'e'}]}}");
    rs_defaults(pod, resource("pods"));
    RS_AUTO(json_t) *once = json_deep_copy(pod);
    rs_defaults(pod, resource("pods"));
    assert_true(json_equal(once, pod));
    json_t *a = json_array_get(rs_json_at(pod, "spec", "containers"), 0), *b = json_array_get(rs_json_at(pod, "spec", "containers"), 1);
    assert_string_equal(rs_json_str(a, "imagePullPolicy"), "IfNotPresent");
    assert_string_equal(rs_json_str(b, "imagePullPolicy"), "Always");
    assert_int_equal(rs_json_int(a, 0, "readinessProbe", "periodSeconds"), 10);
    assert_string_equal(rs_json_str(pod, "spec", "restartPolicy"), "Always");
    assert_int_equal(rs_json_int(json_array_get(rs_json_at(pod, "spec", "volumes"), 0), 0, "secret", "defaultMode"), 420);
    assert_non_null(rs_json_at(json_array_get(rs_json_at(pod, "spec", "volumes"), 1), "emptyDir"));

    RS_AUTO(json_t) *secret = unit_json("{'stringData':{'a':'b'}}");
    rs_defaults(secret, resource("secrets"));
    assert_string_equal(rs_json_str(secret, "data", "a"), "Yg==");
    assert_null(json_object_get(secret, "stringData"));

    RS_AUTO(json_t) *odd = unit_json("{'spec':[],'status':1}");
    for (size_t i = 0; rs_registry_at(registry, i); i++) {
        RS_AUTO(json_t) *copy = json_deep_copy(odd);
        rs_defaults_new(copy, rs_registry_at(registry, i));
        rs_defaults(copy, rs_registry_at(registry, i));
    }
}

static void refused(const char *key, const char *doc, const char *old, const char *part)
{
    RS_AUTO(json_t) *d = unit_json(doc), *o = old ? unit_json(old) : NULL;
    RS_AUTO(json_t) *s = rs_object_check(d, o, resource(key));
    const char *message = s ? rs_json_str(s, "message") : "accepted";
    if (!strstr(message, part))
        fail_msg("\"%s\" does not hold \"%s\"", message, part);
}

static void test_checks(void **state)
{
    refused("configmaps", "{'metadata':{'name':'A_b'}}", NULL, "ConfigMap \"A_b\" is invalid: metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain");
    refused("configmaps", "{'metadata':{}}", NULL, "metadata.name: Required value: name or generateName is required");
    refused("services", "{'metadata':{'name':'1a'},'spec':{'ports':[{'port':1}]}}", NULL, "DNS-1035");
    refused("services", "{'metadata':{'name':'a'},'spec':{'ports':[{'port':0}]}}", NULL, "must be between 1 and 65535");
    refused("configmaps", "{'metadata':{'name':'a','labels':{'x y':'1'}}}", NULL, "metadata.labels: Invalid value: \"x y\"");
    refused("secrets", "{'metadata':{'name':'a'},'data':{'k':'%'}}", NULL, "data[k]: Invalid value: illegal base64 data");
    refused("secrets", "{'metadata':{'name':'a'},'immutable':true,'data':{'k':'YQ=='}}", "{'immutable':true,'data':{'k':'Yg=='}}", "field is immutable");
    refused("pods", "{'metadata':{'name':'a'},'spec':{}}", NULL, "spec.containers: Required value");
    refused("pods", "{'metadata':{'name':'a'},'spec':{'containers':[{'name':'x'}]}}", NULL, "spec.containers[0].image: Required value");
    refused("pods", "{'metadata':{'name':'a'},'spec':{'containers':[{'name':'x','image':'i','volumeMounts':[{'name':'v','mountPath':'/'}]}]}}", NULL,
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"");
    refused("pods", "{'metadata':{'name':'a'},'spec':{'containers':[{'name':'x','image':'j'}],'nodeName':'n'}}", "{'spec':{'containers':[{'name':'x','image':'i'}]}}",
            "pod updates may not change fields");
    refused("apps/deployments", "{'metadata':{'name':'a'},'spec':{'selector':{'matchLabels':{'a':'b'}},'template':{'metadata':{'labels':{'a':'c'}},"
            "'spec':{'containers':[{'name':'x','image':'i'}]}}}}", NULL, "`selector` does not match template `labels`");
    refused("apiextensions.k8s.io/customresourcedefinitions", "{'metadata':{'name':'x'},'spec':{'group':'a.b','names':{'plural':'xs','kind':'X'},'scope':'Cluster',"
            "'versions':[{'name':'v1','storage':true}]}}", NULL, "must be spec.names.plural");
    RS_AUTO(json_t) *fine = unit_json("{'metadata':{'name':'a','labels':{'x.io/y':''}},'data':{'tls.crt':'YQ=='}}");
    assert_null(rs_object_check(fine, NULL, resource("secrets")));
    /* Nothing of the wrong type may bring the server down. */
    RS_AUTO(json_t) *odd = unit_json("{'metadata':{'name':7,'labels':[1],'annotations':{'a':1}},'spec':[],'data':[1],'webhooks':{'a':1}}");
    for (size_t i = 0; rs_registry_at(registry, i); i++)
        json_decref(rs_object_check(odd, odd, rs_registry_at(registry, i)));
}

static void test_conversion(void **state)
{
    const struct rs_resource *hpa = resource("autoscaling/horizontalpodautoscalers");
    RS_AUTO(json_t) *doc = unit_json("{'apiVersion':'autoscaling/v1','spec':{'maxReplicas':5,'targetCPUUtilizationPercentage':80}}");
    rs_convert(doc, hpa, "v1", "v2");
    assert_string_equal(rs_json_str(doc, "apiVersion"), "autoscaling/v2");
    assert_int_equal(rs_json_int(json_array_get(rs_json_at(doc, "spec", "metrics"), 0), 0, "resource", "target", "averageUtilization"), 80);
    rs_convert(doc, hpa, "v2", "v1");
    assert_int_equal(rs_json_int(doc, 0, "spec", "targetCPUUtilizationPercentage"), 80);
    assert_null(rs_json_at(doc, "spec", "metrics"));
}

static void test_discovery(void **state)
{
    RS_AUTO(json_t) *groups = rs_discovery_groups(registry), *core = rs_discovery_resources(registry, "", "v1");
    assert_null(rs_discovery_resources(registry, "apps", "v2"));
    assert_null(rs_discovery_group(registry, "nope"));
    size_t i;
    json_t *g;
    json_array_foreach(json_object_get(groups, "groups"), i, g)
        if (rs_streq(rs_json_str(g, "name"), "autoscaling")) {
            assert_int_equal(json_array_size(json_object_get(g, "versions")), 3);
            assert_string_equal(rs_json_str(g, "preferredVersion", "version"), "v2");
        }
    bool eviction = false;
    json_array_foreach(json_object_get(core, "resources"), i, g)
        eviction = eviction || (rs_streq(rs_json_str(g, "name"), "pods/eviction") && rs_streq(rs_json_str(g, "group"), "policy"));
    assert_true(eviction);
}

static int setup(void **state)
{
    registry = rs_registry_new();
    return 0;
}

static int teardown(void **state)
{
    rs_registry_free(registry);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_field_selectors), cmocka_unit_test(test_defaults), cmocka_unit_test(test_checks), cmocka_unit_test(test_conversion),
        cmocka_unit_test(test_discovery),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
