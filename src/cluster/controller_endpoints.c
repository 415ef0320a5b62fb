#include "cluster/controller_endpoints.h"

#include "base/json_patch.h"
#include "kube/client.h"
#include "kube/object.h"

#define SERVICE_NAME "kubernetes.io/service-name"

bool rs_endpoints_managed(const json_t *service)
{
    return json_object_size(rs_json_at(service, "spec", "selector")) > 0 && !rs_streq(rs_json_str(service, "spec", "type"), "ExternalName");
}

/* ---- ports ---- */

static int64_t container_port(const json_t *pod, const char *name, const char *protocol)
{
    size_t i, j;
    json_t *c, *p;
    json_array_foreach(rs_json_at(pod, "spec", "containers"), i, c)
        json_array_foreach(json_object_get(c, "ports"), j, p) {
            const char *has = rs_json_str(p, "protocol");
            if (rs_streq(rs_json_str(p, "name"), name) && rs_streq(has ? has : "TCP", protocol))
                return rs_json_int(p, 0, "containerPort");
        }
    return 0;
}

/* The ports of the Service as numbers of this pod: [{name, port, protocol, appProtocol}]. A named port that the pod does
 * not have is left out. */
static json_t *ports_of(const json_t *service, const json_t *pod)
{
    size_t i;
    json_t *p, *list = json_array();
    json_array_foreach(rs_json_at(service, "spec", "ports"), i, p) {
        const json_t *target = json_object_get(p, "targetPort");
        const char *protocol = rs_json_str(p, "protocol") ? rs_json_str(p, "protocol") : "TCP", *name = json_string_value(target);
        int64_t port = name ? container_port(pod, name, protocol) : json_integer_value(target) ? json_integer_value(target) : rs_json_int(p, 0, "port");
        if (port == 0)
            continue;
        json_t *one = rs_json_pack("{s:I,s:s}", "port", (json_int_t)port, "protocol", protocol);
        rs_json_set_str(one, "name", rs_json_str(p, "name"));
        rs_json_set_str(one, "appProtocol", rs_json_str(p, "appProtocol"));
        json_array_append_new(list, one);
    }
    return list;
}

static bool headless(const json_t *service) { return rs_streq(rs_json_str(service, "spec", "clusterIP"), "None"); }

/* ---- which pods ---- */

static bool candidate(const json_t *service, const json_t *pod)
{
    const char *phase = rs_json_str(pod, "status", "phase");
    return *rs_pod_ip(pod) && !rs_streq(phase, "Succeeded") && !rs_streq(phase, "Failed") &&
           rs_streq(rs_object_namespace(pod), rs_object_namespace(service)) &&
           rs_labels_include(rs_json_at(pod, "metadata", "labels"), rs_json_at(service, "spec", "selector"));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(rs_object_name(*(const json_t *const *)a), rs_object_name(*(const json_t *const *)b));
}

static const json_t **choose(const json_t *service, const json_t *const *pods, size_t n_pods, size_t *ret_n)
{
    const json_t **v = rs_new_array(const json_t *, n_pods + 1);
    *ret_n = 0;
    for (size_t i = 0; i < n_pods; i++)
        if (candidate(service, pods[i]))
            v[(*ret_n)++] = pods[i];
    qsort(v, *ret_n, sizeof(*v), by_name);
    return v;
}

static json_t *target_ref(const json_t *pod)
{
    return rs_json_pack("{s:s,s:s,s:s,s:s}", "kind", "Pod", "namespace", rs_object_namespace(pod), "name", rs_object_name(pod), "uid", rs_object_uid(pod));
}

/* Set by hostname and subdomain of a pod that wants a name of its own under a headless Service. */
static const char *hostname(const json_t *service, const json_t *pod)
{
    return rs_streq(rs_json_str(pod, "spec", "subdomain"), rs_object_name(service)) ? rs_json_str(pod, "spec", "hostname") : NULL;
}

static json_t *labels_of(const json_t *service)
{
    json_t *labels = json_deep_copy(rs_json_at(service, "metadata", "labels"));
    if (!labels)
        labels = json_object();
    if (headless(service))
        rs_json_set_str(labels, "service.kubernetes.io/headless", "");
    return labels;
}

/* ---- Endpoints ---- */

static json_t *group_for(json_t *groups, json_t *ports)
{
    size_t i;
    json_t *g;
    json_array_foreach(groups, i, g)
        if (json_equal(json_object_get(g, "ports"), ports))
            return g;
    g = rs_json_pack("{s:O}", "ports", ports);
    json_array_append_new(groups, g);
    return g;
}

static void append_to(json_t *o, const char *key, json_t *v)
{
    json_t *list = json_object_get(o, key);
    if (!list)
        json_object_set_new(o, key, list = json_array());
    json_array_append_new(list, v);
}

json_t *rs_endpoints_of(const json_t *service, const json_t *const *pods, size_t n_pods)
{
    size_t n;
    const json_t **v = choose(service, pods, n_pods, &n);
    json_t *subsets = json_array();
    bool all = rs_json_true(service, "spec", "publishNotReadyAddresses");
    for (size_t i = 0; i < n; i++) {
        RS_AUTO(json_t) *ports = ports_of(service, v[i]);
        if (rs_object_deleting(v[i]) && !all)
            continue;
        if (json_array_size(ports) == 0 && !headless(service))
            continue;
        json_t *address = rs_json_pack("{s:s,s:o}", "ip", rs_pod_ip(v[i]), "targetRef", target_ref(v[i]));
        rs_json_set_str(address, "nodeName", rs_json_str(v[i], "spec", "nodeName"));
        rs_json_set_str(address, "hostname", hostname(service, v[i]));
        append_to(group_for(subsets, ports), all || rs_pod_ready(v[i]) ? "addresses" : "notReadyAddresses", address);
    }
    free(v);
    json_t *o = rs_json_pack("{s:s,s:s,s:{s:s,s:s,s:o}}", "apiVersion", "v1", "kind", "Endpoints", "metadata", "name", rs_object_name(service),
                             "namespace", rs_object_namespace(service), "labels", labels_of(service));
    if (json_array_size(subsets))
        json_object_set(o, "subsets", subsets);
    json_decref(subsets);
    rs_json_set_str(rs_json_at(o, "metadata", "labels"), RS_ENDPOINTS_MANAGED_BY, "endpoint-controller");
    return o;
}

/* ---- EndpointSlices ---- */

static json_t *slice_endpoint(const json_t *service, const json_t *pod)
{
    bool ready = rs_pod_ready(pod), ending = rs_object_deleting(pod), all = rs_json_true(service, "spec", "publishNotReadyAddresses");
    json_t *e = rs_json_pack("{s:[s],s:{s:b,s:b,s:b},s:o}", "addresses", rs_pod_ip(pod), "conditions", "ready", all || (ready && !ending),
                             "serving", ready, "terminating", ending, "targetRef", target_ref(pod));
    rs_json_set_str(e, "nodeName", rs_json_str(pod, "spec", "nodeName"));
    rs_json_set_str(e, "hostname", hostname(service, pod));
    return e;
}

static json_t *empty_slice(const json_t *service, json_t *ports)
{
    RS_AUTO(rs_chars) *hash = rs_content_hash(ports, 0), *name = rs_printf("%s-%s", rs_object_name(service), hash);
    json_t *labels = labels_of(service);
    rs_json_set_str(labels, SERVICE_NAME, rs_object_name(service));
    rs_json_set_str(labels, "endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
    return rs_json_pack("{s:s,s:s,s:{s:s,s:s,s:o,s:[o]},s:s,s:O,s:[]}", "apiVersion", "discovery.k8s.io/v1", "kind", "EndpointSlice", "metadata",
                        "name", name, "namespace", rs_object_namespace(service), "labels", labels, "ownerReferences", rs_owner_reference(service),
                        "addressType", "IPv4", "ports", ports, "endpoints");
}

json_t *rs_endpoint_slices_of(const json_t *service, const json_t *const *pods, size_t n_pods)
{
    size_t n;
    const json_t **v = choose(service, pods, n_pods, &n);
    json_t *slices = json_array();
    for (size_t i = 0; i < n; i++) {
        RS_AUTO(json_t) *ports = ports_of(service, v[i]);
        json_t *slice = NULL, *s;
        size_t j;
        json_array_foreach(slices, j, s)
            if (json_equal(json_object_get(s, "ports"), ports))
                slice = s;
        if (!slice)
            json_array_append_new(slices, slice = empty_slice(service, ports));
        json_array_append_new(json_object_get(slice, "endpoints"), slice_endpoint(service, v[i]));
    }
    free(v);
    if (n == 0) {                        /* one empty slice says that the Service is known */
        RS_AUTO(json_t) *ports = ports_of(service, NULL);
        json_array_append_new(slices, empty_slice(service, ports));
    }
    return slices;
}

/* ---- the plan ---- */

/* One writer, so no version: the last state wins without a conflict. */
static void bring_to(json_t *plan, const json_t *have, json_t *want, const char *const *keys)
{
    RS_AUTO(json_t) *patch = json_object(), *patched = NULL;
    for (; *keys; keys++) {
        json_t *v = json_object_get(want, *keys);
        json_object_set(patch, *keys, v ? v : json_null());
    }
    json_object_set_new(rs_json_need(patch, "metadata"), "labels", json_incref(rs_json_at(want, "metadata", "labels")));
    patched = rs_json_merge(have, patch);
    if (json_equal(patched, (json_t *)have))
        return;
    RS_AUTO(rs_chars) *path = rs_object_path(want, true);
    rs_plan_call(plan, "PATCH", path, RS_MERGE_PATCH, rs_take(patch));
}

static void create(json_t *plan, json_t *want)
{
    RS_AUTO(rs_chars) *path = rs_object_path(want, false);
    rs_plan_call(plan, "POST", path, NULL, json_incref(want));
}

static const json_t *named(const json_t *const *v, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (rs_streq(rs_object_name(v[i]), name))
            return v[i];
    return NULL;
}

static bool wanted(const json_t *slices, const char *name)
{
    size_t i;
    json_t *s;
    json_array_foreach(slices, i, s)
        if (rs_streq(rs_object_name(s), name))
            return true;
    return false;
}

json_t *rs_endpoints_plan(const json_t *service, const json_t *const *pods, size_t n_pods, const json_t *endpoints,
                          const json_t *const *slices, size_t n_slices)
{
    static const char *const endpoints_keys[] = { "subsets", NULL }, *const slice_keys[] = { "ports", "endpoints", NULL };
    json_t *plan = json_array(), *s;
    size_t i;
    RS_AUTO(json_t) *want = rs_endpoints_of(service, pods, n_pods), *want_slices = rs_endpoint_slices_of(service, pods, n_pods);
    json_array_foreach(want_slices, i, s) {
        const json_t *have = named(slices, n_slices, rs_object_name(s));
        if (have)
            bring_to(plan, have, s, slice_keys);
        else
            create(plan, s);
    }
    if (endpoints)
        bring_to(plan, endpoints, want, endpoints_keys);
    else
        create(plan, want);
    for (i = 0; i < n_slices; i++)
        if (!wanted(want_slices, rs_object_name(slices[i]))) {
            RS_AUTO(rs_chars) *path = rs_object_path(slices[i], true);
            rs_plan_call(plan, "DELETE", path, NULL, NULL);
        }
    return plan;
}
