#include "unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/yaml.h"
#include "install/output.h"

static const char root_pem[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

static void write_and_check(void **state)
{
    char dir[] = "/tmp/rs-output-XXXXXX";
    struct rs_err e;
    struct rs_operator_inputs in = { .revision = "r1", .fleet = "acme", .ca = RS_CA_CITADEL, .mesh_ca_root = root_pem };
    RS_AUTO(json_t) *op = NULL, *service = NULL;
    RS_AUTO(rs_chars) *text = NULL;
    struct rs_manifest m = { 0 };
    assert_non_null(mkdtemp(dir));
    ASSERT_OK(rs_operator_compile(&op, &in, &e));
    ASSERT_OK(rs_manifest_build(&m, op, root_pem, &e));
    struct rs_output_dir o = { dir, "r1", RS_CA_CITADEL }, other_ca = { dir, "r1", RS_CA_MESH_CA }, other_revision = { dir, "r2", RS_CA_CITADEL };
    for (int twice = 0; twice < 2; twice++) {
        ASSERT_OK(rs_output_check(&o, &e));
        ASSERT_OK(rs_output_write(&o, &in, op, &m, "/bin/true", &e));
    }
    ASSERT_FAILS(RS_INVALID, "another installation", rs_output_check(&other_ca, &e));
    ASSERT_FAILS(RS_INVALID, "another installation", rs_output_check(&other_revision, &e));

    static const char *const files[] = {
        "asm/istio/istio-operator.yaml", "asm/istio/istiod-service.yaml", "asm/istio/options/ca-migration-citadel.yaml",
        "asm/istio/options/ca-migration-meshca.yaml", "samples/gateways/istio-ingressgateway/deployment.yaml", "r1-manifest-raw.yaml",
        "r1-manifest-expanded.yaml", ".asm_version", "istioctl",
    };
    for (size_t i = 0; i < RS_COUNT(files); i++) {
        RS_AUTO(rs_chars) *path = rs_printf("%s/%s", dir, files[i]);
        if (!rs_file_exists(path))
            fail_msg("%s is missing", path);
    }
    RS_AUTO(rs_chars) *path = rs_printf("%s/asm/istio/istiod-service.yaml", dir);
    ASSERT_OK(rs_file_read(path, RS_FILE_MAX, &text, NULL, &e));
    ASSERT_OK(rs_yaml_parse(&service, rs_str_of(text), &e));
    assert_string_equal(rs_json_str(service, "metadata", "name"), "istiod");
    assert_string_equal(rs_json_str(service, "spec", "selector", "istio.io/rev"), "r1");
    rs_manifest_done(&m);
    ASSERT_OK(rs_remove_tree(dir, &e));
}

static void no_directory(void **state)
{
    struct rs_output_dir file = { "/dev/null", "r1", RS_CA_CITADEL }, missing = { "/nonexistent/x", "r1", RS_CA_CITADEL };
    struct rs_err e;
    ASSERT_FAILS(RS_INVALID, "is no directory", rs_output_check(&file, &e));
    ASSERT_OK(rs_output_check(&missing, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(write_and_check), cmocka_unit_test(no_directory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
