#include "cluster/table.h"
#include "unit.h"

/* Cells of one document, joined by '|'. */
static char *row(rs_registry *r, const char *key, const char *doc)
{
    const struct rs_resource *res = rs_registry_find_key(r, key);
    assert_non_null(res);
    RS_AUTO(json_t) *d = unit_json(doc), *table = rs_table_new(res, res->versions[0]);
    rs_table_add(table, res, res->versions[0], d);
    json_t *cells = json_object_get(json_array_get(json_object_get(table, "rows"), 0), "cells"), *c;
    assert_int_equal(json_array_size(cells), json_array_size(json_object_get(table, "columnDefinitions")));
    char *out = rs_strdup("");
    size_t i;
    json_array_foreach(cells, i, c) {
        RS_AUTO(rs_chars) *text = json_is_string(c) ? rs_strdup(json_string_value(c)) : rs_json_text(c);
        char *more = rs_printf("%s%s%s", out, i ? "|" : "", text);
        free(out);
        out = more;
    }
    return out;
}

static void check(rs_registry *r, const char *key, const char *doc, const char *want)
{
    RS_AUTO(rs_chars) *got = row(r, key, doc);
    assert_string_equal(got, want);
}

#define META "'metadata':{'name':'p'}"

static void test_pod_status(void **state)
{
    rs_registry *r = rs_registry_new();
    check(r, "pods", "{" META ",'spec':{'containers':[{},{}]},'status':{'phase':'Pending'}}", "p|0/2|Pending|0|<unknown>|<none>|<none>|<none>|<none>");
    check(r, "pods", "{" META ",'spec':{'containers':[{},{}],'nodeName':'n'},'status':{'phase':'Running','podIP':'10.244.0.2','containerStatuses':["
          "{'ready':true,'restartCount':1,'state':{'running':{}}},{'ready':false,'restartCount':2,'state':{'running':{}}}]}}",
          "p|1/2|Running|3|<unknown>|10.244.0.2|n|<none>|<none>");
    check(r, "pods", "{" META ",'spec':{'containers':[{}]},'status':{'phase':'Running','containerStatuses':[{'restartCount':4,'state':{'waiting':"
          "{'reason':'CrashLoopBackOff'}}}]}}", "p|0/1|CrashLoopBackOff|4|<unknown>|<none>|<none>|<none>|<none>");
    check(r, "pods", "{" META ",'spec':{'containers':[{}],'initContainers':[{},{}]},'status':{'phase':'Pending','initContainerStatuses':["
          "{'state':{'terminated':{'exitCode':0}}},{'state':{'running':{}}}],'containerStatuses':[{'state':{'waiting':{'reason':'PodInitializing'}}}]}}",
          "p|0/1|Init:1/2|0|<unknown>|<none>|<none>|<none>|<none>");
    check(r, "pods", "{" META ",'spec':{'containers':[{}],'initContainers':[{}]},'status':{'phase':'Pending','initContainerStatuses':["
          "{'state':{'terminated':{'exitCode':3}}}]}}", "p|0/1|Init:ExitCode:3|0|<unknown>|<none>|<none>|<none>|<none>");
    check(r, "pods", "{" META ",'spec':{'containers':[{}]},'status':{'phase':'Failed','containerStatuses':[{'state':{'terminated':{'exitCode':1,"
          "'reason':'Error'}}}]}}", "p|0/1|Error|0|<unknown>|<none>|<none>|<none>|<none>");
    check(r, "pods", "{'metadata':{'name':'p','deletionTimestamp':'2026-01-01T00:00:00Z'},'spec':{'containers':[{}]},'status':{'phase':'Running'}}",
          "p|0/1|Terminating|0|<unknown>|<none>|<none>|<none>|<none>");
    rs_registry_free(r);
}

static void test_others(void **state)
{
    rs_registry *r = rs_registry_new();
    check(r, "services", "{" META ",'spec':{'type':'ClusterIP','clusterIP':'10.96.0.5','ports':[{'port':15012,'protocol':'TCP'},{'port':53,'protocol':'UDP'}],"
          "'selector':{'app':'x'}}}", "p|ClusterIP|10.96.0.5|<none>|15012/TCP,53/UDP|<unknown>|app=x");
    check(r, "services", "{" META ",'spec':{'type':'LoadBalancer','clusterIP':'10.96.0.5'}}", "p|LoadBalancer|10.96.0.5|<pending>|<none>|<unknown>|<none>");
    check(r, "apps/deployments", "{" META ",'spec':{'replicas':2,'selector':{'matchLabels':{'a':'b'}},'template':{'spec':{'containers':[{'name':'x','image':'i'},"
          "{'name':'y','image':'j'}]}}},'status':{'readyReplicas':1,'updatedReplicas':2,'availableReplicas':1}}", "p|1/2|2|1|<unknown>|x,y|i,j|a=b");
    check(r, "namespaces", "{" META ",'status':{'phase':'Active'}}", "p|Active|<unknown>");
    check(r, "secrets", "{" META ",'type':'Opaque','data':{'a':'','b':''}}", "p|Opaque|2|<unknown>");
    check(r, "endpoints", "{" META ",'subsets':[{'addresses':[{'ip':'1.1.1.1'},{'ip':'1.1.1.2'},{'ip':'1.1.1.3'},{'ip':'1.1.1.4'}],'ports':[{'port':80}]}]}",
          "p|1.1.1.1:80,1.1.1.2:80,1.1.1.3:80 + 1 more...|<unknown>");
    check(r, "events", "{" META ",'involvedObject':{'kind':'Pod','name':'x'},'type':'Normal','reason':'Started','message':'hello\\n','count':2,'source':{'component':'node'}}",
          "<unknown>|Normal|Started|pod/x||node|hello|<unknown>|2|p");
    check(r, "policy/poddisruptionbudgets", "{" META ",'spec':{'minAvailable':1}}", "p|1|N/A|0|<unknown>");
    check(r, "coordination.k8s.io/leases", "{" META ",'spec':{'holderIdentity':'me'}}", "p|me|<unknown>");
    check(r, "nodes", "{" META ",'spec':{'unschedulable':true},'status':{'conditions':[{'type':'Ready','status':'True'}],'nodeInfo':{'kubeletVersion':'v1'}}}",
          "p|Ready,SchedulingDisabled|<none>|<unknown>|v1|<none>|<none>|||");
    rs_registry_free(r);
}

static void test_custom_columns(void **state)
{
    rs_registry *r = rs_registry_new();
    RS_AUTO(json_t) *crd = unit_json("{'metadata':{'name':'things.x.io'},'spec':{'group':'x.io','scope':'Namespaced','names':{'plural':'things','kind':'Thing'},"
        "'versions':[{'name':'v1','served':true,'storage':true,'additionalPrinterColumns':[{'name':'A','type':'string','jsonPath':'.spec.a'},"
        "{'name':'B','type':'integer','jsonPath':'.spec.list[1].b'},{'name':'C','type':'string','jsonPath':'.metadata.labels.istio\\\\.io/rev'},"
        "{'name':'Ready','type':'string','jsonPath':'.x'}]}]}}");
    /* A filter expression holds quotes, which unit_json would turn: set it apart. */
    json_t *col = json_array_get(rs_json_at(json_array_get(rs_json_at(crd, "spec", "versions"), 0), "additionalPrinterColumns"), 3);
    rs_json_set_str(col, "jsonPath", ".status.conditions[?(@.type==\"Ready\")].status");
    rs_registry_set_crd(r, crd);
    check(r, "x.io/things", "{" META ",'spec':{'a':'1','list':[{},{'b':7}]},'status':{'conditions':[{'type':'Other','status':'no'},{'type':'Ready','status':'yes'}]}}",
          "p|1|7|null|yes");
    rs_registry_drop_crd(r, "things.x.io");
    assert_null(rs_registry_find_key(r, "x.io/things"));
    rs_registry_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_pod_status), cmocka_unit_test(test_others), cmocka_unit_test(test_custom_columns) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
