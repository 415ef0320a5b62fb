#include "base/json.h"

json_t *rs_json_at_(const json_t *o, const char *const *keys)
{
    for (; o && *keys; keys++)
        o = json_object_get(o, *keys);
    return (json_t *)o;
}

json_int_t rs_json_int_(const json_t *o, json_int_t fallback, const char *const *keys)
{
    json_t *v = rs_json_at_(o, keys);
    return json_is_integer(v) ? json_integer_value(v) : fallback;
}

json_t *rs_json_need_(json_t *o, const char *const *keys)
{
    for (; *keys; keys++) {
        json_t *next = json_object_get(o, *keys);
        if (!json_is_object(next)) {
            next = json_object();
            rs_assert(json_object_set_new(o, *keys, next) == 0);
        }
        o = next;
    }
    return o;
}

void rs_json_set_str(json_t *o, const char *key, const char *value)
{
    if (value)
        rs_assert(json_object_set_new(o, key, json_string(value)) == 0);
    else
        json_object_del(o, key);
}

int rs_json_parse(json_t **ret, rs_str text, struct rs_err *e)
{
    json_error_t why;
    json_t *o = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!o)
        return RS_FAIL(e, RS_INVALID, "JSON line %d column %d: %s", why.line, why.column, why.text);
    *ret = o;
    return 0;
}

char *rs_json_text(const json_t *o)
{
    char *s = json_dumps(o, JSON_COMPACT | JSON_ENCODE_ANY);
    rs_assert(s);
    return s;
}

char *rs_json_pretty(const json_t *o)
{
    RS_AUTO(rs_chars) *s = json_dumps(o, JSON_INDENT(2) | JSON_ENCODE_ANY);
    rs_assert(s);
    return rs_printf("%s\n", s);
}
