#include "unit.h"

#include "kube/object.h"

static void paths(void **state)
{
    static const struct { const char *object, *path, *collection; } cases[] = {
        { "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'p','namespace':'n'}}", "/api/v1/namespaces/n/pods/p", "/api/v1/namespaces/n/pods" },
        { "{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'n'}}", "/api/v1/namespaces/n", "/api/v1/namespaces" },
        { "{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'d','namespace':'n'}}",
          "/apis/apps/v1/namespaces/n/deployments/d", "/apis/apps/v1/namespaces/n/deployments" },
        { "{'apiVersion':'rbac.authorization.k8s.io/v1','kind':'ClusterRole','metadata':{'name':'system:a/b c'}}",
          "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%2Fb%20c", "/apis/rbac.authorization.k8s.io/v1/clusterroles" },
    };
    for (size_t i = 0; i < RS_COUNT(cases); i++) {
        RS_AUTO(json_t) *o = unit_json(cases[i].object);
        RS_AUTO(rs_chars) *path = rs_object_path(o, true), *collection = rs_object_path(o, false);
        assert_string_equal(path, cases[i].path);
        assert_string_equal(collection, cases[i].collection);
    }
    RS_AUTO(json_t) *unknown = unit_json("{'apiVersion':'x/v1','kind':'Pod'}");
    assert_null(rs_object_path(unknown, true));
    assert_string_equal(rs_kind_find(NULL, "Gateway")->plural, "gateways");
    RS_AUTO(rs_chars) *all = rs_kind_path(rs_kind_find("v1", "Pod"), NULL, NULL);
    assert_string_equal(all, "/api/v1/pods");
}

static void selectors(void **state)
{
    static const struct { const char *text; bool a1, a2b, none; } cases[] = {
        /*                            {a:1}  {a:2,b:x} {} */
        { "",                         true,  true,  true },
        { "a=1",                      true,  false, false },
        { "a==1",                     true,  false, false },
        { " a = 1 , !b ",             true,  false, false },
        { "a!=1",                     false, true,  true },
        { "a in (1,2),b",             false, true,  false },
        { "a in ( 1 , 3 )",           true,  false, false },
        { "a notin (1, 3)",           false, true,  true },
        { "b in ()",                  false, false, false },
        { "a",                        true,  true,  false },
        { "!a",                       false, false, true },
        { "istio.io/rev!=x,a",        true,  true,  false },
        { "in=1",                     false, false, false },
        { "b=",                       false, false, false },
    };
    struct rs_err e;
    RS_AUTO(json_t) *a1 = unit_json("{'a':'1'}"), *a2b = unit_json("{'a':'2','b':'x'}");
    for (size_t i = 0; i < RS_COUNT(cases); i++) {
        RS_AUTO(rs_selector) *s = NULL;
        ASSERT_OK(rs_selector_parse(&s, cases[i].text, &e));
        if (rs_selector_matches(s, a1) != cases[i].a1 || rs_selector_matches(s, a2b) != cases[i].a2b || rs_selector_matches(s, NULL) != cases[i].none)
            fail_msg("%s", cases[i].text);
    }
}

static void bad_selectors(void **state)
{
    static const char *const bad[] = { ",", "a,", "a=b,", "a=b, ", "=b", "a in 1", "a in (1", "a in (1 2)", "a b", "!a=b", "!", "a=b c",
                                       "-a", "a/b/c", "A_/b", "a=-", "a<1", "(a)", "a=b=c", "a=\"b\"" };
    struct rs_err e;
    rs_selector *s = NULL;
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        if (rs_selector_parse(&s, bad[i], &e) == 0)
            fail_msg("accepted %s", bad[i]);
        ASSERT_FAILS(RS_INVALID, "unable to parse requirement", rs_selector_parse(&s, bad[i], &e));
    }
}

static void selector_objects(void **state)
{
    struct rs_err e;
    RS_AUTO(rs_selector) *s = NULL, *everything = NULL, *bad = NULL;
    RS_AUTO(json_t) *o = unit_json("{'matchLabels':{'app':'web'},'matchExpressions':[{'key':'istio.io/rev','operator':'In','values':['a','b']},"
                                   "{'key':'istio-injection','operator':'DoesNotExist'}]}");
    RS_AUTO(json_t) *yes = unit_json("{'app':'web','istio.io/rev':'b'}"), *no = unit_json("{'app':'web','istio.io/rev':'b','istio-injection':'enabled'}");
    ASSERT_OK(rs_selector_from_json(&s, o, &e));
    assert_true(rs_selector_matches(s, yes));
    assert_false(rs_selector_matches(s, no));
    ASSERT_OK(rs_selector_from_json(&everything, NULL, &e));
    assert_true(rs_selector_matches(everything, NULL));
    RS_AUTO(json_t) *op = unit_json("{'matchExpressions':[{'key':'a','operator':'Gt','values':['1']}]}");
    ASSERT_FAILS(RS_INVALID, "\"Gt\" is not a valid label selector operator", rs_selector_from_json(&bad, op, &e));
    RS_AUTO(json_t) *empty = unit_json("{'matchExpressions':[{'key':'a','operator':'In','values':[]}]}");
    ASSERT_FAILS(RS_INVALID, "values must be given", rs_selector_from_json(&bad, empty, &e));
}

static void members(void **state)
{
    RS_AUTO(json_t) *pod = unit_json("{'metadata':{'ownerReferences':[{'uid':'1'},{'uid':'2','controller':true}],'deletionTimestamp':'x'},"
                                     "'status':{'podIP':'10.0.0.1','conditions':[{'type':'Initialized','status':'True'},{'type':'Ready','status':'True'}]}}");
    assert_string_equal(rs_json_str(rs_object_owner(pod), "uid"), "2");
    assert_true(rs_pod_ready(pod));
    assert_true(rs_object_deleting(pod));
    assert_string_equal(rs_pod_ip(pod), "10.0.0.1");
    assert_string_equal(rs_object_name(pod), "");
    assert_null(rs_object_label(pod, "a"));
    assert_false(rs_pod_ready(NULL));
    RS_AUTO(json_t) *secret = unit_json("{'kind':'Secret','data':{'a':'aGVsbG8=','bad':'***'}}");
    size_t n;
    RS_AUTO(rs_chars) *a = rs_secret_value(secret, "a", &n);
    assert_string_equal(a, "hello");
    assert_int_equal(n, 5);
    assert_null(rs_secret_value(secret, "bad", NULL));
    assert_null(rs_secret_value(secret, "none", NULL));
    RS_AUTO(json_t) *labels = unit_json("{'a':'1','b':'2'}"), *part = unit_json("{'b':'2'}"), *none = unit_json("{}");
    assert_true(rs_labels_include(labels, part));
    assert_false(rs_labels_include(part, labels));
    assert_false(rs_labels_include(labels, none));
    assert_false(rs_labels_include(labels, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths), cmocka_unit_test(selectors), cmocka_unit_test(bad_selectors),
        cmocka_unit_test(selector_objects), cmocka_unit_test(members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
