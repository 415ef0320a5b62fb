#include "base/buf.h"
#include "cluster/table_int.h"
#include "kube/object.h"

enum { CELL_MAX = 4096 };

static void add(json_t *row, const char *text)
{
    json_array_append_new(row, json_string(text ? text : ""));
}

static void add_or_none(json_t *row, const char *text)
{
    add(row, text && *text ? text : "<none>");
}

static void add_int(json_t *row, json_int_t n)
{
    json_array_append_new(row, json_integer(n));
}

static void add_age(json_t *row, const json_t *doc)
{
    json_array_append_new(row, rs_cell_age(rs_json_str(doc, "metadata", "creationTimestamp")));
}

/* "a=b,c=d", "<none>" when empty. */
static void add_labels(json_t *row, const json_t *labels)
{
    RS_AUTO_BUF b;
    rs_buf_init(&b, CELL_MAX);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)labels, key, value)
        rs_buf_addf(&b, "%s%s=%s", b.n ? "," : "", key, json_is_string(value) ? json_string_value(value) : "");
    add_or_none(row, b.n ? b.p : "");
}

/* One member of each item, comma separated. */
static void add_joined(json_t *row, const json_t *list, const char *member)
{
    RS_AUTO_BUF b;
    rs_buf_init(&b, CELL_MAX);
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) {
        const char *s = rs_json_str(item, member);
        rs_buf_addf(&b, "%s%s", b.n ? "," : "", s ? s : "");
    }
    add_or_none(row, b.n ? b.p : "");
}

/* --- pods --- */

/* A restart of a terminated container: reason, signal or exit code; NULL when it is not terminated. */
static bool ended_text(struct rs_buf *b, const json_t *state, const char *prefix)
{
    const json_t *t = json_object_get(state, "terminated");
    const char *reason = rs_json_str(t, "reason");
    if (!t)
        return false;
    rs_buf_clear(b);
    if (reason && *reason)
        rs_buf_addf(b, "%s%s", prefix, reason);
    else if (rs_json_int(t, 0, "signal"))
        rs_buf_addf(b, "%sSignal:%lld", prefix, (long long)rs_json_int(t, 0, "signal"));
    else
        rs_buf_addf(b, "%sExitCode:%lld", prefix, (long long)rs_json_int(t, 0, "exitCode"));
    return true;
}

/* True when init containers still decide the status. */
static bool init_status(struct rs_buf *b, const json_t *doc, json_int_t *restarts)
{
    const json_t *list = rs_json_at(doc, "status", "initContainerStatuses");
    size_t i, n = json_array_size(rs_json_at(doc, "spec", "initContainers"));
    json_t *s;
    json_array_foreach((json_t *)list, i, s) {
        const json_t *state = json_object_get(s, "state");
        const char *waiting = rs_json_str(state, "waiting", "reason");
        *restarts += rs_json_int(s, 0, "restartCount");
        if (json_object_get(state, "terminated") && rs_json_int(state, 0, "terminated", "exitCode") == 0)
            continue;
        if (ended_text(b, state, "Init:"))
            return true;
        rs_buf_clear(b);
        if (waiting && *waiting && strcmp(waiting, "PodInitializing"))
            rs_buf_addf(b, "Init:%s", waiting);
        else
            rs_buf_addf(b, "Init:%zu/%zu", i, n);
        return true;
    }
    return false;
}

static bool pod_condition_true(const json_t *doc, const char *type)
{
    size_t i;
    json_t *c;
    json_array_foreach(rs_json_at(doc, "status", "conditions"), i, c)
        if (rs_streq(rs_json_str(c, "type"), type))
            return rs_streq(rs_json_str(c, "status"), "True");
    return false;
}

static void container_status(struct rs_buf *b, const json_t *doc, json_int_t *ready, json_int_t *restarts)
{
    const json_t *list = rs_json_at(doc, "status", "containerStatuses");
    bool running = false;
    *restarts = 0;
    for (size_t i = json_array_size(list); i-- > 0;) {
        const json_t *s = json_array_get(list, i), *state = json_object_get(s, "state");
        const char *waiting = rs_json_str(state, "waiting", "reason");
        *restarts += rs_json_int(s, 0, "restartCount");
        if (waiting && *waiting) {
            rs_buf_clear(b);
            rs_buf_adds(b, waiting);
        } else if (!ended_text(b, state, "") && rs_json_true(s, "ready") && json_object_get(state, "running")) {
            running = true;
            ++*ready;
        }
    }
    if (running && b->p && strcmp(b->p, "Completed") == 0) {
        rs_buf_clear(b);
        rs_buf_adds(b, pod_condition_true(doc, "Ready") ? "Running" : "NotReady");
    }
}

static void pod_cells(json_t *row, const json_t *doc)
{
    RS_AUTO_BUF status;
    rs_buf_init(&status, 256);
    const char *phase = rs_json_str(doc, "status", "phase"), *reason = rs_json_str(doc, "status", "reason");
    json_int_t ready = 0, restarts = 0;
    char text[48];
    rs_buf_adds(&status, reason && *reason ? reason : phase ? phase : "Unknown");
    if (!init_status(&status, doc, &restarts))
        container_status(&status, doc, &ready, &restarts);
    if (rs_object_deleting(doc)) {
        rs_buf_clear(&status);
        rs_buf_adds(&status, rs_streq(reason, "NodeLost") ? "Unknown" : "Terminating");
    }
    snprintf(text, sizeof text, "%lld/%zu", (long long)ready, json_array_size(rs_json_at(doc, "spec", "containers")));
    add(row, text);
    add(row, status.p);
    add_int(row, restarts);
    add_age(row, doc);
    add_or_none(row, rs_json_str(doc, "status", "podIP"));
    add_or_none(row, rs_json_str(doc, "spec", "nodeName"));
    add_or_none(row, rs_json_str(doc, "status", "nominatedNodeName"));
    add(row, "<none>");
}

/* --- workloads --- */

static void workload_tail(json_t *row, const json_t *doc)
{
    const json_t *containers = rs_json_at(doc, "spec", "template", "spec", "containers");
    add_age(row, doc);
    add_joined(row, containers, "name");
    add_joined(row, containers, "image");
    add_labels(row, rs_json_at(doc, "spec", "selector", "matchLabels"));
}

static void deployment_cells(json_t *row, const json_t *doc)
{
    char text[64];
    snprintf(text, sizeof text, "%lld/%lld", (long long)rs_json_int(doc, 0, "status", "readyReplicas"), (long long)rs_json_int(doc, 0, "spec", "replicas"));
    add(row, text);
    add_int(row, rs_json_int(doc, 0, "status", "updatedReplicas"));
    add_int(row, rs_json_int(doc, 0, "status", "availableReplicas"));
    workload_tail(row, doc);
}

static void replicaset_cells(json_t *row, const json_t *doc)
{
    add_int(row, rs_json_int(doc, 0, "spec", "replicas"));
    add_int(row, rs_json_int(doc, 0, "status", "replicas"));
    add_int(row, rs_json_int(doc, 0, "status", "readyReplicas"));
    workload_tail(row, doc);
}

static void hpa_cells(json_t *row, const json_t *doc)
{
    RS_AUTO_BUF targets;
    rs_buf_init(&targets, CELL_MAX);
    size_t i;
    json_t *m;
    json_array_foreach(rs_json_at(doc, "spec", "metrics"), i, m) {
        json_t *target = rs_json_at(m, "resource", "target");
        const char *value = rs_json_str(target, "averageValue");
        rs_buf_adds(&targets, targets.n ? ", " : "");
        if (json_object_get(target, "averageUtilization"))
            rs_buf_addf(&targets, "<unknown>/%lld%%", (long long)rs_json_int(target, 0, "averageUtilization"));
        else
            rs_buf_addf(&targets, "<unknown>/%s", value ? value : "<auto>");
    }
    const char *kind = rs_json_str(doc, "spec", "scaleTargetRef", "kind"), *name = rs_json_str(doc, "spec", "scaleTargetRef", "name");
    RS_AUTO(rs_chars) *reference = rs_printf("%s/%s", kind ? kind : "", name ? name : "");
    RS_AUTO(rs_chars) *low = rs_printf("%lld", (long long)rs_json_int(doc, 1, "spec", "minReplicas"));
    add(row, reference);
    add_or_none(row, targets.n ? targets.p : "");
    add(row, low);
    add_int(row, rs_json_int(doc, 0, "spec", "maxReplicas"));
    add_int(row, rs_json_int(doc, 0, "status", "currentReplicas"));
    add_age(row, doc);
}

static void add_int_or_percent(json_t *row, const json_t *v)
{
    RS_AUTO(rs_chars) *n = json_is_integer(v) ? rs_printf("%lld", (long long)json_integer_value(v)) : NULL;
    add(row, n ? n : json_is_string(v) ? json_string_value(v) : "N/A");
}

static void pdb_cells(json_t *row, const json_t *doc)
{
    add_int_or_percent(row, rs_json_at(doc, "spec", "minAvailable"));
    add_int_or_percent(row, rs_json_at(doc, "spec", "maxUnavailable"));
    add_int(row, rs_json_int(doc, 0, "status", "disruptionsAllowed"));
    add_age(row, doc);
}

/* --- core --- */

static void namespace_cells(json_t *row, const json_t *doc)
{
    add(row, rs_json_str(doc, "status", "phase"));
    add_age(row, doc);
}

static void external_ip(json_t *row, const json_t *doc)
{
    const char *type = rs_json_str(doc, "spec", "type");
    const json_t *ingress = rs_json_at(doc, "status", "loadBalancer", "ingress"), *ips = rs_json_at(doc, "spec", "externalIPs");
    if (rs_streq(type, "ExternalName")) {
        add(row, rs_json_str(doc, "spec", "externalName"));
    } else if (rs_streq(type, "LoadBalancer")) {
        if (json_array_size(ingress))
            add_joined(row, ingress, rs_json_str(json_array_get(ingress, 0), "ip") ? "ip" : "hostname");
        else
            add(row, "<pending>");
    } else {
        add_or_none(row, json_string_value(json_array_get(ips, 0)));
    }
}

static void service_cells(json_t *row, const json_t *doc)
{
    RS_AUTO_BUF ports;
    rs_buf_init(&ports, CELL_MAX);
    size_t i;
    json_t *p;
    json_array_foreach(rs_json_at(doc, "spec", "ports"), i, p) {
        const char *proto = rs_json_str(p, "protocol");
        rs_buf_addf(&ports, "%s%lld", ports.n ? "," : "", (long long)rs_json_int(p, 0, "port"));
        if (rs_json_int(p, 0, "nodePort"))
            rs_buf_addf(&ports, ":%lld", (long long)rs_json_int(p, 0, "nodePort"));
        rs_buf_addf(&ports, "/%s", proto ? proto : "TCP");
    }
    add(row, rs_json_str(doc, "spec", "type"));
    add_or_none(row, rs_json_str(doc, "spec", "clusterIP"));
    external_ip(row, doc);
    add_or_none(row, ports.n ? ports.p : "");
    add_age(row, doc);
    add_labels(row, rs_json_at(doc, "spec", "selector"));
}

static void secret_cells(json_t *row, const json_t *doc)
{
    add(row, rs_json_str(doc, "type"));
    add_int(row, (json_int_t)json_object_size(json_object_get(doc, "data")));
    add_age(row, doc);
}

static void configmap_cells(json_t *row, const json_t *doc)
{
    add_int(row, (json_int_t)(json_object_size(json_object_get(doc, "data")) + json_object_size(json_object_get(doc, "binaryData"))));
    add_age(row, doc);
}

static void serviceaccount_cells(json_t *row, const json_t *doc)
{
    add_int(row, (json_int_t)json_array_size(json_object_get(doc, "secrets")));
    add_age(row, doc);
}

static const char *lower_kind(const char *kind, char buf[64])
{
    size_t i = 0;
    for (; kind && kind[i] && i < 63; i++)
        buf[i] = (char)(kind[i] >= 'A' && kind[i] <= 'Z' ? kind[i] + 32 : kind[i]);
    buf[i] = 0;
    return buf;
}

static void event_cells(json_t *row, const json_t *doc)
{
    char kind[64];
    const char *last = rs_json_str(doc, "lastTimestamp"), *first = rs_json_str(doc, "firstTimestamp"), *at = rs_json_str(doc, "eventTime");
    const json_t *about = json_object_get(doc, "involvedObject");
    const char *name = rs_json_str(about, "name"), *source = rs_json_str(doc, "source", "component"), *message = rs_json_str(doc, "message");
    RS_AUTO(rs_chars) *object = rs_printf("%s/%s", lower_kind(rs_json_str(about, "kind"), kind), name ? name : "");
    rs_str line = rs_str_trim(rs_str_of(message));
    RS_AUTO(rs_chars) *text = rs_strndup(line.p, line.n);
    json_t *own = json_array_get(row, 0);
    json_incref(own);
    json_array_clear(row);
    json_array_append_new(row, rs_cell_age(last ? last : at));
    add(row, rs_json_str(doc, "type"));
    add(row, rs_json_str(doc, "reason"));
    add(row, object);
    add(row, rs_json_str(about, "fieldPath"));
    add(row, source ? source : rs_json_str(doc, "reportingComponent"));
    add(row, text);
    json_array_append_new(row, rs_cell_age(first ? first : at));
    add_int(row, rs_json_int(doc, 1, "count"));
    json_array_append_new(row, own);
}

static const char *address(const json_t *doc, const char *type)
{
    size_t i;
    json_t *a;
    json_array_foreach(rs_json_at(doc, "status", "addresses"), i, a)
        if (rs_streq(rs_json_str(a, "type"), type))
            return rs_json_str(a, "address");
    return NULL;
}

static void node_roles(json_t *row, const json_t *doc)
{
    static const char prefix[] = "node-role.kubernetes.io/";
    RS_AUTO_BUF b;
    rs_buf_init(&b, CELL_MAX);
    const char *key;
    json_t *value;
    json_object_foreach(rs_json_at(doc, "metadata", "labels"), key, value)
        if (rs_starts(key, prefix))
            rs_buf_addf(&b, "%s%s", b.n ? "," : "", key + sizeof prefix - 1);
    add_or_none(row, b.n ? b.p : "");
}

static void node_cells(json_t *row, const json_t *doc)
{
    bool ready = pod_condition_true(doc, "Ready");
    RS_AUTO(rs_chars) *status = rs_printf("%s%s", ready ? "Ready" : "NotReady", rs_json_true(doc, "spec", "unschedulable") ? ",SchedulingDisabled" : "");
    const json_t *info = rs_json_at(doc, "status", "nodeInfo");
    add(row, status);
    node_roles(row, doc);
    add_age(row, doc);
    add(row, rs_json_str(info, "kubeletVersion"));
    add_or_none(row, address(doc, "InternalIP"));
    add_or_none(row, address(doc, "ExternalIP"));
    add(row, rs_json_str(info, "osImage"));
    add(row, rs_json_str(info, "kernelVersion"));
    add(row, rs_json_str(info, "containerRuntimeVersion"));
}

/* At most three endpoints, then "+ n more...". */
static void endpoints_cells(json_t *row, const json_t *doc)
{
    RS_AUTO_BUF b;
    rs_buf_init(&b, CELL_MAX);
    size_t i, k, j, count = 0;
    json_t *subset, *addr, *port;
    json_array_foreach(json_object_get(doc, "subsets"), i, subset)
        json_array_foreach(json_object_get(subset, "ports"), k, port)
            json_array_foreach(json_object_get(subset, "addresses"), j, addr)
                if (++count <= 3)
                    rs_buf_addf(&b, "%s%s:%lld", b.n ? "," : "", rs_json_str(addr, "ip") ? rs_json_str(addr, "ip") : "",
                                (long long)rs_json_int(port, 0, "port"));
    if (count > 3)
        rs_buf_addf(&b, " + %zu more...", count - 3);
    add_or_none(row, b.n ? b.p : "");
    add_age(row, doc);
}

static void endpointslice_cells(json_t *row, const json_t *doc)
{
    RS_AUTO_BUF ports, addresses;
    rs_buf_init(&ports, CELL_MAX);
    rs_buf_init(&addresses, CELL_MAX);
    size_t i, k;
    json_t *p, *ep, *a;
    json_array_foreach(json_object_get(doc, "ports"), i, p)
        rs_buf_addf(&ports, "%s%lld", ports.n ? "," : "", (long long)rs_json_int(p, 0, "port"));
    json_array_foreach(json_object_get(doc, "endpoints"), i, ep)
        json_array_foreach(json_object_get(ep, "addresses"), k, a)
            rs_buf_addf(&addresses, "%s%s", addresses.n ? "," : "", json_is_string(a) ? json_string_value(a) : "");
    add(row, rs_json_str(doc, "addressType"));
    add(row, ports.n ? ports.p : "<unset>");
    add(row, addresses.n ? addresses.p : "<unset>");
    add_age(row, doc);
}

static void webhook_cells(json_t *row, const json_t *doc)
{
    add_int(row, (json_int_t)json_array_size(json_object_get(doc, "webhooks")));
    add_age(row, doc);
}

static void created_cells(json_t *row, const json_t *doc)
{
    add(row, rs_json_str(doc, "metadata", "creationTimestamp"));
}

static void lease_cells(json_t *row, const json_t *doc)
{
    add(row, rs_json_str(doc, "spec", "holderIdentity"));
    add_age(row, doc);
}

static void binding_cells(json_t *row, const json_t *doc)
{
    const char *kind = rs_json_str(doc, "roleRef", "kind"), *name = rs_json_str(doc, "roleRef", "name");
    RS_AUTO(rs_chars) *role = rs_printf("%s/%s", kind ? kind : "", name ? name : "");
    add(row, role);
    add_age(row, doc);
}

const struct rs_printer rs_printers[] = {
    { "pods", "Name, Ready, Status, Restarts:integer, Age, *IP, *Node, *Nominated Node, *Readiness Gates", pod_cells },
    { "namespaces", "Name, Status, Age", namespace_cells },
    { "apps/deployments", "Name, Ready, Up-to-date:integer, Available:integer, Age, *Containers, *Images, *Selector", deployment_cells },
    { "apps/replicasets", "Name, Desired:integer, Current:integer, Ready:integer, Age, *Containers, *Images, *Selector", replicaset_cells },
    { "services", "Name, Type, Cluster-IP, External-IP, Port(s), Age, *Selector", service_cells },
    { "secrets", "Name, Type, Data:integer, Age", secret_cells },
    { "configmaps", "Name, Data:integer, Age", configmap_cells },
    { "serviceaccounts", "Name, Secrets:integer, Age", serviceaccount_cells },
    { "events", "Last Seen, Type, Reason, Object, *Subobject, *Source, Message, *First Seen, *Count:integer, *Name", event_cells },
    { "autoscaling/horizontalpodautoscalers", "Name, Reference, Targets, MinPods, MaxPods:integer, Replicas:integer, Age", hpa_cells },
    { "policy/poddisruptionbudgets", "Name, Min Available, Max Unavailable, Allowed Disruptions:integer, Age", pdb_cells },
    { "admissionregistration.k8s.io/mutatingwebhookconfigurations", "Name, Webhooks:integer, Age", webhook_cells },
    { "admissionregistration.k8s.io/validatingwebhookconfigurations", "Name, Webhooks:integer, Age", webhook_cells },
    { "apiextensions.k8s.io/customresourcedefinitions", "Name, Created At:date", created_cells },
    { "rbac.authorization.k8s.io/clusterroles", "Name, Created At:date", created_cells },
    { "rbac.authorization.k8s.io/roles", "Name, Created At:date", created_cells },
    { "rbac.authorization.k8s.io/clusterrolebindings", "Name, Role, Age", binding_cells },
    { "rbac.authorization.k8s.io/rolebindings", "Name, Role, Age", binding_cells },
    { "coordination.k8s.io/leases", "Name, Holder, Age", lease_cells },
    { "nodes", "Name, Status, Roles, Age, Version, *Internal-IP, *External-IP, *OS-Image, *Kernel-Version, *Container-Runtime", node_cells },
    { "endpoints", "Name, Endpoints, Age", endpoints_cells },
    { "discovery.k8s.io/endpointslices", "Name, AddressType, Ports, Endpoints, Age", endpointslice_cells },
};
const size_t rs_n_printers = RS_COUNT(rs_printers);
