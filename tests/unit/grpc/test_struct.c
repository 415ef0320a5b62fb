#include "unit.h"

#include "grpc/struct.h"

static void test_round_trip(void **state)
{
    struct rs_err e;
    RS_AUTO(json_t) *o = unit_json("{'NAME':'web-0','n':3,'half':1.5,'no':null,'yes':true,'LABELS':{'app':'web','':'x'},'list':[1,'a',[],{}]}"), *back = NULL;
    RS_AUTO_BUF out;
    rs_buf_init(&out, 1 << 20);
    rs_struct_encode(&out, o);
    assert_false(out.over);
    ASSERT_OK(rs_struct_decode(&back, rs_buf_str(&out), &e));
    assert_true(json_equal(o, back));
    RS_AUTO(json_t) *none = NULL;
    ASSERT_OK(rs_struct_decode(&none, RS_STR(""), &e));
    assert_true(json_is_object(none) && json_object_size(none) == 0);
}

/* Wraps bytes as the struct { fields: { key "a", value: struct } } around them. */
static void wrap(struct rs_buf *b)
{
    RS_AUTO_BUF out;
    rs_buf_init(&out, 1 << 20);
    size_t parts[3] = { b->n, 0, 0 };
    unsigned char head[3][8];
    size_t n[3];
    unsigned char tags[3] = { 0x2a, 0x12, 0x0a };
    for (int i = 0; i < 3; i++) {
        size_t v = parts[i], k = 0;
        head[i][k++] = tags[i];
        do {
            head[i][k++] = (unsigned char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
            v >>= 7;
        } while (v);
        n[i] = k;
        if (i < 2)
            parts[i + 1] = parts[i] + k + (i == 1 ? 3 : 0);
    }
    rs_buf_add(&out, head[2], n[2]);
    rs_buf_add(&out, "\x0a\x01" "a", 3);
    rs_buf_add(&out, head[1], n[1]);
    rs_buf_add(&out, head[0], n[0]);
    rs_buf_add(&out, b->p, b->n);
    rs_buf_clear(b);
    rs_buf_add(b, out.p, out.n);
}

static void test_depth(void **state)
{
    struct rs_err e;
    json_t *o = NULL;
    RS_AUTO_BUF b;
    rs_buf_init(&b, 1 << 20);
    for (int i = 0; i < 10; i++)
        wrap(&b);
    ASSERT_OK(rs_struct_decode(&o, rs_buf_str(&b), &e));
    json_decref(o);
    for (int i = 0; i < 5000; i++)
        wrap(&b);
    ASSERT_FAILS(RS_INVALID, "deeper", rs_struct_decode(&o, rs_buf_str(&b), &e));
}

static void test_malformed(void **state)
{
    struct rs_err e;
    json_t *o = NULL;
    ASSERT_FAILS(RS_INVALID, "malformed", rs_struct_decode(&o, RS_STR("\x0a\x7f"), &e));
    ASSERT_FAILS(RS_INVALID, "malformed", rs_struct_decode(&o, RS_STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), &e));
    ASSERT_FAILS(RS_INVALID, "malformed", rs_struct_decode(&o, RS_STR("\x0a\x07\x0a\x01\xff\x12\x02\x1a"), &e));
    ASSERT_FAILS(RS_INVALID, "malformed", rs_struct_decode(&o, RS_STR("\x0b"), &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_round_trip), cmocka_unit_test(test_depth), cmocka_unit_test(test_malformed) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
