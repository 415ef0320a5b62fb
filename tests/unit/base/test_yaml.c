#include "unit.h"

#include "base/yaml.h"

static void scalars_follow_kubernetes(void **state)
{
    struct rs_err e;
    RS_AUTO(json_t) *o = NULL;
    ASSERT_OK(rs_yaml_parse(&o, RS_STR("a: yes\nb: 017\nc: 12\nd: 1.5\ne: \"12\"\nf: ~\ng: 'on'\nh: -3\n"), &e));
    RS_AUTO(json_t) *want = unit_json("{'a':true,'b':'017','c':12,'d':1.5,'e':'12','f':null,'g':'on','h':-3}");
    assert_true(json_equal(o, want));
}

static void text_reads_back(void **state)
{
    struct rs_err e;
    RS_AUTO(json_t) *o = unit_json("{'a':['x','',{'b':'yes','c':[[1,2],[]]},'12','- y','k: v'],'pem':'-----BEGIN\\nAAA\\n-----END\\n','e':{},'n':null}");
    RS_AUTO(rs_chars) *text = rs_yaml_text(o);
    RS_AUTO(json_t) *back = NULL;
    ASSERT_OK(rs_yaml_parse(&back, rs_str_of(text), &e));
    if (!json_equal(o, back))
        fail_msg("%s", text);
}

static void several_documents(void **state)
{
    struct rs_err e;
    RS_AUTO(json_t) *all = NULL;
    ASSERT_OK(rs_yaml_parse_all(&all, RS_STR("a: 1\n---\n---\nb: 2\n"), &e));
    assert_int_equal(json_array_size(all), 2);
}

static void refuses(void **state)
{
    struct rs_err e;
    json_t *o = NULL;
    ASSERT_FAILS(RS_INVALID, "twice", rs_yaml_parse(&o, RS_STR("a: 1\na: 2\n"), &e));
    ASSERT_FAILS(RS_INVALID, "line", rs_yaml_parse(&o, RS_STR("a: [\n"), &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_follow_kubernetes), cmocka_unit_test(text_reads_back),
        cmocka_unit_test(several_documents), cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
