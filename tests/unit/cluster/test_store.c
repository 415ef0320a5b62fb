#include <unistd.h>

#include "cluster/store.h"
#include "base/file.h"
#include "kube/object.h"
#include "unit.h"

struct seen { char text[512]; };

static void note(void *ctx, const struct rs_change *c)
{
    struct seen *s = ctx;
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%s%s%s ", c->deleted ? "-" : c->old ? "~" : "+", c->now->name, c->deleted && !c->old ? "?" : "");
}

static rs_store *open_store(const char *path)
{
    struct rs_err e;
    rs_store *s = NULL;
    ASSERT_OK(rs_store_open(&s, path, &e));
    return s;
}

static void put(rs_store *s, const char *ns, const char *name, const char *value)
{
    rs_store_put(s, "configmaps", ns, name, rs_json_pack("{s:{s:s}, s:s}", "metadata", "name", name, "value", value));
}

static void test_order_and_ranges(void **state)
{
    rs_store *s = open_store(":memory:");
    rs_record *const *v;
    put(s, "b", "y", "1");
    put(s, "a", "z", "1");
    put(s, "b", "x", "1");
    put(s, "ba", "x", "1");
    assert_int_equal(rs_store_list(s, "configmaps", NULL, &v), 4);
    assert_string_equal(v[0]->name, "z");
    assert_int_equal(rs_store_list(s, "configmaps", "b", &v), 2);
    assert_string_equal(v[0]->name, "x");
    assert_string_equal(v[1]->name, "y");
    assert_int_equal(rs_store_list(s, "configmaps", "c", &v), 0);
    assert_int_equal(rs_store_list(s, "secrets", NULL, &v), 0);
    assert_null(rs_store_get(s, "configmaps", "a", "x"));
    rs_record *r = rs_store_get(s, "configmaps", "ba", "x");
    assert_string_equal(rs_object_rv(rs_record_doc(r)), "5");
    rs_store_free(s);
}

static void test_changes_follow_the_commit(void **state)
{
    struct rs_err e;
    struct seen live = { "" }, replay = { "" };
    rs_store *s = open_store(":memory:");
    uint64_t start = rs_store_rv(s);
    rs_store_on_change(s, note, &live);
    put(s, "a", "x", "1");
    put(s, "a", "x", "2");
    rs_store_delete(s, "configmaps", "a", "x");
    assert_string_equal(live.text, "");
    assert_true(rs_store_dirty(s));
    ASSERT_OK(rs_store_commit(s, &e));
    assert_false(rs_store_dirty(s));
    assert_string_equal(live.text, "+x ~x -x ");
    assert_true(rs_store_replay(s, start + 1, note, &replay));
    assert_string_equal(replay.text, "~x -x ");
    assert_false(rs_store_replay(s, start - 1, note, &replay));
    assert_null(rs_store_delete(s, "configmaps", "a", "x"));
    rs_store_free(s);
}

static void test_old_changes_are_forgotten(void **state)
{
    struct rs_err e;
    struct seen none = { "" };
    rs_store *s = open_store(":memory:");
    uint64_t start = rs_store_rv(s);
    char name[16];
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "n%d", i % 3);
        put(s, "a", name, "1");
        ASSERT_OK(rs_store_commit(s, &e));
    }
    assert_false(rs_store_replay(s, start, note, &none));
    assert_true(rs_store_replay(s, rs_store_rv(s), note, &none));
    assert_string_equal(none.text, "");
    rs_store_free(s);
}

static void test_reopen(void **state)
{
    struct rs_err e;
    char dir[] = "/tmp/rs-store-XXXXXX";
    assert_non_null(mkdtemp(dir));
    RS_AUTO(rs_chars) *path = rs_printf("%s/objects.db", dir);
    rs_store *s = open_store(path);
    put(s, "a", "kept", "1");
    put(s, "a", "gone", "1");
    ASSERT_OK(rs_store_commit(s, &e));
    rs_store_delete(s, "configmaps", "a", "gone");
    ASSERT_OK(rs_store_commit(s, &e));
    uint64_t rv = rs_store_rv(s);
    put(s, "a", "lost", "1");                  /* never committed */
    rs_store_free(s);
    s = open_store(path);
    assert_int_equal(rs_store_count(s), 1);
    assert_int_equal(rs_store_rv(s), rv);      /* also counts the deletion */
    rs_record *r = rs_store_get(s, "configmaps", "a", "kept");
    assert_string_equal(rs_json_str(rs_record_doc(r), "value"), "1");
    rs_store_free(s);
    ASSERT_OK(rs_remove_tree(dir, &e));
}

/* A full disk: what the failed commit held is undone, the store goes on. */
static void test_failed_commit_is_undone(void **state)
{
    struct rs_err e;
    struct seen live = { "" };
    char dir[] = "/tmp/rs-store-XXXXXX";
    assert_non_null(mkdtemp(dir));
    RS_AUTO(rs_chars) *path = rs_printf("%s/objects.db", dir);
    rs_store *s = open_store(path);
    put(s, "a", "x", "before");
    put(s, "a", "z", "before");
    ASSERT_OK(rs_store_commit(s, &e));
    rs_store_on_change(s, note, &live);
    rs_store_limit_pages(s, 1);
    RS_AUTO(rs_chars) *big = rs_alloc(200000);
    memset(big, 'b', 199999);
    put(s, "a", "x", "between");
    put(s, "a", "x", big);
    put(s, "a", "y", big);
    rs_store_delete(s, "configmaps", "a", "z");
    ASSERT_FAILS(RS_EXHAUSTED, "full", rs_store_commit(s, &e));
    assert_string_equal(live.text, "");
    assert_int_equal(rs_store_count(s), 2);
    assert_string_equal(rs_json_str(rs_record_doc(rs_store_get(s, "configmaps", "a", "x")), "value"), "before");
    assert_non_null(rs_store_get(s, "configmaps", "a", "z"));
    assert_null(rs_store_get(s, "configmaps", "a", "y"));
    put(s, "a", "x", "after");
    ASSERT_OK(rs_store_commit(s, &e));
    assert_string_equal(live.text, "~x ");
    rs_store_free(s);
    ASSERT_OK(rs_remove_tree(dir, &e));
}

static void test_rest_frees_and_reparses(void **state)
{
    struct rs_err e;
    rs_store *s = open_store(":memory:");
    put(s, "a", "x", "1");
    ASSERT_OK(rs_store_commit(s, &e));
    rs_record *r = rs_store_get(s, "configmaps", "a", "x");
    rs_store_rest(s);
    rs_store_rest(s);
    assert_null(r->doc);
    assert_string_equal(rs_json_str(rs_record_doc(r), "value"), "1");
    rs_store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_ranges), cmocka_unit_test(test_changes_follow_the_commit), cmocka_unit_test(test_old_changes_are_forgotten),
        cmocka_unit_test(test_reopen), cmocka_unit_test(test_failed_commit_is_undone), cmocka_unit_test(test_rest_frees_and_reparses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
