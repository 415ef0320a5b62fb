#include "xds/encode.h"

#include <stdarg.h>

#include "envoy_config.pb-c.h"
#include "xds/registry.h"

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

/* Where we are, as a list on the stack, written out only for an error. */
struct path { const struct path *up; const char *key; size_t index; };
enum { NO_INDEX = (size_t)-1 };

struct coder { struct rs_err *e; };

static int encode_fields(struct coder *c, const struct path *at, const ProtobufCMessageDescriptor *d, const json_t *o, struct rs_buf *out);

static void path_text(const struct path *p, struct rs_buf *out)
{
    if (!p)
        return;
    path_text(p->up, out);
    if (p->index != (size_t)NO_INDEX)
        rs_buf_addf(out, "[%zu]", p->index);
    else
        rs_buf_addf(out, "%s%s", p->up && out->n ? "." : "", p->key);
}

#define BAD(c, at, ...) bad((c), (at), __FILE__, __LINE__, __VA_ARGS__)
static int RS_PRINTF(5, 6) bad(struct coder *c, const struct path *at, const char *file, int line, const char *fmt, ...)
{
    RS_AUTO_BUF where;
    rs_buf_init(&where, 512);
    path_text(at, &where);
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return rs_err_set(c->e, RS_INVALID, 0, file, line, "%.*s: %s", (int)where.n, rs_buf_str(&where).p, text);
}

static void put_varint(struct rs_buf *out, uint64_t v)
{
    unsigned char b[10];
    size_t n = 0;
    do {
        b[n++] = (unsigned char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        v >>= 7;
    } while (v);
    rs_buf_add(out, b, n);
}

static void put_tag(struct rs_buf *out, uint32_t field, unsigned wire)
{
    put_varint(out, (uint64_t)field << 3 | wire);
}

static void put_bytes(struct rs_buf *out, uint32_t field, const void *p, size_t n)
{
    put_tag(out, field, BYTES);
    put_varint(out, n);
    rs_buf_add(out, p, n);
}

/* ---- messages with a JSON form of their own ---- */

static int encode_duration(struct coder *c, const struct path *at, const json_t *v, struct rs_buf *out)
{
    const char *s = json_string_value(v);
    size_t whole = s ? strspn(s, "0123456789") : 0, fraction = 0;
    if (whole && s[whole] == '.')
        fraction = strspn(s + whole + 1, "0123456789");
    const char *end = s ? s + whole + (fraction ? fraction + 1 : 0) : NULL;
    uint64_t seconds;
    if (!s || whole == 0 || fraction > 9 || !rs_streq(end, "s") || !rs_str_u64((rs_str){ s, whole }, &seconds) || seconds > 315576000000)
        return BAD(c, at, "not a duration like \"1.5s\"");
    uint64_t nanos = 0;
    for (size_t i = 0; i < 9; i++)
        nanos = nanos * 10 + (i < fraction ? (uint64_t)(s[whole + 1 + i] - '0') : 0);
    if (seconds) {
        put_tag(out, 1, VARINT);
        put_varint(out, seconds);
    }
    if (nanos) {
        put_tag(out, 2, VARINT);
        put_varint(out, nanos);
    }
    return 0;
}

static int encode_struct(struct coder *c, const struct path *at, const json_t *v, struct rs_buf *out)
{
    const char *key;
    json_t *member;
    if (!json_is_object(v))
        return BAD(c, at, "not an object");
    json_object_foreach((json_t *)v, key, member) {
        struct path here = { at, key, (size_t)NO_INDEX };
        const char *kind = json_is_string(member) ? "string_value" : json_is_boolean(member) ? "bool_value" : json_is_number(member) ? "number_value" : NULL;
        if (!kind)
            return BAD(c, &here, "only text, numbers and truth values can stand in a Struct");
        RS_AUTO_BUF entry, value;
        rs_buf_init(&entry, out->max);
        rs_buf_init(&value, out->max);
        RS_AUTO(json_t) *wrapped = json_pack("{sO}", kind, member);
        if (encode_fields(c, &here, &envoy__struct__value__descriptor, wrapped, &value) < 0)
            return -1;
        put_bytes(&entry, 1, key, strlen(key));
        put_bytes(&entry, 2, value.p, value.n);
        put_bytes(out, 1, entry.p, entry.n);
    }
    return 0;
}

static int encode_any(struct coder *c, const struct path *at, const json_t *v, struct rs_buf *out)
{
    const char *url = rs_json_str(v, "@type");
    const ProtobufCMessageDescriptor *d = url ? rs_xds_descriptor(url) : NULL;
    if (!url)
        return BAD(c, at, "an object with \"@type\" is wanted");
    if (!d)
        return BAD(c, at, "unknown type %s", url);
    RS_AUTO_BUF body;
    rs_buf_init(&body, out->max);
    if (encode_fields(c, at, d, v, &body) < 0)
        return -1;
    put_bytes(out, 1, url, strlen(url));
    put_bytes(out, 2, body.p, body.n);
    return 0;
}

static bool is_wrapper(const ProtobufCMessageDescriptor *d)
{
    return d == &envoy__uint32_value__descriptor || d == &envoy__uint64_value__descriptor || d == &envoy__bool_value__descriptor;
}

static int encode_message(struct coder *c, const struct path *at, const ProtobufCMessageDescriptor *d, const json_t *v, struct rs_buf *out)
{
    if (d == &envoy__duration__descriptor)
        return encode_duration(c, at, v, out);
    if (d == &envoy__struct__descriptor)
        return encode_struct(c, at, v, out);
    if (d == &envoy__any__descriptor)
        return encode_any(c, at, v, out);
    if (is_wrapper(d)) {
        RS_AUTO(json_t) *wrapped = json_pack("{sO}", "value", v);
        return encode_fields(c, at, d, wrapped, out);
    }
    return encode_fields(c, at, d, v, out);
}

/* ---- fields ---- */

static int encode_enum(struct coder *c, const struct path *at, const ProtobufCFieldDescriptor *f, const json_t *v, struct rs_buf *out)
{
    const char *name = json_string_value(v);
    const ProtobufCEnumValue *value = name ? protobuf_c_enum_descriptor_get_value_by_name(f->descriptor, name) : NULL;
    if (!value)
        return BAD(c, at, "not a value of enum %s", ((const ProtobufCEnumDescriptor *)f->descriptor)->short_name);
    put_tag(out, f->id, VARINT);
    put_varint(out, (uint64_t)(int64_t)value->value);
    return 0;
}

static int encode_integer(struct coder *c, const struct path *at, const ProtobufCFieldDescriptor *f, const json_t *v, struct rs_buf *out)
{
    if (!json_is_integer(v))
        return BAD(c, at, "not an integer");
    json_int_t n = json_integer_value(v);
    bool is_unsigned = f->type == PROTOBUF_C_TYPE_UINT32 || f->type == PROTOBUF_C_TYPE_UINT64;
    if ((is_unsigned && n < 0) || (f->type == PROTOBUF_C_TYPE_UINT32 && n > UINT32_MAX) ||
        (f->type == PROTOBUF_C_TYPE_INT32 && (n < INT32_MIN || n > INT32_MAX)))
        return BAD(c, at, "%lld is out of range", (long long)n);
    put_tag(out, f->id, VARINT);
    put_varint(out, (uint64_t)n);
    return 0;
}

static int encode_text(struct coder *c, const struct path *at, const ProtobufCFieldDescriptor *f, const json_t *v, struct rs_buf *out)
{
    if (!json_is_string(v))
        return BAD(c, at, "not a text");
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        put_bytes(out, f->id, json_string_value(v), json_string_length(v));
        return 0;
    }
    unsigned char *p;
    size_t n;
    if (rs_unbase64((rs_str){ json_string_value(v), json_string_length(v) }, false, &p, &n) < 0)
        return BAD(c, at, "not base64");
    put_bytes(out, f->id, p, n);
    free(p);
    return 0;
}

static int encode_value(struct coder *c, const struct path *at, const ProtobufCFieldDescriptor *f, const json_t *v, struct rs_buf *out)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_ENUM:
        return encode_enum(c, at, f, v, out);
    case PROTOBUF_C_TYPE_INT32: case PROTOBUF_C_TYPE_INT64: case PROTOBUF_C_TYPE_UINT32: case PROTOBUF_C_TYPE_UINT64:
        return encode_integer(c, at, f, v, out);
    case PROTOBUF_C_TYPE_STRING: case PROTOBUF_C_TYPE_BYTES:
        return encode_text(c, at, f, v, out);
    case PROTOBUF_C_TYPE_BOOL:
        if (!json_is_boolean(v))
            return BAD(c, at, "not true or false");
        put_tag(out, f->id, VARINT);
        put_varint(out, json_is_true(v));
        return 0;
    case PROTOBUF_C_TYPE_DOUBLE: {
        if (!json_is_number(v))
            return BAD(c, at, "not a number");
        double d = json_number_value(v);
        put_tag(out, f->id, FIXED64);
        rs_buf_add(out, &d, sizeof d);
        return 0;
    }
    case PROTOBUF_C_TYPE_MESSAGE: {
        RS_AUTO_BUF body;
        rs_buf_init(&body, out->max);
        if (encode_message(c, at, f->descriptor, v, &body) < 0)
            return -1;
        out->over |= body.over;
        put_bytes(out, f->id, body.p, body.n);
        return 0;
    }
    default:
        rs_assert(!"a type that proto/envoy_config.proto does not use");
        return -1;
    }
}

/* A map is a repeated message NAME + "Entry" of key and value. */
static int encode_map(struct coder *c, const struct path *at, const ProtobufCFieldDescriptor *f, const json_t *v, struct rs_buf *out)
{
    const ProtobufCMessageDescriptor *entry = f->descriptor;
    const ProtobufCFieldDescriptor *value_field = protobuf_c_message_descriptor_get_field_by_name(entry, "value");
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)v, key, member) {
        struct path here = { at, key, (size_t)NO_INDEX };
        RS_AUTO_BUF body;
        rs_buf_init(&body, out->max);
        put_bytes(&body, 1, key, strlen(key));
        if (encode_value(c, &here, value_field, member, &body) < 0)
            return -1;
        put_bytes(out, f->id, body.p, body.n);
    }
    return 0;
}

static int encode_repeated(struct coder *c, const struct path *at, const ProtobufCFieldDescriptor *f, const json_t *v, struct rs_buf *out)
{
    if (json_is_object(v) && f->type == PROTOBUF_C_TYPE_MESSAGE && rs_ends(((const ProtobufCMessageDescriptor *)f->descriptor)->short_name, "Entry"))
        return encode_map(c, at, f, v, out);
    if (!json_is_array(v))
        return BAD(c, at, "not a list");
    size_t i;
    json_t *item;
    json_array_foreach(v, i, item) {
        struct path here = { at, NULL, i };
        if (encode_value(c, &here, f, item, out) < 0)
            return -1;
    }
    return 0;
}

static int encode_fields(struct coder *c, const struct path *at, const ProtobufCMessageDescriptor *d, const json_t *o, struct rs_buf *out)
{
    const char *key, *oneof_key[8];
    unsigned oneof_seen[8];
    size_t n_oneofs = 0;
    json_t *v;
    if (!json_is_object(o))
        return BAD(c, at, "not an object (%s)", d->short_name);
    json_object_foreach((json_t *)o, key, v) {
        if (rs_streq(key, "@type") || json_is_null(v))
            continue;
        struct path here = { at, key, (size_t)NO_INDEX };
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(d, key);
        if (!f)
            return BAD(c, &here, "%s has no such field", d->short_name);
        if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
            for (size_t i = 0; i < n_oneofs; i++)
                if (oneof_seen[i] == f->quantifier_offset)
                    return BAD(c, &here, "excludes %s", oneof_key[i]);
            rs_assert(n_oneofs < RS_COUNT(oneof_seen));
            oneof_seen[n_oneofs] = f->quantifier_offset;
            oneof_key[n_oneofs++] = key;
        }
        if ((f->label == PROTOBUF_C_LABEL_REPEATED ? encode_repeated : encode_value)(c, &here, f, v, out) < 0)
            return -1;
    }
    return 0;
}

int rs_xds_encode(const json_t *resource, struct rs_buf *out, struct rs_err *e)
{
    struct coder c = { e };
    const char *url = rs_json_str(resource, "@type"), *name = rs_json_str(resource, "name");
    const ProtobufCMessageDescriptor *d = url ? rs_xds_descriptor(url) : NULL;
    if (!d)
        return RS_FAIL(e, RS_INVALID, "resource of unknown type %s", url ? url : "(none)");
    size_t before = out->n;
    if (encode_fields(&c, NULL, d, resource, out) < 0)
        return rs_err_wrap(e, "%s %s", d->short_name, name ? name : "");
    if (out->over)
        return RS_FAIL(e, RS_EXHAUSTED, "%s %s is larger than %zu bytes", d->short_name, name ? name : "", out->max - before);
    return 0;
}
