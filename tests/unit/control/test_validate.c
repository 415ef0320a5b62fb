#include "unit.h"

#include "control/validate.h"

#define AP "{'kind':'AuthorizationPolicy','spec':"
#define PA "{'kind':'PeerAuthentication','spec':"
#define GW "{'kind':'Gateway','spec':"
#define VS "{'kind':'VirtualService','spec':"

static void good(void **state)
{
    static const char *const objects[] = {
        AP "{}}", "{'kind':'AuthorizationPolicy'}", AP "{'rules':[{}]}}",
        AP "{'action':'DENY','selector':{'matchLabels':{'app':'x'}},'rules':[{'from':[{'source':{'namespaces':['a']}},"
        "{'source':{'principals':['cluster.local/ns/a/sa/b','*','*/sa/b','cluster.local/ns/a/*']}}]}]}}",
        PA "{'mtls':{'mode':'STRICT'}}}", PA "{'selector':{'matchLabels':{'a':'b'}},'portLevelMtls':{'80':{'mode':'DISABLE'}}}}",
        GW "{'selector':{'istio':'x'},'servers':[{'port':{'number':80,'name':'http','protocol':'HTTP'},'hosts':['*','a/*.b.com']}]}}",
        VS "{'hosts':['*'],'gateways':['gw'],'http':[{'match':[{'uri':{'prefix':'/'}}],'route':[{'destination':{'host':'web','port':{'number':80}}}],'timeout':'2s'}]}}",
    };
    for (size_t i = 0; i < RS_COUNT(objects); i++) {
        RS_AUTO(json_t) *o = unit_json(objects[i]), *warnings = json_array();
        struct rs_err e;
        ASSERT_OK(rs_validate(o, warnings, &e));
        assert_int_equal(json_array_size(warnings), 0);
    }
}

static void bad(void **state)
{
    static const struct { const char *object, *part; } table[] = {
        { AP "{'action':'PERMIT'}}", "spec.action" }, { AP "{'action':'AUDIT'}}", "spec.action" }, { AP "[]}", "spec:" },
        { AP "{'rules':[{'from':[{'source':{'principals':['spiffe://a/ns/b/sa/c']}}]}]}}", "leave out spiffe://" },
        { AP "{'rules':[{'from':[{'source':{'principals':['a*b']}}]}]}}", "one star" },
        { AP "{'rules':[{'from':[{'source':{'principals':['web']}}]}]}}", "is no principal" },
        { AP "{'rules':[{'from':[{'source':{}}]}]}}", "spec.rules[0].from[0].source" },
        { AP "{'rules':[{'from':[]}]}}", "must not be empty" }, { AP "{'rules':[{'to':[{}]}]}}", "spec.rules[0].to" },
        { AP "{'rules':[{'from':[{'source':{'ipBlocks':['1.2.3.4']}}]}]}}", "ipBlocks" },
        { AP "{'selector':{'matchLabels':{'a':'b*'}}}}", "spec.selector" }, { AP "{'rules':[{'form':[]}]}}", "unknown field" },
        { PA "{'mtls':{'mode':'STRCT'}}}", "spec.mtls.mode" }, { PA "{'portLevelMtls':{'80':{}}}}", "spec.selector" },
        { PA "{'selector':{'matchLabels':{'a':'b'}},'portLevelMtls':{'x':{}}}}", "not a port" },
        { GW "{}}", "spec.servers" }, { GW "{'servers':[{'port':{'number':0,'name':'a','protocol':'HTTP'},'hosts':['*']}]}}", "port.number" },
        { GW "{'servers':[{'port':{'number':80,'name':'a','protocol':'HTPP'},'hosts':['*']}]}}", "protocol" },
        { GW "{'servers':[{'port':{'number':80,'name':'a','protocol':'HTTP'},'hosts':[]}]}}", "hosts" },
        { GW "{'servers':[{'port':{'number':80,'name':'a','protocol':'HTTP'},'hosts':['a b']}]}}", "hosts[0]" },
        { VS "{'http':[{}]}}", "spec.hosts" }, { VS "{'hosts':['a']}}", "spec.http" }, { VS "{'hosts':['a'],'http':[{}]}}", "route" },
        { VS "{'hosts':['a'],'http':[{'route':[{'destination':{}}]}]}}", "destination.host" },
        { VS "{'hosts':['a'],'http':[{'match':[{'headers':{}}],'route':[{'destination':{'host':'b'}}]}]}}", "headers" },
        { VS "{'hosts':['a'],'http':[{'redirect':{},'route':[{'destination':{'host':'b'}}]}]}}", "redirect" },
        { VS "{'hosts':['a..b'],'http':[{}]}}", "spec.hosts[0]" },
    };
    for (size_t i = 0; i < RS_COUNT(table); i++) {
        RS_AUTO(json_t) *o = unit_json(table[i].object), *warnings = json_array();
        struct rs_err e = { 0 };
        ASSERT_FAILS(RS_INVALID, table[i].part, rs_validate(o, warnings, &e));
    }
}

static void warned(void **state)
{
    static const char *const objects[] = { PA "{'mtsl':{}}}", "{'kind':'EnvoyFilter','spec':{}}", AP "{'action':'DENY'}}" };
    for (size_t i = 0; i < RS_COUNT(objects); i++) {
        RS_AUTO(json_t) *o = unit_json(objects[i]), *warnings = json_array();
        struct rs_err e;
        ASSERT_OK(rs_validate(o, warnings, &e));
        assert_int_equal(json_array_size(warnings), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(good), cmocka_unit_test(bad), cmocka_unit_test(warned) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
