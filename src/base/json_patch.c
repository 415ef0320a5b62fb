#include "base/json_patch.h"

#include "base/buf.h"

json_t *rs_json_merge(const json_t *target, const json_t *patch)
{
    if (!json_is_object(patch))
        return json_deep_copy(patch);
    json_t *out = json_is_object(target) ? json_deep_copy(target) : json_object();
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)patch, key, value) {
        if (json_is_null(value))
            json_object_del(out, key);
        else
            json_object_set_new(out, key, rs_json_merge(json_object_get(out, key), value));
    }
    return out;
}

/* One unescaped token of a JSON pointer. */
static char *next_token(const char **p)
{
    const char *s = *p + 1, *end = strchrnul(s, '/');
    char *t = rs_strndup(s, (size_t)(end - s)), *o = t;
    for (char *i = t; *i; i++) {
        if (i[0] == '~' && (i[1] == '0' || i[1] == '1'))
            *o++ = *++i == '0' ? '~' : '/';
        else
            *o++ = *i;
    }
    *o = 0;
    *p = end;
    return t;
}

static bool array_index(const char *t, size_t n, bool may_end, size_t *ret)
{
    uint64_t v;
    if (may_end && rs_streq(t, "-")) {
        *ret = n;
        return true;
    }
    if (!rs_str_u64(rs_str_of(t), &v) || (t[0] == '0' && t[1]) || v > n || (v == n && !may_end))
        return false;
    *ret = (size_t)v;
    return true;
}

static json_t *child(json_t *o, const char *t)
{
    size_t i;
    if (json_is_object(o))
        return json_object_get(o, t);
    if (json_is_array(o) && array_index(t, json_array_size(o), false, &i))
        return json_array_get(o, i);
    return NULL;
}

/* The parent of what path names and, in *last, its final token; NULL when there is no such parent. */
static json_t *parent_of(json_t *doc, const char *path, char **last)
{
    while (*path == '/') {
        RS_AUTO(rs_chars) *t = next_token(&path);
        if (!*path) {
            *last = rs_take(t);
            return doc;
        }
        doc = child(doc, t);
        if (!doc)
            return NULL;
    }
    return NULL;
}

static json_t *find(json_t *doc, const char *path)
{
    while (doc && *path == '/') {
        RS_AUTO(rs_chars) *t = next_token(&path);
        doc = child(doc, t);
    }
    return *path ? NULL : doc;
}

static bool add_at(json_t **doc, const char *path, json_t *value, bool replace)
{
    if (!*path) {
        json_incref(value);
        json_decref(*doc);
        *doc = value;
        return true;
    }
    RS_AUTO(rs_chars) *last = NULL;
    json_t *p = parent_of(*doc, path, &last);
    size_t i;
    if (json_is_object(p) && (!replace || json_object_get(p, last)))
        return json_object_set(p, last, value) == 0;
    if (json_is_array(p) && array_index(last, json_array_size(p), !replace, &i))
        return (replace ? json_array_set(p, i, value) : json_array_insert(p, i, value)) == 0;
    return false;
}

static bool remove_at(json_t *doc, const char *path)
{
    RS_AUTO(rs_chars) *last = NULL;
    json_t *p = parent_of(doc, path, &last);
    size_t i;
    if (json_is_object(p))
        return json_object_del(p, last) == 0;
    if (json_is_array(p) && array_index(last, json_array_size(p), false, &i))
        return json_array_remove(p, i) == 0;
    return false;
}

/* Takes the values of o, all levels, off the budget; stops counting once it is used up. */
static void spend(const json_t *o, long *budget)
{
    const char *key;
    size_t i;
    json_t *v;
    if (--*budget < 0)
        return;
    if (json_is_string(o))
        *budget -= (long)(json_string_length(o) / 64);
    json_object_foreach((json_t *)o, key, v) {
        if (*budget < 0)
            return;
        spend(v, budget);
    }
    json_array_foreach((json_t *)o, i, v) {
        if (*budget < 0)
            return;
        spend(v, budget);
    }
}

static bool apply_one(json_t **doc, const json_t *op, long *budget)
{
    const char *what = rs_json_str(op, "op"), *path = rs_json_str(op, "path"), *from = rs_json_str(op, "from");
    json_t *value = json_object_get(op, "value");
    if (!what || !path || (*path && *path != '/'))
        return false;
    if (rs_streq(what, "remove"))
        return remove_at(*doc, path);
    if (rs_streq(what, "test")) {
        json_t *there = find(*doc, path);
        return value && there && json_equal(there, value);
    }
    if (rs_streq(what, "add") || rs_streq(what, "replace")) {
        if (!value)
            return false;
        RS_AUTO(json_t) *copy = json_deep_copy(value);
        return add_at(doc, path, copy, rs_streq(what, "replace"));
    }
    if (!from || !(rs_streq(what, "move") || rs_streq(what, "copy")))
        return false;
    json_t *source = find(*doc, from);
    if (!source)
        return false;
    spend(source, budget);                      /* a copy of a copy doubles each time */
    if (*budget < 0)
        return false;
    RS_AUTO(json_t) *copy = json_deep_copy(source);
    if (rs_streq(what, "move")) {
        size_t n = strlen(from);
        if (rs_starts(path, from) && path[n] == '/')
            return false;                       /* into itself */
        if (!remove_at(*doc, from))
            return false;
    }
    return add_at(doc, path, copy, false);
}

int rs_json_patch_apply(json_t **ret, const json_t *doc, const json_t *patch, struct rs_err *e)
{
    if (!json_is_array(patch))
        return RS_FAIL(e, RS_INVALID, "a JSON patch is an array");
    if (json_array_size(patch) > RS_JSON_PATCH_MAX)
        return RS_FAIL(e, RS_INVALID, "a JSON patch of %zu operations; at most %d", json_array_size(patch), RS_JSON_PATCH_MAX);
    long budget = RS_JSON_PATCH_COPIES;
    RS_AUTO(json_t) *out = json_deep_copy(doc);
    size_t i;
    json_t *op;
    json_array_foreach((json_t *)patch, i, op) {
        if (!apply_one(&out, op, &budget)) {
            const char *what = rs_json_str(op, "op"), *path = rs_json_str(op, "path");
            return RS_FAIL(e, RS_INVALID, "JSON patch operation %zu (%s %s) does not apply%s", i, what ? what : "?",
                           path ? path : "?", budget < 0 ? ": it copies too much" : "");
        }
    }
    *ret = rs_take(out);
    return 0;
}

static void emit(json_t *ops, const char *op, const char *path, json_t *value)
{
    json_t *o = rs_json_pack("{s:s, s:s}", "op", op, "path", path);
    if (value)
        json_object_set(o, "value", value);
    json_array_append_new(ops, o);
}

static char *join(const char *path, const char *key)
{
    struct rs_buf b;
    rs_buf_init(&b, SIZE_MAX / 2);
    rs_buf_addf(&b, "%s/", path);
    for (; *key; key++) {
        if (*key == '~') rs_buf_adds(&b, "~0");
        else if (*key == '/') rs_buf_adds(&b, "~1");
        else rs_buf_add(&b, key, 1);
    }
    return rs_buf_take(&b);
}

static void diff(json_t *ops, const char *path, const json_t *a, const json_t *b);

static void diff_objects(json_t *ops, const char *path, const json_t *a, const json_t *b)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)a, key, value) {
        RS_AUTO(rs_chars) *sub = join(path, key);
        json_t *other = json_object_get(b, key);
        if (other)
            diff(ops, sub, value, other);
        else
            emit(ops, "remove", sub, NULL);
    }
    json_object_foreach((json_t *)b, key, value) {
        if (json_object_get(a, key))
            continue;
        RS_AUTO(rs_chars) *sub = join(path, key);
        emit(ops, "add", sub, value);
    }
}

static void diff_arrays(json_t *ops, const char *path, const json_t *a, const json_t *b)
{
    size_t n = json_array_size(a), m = json_array_size(b);
    for (size_t i = 0; i < n && i < m; i++) {
        RS_AUTO(rs_chars) *sub = rs_printf("%s/%zu", path, i);
        diff(ops, sub, json_array_get(a, i), json_array_get(b, i));
    }
    for (size_t i = n; i < m; i++) {
        RS_AUTO(rs_chars) *sub = rs_printf("%s/-", path);
        emit(ops, "add", sub, json_array_get(b, i));
    }
    for (size_t i = n; i > m; i--) {
        RS_AUTO(rs_chars) *sub = rs_printf("%s/%zu", path, i - 1);
        emit(ops, "remove", sub, NULL);
    }
}

static void diff(json_t *ops, const char *path, const json_t *a, const json_t *b)
{
    if (json_is_object(a) && json_is_object(b))
        diff_objects(ops, path, a, b);
    else if (json_is_array(a) && json_is_array(b))
        diff_arrays(ops, path, a, b);
    else if (!json_equal(a, b))
        emit(ops, "replace", path, (json_t *)b);
}

json_t *rs_json_patch_diff(const json_t *from, const json_t *to)
{
    json_t *ops = json_array();
    diff(ops, "", from, to);
    return ops;
}
