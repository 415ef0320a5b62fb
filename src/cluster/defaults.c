#include "cluster/defaults.h"

static void text(json_t *o, const char *key, const char *value)
{
    if (!json_object_get(o, key))
        rs_json_set_str(o, key, value);
}

static void number(json_t *o, const char *key, json_int_t value)
{
    if (!json_object_get(o, key))
        json_object_set_new(o, key, json_integer(value));
}

static void member(json_t *o, const char *key, json_t *value)
{
    if (!json_object_get(o, key))
        json_object_set(o, key, value);
    json_decref(value);
}

/* --- pods --- */

static bool image_is_latest(const char *image)
{
    const char *slash = strrchr(image, '/'), *colon = strrchr(image, ':');
    if (strchr(image, '@'))
        return false;
    return !colon || (slash && colon < slash) || strcmp(colon, ":latest") == 0;
}

static void probe(json_t *p)
{
    if (!json_is_object(p))
        return;
    number(p, "timeoutSeconds", 1);
    number(p, "periodSeconds", 10);
    number(p, "successThreshold", 1);
    number(p, "failureThreshold", 3);
    json_t *http = json_object_get(p, "httpGet");
    if (json_is_object(http)) {
        text(http, "path", "/");
        text(http, "scheme", "HTTP");
    }
}

static void handler(json_t *lifecycle, const char *hook)
{
    json_t *http = rs_json_at(lifecycle, hook, "httpGet");
    if (json_is_object(http)) {
        text(http, "path", "/");
        text(http, "scheme", "HTTP");
    }
}

static void container(json_t *c)
{
    const char *image = rs_json_str(c, "image");
    if (!json_is_object(c))
        return;
    text(c, "imagePullPolicy", image && image_is_latest(image) ? "Always" : "IfNotPresent");
    text(c, "terminationMessagePath", "/dev/termination-log");
    text(c, "terminationMessagePolicy", "File");
    member(c, "resources", json_object());
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(c, "ports"), i, item)
        if (json_is_object(item))
            text(item, "protocol", "TCP");
    json_array_foreach(json_object_get(c, "env"), i, item) {
        json_t *ref = rs_json_at(item, "valueFrom", "fieldRef");
        if (json_is_object(ref))
            text(ref, "apiVersion", "v1");
    }
    probe(json_object_get(c, "readinessProbe"));
    probe(json_object_get(c, "livenessProbe"));
    probe(json_object_get(c, "startupProbe"));
    handler(json_object_get(c, "lifecycle"), "preStop");
    handler(json_object_get(c, "lifecycle"), "postStart");
}

static void downward_items(json_t *source)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(source, "items"), i, item) {
        json_t *ref = json_object_get(item, "fieldRef");
        if (json_is_object(ref))
            text(ref, "apiVersion", "v1");
    }
}

static void volume(json_t *v)
{
    static const char *const with_mode[] = { "configMap", "secret", "downwardAPI", "projected" };
    bool source = false;
    for (size_t i = 0; i < RS_COUNT(with_mode); i++) {
        json_t *s = json_object_get(v, with_mode[i]);
        if (json_is_object(s))
            number(s, "defaultMode", 420);
    }
    downward_items(json_object_get(v, "downwardAPI"));
    size_t i;
    json_t *s;
    json_array_foreach(rs_json_at(v, "projected", "sources"), i, s) {
        downward_items(json_object_get(s, "downwardAPI"));
        json_t *token = json_object_get(s, "serviceAccountToken");
        if (json_is_object(token))
            number(token, "expirationSeconds", 3600);
    }
    s = json_object_get(v, "hostPath");
    if (json_is_object(s))
        text(s, "type", "");
    source = json_object_size(v) > 1;
    if (json_is_object(v) && !source)
        json_object_set_new(v, "emptyDir", json_object());
}

static void pod_spec(json_t *spec)
{
    if (!json_is_object(spec))
        return;
    text(spec, "restartPolicy", "Always");
    number(spec, "terminationGracePeriodSeconds", 30);
    text(spec, "dnsPolicy", "ClusterFirst");
    text(spec, "schedulerName", "default-scheduler");
    member(spec, "securityContext", json_object());
    const char *account = rs_json_str(spec, "serviceAccountName"), *old = rs_json_str(spec, "serviceAccount");
    if (account)
        rs_json_set_str(spec, "serviceAccount", account);
    else if (old)
        rs_json_set_str(spec, "serviceAccountName", old);
    static const char *const lists[] = { "initContainers", "containers", "ephemeralContainers" };
    size_t i;
    json_t *item;
    for (size_t k = 0; k < RS_COUNT(lists); k++)
        json_array_foreach(json_object_get(spec, lists[k]), i, item)
            container(item);
    json_array_foreach(json_object_get(spec, "volumes"), i, item)
        volume(item);
}

static void pod(json_t *doc)
{
    json_t *spec = json_object_get(doc, "spec");
    pod_spec(spec);
    if (json_is_object(spec))
        member(spec, "enableServiceLinks", json_true());
}

/* --- workloads --- */

static void deployment(json_t *doc)
{
    json_t *spec = json_object_get(doc, "spec");
    if (!json_is_object(spec))
        return;
    number(spec, "replicas", 1);
    number(spec, "revisionHistoryLimit", 10);
    number(spec, "progressDeadlineSeconds", 600);
    json_t *strategy = rs_json_need(spec, "strategy");
    text(strategy, "type", "RollingUpdate");
    if (rs_streq(rs_json_str(strategy, "type"), "RollingUpdate")) {
        json_t *rolling = rs_json_need(strategy, "rollingUpdate");
        text(rolling, "maxUnavailable", "25%");
        text(rolling, "maxSurge", "25%");
    }
    pod_spec(rs_json_at(spec, "template", "spec"));
}

static void replicaset(json_t *doc)
{
    json_t *spec = json_object_get(doc, "spec");
    if (!json_is_object(spec))
        return;
    number(spec, "replicas", 1);
    pod_spec(rs_json_at(spec, "template", "spec"));
}

static void hpa(json_t *doc)
{
    json_t *spec = json_object_get(doc, "spec");
    if (json_is_object(spec))
        number(spec, "minReplicas", 1);
}

/* --- core --- */

static void service(json_t *doc)
{
    json_t *spec = rs_json_need(doc, "spec");
    text(spec, "type", "ClusterIP");
    text(spec, "sessionAffinity", "None");
    if (!rs_streq(rs_json_str(spec, "type"), "ExternalName")) {
        text(spec, "internalTrafficPolicy", "Cluster");
        text(spec, "ipFamilyPolicy", "SingleStack");
        member(spec, "ipFamilies", rs_json_pack("[s]", "IPv4"));
    }
    if (rs_streq(rs_json_str(spec, "type"), "LoadBalancer") || rs_streq(rs_json_str(spec, "type"), "NodePort"))
        text(spec, "externalTrafficPolicy", "Cluster");
    size_t i;
    json_t *port;
    json_array_foreach(json_object_get(spec, "ports"), i, port) {
        if (!json_is_object(port))
            continue;
        text(port, "protocol", "TCP");
        if (!json_object_get(port, "targetPort") && json_object_get(port, "port"))
            json_object_set(port, "targetPort", json_object_get(port, "port"));
    }
}

static void secret(json_t *doc)
{
    text(doc, "type", "Opaque");
    json_t *plain = json_object_get(doc, "stringData");
    const char *key;
    json_t *value;
    json_object_foreach(plain, key, value) {
        if (!json_is_string(value))
            continue;
        RS_AUTO(rs_chars) *b64 = rs_base64(json_string_value(value), json_string_length(value));
        rs_json_set_str(rs_json_need(doc, "data"), key, b64);
    }
    json_object_del(doc, "stringData");
}

static void namespace(json_t *doc)
{
    const char *name = rs_json_str(doc, "metadata", "name");
    if (name)
        rs_json_set_str(rs_json_need(doc, "metadata", "labels"), "kubernetes.io/metadata.name", name);
    member(rs_json_need(doc, "spec"), "finalizers", rs_json_pack("[s]", "kubernetes"));
    text(rs_json_need(doc, "status"), "phase", "Active");
}

static void endpoints(json_t *doc)
{
    size_t i, k;
    json_t *subset, *port;
    json_array_foreach(json_object_get(doc, "subsets"), i, subset)
        json_array_foreach(json_object_get(subset, "ports"), k, port)
            if (json_is_object(port))
                text(port, "protocol", "TCP");
}

static void endpointslice(json_t *doc)
{
    size_t i;
    json_t *port;
    json_array_foreach(json_object_get(doc, "ports"), i, port)
        if (json_is_object(port)) {
            text(port, "protocol", "TCP");
            text(port, "name", "");
        }
}

static void webhooks(json_t *doc)
{
    bool mutating = rs_streq(rs_json_str(doc, "kind"), "MutatingWebhookConfiguration");
    size_t i, k;
    json_t *hook, *rule;
    json_array_foreach(json_object_get(doc, "webhooks"), i, hook) {
        if (!json_is_object(hook))
            continue;
        text(hook, "failurePolicy", "Fail");
        text(hook, "matchPolicy", "Equivalent");
        number(hook, "timeoutSeconds", 10);
        member(hook, "namespaceSelector", json_object());
        member(hook, "objectSelector", json_object());
        if (mutating)
            text(hook, "reinvocationPolicy", "Never");
        json_array_foreach(json_object_get(hook, "rules"), k, rule)
            if (json_is_object(rule))
                text(rule, "scope", "*");
        json_t *target = rs_json_at(hook, "clientConfig", "service");
        if (json_is_object(target))
            number(target, "port", 443);
    }
}

static const struct { const char *key; void (*fn)(json_t *doc); } table[] = {
    { "pods", pod }, { "services", service }, { "secrets", secret }, { "namespaces", namespace }, { "endpoints", endpoints },
    { "apps/deployments", deployment }, { "apps/replicasets", replicaset },
    { "autoscaling/horizontalpodautoscalers", hpa }, { "discovery.k8s.io/endpointslices", endpointslice },
    { "admissionregistration.k8s.io/mutatingwebhookconfigurations", webhooks },
    { "admissionregistration.k8s.io/validatingwebhookconfigurations", webhooks },
};

void rs_defaults(json_t *doc, const struct rs_resource *res)
{
    for (size_t i = 0; i < RS_COUNT(table); i++)
        if (rs_streq(table[i].key, res->key))
            table[i].fn(doc);
}

/* Guaranteed, Burstable or BestEffort: whether requests and limits are there decides. */
static const char *qos_class(const json_t *doc)
{
    bool any = false, guaranteed = true;
    static const char *const lists[] = { "initContainers", "containers" };
    for (size_t k = 0; k < RS_COUNT(lists); k++) {
        size_t i;
        json_t *c;
        json_array_foreach(rs_json_at(doc, "spec", lists[k]), i, c) {
            json_t *limits = rs_json_at(c, "resources", "limits"), *requests = rs_json_at(c, "resources", "requests");
            any = any || json_object_size(limits) || json_object_size(requests);
            guaranteed = guaranteed && json_object_get(limits, "cpu") && json_object_get(limits, "memory") &&
                         (!requests || json_equal(limits, requests));
        }
    }
    return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

void rs_defaults_new(json_t *doc, const struct rs_resource *res)
{
    if ((res->flags & RS_RES_STATUS) && !rs_streq(res->key, "nodes"))
        json_object_del(doc, "status");
    if (rs_streq(res->key, "pods"))
        json_object_set_new(doc, "status", rs_json_pack("{s:s, s:s}", "phase", "Pending", "qosClass", qos_class(doc)));
    if (rs_streq(res->key, "services"))
        json_object_set_new(doc, "status", rs_json_pack("{s:{}}", "loadBalancer"));
    if (rs_streq(res->key, "apps/deployments") || rs_streq(res->key, "apps/replicasets"))
        json_object_set_new(doc, "status", rs_streq(res->key, "apps/replicasets") ? rs_json_pack("{s:i}", "replicas", 0) : json_object());
    if (rs_streq(res->key, "namespaces"))
        json_object_set_new(doc, "status", rs_json_pack("{s:s}", "phase", "Active"));
}
