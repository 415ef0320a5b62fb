#include "unit.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/yaml.h"
#include "cluster/contexts.h"

static struct rs_err e;

static const char FOREIGN[] =
    "{'apiVersion':'v1','kind':'Config','preferences':{'colors':true},'current-context':'work','extra':[1,2],"
    "'clusters':[{'name':'work','cluster':{'server':'https://w','extensions':[{'name':'x'}]}}],"
    "'contexts':[{'name':'work','context':{'cluster':'work','user':'me','namespace':'n'}}],"
    "'users':[{'name':'me','user':{'exec':{'command':'login','args':['a','1']}}}]}";

static json_t *ours(const char *server)
{
    return rs_json_pack("{s:[{s:s,s:{s:s}}], s:[{s:s,s:{s:s}}]}", "clusters", "name", "c", "cluster", "server", server,
                        "users", "name", "u", "user", "client-key-data", "S0VZ");
}

static void put_and_drop_keep_the_rest(void **state)
{
    RS_AUTO(json_t) *config = unit_json(FOREIGN);
    RS_AUTO(json_t) *before = json_deep_copy(config);
    RS_AUTO(json_t) *own = ours("https://127.0.0.1:1");
    struct rs_context c;
    ASSERT_OK(rs_contexts_own(&c, "rootshift-demo", own, &e));
    for (int i = 0; i < 2; i++) {                      /* again: replaced, not added */
        ASSERT_OK(rs_contexts_put(config, &c, &e));
        assert_string_equal(rs_json_str(config, "current-context"), "rootshift-demo");
        assert_int_equal(json_array_size(rs_json_at(config, "contexts")), 2);
        assert_int_equal(json_array_size(rs_json_at(config, "clusters")), 2);
        assert_int_equal(json_array_size(rs_json_at(config, "users")), 2);
    }
    assert_true(rs_contexts_drop(config, "rootshift-demo", "https://127.0.0.1:1", "work"));
    assert_true(json_equal(config, before));
    assert_false(rs_contexts_drop(config, "rootshift-demo", "https://127.0.0.1:1", "work"));
}

static void somebody_elses_of_the_same_name_stays(void **state)
{
    RS_AUTO(json_t) *config = rs_contexts_empty();
    RS_AUTO(json_t) *own = ours("https://127.0.0.1:1");
    struct rs_context c;
    ASSERT_OK(rs_contexts_own(&c, "rootshift-demo", own, &e));
    ASSERT_OK(rs_contexts_put(config, &c, &e));
    RS_AUTO(json_t) *before = json_deep_copy(config);
    assert_false(rs_contexts_drop(config, "rootshift-demo", "https://127.0.0.1:2", NULL));
    assert_true(json_equal(config, before));
}

static void current_context_of_others_stays(void **state)
{
    RS_AUTO(json_t) *config = unit_json(FOREIGN);
    RS_AUTO(json_t) *own = ours("https://127.0.0.1:1");
    struct rs_context c;
    ASSERT_OK(rs_contexts_own(&c, "rootshift-demo", own, &e));
    ASSERT_OK(rs_contexts_put(config, &c, &e));
    rs_json_set_str(config, "current-context", "work");
    assert_true(rs_contexts_drop(config, "rootshift-demo", "https://127.0.0.1:1", "gone"));
    assert_string_equal(rs_json_str(config, "current-context"), "work");
    ASSERT_OK(rs_contexts_put(config, &c, &e));
    assert_true(rs_contexts_drop(config, "rootshift-demo", "https://127.0.0.1:1", "gone"));
    assert_string_equal(rs_json_str(config, "current-context"), "");
}

static void shapes(void **state)
{
    RS_AUTO(json_t) *own = ours("https://127.0.0.1:1");
    struct rs_context c;
    ASSERT_OK(rs_contexts_own(&c, "rootshift-demo", own, &e));
    RS_AUTO(json_t) *nulls = unit_json("{'clusters':null,'users':null,'contexts':null}");
    ASSERT_OK(rs_contexts_put(nulls, &c, &e));
    RS_AUTO(json_t) *wrong = unit_json("{'clusters':{}}");
    ASSERT_FAILS(RS_INVALID, "clusters is not a list", rs_contexts_put(wrong, &c, &e));
    RS_AUTO(json_t) *odd = unit_json("{'clusters':[1,null,{'name':5}],'users':[[]],'contexts':['a']}");
    ASSERT_OK(rs_contexts_put(odd, &c, &e));
    assert_true(rs_contexts_drop(odd, "rootshift-demo", NULL, NULL));
    assert_int_equal(json_array_size(rs_json_at(odd, "clusters")), 3);
    ASSERT_FAILS(RS_INVALID, "without cluster", rs_contexts_own(&c, "x", nulls, &e) || rs_contexts_own(&c, "x", wrong, &e));
}

/* ---- files ---- */

static int make_dir(void **state)
{
    char *dir = rs_strdup("/tmp/rootshift-contexts-XXXXXX");
    *state = mkdtemp(dir);
    return *state ? 0 : -1;
}

static int remove_dir(void **state)
{
    int rc = rs_remove_tree(*state, &e);
    free(*state);
    return rc;
}

static size_t files_in(const char *dir)
{
    struct dirent **names;
    int n = scandir(dir, &names, NULL, NULL);
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    return (size_t)n - 2;
}

static void a_file_is_made_and_kept(void **state)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/sub/config", (char *)*state);
    RS_AUTO(rs_chars) *sub = rs_printf("%s/sub", (char *)*state);
    RS_AUTO(rs_chars) *previous = NULL;
    RS_AUTO(json_t) *own = ours("https://127.0.0.1:1");
    struct rs_context c;
    struct stat st;
    ASSERT_OK(rs_contexts_own(&c, "rootshift-demo", own, &e));
    ASSERT_OK(rs_contexts_drop_from(path, "rootshift-demo", "https://127.0.0.1:1", NULL, &e));    /* no file: nothing to do */
    ASSERT_OK(rs_contexts_add_to(path, &c, &previous, &e));
    assert_null(previous);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(files_in(sub), 1);
    c.name = "rootshift-two";
    ASSERT_OK(rs_contexts_add_to(path, &c, &previous, &e));
    assert_string_equal(previous, "rootshift-demo");
    ASSERT_OK(rs_contexts_drop_from(path, "rootshift-two", "https://127.0.0.1:1", previous, &e));
    RS_AUTO(rs_chars) *text = NULL;
    ASSERT_OK(rs_file_read(path, 65536, &text, NULL, &e));
    RS_AUTO(json_t) *config = NULL;
    ASSERT_OK(rs_yaml_parse(&config, rs_str_of(text), &e));
    assert_string_equal(rs_json_str(config, "current-context"), "rootshift-demo");
    assert_int_equal(json_array_size(rs_json_at(config, "contexts")), 1);
    assert_int_equal(files_in(sub), 1);
}

static void a_damaged_file_is_left_alone(void **state)
{
    static const char *const bad[] = { "a: [", "- 1\n", "clusters: 5\n", "kind: Config\n---\nkind: Config\n", "text" };
    RS_AUTO(rs_chars) *path = rs_printf("%s/config", (char *)*state);
    RS_AUTO(json_t) *own = ours("https://127.0.0.1:1");
    struct rs_context c;
    ASSERT_OK(rs_contexts_own(&c, "rootshift-demo", own, &e));
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        char *previous = NULL;
        ASSERT_OK(rs_file_write(path, rs_str_of(bad[i]), 0640, &e));
        ASSERT_FAILS(RS_INVALID, path, rs_contexts_add_to(path, &c, &previous, &e));
        RS_AUTO(rs_chars) *text = NULL;
        ASSERT_OK(rs_file_read(path, 65536, &text, NULL, &e));
        assert_string_equal(text, bad[i]);
        assert_int_equal(files_in(*state), 1);
    }
}

static void a_lock_left_by_a_kill_is_taken(void **state)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/config", (char *)*state);
    RS_AUTO(rs_chars) *lock = rs_printf("%s.lock", path);
    RS_AUTO(rs_chars) *between = rs_printf("%s.rootshift", path);
    RS_AUTO(json_t) *own = ours("https://127.0.0.1:1");
    RS_AUTO(rs_chars) *previous = NULL;
    struct rs_context c;
    ASSERT_OK(rs_contexts_own(&c, "rootshift-demo", own, &e));
    ASSERT_OK(rs_file_write(lock, RS_STR("rootshift 1 1\n"), 0600, &e));           /* pid 1 did not start at tick 1 */
    ASSERT_OK(rs_file_write(between, RS_STR("half"), 0600, &e));
    ASSERT_OK(rs_contexts_add_to(path, &c, &previous, &e));
    assert_int_equal(files_in(*state), 1);
}

static void which_file(void **state)
{
    const char *dir = *state;
    RS_AUTO(rs_chars) *there = rs_printf("%s/there", dir);
    RS_AUTO(rs_chars) *list = rs_printf("%s/a::%s/there:%s/b", dir, dir, dir);
    RS_AUTO(rs_chars) *none = rs_printf("%s/a:%s/b:", dir, dir);
    RS_AUTO(rs_chars) *last = rs_printf("%s/b", dir);
    RS_AUTO(rs_chars) *got = NULL;
    ASSERT_OK(rs_file_write(there, RS_STR(""), 0600, &e));
    setenv("KUBECONFIG", list, 1);
    ASSERT_OK(rs_contexts_path(&got, NULL, &e));
    assert_string_equal(got, there);
    free(rs_take(got));
    setenv("KUBECONFIG", none, 1);
    ASSERT_OK(rs_contexts_path(&got, NULL, &e));
    assert_string_equal(got, last);
    free(rs_take(got));
    ASSERT_OK(rs_contexts_path(&got, there, &e));
    assert_string_equal(got, there);
    free(rs_take(got));
    unsetenv("KUBECONFIG");
    setenv("HOME", dir, 1);
    ASSERT_OK(rs_contexts_path(&got, NULL, &e));
    assert_true(rs_ends(got, "/.kube/config") && rs_starts(got, dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_and_drop_keep_the_rest),
        cmocka_unit_test(somebody_elses_of_the_same_name_stays),
        cmocka_unit_test(current_context_of_others_stays),
        cmocka_unit_test(shapes),
        cmocka_unit_test_setup_teardown(a_file_is_made_and_kept, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_left_alone, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_lock_left_by_a_kill_is_taken, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(which_file, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
