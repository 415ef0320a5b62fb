/* JSON documents are jansson's json_t; these helpers read deep members and keep the limits. */
#pragma once
#include <jansson.h>
#include "base/err.h"
#include "base/str.h"

RS_DEFINE_AUTO(json_t, json_decref)        /* RS_AUTO(json_t) *o = ... */

/* Member at a path of keys: rs_json_at(pod, "metadata", "name"). Borrowed; NULL when any part is missing. */
#define rs_json_at(o, ...) rs_json_at_((o), (const char *const[]){ __VA_ARGS__, NULL })
json_t *rs_json_at_(const json_t *o, const char *const *keys);
/* The same as text (NULL unless a string), integer (fallback unless an integer), truth (false unless true). */
#define rs_json_str(o, ...) json_string_value(rs_json_at((o), __VA_ARGS__))
#define rs_json_int(o, fallback, ...) rs_json_int_((o), (fallback), (const char *const[]){ __VA_ARGS__, NULL })
json_int_t rs_json_int_(const json_t *o, json_int_t fallback, const char *const *keys);
#define rs_json_true(o, ...) json_is_true(rs_json_at((o), __VA_ARGS__))

/* Object at the path, created with its parents where missing (a non-object in the way is replaced). Borrowed. */
#define rs_json_need(o, ...) rs_json_need_((o), (const char *const[]){ __VA_ARGS__, NULL })
json_t *rs_json_need_(json_t *o, const char *const *keys);

/* Sets o[key] to new text. NULL removes the key. */
void rs_json_set_str(json_t *o, const char *key, const char *value);

/* json_pack that aborts on a format mistake. New reference. */
#define rs_json_pack(...) rs_json_must(json_pack(__VA_ARGS__))
static inline json_t *rs_json_must(json_t *o) { rs_assert(o); return o; }

/* Parses one document; depth is limited by jansson (2048). Duplicate keys are refused. */
RS_MUST_USE int rs_json_parse(json_t **ret, rs_str text, struct rs_err *e);
/* Compact text; the caller frees. Never fails. */
char *rs_json_text(const json_t *o);
/* Indented text with a newline at the end. */
char *rs_json_pretty(const json_t *o);
