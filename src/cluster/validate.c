#include "cluster/validate.h"

#include "cluster/status.h"
#include "kube/object.h"

#define SUBDOMAIN_RULE "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end " \
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
#define LABEL_RULE "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric " \
    "character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
#define LABEL_1035_RULE "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an " \
    "alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"

/* --- metadata --- */

static void check_name(json_t *causes, const json_t *doc, const struct rs_resource *res)
{
    const char *name = rs_object_name(doc);
    bool path_name = rs_starts(res->key, "rbac.");     /* names like system:node are fine there */
    if (!*name) {
        rs_cause_add(causes, "FieldValueRequired", "metadata.name", "name or generateName is required");
    } else if (path_name) {
        if (strpbrk(name, "/%") || rs_streq(name, ".") || rs_streq(name, ".."))
            rs_cause_add(causes, "FieldValueInvalid", "metadata.name", "\"%s\": may not contain '/' or '%%'", name);
    } else if (rs_streq(res->key, "namespaces")) {
        if (!rs_dns_label(name, false))
            rs_cause_add(causes, "FieldValueInvalid", "metadata.name", "\"%s\": %s", name, LABEL_RULE);
    } else if (rs_streq(res->key, "services")) {
        if (!rs_dns_label(name, true))
            rs_cause_add(causes, "FieldValueInvalid", "metadata.name", "\"%s\": %s", name, LABEL_1035_RULE);
    } else if (!rs_dns_subdomain(name)) {
        rs_cause_add(causes, "FieldValueInvalid", "metadata.name", "\"%s\": %s", name, SUBDOMAIN_RULE);
    }
}

static bool qualified_name(const char *s)
{
    const char *slash = strchr(s, '/'), *name = slash ? slash + 1 : s;
    size_t n = strlen(name);
    if (slash) {
        RS_AUTO(rs_chars) *prefix = rs_strndup(s, (size_t)(slash - s));
        if (!rs_dns_subdomain(prefix))
            return false;
    }
    static const char alnum[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    return n > 0 && n <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n &&
           strchr(alnum, name[0]) && strchr(alnum, name[n - 1]);
}

static void check_labels(json_t *causes, const json_t *labels, const char *field)
{
    const char *key;
    json_t *value;
    if (labels && !json_is_object(labels) && !json_is_null(labels))
        rs_cause_add(causes, "FieldValueInvalid", field, "must be a map of strings");
    json_object_foreach((json_t *)labels, key, value) {
        const char *text = json_string_value(value);
        if (!qualified_name(key))
            rs_cause_add(causes, "FieldValueInvalid", field, "\"%s\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and "
                         "end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc')", key);
        if (!text || (*text && (!qualified_name(text) || strchr(text, '/'))))
            rs_cause_add(causes, "FieldValueInvalid", field, "\"%s\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
                         "'.', and must start and end with an alphanumeric character and be at most 63 characters", text ? text : "");
    }
}

static void check_annotations(json_t *causes, const json_t *annotations)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)annotations, key, value) {
        if (!json_is_string(value))
            rs_cause_add(causes, "FieldValueInvalid", "metadata.annotations", "\"%s\": must be a string", key);
        RS_AUTO(rs_chars) *low = rs_strdup(key);
        for (char *p = low; *p; p++)
            *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
        if (!qualified_name(low))
            rs_cause_add(causes, "FieldValueInvalid", "metadata.annotations", "\"%s\": name part must consist of alphanumeric characters, '-', '_' or '.'", key);
    }
}

/* --- pods --- */

static void check_containers(json_t *causes, const json_t *list, const char *field, bool needed)
{
    size_t i, k;
    json_t *c;
    char at[160];
    if (needed && !json_array_size(list))
        rs_cause_add(causes, "FieldValueRequired", field, "%s", "");
    json_array_foreach((json_t *)list, i, c) {
        const char *name = rs_json_str(c, "name"), *image = rs_json_str(c, "image");
        snprintf(at, sizeof at, "%s[%zu].name", field, i);
        if (!name || !*name)
            rs_cause_add(causes, "FieldValueRequired", at, "%s", "");
        else if (!rs_dns_label(name, false))
            rs_cause_add(causes, "FieldValueInvalid", at, "\"%s\": %s", name, LABEL_RULE);
        for (k = 0; name && k < i; k++)
            if (rs_streq(rs_json_str(json_array_get(list, k), "name"), name)) {
                rs_cause_add(causes, "FieldValueDuplicate", at, "\"%s\"", name);
                break;
            }
        snprintf(at, sizeof at, "%s[%zu].image", field, i);
        if (!image || !*image)
            rs_cause_add(causes, "FieldValueRequired", at, "%s", "");
    }
}

static bool has_volume(const json_t *spec, const char *name)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(spec, "volumes"), i, v)
        if (rs_streq(rs_json_str(v, "name"), name))
            return true;
    return false;
}

static void check_mounts(json_t *causes, const json_t *spec, const char *list, const char *prefix)
{
    size_t i, k;
    json_t *c, *m;
    json_array_foreach(json_object_get(spec, list), i, c)
        json_array_foreach(json_object_get(c, "volumeMounts"), k, m) {
            const char *name = rs_json_str(m, "name");
            char at[160];
            snprintf(at, sizeof at, "%s%s[%zu].volumeMounts[%zu].name", prefix, list, i, k);
            if (!name || !has_volume(spec, name))
                rs_cause_add(causes, "FieldValueNotFound", at, "\"%s\"", name ? name : "");
        }
}

static void check_pod_spec(json_t *causes, const json_t *spec, const char *prefix)
{
    char at[128];
    size_t i;
    json_t *v;
    snprintf(at, sizeof at, "%scontainers", prefix);
    check_containers(causes, json_object_get(spec, "containers"), at, true);
    snprintf(at, sizeof at, "%sinitContainers", prefix);
    check_containers(causes, json_object_get(spec, "initContainers"), at, false);
    json_array_foreach(json_object_get(spec, "volumes"), i, v) {
        const char *name = rs_json_str(v, "name");
        snprintf(at, sizeof at, "%svolumes[%zu].name", prefix, i);
        if (!name || !rs_dns_label(name, false))
            rs_cause_add(causes, "FieldValueInvalid", at, "\"%s\": %s", name ? name : "", LABEL_RULE);
    }
    check_mounts(causes, spec, "containers", prefix);
    check_mounts(causes, spec, "initContainers", prefix);
}

/* A pod's spec is fixed but for images, tolerations and a shorter deadline. */
static json_t *without_mutable(const json_t *spec)
{
    static const char *const lists[] = { "containers", "initContainers" };
    json_t *s = json_deep_copy(spec);
    for (size_t k = 0; k < RS_COUNT(lists); k++) {
        size_t i;
        json_t *c;
        json_array_foreach(json_object_get(s, lists[k]), i, c)
            json_object_del(c, "image");
    }
    json_object_del(s, "tolerations");
    json_object_del(s, "activeDeadlineSeconds");
    json_object_del(s, "terminationGracePeriodSeconds");
    return s;
}

static void check_pod(json_t *causes, const json_t *doc, const json_t *old)
{
    if (!old) {
        check_pod_spec(causes, json_object_get(doc, "spec"), "spec.");
        return;
    }
    const json_t *a = json_object_get(doc, "spec"), *b = json_object_get(old, "spec");
    if (json_equal(a, b))
        return;
    RS_AUTO(json_t) *x = without_mutable(a), *y = without_mutable(b);
    if (!json_equal(x, y))
        rs_cause_add(causes, "FieldValueForbidden", "spec", "pod updates may not change fields other than `spec.containers[*].image`, "
                     "`spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or `spec.tolerations` (only additions to existing tolerations)");
}

/* --- others --- */

static void check_workload(json_t *causes, const json_t *doc, const json_t *old)
{
    const json_t *spec = json_object_get(doc, "spec"), *selector = json_object_get(spec, "selector");
    const json_t *labels = rs_json_at(spec, "template", "metadata", "labels");
    struct rs_err e;
    RS_AUTO(rs_selector) *s = NULL;
    if (!json_object_size(json_object_get(selector, "matchLabels")) && !json_array_size(json_object_get(selector, "matchExpressions")))
        rs_cause_add(causes, "FieldValueRequired", "spec.selector", "%s", "");
    else if (rs_selector_from_json(&s, selector, &e) < 0)
        rs_cause_add(causes, "FieldValueInvalid", "spec.selector", "%s", e.msg);
    else if (!rs_selector_matches(s, labels))
        rs_cause_add(causes, "FieldValueInvalid", "spec.template.metadata.labels", "`selector` does not match template `labels`");
    if (rs_json_int(spec, 0, "replicas") < 0)
        rs_cause_add(causes, "FieldValueInvalid", "spec.replicas", "%lld: must be greater than or equal to 0", (long long)rs_json_int(spec, 0, "replicas"));
    check_labels(causes, labels, "spec.template.labels");
    check_pod_spec(causes, rs_json_at(spec, "template", "spec"), "spec.template.spec.");
    const json_t *was = rs_json_at(old, "spec", "selector");
    if (old && selector && was && !json_equal(selector, was))
        rs_cause_add(causes, "FieldValueInvalid", "spec.selector", "field is immutable");
}

static void check_service(json_t *causes, const json_t *doc, const json_t *old)
{
    const json_t *spec = json_object_get(doc, "spec"), *ports = json_object_get(spec, "ports");
    bool headless = rs_streq(rs_json_str(spec, "clusterIP"), "None"), external = rs_streq(rs_json_str(spec, "type"), "ExternalName");
    size_t i;
    json_t *p;
    char at[96];
    if (!json_array_size(ports) && !headless && !external)
        rs_cause_add(causes, "FieldValueRequired", "spec.ports", "%s", "");
    json_array_foreach((json_t *)ports, i, p) {
        json_int_t n = rs_json_int(p, 0, "port");
        snprintf(at, sizeof at, "spec.ports[%zu].port", i);
        if (n < 1 || n > 65535)
            rs_cause_add(causes, "FieldValueInvalid", at, "%lld: must be between 1 and 65535, inclusive", (long long)n);
        snprintf(at, sizeof at, "spec.ports[%zu].name", i);
        if (json_array_size(ports) > 1 && (!rs_json_str(p, "name") || !*rs_json_str(p, "name")))
            rs_cause_add(causes, "FieldValueRequired", at, "%s", "");
    }
    check_labels(causes, json_object_get(spec, "selector"), "spec.selector");
    const char *was = rs_json_str(old, "spec", "clusterIP"), *is = rs_json_str(spec, "clusterIP");
    if (was && *was && is && *is && strcmp(was, is) && !external && !rs_streq(rs_json_str(old, "spec", "type"), "ExternalName"))
        rs_cause_add(causes, "FieldValueInvalid", "spec.clusterIP", "\"%s\": field is immutable", is);
}

static bool config_key(const char *key)
{
    size_t n = strlen(key);
    return n > 0 && n <= 253 && strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n &&
           strcmp(key, ".") && strcmp(key, "..") && strncmp(key, "..", 2);
}

static void check_data(json_t *causes, const json_t *doc, const char *member, bool base64)
{
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(doc, member), key, value) {
        char at[300];
        unsigned char *bytes = NULL;
        size_t n;
        snprintf(at, sizeof at, "%s[%s]", member, key);
        if (!config_key(key))
            rs_cause_add(causes, "FieldValueInvalid", at, "\"%s\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
                         "(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')", key);
        if (!json_is_string(value) && !(base64 && json_is_null(value)))
            rs_cause_add(causes, "FieldValueInvalid", at, "must be a string");
        else if (base64 && json_is_string(value) &&
                 rs_unbase64((rs_str){ json_string_value(value), json_string_length(value) }, false, &bytes, &n) < 0)
            rs_cause_add(causes, "FieldValueInvalid", at, "illegal base64 data");
        free(bytes);
    }
}

static bool changed(const json_t *a, const json_t *b, const char *member)
{
    const json_t *x = json_object_get(a, member), *y = json_object_get(b, member);
    return x != y && !(x && y && json_equal(x, y));
}

static void check_immutable_data(json_t *causes, const json_t *doc, const json_t *old)
{
    if (old && rs_json_true(old, "immutable") &&
        (!rs_json_true(doc, "immutable") || changed(doc, old, "data") || changed(doc, old, "binaryData")))
        rs_cause_add(causes, "FieldValueForbidden", "data", "field is immutable when `immutable` is set");
}

static void check_secret(json_t *causes, const json_t *doc, const json_t *old)
{
    check_data(causes, doc, "data", true);
    check_immutable_data(causes, doc, old);
    if (old && changed(doc, old, "type"))
        rs_cause_add(causes, "FieldValueInvalid", "type", "\"%s\": field is immutable", rs_json_str(doc, "type") ? rs_json_str(doc, "type") : "");
}

static void check_configmap(json_t *causes, const json_t *doc, const json_t *old)
{
    check_data(causes, doc, "data", false);
    check_data(causes, doc, "binaryData", true);
    check_immutable_data(causes, doc, old);
}

static void check_webhooks(json_t *causes, const json_t *doc, const json_t *old)
{
    (void)old;
    size_t i;
    json_t *hook;
    char at[96];
    json_array_foreach(json_object_get(doc, "webhooks"), i, hook) {
        const char *name = rs_json_str(hook, "name"), *policy = rs_json_str(hook, "failurePolicy"), *effects = rs_json_str(hook, "sideEffects");
        snprintf(at, sizeof at, "webhooks[%zu].name", i);
        if (!name || !*name)
            rs_cause_add(causes, "FieldValueRequired", at, "%s", "");
        else if (!rs_dns_subdomain(name))
            rs_cause_add(causes, "FieldValueInvalid", at, "\"%s\": %s", name, SUBDOMAIN_RULE);
        snprintf(at, sizeof at, "webhooks[%zu].clientConfig", i);
        if (!rs_json_at(hook, "clientConfig", "url") == !rs_json_at(hook, "clientConfig", "service"))
            rs_cause_add(causes, "FieldValueRequired", at, "exactly one of url or service is required");
        snprintf(at, sizeof at, "webhooks[%zu].failurePolicy", i);
        if (!rs_streq(policy, "Fail") && !rs_streq(policy, "Ignore"))
            rs_cause_add(causes, "FieldValueNotSupported", at, "\"%s\": supported values: \"Fail\", \"Ignore\"", policy ? policy : "");
        snprintf(at, sizeof at, "webhooks[%zu].sideEffects", i);
        if (!rs_streq(effects, "None") && !rs_streq(effects, "NoneOnDryRun"))
            rs_cause_add(causes, "FieldValueNotSupported", at, "\"%s\": supported values: \"None\", \"NoneOnDryRun\"", effects ? effects : "");
        snprintf(at, sizeof at, "webhooks[%zu].admissionReviewVersions", i);
        if (!json_array_size(json_object_get(hook, "admissionReviewVersions")))
            rs_cause_add(causes, "FieldValueRequired", at, "must specify one of v1, v1beta1");
        json_int_t seconds = rs_json_int(hook, 10, "timeoutSeconds");
        snprintf(at, sizeof at, "webhooks[%zu].timeoutSeconds", i);
        if (seconds < 1 || seconds > 30)
            rs_cause_add(causes, "FieldValueInvalid", at, "%lld: the timeout value must be between 1 and 30 seconds", (long long)seconds);
    }
}

static void check_crd(json_t *causes, const json_t *doc, const json_t *old)
{
    const char *group = rs_json_str(doc, "spec", "group"), *plural = rs_json_str(doc, "spec", "names", "plural");
    const char *kind = rs_json_str(doc, "spec", "names", "kind"), *scope = rs_json_str(doc, "spec", "scope");
    size_t i, stored = 0;
    json_t *v;
    if (!group || !rs_dns_subdomain(group) || !strchr(group, '.'))
        rs_cause_add(causes, "FieldValueInvalid", "spec.group", "\"%s\": should be a domain with at least one dot", group ? group : "");
    if (!plural || !rs_dns_label(plural, true))
        rs_cause_add(causes, "FieldValueInvalid", "spec.names.plural", "\"%s\": %s", plural ? plural : "", LABEL_1035_RULE);
    if (!kind || !*kind)
        rs_cause_add(causes, "FieldValueRequired", "spec.names.kind", "%s", "");
    if (!rs_streq(scope, "Namespaced") && !rs_streq(scope, "Cluster"))
        rs_cause_add(causes, "FieldValueNotSupported", "spec.scope", "\"%s\": supported values: \"Cluster\", \"Namespaced\"", scope ? scope : "");
    json_array_foreach(rs_json_at(doc, "spec", "versions"), i, v)
        stored += rs_json_true(v, "storage");
    if (stored != 1)
        rs_cause_add(causes, "FieldValueInvalid", "spec.versions", "must have exactly one version marked as storage version");
    RS_AUTO(rs_chars) *want = rs_printf("%s.%s", plural ? plural : "", group ? group : "");
    if (strcmp(rs_object_name(doc), want))
        rs_cause_add(causes, "FieldValueInvalid", "metadata.name", "\"%s\": must be spec.names.plural+\".\"+spec.group", rs_object_name(doc));
    if (old && !rs_streq(scope, rs_json_str(old, "spec", "scope")))
        rs_cause_add(causes, "FieldValueInvalid", "spec.scope", "\"%s\": field is immutable", scope ? scope : "");
}

static const struct { const char *key; void (*fn)(json_t *causes, const json_t *doc, const json_t *old); } table[] = {
    { "pods", check_pod }, { "services", check_service }, { "secrets", check_secret }, { "configmaps", check_configmap },
    { "apps/deployments", check_workload }, { "apps/replicasets", check_workload },
    { "admissionregistration.k8s.io/mutatingwebhookconfigurations", check_webhooks },
    { "admissionregistration.k8s.io/validatingwebhookconfigurations", check_webhooks },
    { "apiextensions.k8s.io/customresourcedefinitions", check_crd },
};

json_t *rs_object_check(const json_t *doc, const json_t *old, const struct rs_resource *res)
{
    json_t *causes = json_array();
    if (!old)
        check_name(causes, doc, res);
    check_labels(causes, rs_json_at(doc, "metadata", "labels"), "metadata.labels");
    check_annotations(causes, rs_json_at(doc, "metadata", "annotations"));
    for (size_t i = 0; i < RS_COUNT(table); i++)
        if (rs_streq(table[i].key, res->key))
            table[i].fn(causes, doc, old);
    if (json_array_size(causes))
        return rs_status_invalid(res->group, res->kind, rs_object_name(doc), causes);
    json_decref(causes);
    return NULL;
}
