#include "grpc/struct.h"

#include <math.h>

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct reader { rs_str rest; int depth; size_t *values; struct rs_err *e; };
struct item { unsigned field, wire; uint64_t number; rs_str bytes; };

static int malformed(struct reader *r)
{
    return RS_FAIL(r->e, RS_INVALID, "malformed google.protobuf.Struct");
}

static int varint(struct reader *r, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && r->rest.n; shift += 7) {
        unsigned char c = (unsigned char)*r->rest.p;
        r->rest.p++;
        r->rest.n--;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *ret = v;
            return 0;
        }
    }
    return malformed(r);
}

static int take(struct reader *r, uint64_t n, rs_str *ret)
{
    if (n > r->rest.n)
        return malformed(r);
    *ret = (rs_str){ r->rest.p, (size_t)n };
    r->rest.p += n;
    r->rest.n -= n;
    return 0;
}

static int next_item(struct reader *r, struct item *ret)
{
    uint64_t tag;
    *ret = (struct item){ 0 };
    if (varint(r, &tag) < 0)
        return -1;
    ret->field = (unsigned)(tag >> 3);
    ret->wire = tag & 7;
    switch (ret->wire) {
    case VARINT: return varint(r, &ret->number);
    case FIXED64: return take(r, 8, &ret->bytes);
    case FIXED32: return take(r, 4, &ret->bytes);
    case BYTES: return varint(r, &ret->number) < 0 ? -1 : take(r, ret->number, &ret->bytes);
    default: return malformed(r);
    }
}

static struct reader inner(const struct reader *r, rs_str bytes)
{
    return (struct reader){ bytes, r->depth + 1, r->values, r->e };
}

static int decode_value(json_t **ret, struct reader *r);

static int decode_list(json_t **ret, struct reader *r)
{
    RS_AUTO(json_t) *list = json_array();
    while (r->rest.n) {
        struct item it;
        if (next_item(r, &it) < 0)
            return -1;
        if (it.field != 1 || it.wire != BYTES)
            continue;
        struct reader sub = inner(r, it.bytes);
        json_t *v;
        if (decode_value(&v, &sub) < 0)
            return -1;
        json_array_append_new(list, v);
    }
    *ret = rs_take(list);
    return 0;
}

static int decode_entry(json_t *object, struct reader *r)
{
    rs_str key = { "", 0 };
    RS_AUTO(json_t) *value = json_null();
    while (r->rest.n) {
        struct item it;
        if (next_item(r, &it) < 0)
            return -1;
        if (it.wire != BYTES)
            continue;
        if (it.field == 1)
            key = it.bytes;
        if (it.field == 2) {
            struct reader sub = inner(r, it.bytes);
            json_t *v;
            if (decode_value(&v, &sub) < 0)
                return -1;
            json_decref(value);
            value = v;
        }
    }
    RS_AUTO(rs_chars) *name = rs_strndup(key.p, key.n);
    if (memchr(key.p, 0, key.n) || json_object_set(object, name, value) < 0)
        return malformed(r);
    return 0;
}

static int decode_struct(json_t **ret, struct reader *r)
{
    if (r->depth > RS_STRUCT_DEPTH_MAX)
        return RS_FAIL(r->e, RS_INVALID, "google.protobuf.Struct deeper than %d", RS_STRUCT_DEPTH_MAX);
    RS_AUTO(json_t) *object = json_object();
    while (r->rest.n) {
        struct item it;
        if (next_item(r, &it) < 0)
            return -1;
        if (it.field != 1 || it.wire != BYTES)
            continue;
        struct reader sub = { it.bytes, r->depth, r->values, r->e };
        if (decode_entry(object, &sub) < 0)
            return -1;
    }
    *ret = rs_take(object);
    return 0;
}

static json_t *number_of(rs_str bytes)
{
    double d;
    memcpy(&d, bytes.p, sizeof d);
    if (isfinite(d) && d == floor(d) && fabs(d) < 9007199254740992.0)
        return json_integer((json_int_t)d);
    return json_real(d);           /* NULL when not finite */
}

static int decode_value(json_t **ret, struct reader *r)
{
    if (r->depth > RS_STRUCT_DEPTH_MAX)
        return RS_FAIL(r->e, RS_INVALID, "google.protobuf.Struct deeper than %d", RS_STRUCT_DEPTH_MAX);
    if (++*r->values > RS_STRUCT_VALUES_MAX)
        return RS_FAIL(r->e, RS_INVALID, "google.protobuf.Struct with more than %d values", RS_STRUCT_VALUES_MAX);
    RS_AUTO(json_t) *value = json_null();
    while (r->rest.n) {
        struct item it;
        if (next_item(r, &it) < 0)
            return -1;
        json_t *v = NULL;
        struct reader sub = inner(r, it.bytes);
        if (it.field == 1 && it.wire == VARINT)
            v = json_null();
        else if (it.field == 2 && it.wire == FIXED64)
            v = number_of(it.bytes);
        else if (it.field == 3 && it.wire == BYTES)
            v = json_stringn(it.bytes.p, it.bytes.n);
        else if (it.field == 4 && it.wire == VARINT)
            v = json_boolean(it.number != 0);
        else if (it.field == 5 && it.wire == BYTES && decode_struct(&v, &sub) < 0)
            return -1;
        else if (it.field == 6 && it.wire == BYTES && decode_list(&v, &sub) < 0)
            return -1;
        else if (it.field > 6)
            continue;
        if (!v)
            return malformed(r);
        json_decref(value);
        value = v;
    }
    *ret = rs_take(value);
    return 0;
}

int rs_struct_decode(json_t **ret, rs_str bytes, struct rs_err *e)
{
    size_t values = 0;
    struct reader r = { bytes, 0, &values, e };
    return decode_struct(ret, &r);
}

/* ---- writing ---- */

static void put_varint(struct rs_buf *out, uint64_t v)
{
    unsigned char b[10];
    size_t n = 0;
    do {
        b[n] = (unsigned char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        v >>= 7;
        n++;
    } while (v);
    rs_buf_add(out, b, n);
}

static void put_bytes(struct rs_buf *out, unsigned field, rs_str s)
{
    put_varint(out, field << 3 | BYTES);
    put_varint(out, s.n);
    rs_buf_add(out, s.p, s.n);
}

static void encode_object(struct rs_buf *out, const json_t *o, int depth);

static void encode_value(struct rs_buf *out, const json_t *v, int depth)
{
    rs_assert(depth <= RS_STRUCT_DEPTH_MAX);
    RS_AUTO_BUF sub;
    rs_buf_init(&sub, out->max);
    if (json_is_string(v)) {
        put_bytes(out, 3, (rs_str){ json_string_value(v), json_string_length(v) });
    } else if (json_is_number(v)) {
        double d = json_number_value(v);
        put_varint(out, 2 << 3 | FIXED64);
        rs_buf_add(out, &d, sizeof d);
    } else if (json_is_boolean(v)) {
        put_varint(out, 4 << 3 | VARINT);
        put_varint(out, json_is_true(v));
    } else if (json_is_object(v)) {
        encode_object(&sub, v, depth + 1);
        put_bytes(out, 5, rs_buf_str(&sub));
    } else if (json_is_array(v)) {
        size_t i;
        json_t *item;
        json_array_foreach(v, i, item) {
            RS_AUTO_BUF one;
            rs_buf_init(&one, out->max);
            encode_value(&one, item, depth + 1);
            put_bytes(&sub, 1, rs_buf_str(&one));
        }
        put_bytes(out, 6, rs_buf_str(&sub));
    } else {
        put_varint(out, 1 << 3 | VARINT);
        put_varint(out, 0);
    }
}

static void encode_object(struct rs_buf *out, const json_t *o, int depth)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v) {
        RS_AUTO_BUF entry, value;
        rs_buf_init(&entry, out->max);
        rs_buf_init(&value, out->max);
        encode_value(&value, v, depth + 1);
        put_bytes(&entry, 1, rs_str_of(key));
        put_bytes(&entry, 2, rs_buf_str(&value));
        put_bytes(out, 1, rs_buf_str(&entry));
        out->over |= entry.over || value.over;
    }
}

void rs_struct_encode(struct rs_buf *out, const json_t *object)
{
    encode_object(out, object, 0);
}
