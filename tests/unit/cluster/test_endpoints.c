#include "unit.h"

#include "cluster/controller_endpoints.h"
#include "kube/object.h"

static json_t *service(void)
{
    return unit_json("{'apiVersion':'v1','kind':'Service','metadata':{'name':'web','namespace':'n','uid':'s','labels':{'l':'1'}},'spec':{'clusterIP':'10.96.0.9',"
                     "'selector':{'app':'web'},'ports':[{'name':'http','port':80,'targetPort':'web','protocol':'TCP'},{'name':'tcp','port':9000,'targetPort':9000,'protocol':'TCP'}]}}");
}

static json_t *pod(const char *name, const char *ip, int port, bool ready, bool ending)
{
    json_t *p = rs_json_pack("{s:s,s:s,s:{s:s,s:s,s:s,s:{s:s}},s:{s:s,s:[{s:s,s:[{s:s,s:i}]}]},s:{s:s,s:s,s:[{s:s,s:s}]}}", "apiVersion", "v1", "kind", "Pod",
                             "metadata", "name", name, "namespace", "n", "uid", name, "labels", "app", "web", "spec", "nodeName", "node", "containers",
                             "name", "c", "ports", "name", "web", "containerPort", port, "status", "phase", "Running", "podIP", ip,
                             "conditions", "type", "Ready", "status", ready ? "True" : "False");
    if (ending)
        rs_json_set_str(json_object_get(p, "metadata"), "deletionTimestamp", "2026-01-01T00:00:00Z");
    return p;
}

static const char *ip_at(const json_t *subset, const char *key, size_t i) { return rs_json_str(json_array_get(json_object_get(subset, key), i), "ip"); }

static void ready_and_not(void **state)
{
    RS_AUTO(json_t) *s = service();
    json_t *v[] = { pod("b", "10.0.0.2", 8080, true, false), pod("a", "10.0.0.1", 8080, true, false), pod("c", "10.0.0.3", 8080, false, false),
                    pod("d", "10.0.0.4", 8080, true, true), pod("e", "", 8080, true, false), pod("f", "10.0.0.6", 8080, true, false) };
    rs_json_set_str(rs_json_at(v[5], "metadata", "labels"), "app", "other");
    RS_AUTO(json_t) *e = rs_endpoints_of(s, (const json_t *const *)v, RS_COUNT(v)), *slices = rs_endpoint_slices_of(s, (const json_t *const *)v, RS_COUNT(v));
    const json_t *subset = json_array_get(json_object_get(e, "subsets"), 0);
    assert_int_equal(json_array_size(json_object_get(e, "subsets")), 1);
    assert_int_equal(json_array_size(json_object_get(subset, "addresses")), 2);
    assert_string_equal(ip_at(subset, "addresses", 0), "10.0.0.1");
    assert_string_equal(ip_at(subset, "addresses", 1), "10.0.0.2");
    assert_string_equal(ip_at(subset, "notReadyAddresses", 0), "10.0.0.3");
    assert_int_equal(json_array_size(json_object_get(subset, "notReadyAddresses")), 1);
    const json_t *port = json_array_get(json_object_get(subset, "ports"), 0);
    assert_string_equal(rs_json_str(port, "name"), "http");
    assert_int_equal(rs_json_int(port, 0, "port"), 8080);
    assert_string_equal(rs_object_label(e, "l"), "1");
    /* the slice also tells who is ending */
    assert_int_equal(json_array_size(slices), 1);
    const json_t *slice = json_array_get(slices, 0), *last = json_array_get(json_object_get(slice, "endpoints"), 3);
    assert_int_equal(json_array_size(json_object_get(slice, "endpoints")), 4);
    assert_string_equal(rs_object_label(slice, "kubernetes.io/service-name"), "web");
    assert_true(rs_json_true(last, "conditions", "terminating") && rs_json_true(last, "conditions", "serving") && !rs_json_true(last, "conditions", "ready"));
    assert_string_equal(rs_json_str(last, "targetRef", "name"), "d");
    for (size_t i = 0; i < RS_COUNT(v); i++)
        json_decref(v[i]);
}

static void named_ports_differ(void **state)
{
    RS_AUTO(json_t) *s = service();
    json_t *v[] = { pod("a", "10.0.0.1", 8080, true, false), pod("b", "10.0.0.2", 8081, true, false) };
    RS_AUTO(json_t) *e = rs_endpoints_of(s, (const json_t *const *)v, 2), *slices = rs_endpoint_slices_of(s, (const json_t *const *)v, 2);
    assert_int_equal(json_array_size(json_object_get(e, "subsets")), 2);
    assert_int_equal(json_array_size(slices), 2);
    assert_string_not_equal(rs_object_name(json_array_get(slices, 0)), rs_object_name(json_array_get(slices, 1)));
    json_decref(v[0]);
    json_decref(v[1]);
}

static void plans(void **state)
{
    RS_AUTO(json_t) *s = service();
    json_t *a = pod("a", "10.0.0.1", 8080, true, false);
    const json_t *v[] = { a };
    RS_AUTO(json_t) *first = rs_endpoints_plan(s, v, 1, NULL, NULL, 0);
    assert_int_equal(json_array_size(first), 2);
    assert_string_equal(rs_json_str(json_array_get(first, 0), "path"), "/apis/discovery.k8s.io/v1/namespaces/n/endpointslices");
    assert_string_equal(rs_json_str(json_array_get(first, 1), "path"), "/api/v1/namespaces/n/endpoints");
    const json_t *slice = rs_json_at(json_array_get(first, 0), "body"), *endpoints = rs_json_at(json_array_get(first, 1), "body");
    const json_t *slices[] = { slice };
    RS_AUTO(json_t) *nothing = rs_endpoints_plan(s, v, 1, endpoints, slices, 1);
    assert_int_equal(json_array_size(nothing), 0);
    rs_json_set_str(json_array_get(rs_json_at(a, "status", "conditions"), 0), "status", "False");
    RS_AUTO(json_t) *patches = rs_endpoints_plan(s, v, 1, endpoints, slices, 1);
    assert_int_equal(json_array_size(patches), 2);
    assert_string_equal(rs_json_str(json_array_get(patches, 1), "method"), "PATCH");
    assert_non_null(rs_json_at(json_array_get(rs_json_at(json_array_get(patches, 1), "body", "subsets"), 0), "notReadyAddresses"));
    RS_AUTO(json_t) *gone = rs_endpoints_plan(s, v, 0, endpoints, slices, 1);
    size_t i, deleted = 0;
    json_t *call;
    json_array_foreach(gone, i, call)
        deleted += rs_streq(rs_json_str(call, "method"), "DELETE");
    assert_int_equal(deleted, 1);        /* of the ports that only a pod could name */
    json_decref(a);
}

static void whose(void **state)
{
    RS_AUTO(json_t) *s = service(), *none = service(), *external = service();
    json_object_del(json_object_get(none, "spec"), "selector");
    rs_json_set_str(json_object_get(external, "spec"), "type", "ExternalName");
    assert_true(rs_endpoints_managed(s));
    assert_false(rs_endpoints_managed(none));
    assert_false(rs_endpoints_managed(external));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ready_and_not), cmocka_unit_test(named_ports_differ), cmocka_unit_test(plans), cmocka_unit_test(whose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
