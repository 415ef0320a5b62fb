#include "cluster/admission.h"
#include "unit.h"

struct fixture { rs_registry *registry; struct rs_admission_request r; json_t *object, *namespace; };

static int setup(void **state)
{
    struct fixture *f = rs_new(struct fixture);
    f->registry = rs_registry_new();
    f->object = unit_json("{'metadata':{'labels':{'app':'web','istio.io/rev':'r1'}}}");
    f->namespace = unit_json("{'metadata':{'labels':{'istio.io/rev':'r1'}}}");
    f->r = (struct rs_admission_request){ .operation = "CREATE", .res = rs_registry_find(f->registry, "", "v1", "pods"), .version = "v1",
        .namespace = "shop", .object = f->object };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    rs_registry_free(f->registry);
    json_decref(f->object);
    json_decref(f->namespace);
    free(f);
    return 0;
}

static bool matches(struct fixture *f, const char *hook)
{
    RS_AUTO(json_t) *h = unit_json(hook);
    const char *version = NULL;
    return rs_admission_matches(h, &f->r, f->namespace, &version);
}

#define RULE(ops, group, version, resource) "'rules':[{'operations':[" ops "],'apiGroups':[" group "],'apiVersions':[" version "],'resources':[" resource "]}]"
#define PODS RULE("'CREATE'", "''", "'v1'", "'pods'")

static void test_rules(void **state)
{
    struct fixture *f = *state;
    assert_true(matches(f, "{" PODS "}"));
    assert_true(matches(f, "{" RULE("'*'", "'*'", "'*'", "'*'") "}"));
    assert_true(matches(f, "{" RULE("'UPDATE','CREATE'", "'apps',''", "'v1'", "'pods/*'") "}"));
    assert_false(matches(f, "{" RULE("'UPDATE'", "''", "'v1'", "'pods'") "}"));
    assert_false(matches(f, "{" RULE("'CREATE'", "'apps'", "'v1'", "'pods'") "}"));
    assert_false(matches(f, "{" RULE("'CREATE'", "''", "'v2'", "'pods'") "}"));
    assert_false(matches(f, "{" RULE("'CREATE'", "''", "'v1'", "'pods/status'") "}"));
    assert_false(matches(f, "{}"));
    f->r.sub = "status";
    assert_true(matches(f, "{" RULE("'CREATE'", "''", "'v1'", "'pods/status'") "}"));
    assert_true(matches(f, "{" RULE("'CREATE'", "''", "'v1'", "'*/status'") "}"));
    assert_false(matches(f, "{" PODS "}"));
}

/* Istio's revisioned hooks: namespace label, or object label on an unlabelled namespace; never both. */
static void test_selectors(void **state)
{
    struct fixture *f = *state;
    static const char by_ns[] = "{" PODS ",'namespaceSelector':{'matchExpressions':[{'key':'istio.io/rev','operator':'In','values':['r1']},"
        "{'key':'istio-injection','operator':'DoesNotExist'}]},'objectSelector':{'matchExpressions':[{'key':'sidecar.istio.io/inject','operator':'NotIn','values':['false']}]}}";
    static const char by_object[] = "{" PODS ",'namespaceSelector':{'matchExpressions':[{'key':'istio.io/rev','operator':'DoesNotExist'}]},"
        "'objectSelector':{'matchLabels':{'istio.io/rev':'r1'}}}";
    assert_true(matches(f, by_ns));
    assert_false(matches(f, by_object));
    json_object_set_new(rs_json_need(f->namespace, "metadata", "labels"), "istio-injection", json_string("enabled"));
    assert_false(matches(f, by_ns));
    json_object_clear(rs_json_need(f->namespace, "metadata", "labels"));
    assert_false(matches(f, by_ns));
    assert_true(matches(f, by_object));
    json_object_set_new(rs_json_need(f->object, "metadata", "labels"), "sidecar.istio.io/inject", json_string("false"));
    json_object_set_new(rs_json_need(f->namespace, "metadata", "labels"), "istio.io/rev", json_string("r1"));
    assert_false(matches(f, by_ns));
}

static void test_object_or_old(void **state)
{
    struct fixture *f = *state;
    RS_AUTO(json_t) *old = unit_json("{'metadata':{'labels':{'was':'here'}}}");
    static const char hook[] = "{" RULE("'UPDATE'", "''", "'v1'", "'pods'") ",'objectSelector':{'matchLabels':{'was':'here'}}}";
    f->r.operation = "UPDATE";
    assert_false(matches(f, hook));
    f->r.old = old;
    assert_true(matches(f, hook));
}

static void test_scope_and_cluster_objects(void **state)
{
    struct fixture *f = *state;
    static const char cluster[] = "{'rules':[{'operations':['*'],'apiGroups':['*'],'apiVersions':['*'],'resources':['*'],'scope':'Cluster'}],"
        "'namespaceSelector':{'matchLabels':{'a':'b'}}}";
    assert_false(matches(f, cluster));
    f->r.res = rs_registry_find(f->registry, "", "v1", "nodes");
    assert_true(matches(f, cluster));          /* cluster objects skip the namespace selector */
    f->r.res = rs_registry_find(f->registry, "", "v1", "namespaces");
    assert_false(matches(f, cluster));         /* but a Namespace is selected by its own labels */
    f->r.res = rs_registry_find(f->registry, "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations");
    assert_false(matches(f, cluster));
    assert_false(matches(f, "{" RULE("'*'", "'*'", "'*'", "'*'") "}"));
}

static void test_equivalent_versions(void **state)
{
    struct fixture *f = *state;
    const char *version = NULL;
    f->r.res = rs_registry_find(f->registry, "autoscaling", "v1", "horizontalpodautoscalers");
    f->r.version = "v1";
    RS_AUTO(json_t) *hook = unit_json("{" RULE("'CREATE'", "'autoscaling'", "'v2'", "'horizontalpodautoscalers'") "}");
    assert_true(rs_admission_matches(hook, &f->r, f->namespace, &version));
    assert_string_equal(version, "v2");
    json_object_set_new(hook, "matchPolicy", json_string("Exact"));
    assert_false(rs_admission_matches(hook, &f->r, f->namespace, &version));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rules, setup, teardown), cmocka_unit_test_setup_teardown(test_selectors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_object_or_old, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scope_and_cluster_objects, setup, teardown),
        cmocka_unit_test_setup_teardown(test_equivalent_versions, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
