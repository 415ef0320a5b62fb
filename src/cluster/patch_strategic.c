#include "cluster/patch_strategic.h"

enum { DEPTH_MAX = 100 };
enum how { REPLACE, BY_KEY, PRIMITIVES };

/* How a list is merged depends on its field name, in a few cases on the field that holds it. */
static const struct rule { const char *field, *parent, *key; enum how how; } rules[] = {
    { "containers", NULL, "name", BY_KEY }, { "initContainers", NULL, "name", BY_KEY }, { "ephemeralContainers", NULL, "name", BY_KEY },
    { "volumes", NULL, "name", BY_KEY }, { "imagePullSecrets", NULL, "name", BY_KEY }, { "env", NULL, "name", BY_KEY },
    { "schedulingGates", NULL, "name", BY_KEY }, { "volumeMounts", NULL, "mountPath", BY_KEY }, { "volumeDevices", NULL, "devicePath", BY_KEY },
    { "hostAliases", NULL, "ip", BY_KEY }, { "topologySpreadConstraints", NULL, "topologyKey", BY_KEY },
    { "ports", "containers", "containerPort", BY_KEY }, { "ports", "initContainers", "containerPort", BY_KEY },
    { "ports", "ephemeralContainers", "containerPort", BY_KEY }, { "ports", "spec", "port", BY_KEY },
    { "secrets", "", "name", BY_KEY }, { "conditions", "status", "type", BY_KEY }, { "addresses", "status", "type", BY_KEY },
    { "podIPs", "status", "ip", BY_KEY }, { "ownerReferences", "metadata", "uid", BY_KEY }, { "finalizers", "metadata", NULL, PRIMITIVES },
    { "webhooks", "", "name", BY_KEY },
};

static const struct rule *rule_of(const char *field, const char *parent)
{
    for (size_t i = 0; i < RS_COUNT(rules); i++)
        if (strcmp(rules[i].field, field) == 0 && (!rules[i].parent || strcmp(rules[i].parent, parent) == 0))
            return &rules[i];
    return NULL;
}

static int merge_object(json_t **ret, const json_t *doc, const json_t *patch, const char *field, int depth, struct rs_err *e);

static bool same_key(const json_t *a, const json_t *b, const char *key)
{
    const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
    return x && y && json_equal(x, y);
}

static ssize_t find_item(const json_t *list, const json_t *like, const char *key)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
        if (key ? same_key(item, like, key) : json_equal(item, like))
            return (ssize_t)i;
    return -1;
}

/* Adds what is a new item, with the directives in it resolved. */
static int append_item(json_t *out, const json_t *item, const char *field, int depth, struct rs_err *e)
{
    RS_AUTO(json_t) *empty = json_object(), *clean = NULL;
    if (merge_object(&clean, empty, item, field, depth, e) < 0)
        return -1;
    json_array_append(out, clean);
    return 0;
}

static int merge_item(json_t *out, const json_t *item, const char *field, const char *key, int depth, struct rs_err *e)
{
    if (!json_is_object(item) || !json_object_get(item, key))
        return RS_FAIL(e, RS_INVALID, "map: %s does not contain declared merge key: %s", field, key);
    ssize_t at = find_item(out, item, key);
    if (rs_streq(rs_json_str(item, "$patch"), "delete")) {
        if (at >= 0)
            json_array_remove(out, (size_t)at);
        return 0;
    }
    if (at < 0)
        return append_item(out, item, field, depth, e);
    RS_AUTO(json_t) *merged = NULL;
    if (merge_object(&merged, json_array_get(out, (size_t)at), item, field, depth, e) < 0)
        return -1;
    json_array_set(out, (size_t)at, merged);
    return 0;
}

static bool replaces_list(const json_t *patch)
{
    size_t i;
    json_t *item;
    json_array_foreach(patch, i, item)
        if (rs_streq(rs_json_str(item, "$patch"), "replace"))
            return true;
    return false;
}

static int merge_list(json_t **ret, const json_t *doc, const json_t *patch, const char *field, const struct rule *rule, int depth, struct rs_err *e)
{
    RS_AUTO(json_t) *out = json_is_array(doc) && !replaces_list(patch) ? json_deep_copy(doc) : json_array();
    size_t i;
    json_t *item;
    json_array_foreach(patch, i, item) {
        if (rs_streq(rs_json_str(item, "$patch"), "replace"))
            continue;
        if (rule->how == PRIMITIVES) {
            if (find_item(out, item, NULL) < 0)
                json_array_append(out, item);
        } else if (merge_item(out, item, field, rule->key, depth + 1, e) < 0) {
            return -1;
        }
    }
    *ret = rs_take(out);
    return 0;
}

/* Items named in order come in that order; an item that is not named stays behind the one it followed. */
static json_t *reorder(const json_t *list, const json_t *wanted, const char *key)
{
    json_t *out = json_array();
    size_t n = json_array_size(list), i, next = 0;
    json_t *w;
    for (; next < n && find_item(wanted, json_array_get(list, next), key) < 0; next++)
        json_array_append(out, json_array_get(list, next));
    json_array_foreach(wanted, i, w) {
        ssize_t at = find_item(list, w, key);
        if (at < 0)
            continue;
        json_array_append(out, json_array_get(list, (size_t)at));
        for (size_t k = (size_t)at + 1; k < n && find_item(wanted, json_array_get(list, k), key) < 0; k++)
            json_array_append(out, json_array_get(list, k));
    }
    return out;
}

static void set_element_order(json_t *out, const char *field, const json_t *wanted, const char *parent)
{
    const struct rule *rule = rule_of(field, parent);
    json_t *list = json_object_get(out, field);
    if (rule && json_is_array(list) && json_is_array(wanted))
        json_object_set_new(out, field, reorder(list, wanted, rule->key));
}

static void delete_primitives(json_t *out, const char *field, const json_t *gone)
{
    json_t *list = json_object_get(out, field);
    size_t i;
    json_t *item;
    json_array_foreach(gone, i, item) {
        ssize_t at;
        while ((at = find_item(list, item, NULL)) >= 0)
            json_array_remove(list, (size_t)at);
    }
}

static void retain_keys(json_t *out, const json_t *keep)
{
    const char *key;
    void *tmp;
    json_t *value;
    json_object_foreach_safe(out, tmp, key, value) {
        RS_AUTO(json_t) *name = json_string(key);
        if (find_item(keep, name, NULL) < 0)
            json_object_del(out, key);
    }
}

static int merge_member(json_t *out, const char *key, const json_t *value, const char *field, int depth, struct rs_err *e)
{
    const json_t *old = json_object_get(out, key);
    const struct rule *rule = json_is_array(value) ? rule_of(key, field) : NULL;
    RS_AUTO(json_t) *merged = NULL;
    if (json_is_null(value)) {
        json_object_del(out, key);
        return 0;
    }
    if (json_is_object(value)) {
        RS_AUTO(json_t) *empty = json_object();
        if (merge_object(&merged, json_is_object(old) ? old : empty, value, key, depth + 1, e) < 0)
            return -1;
    } else if (rule) {
        if (merge_list(&merged, old, value, key, rule, depth + 1, e) < 0)
            return -1;
    } else {
        merged = json_deep_copy(value);
    }
    json_object_set(out, key, merged);
    return 0;
}

/* Directives that need the merged members. */
static void after_members(json_t *out, const json_t *patch, const char *field)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)patch, key, value) {
        if (rs_starts(key, "$deleteFromPrimitiveList/"))
            delete_primitives(out, strchr(key, '/') + 1, value);
        else if (rs_starts(key, "$setElementOrder/"))
            set_element_order(out, strchr(key, '/') + 1, value, field);
    }
}

static int merge_object(json_t **ret, const json_t *doc, const json_t *patch, const char *field, int depth, struct rs_err *e)
{
    if (depth > DEPTH_MAX)
        return RS_FAIL(e, RS_INVALID, "the patch is nested deeper than %d", DEPTH_MAX);
    const char *directive = rs_json_str(patch, "$patch");
    if (directive && strcmp(directive, "replace") && strcmp(directive, "delete") && strcmp(directive, "merge"))
        return RS_FAIL(e, RS_INVALID, "unknown $patch directive \"%s\"", directive);
    RS_AUTO(json_t) *out = directive && strcmp(directive, "merge") ? json_object() : json_deep_copy(doc);
    if (rs_streq(directive, "delete")) {
        *ret = rs_take(out);
        return 0;
    }
    json_t *keep = json_object_get(patch, "$retainKeys");
    if (keep)
        retain_keys(out, keep);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)patch, key, value)
        if (*key != '$' && merge_member(out, key, value, field, depth, e) < 0)
            return -1;
    after_members(out, patch, field);
    *ret = rs_take(out);
    return 0;
}

int rs_patch_strategic(json_t **ret, const json_t *doc, const json_t *patch, struct rs_err *e)
{
    if (!json_is_object(patch))
        return RS_FAIL(e, RS_INVALID, "a strategic merge patch must be an object");
    return merge_object(ret, doc, patch, "", 0, e);
}
