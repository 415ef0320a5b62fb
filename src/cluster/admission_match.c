/* Which webhooks a request concerns. Pure. */
#include "cluster/admission.h"

#include "kube/object.h"

static bool list_has(const json_t *list, const char *what)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
        if (json_is_string(item) && (rs_streq(json_string_value(item), "*") || rs_streq(json_string_value(item), what)))
            return true;
    return false;
}

/* A rule is RESOURCE or RESOURCE/SUBRESOURCE, where either may be a star; a plain resource excludes its subresources. */
static bool resource_rule(const char *rule, const char *plural, const char *sub)
{
    const char *slash = strchr(rule, '/');
    RS_AUTO(rs_chars) *first = slash ? rs_strndup(rule, (size_t)(slash - rule)) : rs_strdup(rule);
    if (strcmp(first, "*") && strcmp(first, plural))
        return false;
    if (!slash)
        return !sub;
    return rs_streq(slash + 1, "*") || (sub && rs_streq(slash + 1, sub));
}

static bool resources_match(const json_t *rule, const struct rs_admission_request *r)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(rule, "resources"), i, item)
        if (json_is_string(item) && resource_rule(json_string_value(item), r->res->plural, r->sub))
            return true;
    return false;
}

static bool scope_matches(const json_t *rule, const struct rs_admission_request *r)
{
    const char *scope = rs_json_str(rule, "scope");
    if (!scope || rs_streq(scope, "*"))
        return true;
    bool cluster = !(r->res->flags & RS_RES_NAMESPACED);
    return rs_streq(scope, cluster ? "Cluster" : "Namespaced");
}

/* The version under which a rule wants the request: the requested one, or with matchPolicy Equivalent any served one. */
static const char *rule_version(const json_t *rule, const struct rs_admission_request *r, bool equivalent)
{
    const json_t *versions = json_object_get(rule, "apiVersions");
    if (!list_has(json_object_get(rule, "operations"), r->operation) || !list_has(json_object_get(rule, "apiGroups"), r->res->group) ||
        !resources_match(rule, r) || !scope_matches(rule, r))
        return NULL;
    if (list_has(versions, r->version))
        return r->version;
    for (size_t i = 0; equivalent && r->res->versions[i]; i++)
        if (list_has(versions, r->res->versions[i]))
            return r->res->versions[i];
    return NULL;
}

static const char *rules_version(const json_t *hook, const struct rs_admission_request *r)
{
    bool equivalent = !rs_streq(rs_json_str(hook, "matchPolicy"), "Exact");
    for (int pass = 0; pass <= equivalent; pass++) {       /* an exact match of any rule goes first */
        size_t i;
        json_t *rule;
        json_array_foreach(json_object_get(hook, "rules"), i, rule) {
            const char *v = rule_version(rule, r, pass == 1);
            if (v)
                return v;
        }
    }
    return NULL;
}

static bool selects(const json_t *selector, const json_t *labels)
{
    struct rs_err e;
    RS_AUTO(rs_selector) *s = NULL;
    if (!json_is_object(selector) || json_object_size(selector) == 0)
        return true;
    return rs_selector_from_json(&s, selector, &e) < 0 || rs_selector_matches(s, labels);
}

static bool namespace_selected(const json_t *hook, const struct rs_admission_request *r, const json_t *namespace_doc)
{
    const json_t *selector = json_object_get(hook, "namespaceSelector");
    if (rs_streq(r->res->key, "namespaces"))
        return selects(selector, rs_json_at(r->object ? r->object : r->old, "metadata", "labels"));
    if (!(r->res->flags & RS_RES_NAMESPACED))
        return true;
    return selects(selector, rs_json_at(namespace_doc, "metadata", "labels"));
}

static bool object_selected(const json_t *hook, const struct rs_admission_request *r)
{
    const json_t *selector = json_object_get(hook, "objectSelector");
    if (!json_is_object(selector) || json_object_size(selector) == 0)
        return true;
    return (r->object && selects(selector, rs_json_at(r->object, "metadata", "labels"))) ||
           (r->old && selects(selector, rs_json_at(r->old, "metadata", "labels")));
}

bool rs_admission_matches(const json_t *hook, const struct rs_admission_request *r, const json_t *namespace_doc, const char **ret_version)
{
    /* Webhook configurations are never sent to webhooks: a broken one could not be removed otherwise. */
    if (rs_streq(r->res->group, "admissionregistration.k8s.io"))
        return false;
    const char *version = rules_version(hook, r);
    if (!version || !namespace_selected(hook, r, namespace_doc) || !object_selected(hook, r))
        return false;
    *ret_version = version;
    return true;
}
