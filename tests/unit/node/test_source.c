/* Environment, volumes and runc configuration of a pod. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "node/files.h"
#include "node/oci.h"
#include "unit.h"

static json_t *cm, *secret;

static enum rs_lookup_state object(void *ctx, const char *kind, const char *name, const json_t **ret)
{
    if (rs_streq(name, "later"))
        return RS_LOOKUP_WAIT;
    *ret = rs_streq(name, "cm") && rs_streq(kind, "ConfigMap") ? cm : rs_streq(name, "s") && rs_streq(kind, "Secret") ? secret : NULL;
    return *ret ? RS_LOOKUP_FOUND : RS_LOOKUP_MISSING;
}

static enum rs_lookup_state token(void *ctx, const char *audience, int64_t seconds, const char **ret)
{
    *ret = audience ? "token-for-audience" : "token";
    return RS_LOOKUP_FOUND;
}

static json_t *pod_of(void)
{
    return unit_json("{'metadata':{'name':'p','namespace':'n','uid':'u','labels':{'b':'2','a':'1'},'annotations':{'k':'v\\\"w'}},"
                     "'spec':{'serviceAccountName':'sa','containers':[{'name':'c','resources':{'limits':{'cpu':'1500m','memory':'1Gi'}}}]}}");
}

static struct rs_source source(const json_t *pod)
{
    return (struct rs_source){ .pod = pod, .ip = "10.244.1.2", .host_ip = "10.244.0.1", .node_name = "node", .object = object, .token = token };
}

static void environment(void **state)
{
    RS_AUTO(json_t) *pod = pod_of();
    RS_AUTO(json_t) *c = unit_json("{'envFrom':[{'configMapRef':{'name':'cm'},'prefix':'P_'},{'secretRef':{'name':'none','optional':true}}],'env':["
        "{'name':'A','value':'x'},{'name':'B','value':'$(A)-$(P_k)-$(NO)-$$(A)'},{'name':'IP','valueFrom':{'fieldRef':{'fieldPath':'status.podIP'}}},"
        "{'name':'L','valueFrom':{'fieldRef':{'fieldPath':'metadata.labels[\\u0027a\\u0027]'}}},{'name':'S','valueFrom':{'secretKeyRef':{'name':'s','key':'k'}}},"
        "{'name':'NONE','valueFrom':{'configMapKeyRef':{'name':'cm','key':'no','optional':true}}},{'name':'A','value':'y'},"
        "{'name':'CPU','valueFrom':{'resourceFieldRef':{'resource':'limits.cpu'}}},{'name':'MI','valueFrom':{'resourceFieldRef':{'containerName':'c','resource':'limits.memory','divisor':'1Mi'}}}]}");
    RS_AUTO(json_t) *env = NULL;
    struct rs_source s = source(pod);
    struct rs_err e;
    const char *const want[] = { "P_k=v", "B=x-v-$(NO)-$(A)", "IP=10.244.1.2", "L=1", "S=secret", "A=y", "MI=1024" };

    ASSERT_OK(rs_source_env(&env, &s, c, &e));
    for (size_t i = 0; i < RS_COUNT(want); i++) {
        bool found = false;
        for (size_t k = 0; k < json_array_size(env); k++)
            found |= rs_streq(json_string_value(json_array_get(env, k)), want[i]);
        if (!found)
            fail_msg("%s is missing", want[i]);
    }
    RS_AUTO(json_t) *missing = unit_json("{'env':[{'name':'A','valueFrom':{'configMapKeyRef':{'name':'nope','key':'k'}}}]}");
    RS_AUTO(json_t) *key = unit_json("{'env':[{'name':'A','valueFrom':{'configMapKeyRef':{'name':'cm','key':'no'}}}]}");
    RS_AUTO(json_t) *later = unit_json("{'env':[{'name':'A','valueFrom':{'secretKeyRef':{'name':'later','key':'k'}}}]}");
    RS_AUTO(json_t) *none = NULL;
    ASSERT_FAILS(RS_NOT_FOUND, "configmap \"nope\" not found", rs_source_env(&none, &s, missing, &e));
    ASSERT_FAILS(RS_NOT_FOUND, "couldn't find key no in ConfigMap n/cm", rs_source_env(&none, &s, key, &e));
    ASSERT_FAILS(RS_UNAVAILABLE, "waiting", rs_source_env(&none, &s, later, &e));
}

static char *slurp(const char *dir, const char *name)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s", dir, name);
    char *text;
    struct rs_err e;
    ASSERT_OK(rs_file_read(path, 4096, &text, NULL, &e));
    return text;
}

static void volumes_change_atomically(void **state)
{
    char dir[] = "/tmp/rootshift-test-XXXXXX", before[256] = "", after[256] = "";
    RS_AUTO(json_t) *pod = pod_of();
    RS_AUTO(json_t) *v = unit_json("{'projected':{'sources':[{'configMap':{'name':'cm','items':[{'key':'k','path':'sub/k','mode':256}]}},{'secret':{'name':'s'}},"
        "{'serviceAccountToken':{'path':'tok','audience':'istio-ca'}},{'downwardAPI':{'items':[{'path':'labels','fieldRef':{'fieldPath':'metadata.labels'}}]}}]}}");
    RS_AUTO(json_t) *v2 = unit_json("{'configMap':{'name':'cm'}}");
    RS_AUTO_FILES f = { 0 }, f2 = { 0 };
    struct rs_source s = source(pod);
    struct rs_err e;
    struct stat st;

    assert_non_null(mkdtemp(dir));
    ASSERT_OK(rs_files_make(&f, &s, v, &e));
    assert_int_equal(f.n, 4);
    ASSERT_OK(rs_files_write(dir, &f, 0, false, &e));
    RS_AUTO(rs_chars) *k = slurp(dir, "sub/k"), *tok = slurp(dir, "tok"), *labels = slurp(dir, "labels"), *data = rs_printf("%s/..data", dir);
    assert_string_equal(k, "v");
    assert_string_equal(tok, "token-for-audience");
    assert_string_equal(labels, "a=\"1\"\nb=\"2\"");
    RS_AUTO(rs_chars) *path = rs_printf("%s/sub/k", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0400);
    assert_true(readlink(data, before, sizeof(before) - 1) > 0);
    ASSERT_OK(rs_files_make(&f2, &s, v2, &e));
    assert_false(rs_files_equal(&f, &f2));
    ASSERT_OK(rs_files_write(dir, &f2, 0, false, &e));
    assert_true(readlink(data, after, sizeof(after) - 1) > 0);
    assert_string_not_equal(before, after);
    RS_AUTO(rs_chars) *now = slurp(dir, "k"), *gone = rs_printf("%s/tok", dir), *old = rs_printf("%s/%s", dir, before);
    assert_string_equal(now, "v");
    assert_int_equal(lstat(gone, &st), -1);
    assert_int_equal(lstat(old, &st), -1);
    ASSERT_OK(rs_remove_tree(dir, &e));
}

static void paths_stay_inside(void **state)
{
    RS_AUTO(json_t) *pod = pod_of();
    struct rs_source s = source(pod);
    const char *const bad[] = { "../x", "/x", "a/../../x", "..data", "" };
    struct rs_err e;

    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        RS_AUTO(rs_chars) *text = rs_printf("{'configMap':{'name':'cm','items':[{'key':'k','path':'%s'}]}}", bad[i]);
        RS_AUTO(json_t) *v = unit_json(text);
        RS_AUTO_FILES f = { 0 };
        ASSERT_FAILS(RS_INVALID, "cannot be in a volume", rs_files_make(&f, &s, v, &e));
    }
}

static json_t *config_of(const char *container, struct rs_err *e)
{
    RS_AUTO(json_t) *pod = pod_of();
    RS_AUTO(json_t) *c = unit_json(container);
    RS_AUTO(json_t) *env = rs_json_pack("[s]", "NAME=x");
    struct rs_oci in = { .pod = pod, .container = c, .env = env, .hostname = "p", .netns = "/run/netns/x", .bin_dir = "/usr/bin", .ip = "10.244.1.2", .cluster_dns = "10.96.0.10" };
    json_t *config = NULL;

    return rs_oci_config(&config, &in, e) < 0 ? NULL : config;
}

static size_t caps(const json_t *config, const char *set) { return json_array_size(rs_json_at(config, "process", "capabilities", set)); }

static void runc_configuration(void **state)
{
    struct rs_err e;
    RS_AUTO(json_t) *root = config_of("{'image':'debian','command':['sh','-c','$(NAME)'],'args':['$(NO)']}", &e);
    RS_AUTO(json_t) *user = config_of("{'image':'x','command':['a'],'securityContext':{'runAsUser':1337,'capabilities':{'add':['NET_ADMIN'],'drop':['ALL']},'readOnlyRootFilesystem':true}}", &e);

    assert_string_equal(json_string_value(json_array_get(rs_json_at(root, "process", "args"), 2)), "x");
    assert_string_equal(json_string_value(json_array_get(rs_json_at(root, "process", "args"), 3)), "$(NO)");
    assert_true(caps(root, "effective") == 14 && caps(root, "ambient") == 14);
    assert_int_equal(rs_json_int(user, 0, "process", "user", "uid"), 1337);
    assert_int_equal(caps(user, "ambient"), 1);
    assert_int_equal(caps(user, "bounding"), 1);
    assert_true(rs_json_true(user, "root", "readonly"));
    assert_null(config_of("{'image':'docker.io/library/nginx:1','command':[]}", &e));
    assert_non_null(strstr(e.msg, "brings no command"));
    assert_null(config_of("{'image':'gcr.io/x/rootshift/nothing:v1@sha256:00'}", &e));
    assert_non_null(strstr(e.msg, "rootshift-nothing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(environment), cmocka_unit_test(volumes_change_atomically), cmocka_unit_test(paths_stay_inside), cmocka_unit_test(runc_configuration) };
    cm = unit_json("{'metadata':{'name':'cm'},'data':{'k':'v'}}");
    secret = unit_json("{'metadata':{'name':'s'},'data':{'k':'c2VjcmV0'}}");
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(cm);
    json_decref(secret);
    return r;
}
