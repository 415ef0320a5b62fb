#include "unit.h"

#include "base/json_patch.h"

/* from RFC 6902 appendix A and RFC 7386 appendix A */
static const struct { const char *doc, *patch, *want; } json_cases[] = {
    { "{'foo':'bar'}", "[{'op':'add','path':'/baz','value':'qux'}]", "{'foo':'bar','baz':'qux'}" },
    { "{'foo':['bar','baz']}", "[{'op':'add','path':'/foo/1','value':'qux'}]", "{'foo':['bar','qux','baz']}" },
    { "{'baz':'qux','foo':'bar'}", "[{'op':'remove','path':'/baz'}]", "{'foo':'bar'}" },
    { "{'foo':['bar','qux','baz']}", "[{'op':'remove','path':'/foo/1'}]", "{'foo':['bar','baz']}" },
    { "{'a':{'b':1},'c':{}}", "[{'op':'move','from':'/a/b','path':'/c/d'}]", "{'a':{},'c':{'d':1}}" },
    { "{'a~b':1,'c/d':2}", "[{'op':'replace','path':'/a~0b','value':3},{'op':'remove','path':'/c~1d'}]", "{'a~b':3}" },
    { "{'foo':['bar']}", "[{'op':'add','path':'/foo/-','value':['x']}]", "{'foo':['bar',['x']]}" },
    { "{'a':1}", "[{'op':'test','path':'/a','value':2}]", NULL },
    { "{'a':1}", "[{'op':'add','path':'/b/c','value':2}]", NULL },
    { "{'a':1}", "[{'op':'replace','path':'/b','value':2}]", NULL },
    { "{'a':[1]}", "[{'op':'add','path':'/a/3','value':2}]", NULL },
};

static void rfc6902(void **state)
{
    for (size_t i = 0; i < RS_COUNT(json_cases); i++) {
        struct rs_err e;
        RS_AUTO(json_t) *doc = unit_json(json_cases[i].doc), *patch = unit_json(json_cases[i].patch), *got = NULL;
        int rc = rs_json_patch_apply(&got, doc, patch, &e);
        if (!json_cases[i].want) {
            assert_int_equal(rc, -1);
            continue;
        }
        RS_AUTO(json_t) *want = unit_json(json_cases[i].want);
        if (rc < 0 || !json_equal(got, want))
            fail_msg("case %zu", i);
    }
}

/* Each copy doubles the document: a short patch must not fill the memory. */
static void copies_are_bounded(void **state)
{
    struct rs_err e;
    json_t *got = NULL;
    RS_AUTO(json_t) *doc = unit_json("{'data':{'a':'b'}}"), *patch = json_array();
    for (int i = 0; i < 40; i++) {
        RS_AUTO(rs_chars) *path = rs_printf("/data/c%d", i);
        json_array_append_new(patch, rs_json_pack("{s:s, s:s, s:s}", "op", "copy", "from", "/data", "path", path));
    }
    ASSERT_FAILS(RS_INVALID, "copies too much", rs_json_patch_apply(&got, doc, patch, &e));
}

static void merge(void **state)
{
    RS_AUTO(json_t) *doc = unit_json("{'a':{'b':1,'c':2},'d':[1]}"), *patch = unit_json("{'a':{'b':null,'e':{'f':null,'g':1}},'d':[2]}");
    RS_AUTO(json_t) *got = rs_json_merge(doc, patch), *want = unit_json("{'a':{'c':2,'e':{'g':1}},'d':[2]}");
    assert_true(json_equal(got, want));
}

static void diff_applies(void **state)
{
    static const char *const pairs[][2] = {
        { "{}", "{'a':{'b':[1,2,{'c/d':1}]}}" },
        { "{'a':[1,2,3],'b':1}", "{'a':[1],'c~':2}" },
        { "{'l':[{'n':'a'},{'n':'b'}]}", "{'l':[{'n':'a','x':1},{'n':'c'},{'n':'d'}]}" },
    };
    for (size_t i = 0; i < RS_COUNT(pairs); i++) {
        struct rs_err e;
        RS_AUTO(json_t) *from = unit_json(pairs[i][0]), *to = unit_json(pairs[i][1]);
        RS_AUTO(json_t) *ops = rs_json_patch_diff(from, to), *got = NULL;
        ASSERT_OK(rs_json_patch_apply(&got, from, ops, &e));
        assert_true(json_equal(got, to));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rfc6902), cmocka_unit_test(copies_are_bounded), cmocka_unit_test(merge), cmocka_unit_test(diff_applies) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
