#include "unit.h"

#include "control/hooks.h"
#include "control/webhook.h"
#include "install/data.h"

static rs_injector *injector(void)
{
    rs_injector *i = NULL;
    struct rs_err e;
    ASSERT_OK(rs_injector_new(&i, "r1", rs_data_text("injection.yaml"), "{\"global\":{\"hub\":\"rootshift\",\"tag\":\"1\",\"proxy\":{\"image\":\"agent\"}}}",
                              "defaultConfig: {discoveryAddress: 'istiod-r1.istio-system.svc:15012'}", &e));
    return i;
}

static int answer(enum rs_webhook which, const char *body, json_t **ret, struct rs_webhook_result *result, struct rs_err *e)
{
    RS_AUTO(rs_injector) *i = injector();
    RS_AUTO(json_t) *parsed = unit_json(body);
    RS_AUTO(rs_chars) *text = rs_json_text(parsed);
    return rs_webhook_answer(which, i, rs_str_of(text), ret, result, e);
}

#define REVIEW(version, object) "{'apiVersion':'admission.k8s.io/" version "','kind':'AdmissionReview','request':{'uid':'u-1','namespace':'shop'," \
                                "'operation':'CREATE','object':" object "}}"

static void injected(void **state)
{
    static const char *const versions[] = { "v1", "v1beta1" };
    for (size_t k = 0; k < RS_COUNT(versions); k++) {
        RS_AUTO(json_t) *out = NULL;
        struct rs_webhook_result result;
        struct rs_err e;
        ASSERT_OK(answer(RS_WEBHOOK_INJECT, k ? REVIEW("v1beta1", "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'a'}]}}")
                                              : REVIEW("v1", "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'a'}]}}"), &out, &result, &e));
        assert_true(result.allowed && result.patched);
        RS_AUTO(rs_chars) *version = rs_printf("admission.k8s.io/%s", versions[k]);
        assert_string_equal(rs_json_str(out, "apiVersion"), version);
        assert_string_equal(rs_json_str(out, "response", "uid"), "u-1");
        assert_string_equal(rs_json_str(out, "response", "patchType"), "JSONPatch");
        unsigned char *patch;
        size_t n;
        assert_int_equal(rs_unbase64(rs_str_of(rs_json_str(out, "response", "patch")), false, &patch, &n), 0);
        assert_non_null(strstr((char *)patch, "istio-proxy"));
        free(patch);
    }
}

static void refused(void **state)
{
    RS_AUTO(json_t) *out = NULL, *validated = NULL;
    struct rs_webhook_result result;
    struct rs_err e;
    ASSERT_OK(answer(RS_WEBHOOK_INJECT, REVIEW("v1", "{'metadata':{'annotations':{'proxy.istio.io/config':'['}},'spec':{'containers':[]}}"), &out, &result, &e));
    assert_false(result.allowed);
    assert_non_null(strstr(rs_json_str(out, "response", "status", "message"), "proxy.istio.io/config"));
    ASSERT_OK(answer(RS_WEBHOOK_VALIDATE, REVIEW("v1", "{'kind':'AuthorizationPolicy','spec':{'action':'PROBE'}}"), &validated, &result, &e));
    assert_false(result.allowed);
    assert_true(json_is_false(rs_json_at(validated, "response", "allowed")));
}

static void no_review(void **state)
{
    static const char *const bodies[] = {
        "{}", "{'kind':'AdmissionReview','apiVersion':'admission.k8s.io/v2','request':{'uid':'u','object':{}}}",
        "{'kind':'AdmissionReview','apiVersion':'admission.k8s.io/v1','request':{'object':{}}}",
        "{'kind':'AdmissionReview','apiVersion':'admission.k8s.io/v1','request':{'uid':'u'}}", "[]",
    };
    for (size_t k = 0; k < RS_COUNT(bodies); k++) {
        json_t *out = NULL;
        struct rs_webhook_result result;
        struct rs_err e = { 0 };
        ASSERT_FAILS(RS_INVALID, "AdmissionReview", answer(RS_WEBHOOK_INJECT, bodies[k], &out, &result, &e));
    }
}

static void paths(void **state)
{
    enum rs_webhook w;
    assert_true(rs_webhook_of_path("/inject", &w) && w == RS_WEBHOOK_INJECT);
    assert_true(rs_webhook_of_path("/inject/cluster/x", &w) && w == RS_WEBHOOK_INJECT);
    assert_true(rs_webhook_of_path("/validate", &w) && w == RS_WEBHOOK_VALIDATE);
    assert_false(rs_webhook_of_path("/injected", &w));
}

static void bundle_and_policy(void **state)
{
    RS_AUTO(json_t) *config = unit_json("{'webhooks':[{'name':'a','clientConfig':{'caBundle':'OLD'},'failurePolicy':'Ignore'},"
                                        "{'name':'b','clientConfig':{'caBundle':'NEW'},'failurePolicy':'Fail'}]}");
    RS_AUTO(json_t) *one = rs_hooks_patch(config, "NEW", false), *two = rs_hooks_patch(config, "NEW", true);
    assert_int_equal(json_array_size(one), 2);
    assert_string_equal(rs_json_str(json_array_get(one, 0), "op"), "test");
    assert_string_equal(rs_json_str(json_array_get(one, 1), "value"), "NEW");
    assert_int_equal(json_array_size(two), 3);
    RS_AUTO(json_t) *same = unit_json("{'webhooks':[{'name':'b','clientConfig':{'caBundle':'NEW'},'failurePolicy':'Fail'}]}");
    assert_null(rs_hooks_patch(same, "NEW", true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(injected), cmocka_unit_test(refused), cmocka_unit_test(no_review), cmocka_unit_test(paths), cmocka_unit_test(bundle_and_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
