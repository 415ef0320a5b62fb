#include "cluster/patch_strategic.h"
#include "unit.h"

static void check(const char *doc, const char *patch, const char *want)
{
    struct rs_err e;
    RS_AUTO(json_t) *d = unit_json(doc), *p = unit_json(patch), *w = unit_json(want), *got = NULL;
    RS_AUTO(json_t) *before = json_deep_copy(d);
    ASSERT_OK(rs_patch_strategic(&got, d, p, &e));
    RS_AUTO(rs_chars) *have = rs_json_text(got), *wanted = rs_json_text(w);
    assert_string_equal(have, wanted);
    assert_true(json_equal(d, before));
}

static void test_maps(void **state)
{
    check("{'a':1,'b':{'c':1,'d':2}}", "{'b':{'c':null,'e':3}}", "{'a':1,'b':{'d':2,'e':3}}");
    check("{'spec':{'strategy':{'type':'RollingUpdate','rollingUpdate':{'maxSurge':1}}}}",
          "{'spec':{'strategy':{'$retainKeys':['type'],'type':'Recreate'}}}", "{'spec':{'strategy':{'type':'Recreate'}}}");
    check("{'a':{'b':1,'c':2}}", "{'a':{'$patch':'replace','d':3}}", "{'a':{'d':3}}");
    check("{'a':{'b':1}}", "{'a':{'$patch':'delete'}}", "{'a':{}}");
    check("{}", "{'spec':{'paused':true}}", "{'spec':{'paused':true}}");
    check("{'spec':{'paused':true}}", "{'spec':{'paused':null}}", "{'spec':{}}");
}

static void test_lists_by_key(void **state)
{
    check("{'spec':{'containers':[{'name':'a','image':'1','env':[{'name':'X','value':'1'}]},{'name':'b','image':'1'}]}}",
          "{'spec':{'containers':[{'name':'a','image':'2','env':[{'name':'Y','value':'2'}]},{'name':'c','image':'3'}]}}",
          "{'spec':{'containers':[{'name':'a','image':'2','env':[{'name':'X','value':'1'},{'name':'Y','value':'2'}]},{'name':'b','image':'1'},"
          "{'name':'c','image':'3'}]}}");
    check("{'spec':{'containers':[{'name':'a'},{'name':'b'}]}}", "{'spec':{'containers':[{'name':'a','$patch':'delete'}]}}",
          "{'spec':{'containers':[{'name':'b'}]}}");
    check("{'spec':{'containers':[{'name':'a'},{'name':'b'}]}}", "{'spec':{'containers':[{'$patch':'replace'},{'name':'c'}]}}",
          "{'spec':{'containers':[{'name':'c'}]}}");
    check("{'spec':{'containers':[{'name':'a','ports':[{'containerPort':80}]}]}}",
          "{'spec':{'containers':[{'name':'a','ports':[{'containerPort':80,'name':'web'},{'containerPort':90}]}]}}",
          "{'spec':{'containers':[{'name':'a','ports':[{'containerPort':80,'name':'web'},{'containerPort':90}]}]}}");
}

/* What `kubectl apply` of the guide's istiod-service.yaml sends. */
static void test_service_ports(void **state)
{
    check("{'spec':{'ports':[{'name':'old','port':15014,'protocol':'TCP'},{'name':'tls','port':15012,'targetPort':15099}],'type':'ClusterIP'}}",
          "{'spec':{'$setElementOrder/ports':[{'port':15010},{'port':15012}],'ports':[{'name':'grpc-xds','port':15010,'protocol':'TCP'},"
          "{'port':15012,'targetPort':null},{'$patch':'delete','port':15014}]}}",
          "{'spec':{'ports':[{'name':'grpc-xds','port':15010,'protocol':'TCP'},{'name':'tls','port':15012}],'type':'ClusterIP'}}");
}

static void test_element_order(void **state)
{
    check("{'spec':{'containers':[{'name':'b'},{'name':'a'},{'name':'x'}]}}",
          "{'spec':{'$setElementOrder/containers':[{'name':'a'},{'name':'b'}],'containers':[{'name':'a','image':'1'}]}}",
          "{'spec':{'containers':[{'name':'a','image':'1'},{'name':'x'},{'name':'b'}]}}");
}

static void test_primitives(void **state)
{
    check("{'metadata':{'finalizers':['a','b']}}", "{'metadata':{'finalizers':['b','c']}}", "{'metadata':{'finalizers':['a','b','c']}}");
    check("{'metadata':{'finalizers':['a','b']}}", "{'metadata':{'$deleteFromPrimitiveList/finalizers':['a']}}", "{'metadata':{'finalizers':['b']}}");
    check("{'a':[1,2]}", "{'a':[3]}", "{'a':[3]}");
}

static void test_broken(void **state)
{
    struct rs_err e;
    json_t *got = NULL;
    RS_AUTO(json_t) *doc = unit_json("{'spec':{'containers':[{'name':'a'}]}}");
    RS_AUTO(json_t) *no_key = unit_json("{'spec':{'containers':[{'image':'x'}]}}"), *odd = unit_json("{'a':{'$patch':'eat'}}"), *list = unit_json("[]");
    ASSERT_FAILS(RS_INVALID, "does not contain declared merge key: name", rs_patch_strategic(&got, doc, no_key, &e));
    ASSERT_FAILS(RS_INVALID, "eat", rs_patch_strategic(&got, doc, odd, &e));
    ASSERT_FAILS(RS_INVALID, "object", rs_patch_strategic(&got, doc, list, &e));
    json_t *deep = json_object();
    for (int i = 0; i < 200; i++)
        deep = rs_json_pack("{s:o}", "a", deep);
    ASSERT_FAILS(RS_INVALID, "deeper", rs_patch_strategic(&got, doc, deep, &e));
    json_decref(deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_maps), cmocka_unit_test(test_lists_by_key), cmocka_unit_test(test_service_ports), cmocka_unit_test(test_element_order),
        cmocka_unit_test(test_primitives), cmocka_unit_test(test_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
