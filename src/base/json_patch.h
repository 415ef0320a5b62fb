/* RFC 7386 merge patch and RFC 6902 JSON patch on json_t documents. Pure. */
#pragma once
#include "base/json.h"

/* target with patch merged in; new reference; the inputs stay as they are. */
json_t *rs_json_merge(const json_t *target, const json_t *patch);

/* Operations of one patch, and values that its copies and moves may touch together. */
enum { RS_JSON_PATCH_MAX = 10000, RS_JSON_PATCH_COPIES = 100000 };

/* Applies an array of add, remove, replace, move, copy, test; RS_INVALID names the operation that failed.
 * *ret is a new document; doc stays as it is. */
RS_MUST_USE int rs_json_patch_apply(json_t **ret, const json_t *doc, const json_t *patch, struct rs_err *e);

/* A patch that turns from into to (objects by key; arrays by common prefix, then add, replace and remove). New reference. */
json_t *rs_json_patch_diff(const json_t *from, const json_t *to);
