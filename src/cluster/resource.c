#include "cluster/resource.h"

#include "base/time.h"

#define NS RS_RES_NAMESPACED
#define ST RS_RES_STATUS
#define SC RS_RES_SCALE
#define GEN RS_RES_GENERATION
#define REV RS_RES_REVIEW
#define ALL { "all" }

static const struct rs_resource builtin[] = {
    { "", { "v1" }, "v1", "configmaps", "configmap", "ConfigMap", NULL, { "cm" }, {0}, NS, "configmaps", NULL },
    { "", { "v1" }, "v1", "endpoints", "endpoints", "Endpoints", "EndpointsList", { "ep" }, {0}, NS, "endpoints", NULL },
    { "", { "v1" }, "v1", "events", "event", "Event", NULL, { "ev" }, {0}, NS, "events", NULL },
    { "", { "v1" }, "v1", "limitranges", "limitrange", "LimitRange", NULL, { "limits" }, {0}, NS, "limitranges", NULL },
    { "", { "v1" }, "v1", "namespaces", "namespace", "Namespace", NULL, { "ns" }, {0}, ST, "namespaces", NULL },
    { "", { "v1" }, "v1", "nodes", "node", "Node", NULL, { "no" }, {0}, ST, "nodes", NULL },
    { "", { "v1" }, "v1", "persistentvolumeclaims", "persistentvolumeclaim", "PersistentVolumeClaim", NULL, { "pvc" }, {0}, NS | ST, "persistentvolumeclaims", NULL },
    { "", { "v1" }, "v1", "pods", "pod", "Pod", NULL, { "po" }, ALL, NS | ST, "pods", NULL },
    { "", { "v1" }, "v1", "resourcequotas", "resourcequota", "ResourceQuota", NULL, { "quota" }, {0}, NS | ST, "resourcequotas", NULL },
    { "", { "v1" }, "v1", "secrets", "secret", "Secret", NULL, {0}, {0}, NS, "secrets", NULL },
    { "", { "v1" }, "v1", "serviceaccounts", "serviceaccount", "ServiceAccount", NULL, { "sa" }, {0}, NS, "serviceaccounts", NULL },
    { "", { "v1" }, "v1", "services", "service", "Service", NULL, { "svc" }, ALL, NS | ST, "services", NULL },
    { "admissionregistration.k8s.io", { "v1" }, "v1", "mutatingwebhookconfigurations", "mutatingwebhookconfiguration",
      "MutatingWebhookConfiguration", NULL, {0}, { "api-extensions" }, GEN, "admissionregistration.k8s.io/mutatingwebhookconfigurations", NULL },
    { "admissionregistration.k8s.io", { "v1" }, "v1", "validatingwebhookconfigurations", "validatingwebhookconfiguration",
      "ValidatingWebhookConfiguration", NULL, {0}, { "api-extensions" }, GEN, "admissionregistration.k8s.io/validatingwebhookconfigurations", NULL },
    { "apiextensions.k8s.io", { "v1" }, "v1", "customresourcedefinitions", "customresourcedefinition", "CustomResourceDefinition", NULL,
      { "crd", "crds" }, { "api-extensions" }, ST | GEN, "apiextensions.k8s.io/customresourcedefinitions", NULL },
    { "apps", { "v1" }, "v1", "deployments", "deployment", "Deployment", NULL, { "deploy" }, ALL, NS | ST | SC | GEN, "apps/deployments", NULL },
    { "apps", { "v1" }, "v1", "replicasets", "replicaset", "ReplicaSet", NULL, { "rs" }, ALL, NS | ST | SC | GEN, "apps/replicasets", NULL },
    { "authentication.k8s.io", { "v1" }, "v1", "selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview", NULL, {0}, {0}, REV,
      "authentication.k8s.io/selfsubjectreviews", NULL },
    { "authentication.k8s.io", { "v1" }, "v1", "tokenreviews", "tokenreview", "TokenReview", NULL, {0}, {0}, REV, "authentication.k8s.io/tokenreviews", NULL },
    { "authorization.k8s.io", { "v1" }, "v1", "localsubjectaccessreviews", "localsubjectaccessreview", "LocalSubjectAccessReview", NULL,
      {0}, {0}, NS | REV, "authorization.k8s.io/localsubjectaccessreviews", NULL },
    { "authorization.k8s.io", { "v1" }, "v1", "selfsubjectaccessreviews", "selfsubjectaccessreview", "SelfSubjectAccessReview", NULL,
      {0}, {0}, REV, "authorization.k8s.io/selfsubjectaccessreviews", NULL },
    { "authorization.k8s.io", { "v1" }, "v1", "selfsubjectrulesreviews", "selfsubjectrulesreview", "SelfSubjectRulesReview", NULL,
      {0}, {0}, REV, "authorization.k8s.io/selfsubjectrulesreviews", NULL },
    { "authorization.k8s.io", { "v1" }, "v1", "subjectaccessreviews", "subjectaccessreview", "SubjectAccessReview", NULL,
      {0}, {0}, REV, "authorization.k8s.io/subjectaccessreviews", NULL },
    { "autoscaling", { "v2", "v1", "v2beta2" }, "v2", "horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler", NULL,
      { "hpa" }, ALL, NS | ST, "autoscaling/horizontalpodautoscalers", NULL },
    { "coordination.k8s.io", { "v1" }, "v1", "leases", "lease", "Lease", NULL, {0}, {0}, NS, "coordination.k8s.io/leases", NULL },
    { "discovery.k8s.io", { "v1" }, "v1", "endpointslices", "endpointslice", "EndpointSlice", NULL, {0}, {0}, NS, "discovery.k8s.io/endpointslices", NULL },
    { "networking.k8s.io", { "v1" }, "v1", "ingresses", "ingress", "Ingress", NULL, { "ing" }, {0}, NS | ST | GEN, "networking.k8s.io/ingresses", NULL },
    { "networking.k8s.io", { "v1" }, "v1", "networkpolicies", "networkpolicy", "NetworkPolicy", NULL, { "netpol" }, {0}, NS | GEN,
      "networking.k8s.io/networkpolicies", NULL },
    { "policy", { "v1", "v1beta1" }, "v1", "poddisruptionbudgets", "poddisruptionbudget", "PodDisruptionBudget", NULL, { "pdb" }, {0},
      NS | ST | GEN, "policy/poddisruptionbudgets", NULL },
    { "rbac.authorization.k8s.io", { "v1" }, "v1", "clusterrolebindings", "clusterrolebinding", "ClusterRoleBinding", NULL, {0}, {0}, 0,
      "rbac.authorization.k8s.io/clusterrolebindings", NULL },
    { "rbac.authorization.k8s.io", { "v1" }, "v1", "clusterroles", "clusterrole", "ClusterRole", NULL, {0}, {0}, 0,
      "rbac.authorization.k8s.io/clusterroles", NULL },
    { "rbac.authorization.k8s.io", { "v1" }, "v1", "rolebindings", "rolebinding", "RoleBinding", NULL, {0}, {0}, NS,
      "rbac.authorization.k8s.io/rolebindings", NULL },
    { "rbac.authorization.k8s.io", { "v1" }, "v1", "roles", "role", "Role", NULL, {0}, {0}, NS, "rbac.authorization.k8s.io/roles", NULL },
};

struct custom { struct rs_resource res; char *list_kind, *key, *name; bool live; };

struct rs_registry {
    char *list_kinds[RS_COUNT(builtin)];
    struct rs_resource base[RS_COUNT(builtin)];
    struct custom **custom; size_t n_custom;   /* also dead ones: calls under way may point to them */
};

rs_registry *rs_registry_new(void)
{
    rs_registry *r = rs_new(rs_registry);
    for (size_t i = 0; i < RS_COUNT(builtin); i++) {
        r->base[i] = builtin[i];
        if (!r->base[i].list_kind)
            r->base[i].list_kind = r->list_kinds[i] = rs_printf("%sList", builtin[i].kind);
    }
    return r;
}

static void custom_free(struct custom *c)
{
    json_decref(c->res.crd);       /* the texts point into it */
    free(c->list_kind);
    free(c->key);
    free(c->name);
    free(c);
}

void rs_registry_free(rs_registry *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < RS_COUNT(builtin); i++)
        free(r->list_kinds[i]);
    for (size_t i = 0; i < r->n_custom; i++)
        custom_free(r->custom[i]);
    free(r->custom);
    free(r);
}

const struct rs_resource *rs_registry_at(const rs_registry *r, size_t i)
{
    if (i < RS_COUNT(builtin))
        return &r->base[i];
    i -= RS_COUNT(builtin);
    for (size_t k = 0; k < r->n_custom; k++)
        if (r->custom[k]->live && i-- == 0)
            return &r->custom[k]->res;
    return NULL;
}

bool rs_resource_serves(const struct rs_resource *res, const char *version)
{
    for (size_t i = 0; res->versions[i]; i++)
        if (rs_streq(res->versions[i], version))
            return true;
    return false;
}

const struct rs_resource *rs_registry_find(const rs_registry *r, const char *group, const char *version, const char *plural)
{
    const struct rs_resource *res;
    for (size_t i = 0; (res = rs_registry_at(r, i)); i++)
        if (rs_streq(res->plural, plural) && rs_streq(res->group, group) && rs_resource_serves(res, version))
            return res;
    return NULL;
}

const struct rs_resource *rs_registry_find_kind(const rs_registry *r, const char *group, const char *kind)
{
    const struct rs_resource *res;
    for (size_t i = 0; (res = rs_registry_at(r, i)); i++)
        if (rs_streq(res->kind, kind) && rs_streq(res->group, group))
            return res;
    return NULL;
}

const struct rs_resource *rs_registry_find_key(const rs_registry *r, const char *key)
{
    const struct rs_resource *res;
    for (size_t i = 0; (res = rs_registry_at(r, i)); i++)
        if (rs_streq(res->key, key))
            return res;
    return NULL;
}

bool rs_registry_has_group_version(const rs_registry *r, const char *group, const char *version)
{
    const struct rs_resource *res;
    for (size_t i = 0; (res = rs_registry_at(r, i)); i++)
        if (rs_streq(res->group, group) && rs_resource_serves(res, version))
            return true;
    return false;
}

char *rs_group_version(const char *group, const char *version)
{
    return *group ? rs_printf("%s/%s", group, version) : rs_strdup(version);
}

/* --- custom resources --- */

/* Kubernetes' order of versions: GA before beta before alpha, newer before older, others last by name. */
static long version_weight(const char *v)
{
    long major = 0, minor = 0;
    int end = 0;
    if (sscanf(v, "v%ld%n", &major, &end) != 1)
        return -1;
    const char *rest = v + end;
    if (!*rest)
        return 3000000 + major * 1000;
    if (sscanf(rest, "beta%ld", &minor) == 1)
        return 2000000 + major * 1000 + minor;
    if (sscanf(rest, "alpha%ld", &minor) == 1)
        return 1000000 + major * 1000 + minor;
    return -1;
}

static int version_order(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    long d = version_weight(y) - version_weight(x);
    return d ? (d > 0 ? 1 : -1) : strcmp(x, y);
}

static void texts(const char **out, const json_t *list)
{
    for (size_t i = 0; i < RS_RES_NAMES && i < json_array_size(list); i++)
        if (json_is_string(json_array_get(list, i)))
            out[i] = json_string_value(json_array_get(list, i));
}

static void read_versions(struct rs_resource *res, const json_t *crd)
{
    size_t i, n = 0;
    json_t *v;
    json_array_foreach(rs_json_at(crd, "spec", "versions"), i, v) {
        const char *name = rs_json_str(v, "name");
        if (!name || n == RS_RES_VERSIONS)
            continue;
        if (rs_json_true(v, "storage"))
            res->storage = name;
        if (rs_json_true(v, "served"))
            res->versions[n++] = name;
        if (rs_json_at(v, "subresources", "status"))
            res->flags |= RS_RES_STATUS;
        if (rs_json_at(v, "subresources", "scale"))
            res->flags |= RS_RES_SCALE;
    }
    qsort(res->versions, n, sizeof(*res->versions), version_order);
    if (!res->storage)
        res->storage = res->versions[0];
}

static struct custom *custom_new(const json_t *crd)
{
    const char *group = rs_json_str(crd, "spec", "group"), *plural = rs_json_str(crd, "spec", "names", "plural");
    const char *kind = rs_json_str(crd, "spec", "names", "kind"), *singular = rs_json_str(crd, "spec", "names", "singular");
    if (!group || !plural || !kind)
        return NULL;
    struct custom *c = rs_new(struct custom);
    struct rs_resource *res = &c->res;
    res->crd = json_incref((json_t *)crd);
    res->group = group;
    res->plural = plural;
    res->kind = kind;
    res->singular = singular ? singular : plural;
    res->list_kind = rs_json_str(crd, "spec", "names", "listKind");
    if (!res->list_kind)
        res->list_kind = c->list_kind = rs_printf("%sList", kind);
    res->flags = RS_RES_CUSTOM | RS_RES_GENERATION | (rs_streq(rs_json_str(crd, "spec", "scope"), "Namespaced") ? RS_RES_NAMESPACED : 0);
    texts(res->short_names, rs_json_at(crd, "spec", "names", "shortNames"));
    texts(res->categories, rs_json_at(crd, "spec", "names", "categories"));
    read_versions(res, crd);
    res->key = c->key = rs_printf("%s/%s", group, plural);
    c->name = rs_printf("%s.%s", plural, group);
    c->live = res->storage != NULL;
    return c;
}

void rs_registry_drop_crd(rs_registry *r, const char *name)
{
    for (size_t i = 0; i < r->n_custom; i++)
        if (rs_streq(r->custom[i]->name, name))
            r->custom[i]->live = false;
}

void rs_registry_set_crd(rs_registry *r, const json_t *crd)
{
    struct custom *c = custom_new(crd);
    if (!c)
        return;
    for (size_t i = 0; i < r->n_custom; i++) {
        struct custom *old = r->custom[i];
        if (!rs_streq(old->name, c->name) || !old->live)
            continue;
        if (json_equal(json_object_get(old->res.crd, "spec"), json_object_get(crd, "spec"))) {
            custom_free(c);
            return;                /* status alone changed: keep the pointer that others hold */
        }
        old->live = false;
    }
    r->custom = rs_realloc(r->custom, (r->n_custom + 1) * sizeof(*r->custom));
    r->custom[r->n_custom++] = c;
}

const json_t *rs_crd_version(const json_t *crd, const char *version)
{
    size_t i;
    json_t *v;
    json_array_foreach(rs_json_at(crd, "spec", "versions"), i, v)
        if (rs_streq(rs_json_str(v, "name"), version))
            return v;
    return NULL;
}

static void add_condition(json_t *list, const char *type, const char *reason, const char *message, int64_t now_ms)
{
    char at[RS_TIME_TEXT];
    json_array_append_new(list, rs_json_pack("{s:s, s:s, s:s, s:s, s:s}", "type", type, "status", "True", "lastTransitionTime",
                                             rs_time_text(now_ms, at), "reason", reason, "message", message));
}

void rs_crd_complete(json_t *crd, int64_t now_ms)
{
    json_t *names = rs_json_need(crd, "spec", "names");
    const char *kind = rs_json_str(names, "kind");
    if (!rs_json_str(names, "singular") && kind) {
        RS_AUTO(rs_chars) *low = rs_strdup(kind);
        for (char *p = low; *p; p++)
            *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
        rs_json_set_str(names, "singular", low);
    }
    if (!rs_json_str(names, "listKind") && kind) {
        RS_AUTO(rs_chars) *list = rs_printf("%sList", kind);
        rs_json_set_str(names, "listKind", list);
    }
    if (!rs_json_at(crd, "spec", "conversion"))
        json_object_set_new(rs_json_need(crd, "spec"), "conversion", rs_json_pack("{s:s}", "strategy", "None"));
    json_t *status = rs_json_need(crd, "status");
    json_object_set_new(status, "acceptedNames", json_deep_copy(names));
    json_t *stored = json_array();
    size_t i;
    json_t *v;
    json_array_foreach(rs_json_at(crd, "spec", "versions"), i, v)
        if (rs_json_true(v, "storage"))
            json_array_append(stored, json_object_get(v, "name"));
    json_object_set_new(status, "storedVersions", stored);
    if (!json_array_size(json_object_get(status, "conditions"))) {
        json_t *list = json_array();
        add_condition(list, "NamesAccepted", "NoConflicts", "no conflicts found", now_ms);
        add_condition(list, "Established", "InitialNamesAccepted", "the initial names have been accepted", now_ms);
        json_object_set_new(status, "conditions", list);
    }
}
