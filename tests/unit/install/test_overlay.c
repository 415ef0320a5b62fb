#include "unit.h"

#include "base/yaml.h"
#include "install/data.h"
#include "install/manifest.h"
#include "install/overlay.h"
#include "install/revision.h"

static const char root_pem[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

static struct rs_operator_inputs inputs(enum rs_ca_kind ca, const char *const *option)
{
    return (struct rs_operator_inputs){ .revision = "asm-1157-23", .fleet = "acme", .ca = ca, .mesh_ca_root = root_pem,
                                        .options = option, .n_options = option ? 1 : 0 };
}

static json_t *compile(const struct rs_operator_inputs *in)
{
    json_t *op = NULL;
    struct rs_err e = { 0 };
    if (rs_operator_compile(&op, in, &e) < 0)
        fail_msg("%s", e.msg);
    return op;
}

static void revision_names(void **state)
{
    struct rs_err e;
    static const char *const good[] = { "default", "asm-1157-23", "a", "asm-1157-23-distribute-root" };
    static const char *const bad[] = { "", "1abc", "Abc", "a_b", "a-", "-a", "a.b" };
    for (size_t i = 0; i < RS_COUNT(good); i++)
        assert_int_equal(rs_revision_check(good[i], &e), 0);
    for (size_t i = 0; i < RS_COUNT(bad); i++)
        assert_int_equal(rs_revision_check(bad[i], &e), -1);
    char name[58];
    memset(name, 'a', 57);
    name[57] = 0;
    assert_int_equal(rs_revision_check(name, &e), -1);
    assert_non_null(strstr(e.msg, "56"));
    name[56] = 0;
    assert_int_equal(rs_revision_check(name, &e), 0);
}

static void citadel_then_mesh_ca(void **state)
{
    static const char *const distribute[] = { "ca-migration-citadel" }, *const change[] = { "ca-migration-meshca" };
    struct rs_operator_inputs in = inputs(RS_CA_CITADEL, distribute);
    RS_AUTO(json_t) *a = compile(&in);
    assert_string_equal(rs_json_str(a, "spec", "meshConfig", "trustDomain"), "cluster.local");
    assert_string_equal(rs_json_str(json_array_get(rs_json_at(a, "spec", "meshConfig", "caCertificates"), 0), "pem"), root_pem);
    assert_string_equal(rs_json_str(a, "spec", "meshConfig", "defaultConfig", "proxyMetadata", "PROXY_CONFIG_XDS_AGENT"), "true");
    assert_null(rs_json_str(a, "spec", "values", "pilot", "env", "ENABLE_CA_SERVER"));
    assert_int_equal(rs_operator_ca(a), RS_CA_CITADEL);

    in = inputs(RS_CA_MESH_CA, change);
    RS_AUTO(json_t) *b = compile(&in);
    assert_string_equal(rs_json_str(b, "spec", "meshConfig", "trustDomain"), "acme.svc.id.goog");
    assert_string_equal(rs_json_str(b, "spec", "values", "pilot", "env", "ENABLE_CA_SERVER"), "false");
    assert_string_equal(rs_json_str(b, "spec", "values", "global", "caAddress"), "mesh-ca.mesh-ca.svc:443");
    RS_AUTO(rs_chars) *aliases = rs_json_text(rs_json_at(b, "spec", "meshConfig", "trustDomainAliases"));
    assert_string_equal(aliases, "[\"acme.svc.id.goog\",\"cluster.local\"]");
    assert_int_equal(rs_operator_ca(b), RS_CA_MESH_CA);
}

static void custom_overlays(void **state)
{
    struct rs_overlay_text files[] = { { "mine.yaml",
        "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: mine}\nspec:\n  meshConfig:\n    trustDomain: other\n"
        "    trustDomainAliases: [old.example]\n    outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n  components:\n    ingressGateways: [{name: x, enabled: true}]\n" } };
    struct rs_operator_inputs in = inputs(RS_CA_CITADEL, NULL);
    in.custom = files;
    in.n_custom = 1;
    RS_AUTO(json_t) *op = compile(&in);
    /* citadel's overlay has the last word about the trust domain */
    assert_string_equal(rs_json_str(op, "spec", "meshConfig", "trustDomain"), "cluster.local");
    assert_string_equal(rs_json_str(op, "spec", "meshConfig", "outboundTrafficPolicy", "mode"), "REGISTRY_ONLY");
    assert_int_equal(json_array_size(rs_json_at(op, "spec", "meshConfig", "trustDomainAliases")), 2);
    RS_AUTO(json_t) *warnings = rs_operator_warnings(op);
    assert_int_equal(json_array_size(warnings), 1);

    struct rs_err e = { 0 };
    json_t *none = NULL;
    files[0].text = "kind: ConfigMap\napiVersion: v1\n";
    assert_int_equal(rs_operator_compile(&none, &in, &e), -1);
    assert_non_null(strstr(e.msg, "mine.yaml"));
    files[0].text = "a: [";
    assert_int_equal(rs_operator_compile(&none, &in, &e), -1);
}

static void refusals(void **state)
{
    static const char *const wrong[] = { "ca-migration-migration" }, *const other[] = { "ca-migration-meshca" }, *const root[] = { "ca-migration-citadel" };
    struct rs_err e = { 0 };
    json_t *op = NULL;
    struct rs_operator_inputs in = inputs(RS_CA_MESH_CA, wrong);
    assert_int_equal(rs_operator_compile(&op, &in, &e), -1);
    assert_non_null(strstr(e.msg, "Couldn't find yaml file ca-migration-migration"));
    in = inputs(RS_CA_CITADEL, other);
    assert_int_equal(rs_operator_compile(&op, &in, &e), -1);
    in = inputs(RS_CA_CITADEL, root);
    in.mesh_ca_root = NULL;
    assert_int_equal(rs_operator_compile(&op, &in, &e), -1);
    assert_non_null(strstr(e.msg, "mesh-ca install"));
}

static json_t *find(const json_t *list, const char *kind, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *o = json_array_get(list, i);
        if (rs_streq(rs_json_str(o, "kind"), kind) && rs_streq(rs_json_str(o, "metadata", "name"), name))
            return o;
    }
    fail_msg("no %s %s", kind, name);
    return NULL;
}

static void manifest(void **state)
{
    struct rs_operator_inputs in = inputs(RS_CA_MESH_CA, NULL);
    RS_AUTO(json_t) *op = compile(&in);
    struct rs_manifest m;
    struct rs_err e = { 0 };
    if (rs_manifest_build(&m, op, root_pem, &e) < 0)
        fail_msg("%s", e.msg);
    json_t *deployment = find(m.revision, "Deployment", "istiod-asm-1157-23");
    json_t *pod = rs_json_at(deployment, "spec", "template", "spec");
    assert_string_equal(rs_json_str(json_array_get(json_object_get(pod, "containers"), 0), "image"), "rootshift/control:" RS_VERSION);
    find(m.revision, "IstioOperator", "installed-state-asm-1157-23");
    find(m.revision, "HorizontalPodAutoscaler", "istiod-asm-1157-23");
    find(m.revision, "PodDisruptionBudget", "istiod-asm-1157-23");
    find(m.revision, "ValidatingWebhookConfiguration", "istio-validator-asm-1157-23-istio-system");
    json_t *injector = find(m.revision, "MutatingWebhookConfiguration", "istio-sidecar-injector-asm-1157-23");
    assert_int_equal(json_array_size(json_object_get(injector, "webhooks")), 2);
    json_t *hook = json_array_get(json_object_get(injector, "webhooks"), 0);
    assert_string_equal(rs_json_str(hook, "clientConfig", "service", "name"), "istiod-asm-1157-23");
    assert_true(strlen(rs_json_str(hook, "clientConfig", "caBundle")) > 10);
    RS_AUTO(json_t) *mesh = NULL;
    assert_int_equal(rs_yaml_parse(&mesh, rs_str_of(rs_json_str(find(m.revision, "ConfigMap", "istio-asm-1157-23"), "data", "mesh")), &e), 0);
    assert_string_equal(rs_json_str(mesh, "defaultConfig", "discoveryAddress"), "istiod-asm-1157-23.istio-system.svc:15012");
    assert_int_equal(json_array_size(m.shared), 2);
    assert_int_equal(json_array_size(m.crds), 11);
    RS_AUTO(rs_chars) *text = rs_yaml_stream(m.revision);
    RS_AUTO(json_t) *back = NULL;
    assert_int_equal(rs_yaml_parse_all(&back, rs_str_of(text), &e), 0);
    assert_true(json_equal(back, m.revision));
    rs_manifest_done(&m);

    in.revision = "default";
    RS_AUTO(json_t) *plain = compile(&in);
    assert_int_equal(rs_manifest_build(&m, plain, root_pem, &e), 0);
    find(m.revision, "Deployment", "istiod");
    find(m.revision, "IstioOperator", "installed-state");
    injector = find(m.revision, "MutatingWebhookConfiguration", "istio-sidecar-injector");
    assert_int_equal(json_array_size(json_object_get(injector, "webhooks")), 4);
    rs_manifest_done(&m);
}

static void unknown_place(void **state)
{
    struct rs_err e = { 0 };
    json_t *out = NULL;
    RS_AUTO(json_t) *doc = rs_json_pack("{s:s}", "a", "x ${B} y"), *vars = rs_json_pack("{s:s}", "A", "1");
    assert_int_equal(rs_data_fill(&out, doc, vars, &e), -1);
    assert_non_null(strstr(e.msg, "${B}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(revision_names), cmocka_unit_test(citadel_then_mesh_ca), cmocka_unit_test(custom_overlays),
        cmocka_unit_test(refusals), cmocka_unit_test(manifest), cmocka_unit_test(unknown_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
