#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

#include "base/file.h"
#include "kube/config.h"

static char dir[] = "/tmp/rs-kubeconfig-XXXXXX";

static char *put(const char *name, const char *text)
{
    struct rs_err e;
    char *path = rs_printf("%s/%s", dir, name);
    ASSERT_OK(rs_file_write(path, rs_str_of(text), 0700, &e));
    return path;
}

static int set_up(void **state)
{
    unsetenv("KUBERNETES_SERVICE_HOST");
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct rs_err e;
    return rs_remove_tree(dir, &e);
}

static const char first[] =
    "apiVersion: v1\nkind: Config\ncurrent-context: one\n"
    "clusters:\n- name: c\n  cluster:\n    server: https://127.0.0.1:6443/\n    certificate-authority: ca.pem\n"
    "contexts:\n- name: one\n  context: {cluster: c, user: u, namespace: ns1}\n"
    "users:\n- name: u\n  user:\n    token: first\n";
static const char second[] =
    "current-context: two\n"
    "clusters:\n- name: c\n  cluster: {server: 'https://other:1'}\n- name: d\n  cluster: {server: 'https://d:2', insecure-skip-tls-verify: true, tls-server-name: real}\n"
    "contexts:\n- name: two\n  context: {cluster: d, user: v}\n- name: lost\n  context: {cluster: nowhere, user: v}\n"
    "users:\n- name: v\n  user: {client-certificate-data: QUJD, client-key-data: REVG, tokenFile: tok}\n";

static void merges(void **state)
{
    struct rs_err e;
    RS_AUTO(rs_chars) *a = put("a", first), *b = put("b", second), *ca = put("ca.pem", "CA");
    RS_AUTO(rs_chars) *list = rs_printf("%s/missing:%s:%s", dir, a, b);
    setenv("KUBECONFIG", list, 1);
    RS_AUTO_KUBE_CONFIG one = { 0 }, two = { 0 }, none = { 0 };
    ASSERT_OK(rs_kube_config_load(&one, NULL, NULL, &e));
    assert_string_equal(one.server, "https://127.0.0.1:6443");
    assert_string_equal(one.ca_pem, "CA");
    assert_string_equal(one.token, "first");
    assert_string_equal(one.namespace, "ns1");
    assert_string_equal(one.context, "one");
    ASSERT_OK(rs_kube_config_load(&two, NULL, "two", &e));
    assert_string_equal(two.server, "https://d:2");
    assert_string_equal(two.cert_pem, "ABC");
    assert_string_equal(two.key_pem, "DEF");
    assert_string_equal(two.namespace, "default");
    assert_string_equal(two.tls_server_name, "real");
    assert_true(two.insecure && rs_ends(two.token_file, "/tok") && two.token_file[0] == '/');
    ASSERT_FAILS(RS_NOT_FOUND, "context \"three\" does not exist", rs_kube_config_load(&none, NULL, "three", &e));
    ASSERT_FAILS(RS_NOT_FOUND, "cluster \"nowhere\" does not exist", rs_kube_config_load(&none, NULL, "lost", &e));
    assert_null(none.server);
}

static void refuses(void **state)
{
    static const struct { const char *text, *message; } cases[] = {
        { "- a\n", "not a mapping" },
        { "{", "kubeconfig" },
        { "clusters: []\n", "no current-context" },
        { "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {}}]\nusers: [{name: u, user: {}}]\n", "server is missing" },
        { "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://a'}}]\n", "user \"u\" does not exist" },
        { "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://a', certificate-authority-data: '*'}}]\n"
          "users: [{name: u, user: {}}]\n", "certificate-authority-data is not base64" },
        { "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://a'}}]\n"
          "users: [{name: u, user: {client-key: nokey}}]\n", "client-key" },
        { "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://a'}}]\n"
          "users: [{name: u, user: {client-key-data: QUJD}}]\n", "need each other" },
    };
    struct rs_err e;
    RS_AUTO_KUBE_CONFIG c = { 0 };
    for (size_t i = 0; i < RS_COUNT(cases); i++) {
        RS_AUTO(rs_chars) *path = put("bad", cases[i].text);
        if (rs_kube_config_load(&c, path, NULL, &e) == 0)
            fail_msg("accepted %s", cases[i].text);
        if (!strstr(e.msg, cases[i].message))
            fail_msg("%s, not %s", e.msg, cases[i].message);
    }
    RS_AUTO(rs_chars) *missing = rs_printf("%s/none", dir);
    ASSERT_FAILS(RS_NOT_FOUND, "/none", rs_kube_config_load(&c, missing, NULL, &e));
    setenv("KUBECONFIG", missing, 1);
    ASSERT_FAILS(RS_NOT_FOUND, "no kubeconfig", rs_kube_config_load(&c, NULL, NULL, &e));
}

static void in_a_pod(void **state)
{
    struct rs_err e;
    RS_AUTO(rs_chars) *token = put("token", "t"), *ca = put("ca.crt", "CA"), *ns = put("namespace", "istio-system\n");
    RS_AUTO_KUBE_CONFIG c = { 0 }, copy = { 0 };
    ASSERT_OK(rs_kube_config_in_cluster(&c, "10.96.0.1", "443", dir, &e));
    rs_kube_config_copy(&copy, &c);
    assert_string_equal(copy.server, "https://10.96.0.1:443");
    assert_string_equal(copy.namespace, "istio-system");
    assert_string_equal(copy.token_file, token);
    assert_string_equal(copy.ca_pem, "CA");
    assert_null(copy.context);
}

static void exec_plugin(void **state)
{
    struct rs_err e;
    RS_AUTO(rs_chars) *plugin = put("plugin",
        "#!/bin/sh\ncase \"$KUBERNETES_EXEC_INFO\" in *'\"server\":\"https://a\"'*) ;; *) echo no cluster >&2; exit 1;; esac\n"
        "echo '{\"apiVersion\":\"client.authentication.k8s.io/v1beta1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"'$1-$X'\",\"expirationTimestamp\":\"2026-01-01T00:00:00Z\"}}'\n");
    RS_AUTO(rs_chars) *path = put("cfg",
        "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://a'}}]\n"
        "users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./plugin, args: [arg], env: [{name: X, value: why}], provideClusterInfo: true}}}]\n");
    RS_AUTO_KUBE_CONFIG c = { 0 };
    struct rs_kube_credential got = { 0 };
    ASSERT_OK(rs_kube_config_load(&c, path, NULL, &e));
    ASSERT_OK(rs_kube_exec_credential(&got, &c, &e));
    assert_string_equal(got.token, "arg-why");
    assert_int_equal(got.expires_ms, 1767225600000);
    rs_kube_credential_done(&got);
    json_object_del(c.exec, "provideClusterInfo");
    ASSERT_FAILS(RS_INTERNAL, "no cluster", rs_kube_exec_credential(&got, &c, &e));
    rs_json_set_str(c.exec, "command", "no-such-plugin-here");
    rs_json_set_str(c.exec, "installHint", "install it");
    ASSERT_FAILS(RS_NOT_FOUND, "is not installed: install it", rs_kube_exec_credential(&got, &c, &e));
    ASSERT_FAILS(RS_INVALID, "neither status.token", rs_kube_exec_parse(&got, RS_STR("{\"kind\":\"ExecCredential\",\"status\":{}}"), &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges), cmocka_unit_test(refuses), cmocka_unit_test(in_a_pod), cmocka_unit_test(exec_plugin),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
