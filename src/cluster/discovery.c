#include "cluster/discovery.h"

static json_t *words(const char *first, ...)
{
    json_t *list = json_array();
    va_list ap;
    va_start(ap, first);
    for (const char *w = first; w; w = va_arg(ap, const char *))
        json_array_append_new(list, json_string(w));
    va_end(ap);
    return list;
}

static json_t *names(const char *const *v)
{
    json_t *list = json_array();
    for (; *v; v++)
        json_array_append_new(list, json_string(*v));
    return list;
}

static json_t *verbs_of(const struct rs_resource *res)
{
    if (res->flags & RS_RES_REVIEW)
        return words("create", NULL);
    return words("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch", NULL);
}

static void add_sub(json_t *list, const struct rs_resource *res, const char *sub, const char *group, const char *version, const char *kind, json_t *verbs)
{
    RS_AUTO(rs_chars) *name = rs_printf("%s/%s", res->plural, sub);
    json_t *o = rs_json_pack("{s:s, s:s, s:b, s:s, s:o}", "name", name, "singularName", "", "namespaced", res->flags & RS_RES_NAMESPACED ? 1 : 0,
                             "kind", kind, "verbs", verbs);
    if (group) {
        rs_json_set_str(o, "group", group);
        rs_json_set_str(o, "version", version);
    }
    json_array_append_new(list, o);
}

static void add_core_subs(json_t *list, const struct rs_resource *res)
{
    static const struct { const char *key, *sub, *group, *version, *kind, *verbs; } subs[] = {
        { "namespaces", "finalize", NULL, NULL, "Namespace", "update" },
        { "pods", "attach", NULL, NULL, "PodAttachOptions", "create get" }, { "pods", "binding", NULL, NULL, "Binding", "create" },
        { "pods", "eviction", "policy", "v1", "Eviction", "create" }, { "pods", "exec", NULL, NULL, "PodExecOptions", "create get" },
        { "pods", "log", NULL, NULL, "Pod", "get" }, { "pods", "portforward", NULL, NULL, "PodPortForwardOptions", "create get" },
        { "pods", "proxy", NULL, NULL, "PodProxyOptions", "create delete get patch update" },
        { "services", "proxy", NULL, NULL, "ServiceProxyOptions", "create delete get patch update" },
        { "serviceaccounts", "token", "authentication.k8s.io", "v1", "TokenRequest", "create" },
    };
    for (size_t i = 0; i < RS_COUNT(subs); i++) {
        if (!rs_streq(subs[i].key, res->key))
            continue;
        json_t *verbs = json_array();
        char **v = rs_split(subs[i].verbs, ' ');
        for (size_t k = 0; v[k]; k++)
            json_array_append_new(verbs, json_string(v[k]));
        rs_strv_free(v);
        add_sub(list, res, subs[i].sub, subs[i].group, subs[i].version, subs[i].kind, verbs);
    }
}

static void add_resource(json_t *list, const struct rs_resource *res)
{
    json_t *o = rs_json_pack("{s:s, s:s, s:b, s:s, s:o}", "name", res->plural, "singularName", res->singular,
                             "namespaced", res->flags & RS_RES_NAMESPACED ? 1 : 0, "kind", res->kind, "verbs", verbs_of(res));
    if (res->short_names[0])
        json_object_set_new(o, "shortNames", names(res->short_names));
    if (res->categories[0])
        json_object_set_new(o, "categories", names(res->categories));
    json_array_append_new(list, o);
    if (res->flags & RS_RES_STATUS)
        add_sub(list, res, "status", NULL, NULL, res->kind, words("get", "patch", "update", NULL));
    if (res->flags & RS_RES_SCALE)
        add_sub(list, res, "scale", "autoscaling", "v1", "Scale", words("get", "patch", "update", NULL));
    add_core_subs(list, res);
}

json_t *rs_discovery_core(void)
{
    return rs_json_pack("{s:s, s:[s], s:[]}", "kind", "APIVersions", "versions", "v1", "serverAddressByClientCIDRs");
}

/* Versions of a group in order of preference: as its resources list them. */
static json_t *group_entry(const rs_registry *r, const char *group)
{
    json_t *versions = json_array();
    const struct rs_resource *res;
    for (size_t i = 0; (res = rs_registry_at(r, i)); i++) {
        if (!rs_streq(res->group, group))
            continue;
        for (size_t k = 0; res->versions[k]; k++) {
            RS_AUTO(rs_chars) *gv = rs_group_version(group, res->versions[k]);
            size_t j;
            json_t *v;
            bool known = false;
            json_array_foreach(versions, j, v)
                known = known || rs_streq(rs_json_str(v, "groupVersion"), gv);
            if (!known)
                json_array_append_new(versions, rs_json_pack("{s:s, s:s}", "groupVersion", gv, "version", res->versions[k]));
        }
    }
    if (!json_array_size(versions)) {
        json_decref(versions);
        return NULL;
    }
    return rs_json_pack("{s:s, s:o, s:O}", "name", group, "versions", versions, "preferredVersion", json_array_get(versions, 0));
}

json_t *rs_discovery_groups(const rs_registry *r)
{
    json_t *list = json_array(), *seen = json_object();
    const struct rs_resource *res;
    for (size_t i = 0; (res = rs_registry_at(r, i)); i++) {
        if (!*res->group || json_object_get(seen, res->group))
            continue;
        json_object_set_new(seen, res->group, json_true());
        json_array_append_new(list, group_entry(r, res->group));
    }
    json_decref(seen);
    return rs_json_pack("{s:s, s:s, s:o}", "kind", "APIGroupList", "apiVersion", "v1", "groups", list);
}

json_t *rs_discovery_group(const rs_registry *r, const char *group)
{
    json_t *g = group_entry(r, group);
    if (g) {
        rs_json_set_str(g, "kind", "APIGroup");
        rs_json_set_str(g, "apiVersion", "v1");
    }
    return g;
}

json_t *rs_discovery_resources(const rs_registry *r, const char *group, const char *version)
{
    if (!rs_registry_has_group_version(r, group, version))
        return NULL;
    RS_AUTO(rs_chars) *gv = rs_group_version(group, version);
    json_t *list = json_array();
    const struct rs_resource *res;
    for (size_t i = 0; (res = rs_registry_at(r, i)); i++)
        if (rs_streq(res->group, group) && rs_resource_serves(res, version))
            add_resource(list, res);
    return rs_json_pack("{s:s, s:s, s:s, s:o}", "kind", "APIResourceList", "apiVersion", "v1", "groupVersion", gv, "resources", list);
}

json_t *rs_discovery_version(void)
{
    return rs_json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "major", "1", "minor", "24", "gitVersion", "v1.24.0+rootshift-" RS_VERSION,
                        "gitTreeState", "clean", "platform", "linux/amd64", "goVersion", "none", "compiler", "gcc");
}
