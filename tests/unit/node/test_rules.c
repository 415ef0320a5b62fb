#include "base/proc.h"
#include "node/rules.h"
#include "unit.h"

#define SERVICES "[{'metadata':{'name':'one','namespace':'n'},'spec':{'clusterIP':'10.96.0.20','ports':[{'port':80,'name':'http','protocol':'TCP'}]}}," \
    "{'metadata':{'name':'two','namespace':'n'},'spec':{'clusterIP':'10.96.0.21','ports':[{'port':80},{'port':53,'name':'dns','protocol':'UDP'}]}}," \
    "{'metadata':{'name':'head','namespace':'n'},'spec':{'clusterIP':'None','ports':[{'port':80}]}}," \
    "{'metadata':{'name':'out','namespace':'n'},'spec':{'type':'ExternalName','externalName':'x'}}," \
    "{'metadata':{'name':'none','namespace':'n'},'spec':{'clusterIP':'10.96.0.22','ports':[{'port':9}]}}]"
#define SLICE(of, ports, eps) "{'metadata':{'name':'" of "-1','namespace':'n','labels':{'kubernetes.io/service-name':'" of "'}},'ports':[" ports "],'endpoints':[" eps "]}"
#define READY(ip) "{'addresses':['" ip "'],'conditions':{'ready':true}}"
#define UNREADY(ip) "{'addresses':['" ip "'],'conditions':{'ready':false}}"
#define SLICES "[" SLICE("one", "{'name':'http','port':8080,'protocol':'TCP'}", READY("10.244.1.2") "," UNREADY("10.244.1.3")) "," \
    SLICE("two", "{'name':'','port':8080}", READY("10.244.1.4") "," READY("10.244.1.5")) "," \
    SLICE("none", "{'port':9}", UNREADY("10.244.1.9")) "," SLICE("head", "{'port':80}", READY("10.244.1.6") "," UNREADY("10.244.1.7")) "]"

static void ready_endpoints_only(void **state)
{
    RS_AUTO(json_t) *services = unit_json(SERVICES);
    RS_AUTO(json_t) *slices = unit_json(SLICES);
    RS_AUTO(rs_chars) *text = rs_rules_text(services, slices, "10.96.0.0/16");

    assert_non_null(strstr(text, "10.96.0.20 . tcp . 80 : 10.244.1.2 . 8080"));
    assert_null(strstr(text, "10.244.1.3"));
    assert_non_null(strstr(text, "numgen random mod 2 map { 0 : 10.244.1.4 . 8080, 1 : 10.244.1.5 . 8080 }"));
    assert_non_null(strstr(text, "10.96.0.21 . udp . 53"));
    assert_non_null(strstr(text, "10.96.0.22 . tcp . 9"));
    assert_non_null(strstr(text, "10.244.1.5 . 10.244.1.5"));
}

/* nft itself judges the syntax where it may (it wants a namespace even to check). */
static void nft_takes_it(void **state)
{
    RS_AUTO(json_t) *services = unit_json(SERVICES);
    RS_AUTO(json_t) *slices = unit_json(SLICES);
    RS_AUTO(rs_chars) *text = rs_rules_text(services, slices, "10.96.0.0/16");
    const char *const can[] = { "unshare", "-Urn", "true", NULL }, *const check[] = { "unshare", "-Urn", "nft", "-f", "-", NULL };
    struct rs_err e;

    if (rs_proc_run(can, RS_STR(""), NULL, &e) < 0)
        skip();
    ASSERT_OK(rs_proc_run(check, rs_str_of(text), NULL, &e));
}

static void names(void **state)
{
    RS_AUTO(json_t) *services = unit_json(SERVICES);
    RS_AUTO(json_t) *slices = unit_json(SLICES);
    RS_AUTO(json_t) *files = rs_rules_hosts(services, slices, "cluster.local");

    assert_int_equal(json_object_size(files), 4);
    assert_string_equal(rs_json_str(files, "n.one"), "10.96.0.20 one.n.svc.cluster.local\n");
    assert_string_equal(rs_json_str(files, "n.head"), "10.244.1.6 head.n.svc.cluster.local\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(ready_endpoints_only), cmocka_unit_test(nft_takes_it), cmocka_unit_test(names) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
