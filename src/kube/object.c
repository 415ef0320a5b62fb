#include "kube/object.h"

#include "base/buf.h"

static const struct rs_kind kinds[] = {
    { "v1", "Namespace", "namespaces", false },
    { "v1", "Pod", "pods", true },
    { "v1", "Service", "services", true },
    { "v1", "Endpoints", "endpoints", true },
    { "v1", "Secret", "secrets", true },
    { "v1", "ConfigMap", "configmaps", true },
    { "v1", "ServiceAccount", "serviceaccounts", true },
    { "v1", "Event", "events", true },
    { "v1", "Node", "nodes", false },
    { "v1", "LimitRange", "limitranges", true },
    { "v1", "ResourceQuota", "resourcequotas", true },
    { "v1", "PersistentVolume", "persistentvolumes", false },
    { "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true },
    { "apps/v1", "Deployment", "deployments", true },
    { "apps/v1", "ReplicaSet", "replicasets", true },
    { "apps/v1", "StatefulSet", "statefulsets", true },
    { "apps/v1", "DaemonSet", "daemonsets", true },
    { "autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true },
    { "autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true },
    { "autoscaling/v2beta2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true },
    { "policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", true },
    { "policy/v1beta1", "PodDisruptionBudget", "poddisruptionbudgets", true },
    { "batch/v1", "Job", "jobs", true },
    { "coordination.k8s.io/v1", "Lease", "leases", true },
    { "discovery.k8s.io/v1", "EndpointSlice", "endpointslices", true },
    { "events.k8s.io/v1", "Event", "events", true },
    { "networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", true },
    { "networking.k8s.io/v1", "Ingress", "ingresses", true },
    { "rbac.authorization.k8s.io/v1", "Role", "roles", true },
    { "rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", true },
    { "rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false },
    { "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", false },
    { "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false },
    { "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false },
    { "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", false },
    { "authentication.k8s.io/v1", "TokenReview", "tokenreviews", false },
    { "authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", false },
    { "authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews", false },
    { "networking.istio.io/v1beta1", "Gateway", "gateways", true },
    { "networking.istio.io/v1alpha3", "Gateway", "gateways", true },
    { "networking.istio.io/v1beta1", "VirtualService", "virtualservices", true },
    { "networking.istio.io/v1alpha3", "VirtualService", "virtualservices", true },
    { "networking.istio.io/v1beta1", "DestinationRule", "destinationrules", true },
    { "networking.istio.io/v1alpha3", "DestinationRule", "destinationrules", true },
    { "networking.istio.io/v1beta1", "ServiceEntry", "serviceentries", true },
    { "networking.istio.io/v1alpha3", "ServiceEntry", "serviceentries", true },
    { "networking.istio.io/v1beta1", "Sidecar", "sidecars", true },
    { "networking.istio.io/v1alpha3", "Sidecar", "sidecars", true },
    { "networking.istio.io/v1beta1", "WorkloadEntry", "workloadentries", true },
    { "networking.istio.io/v1alpha3", "WorkloadEntry", "workloadentries", true },
    { "networking.istio.io/v1beta1", "WorkloadGroup", "workloadgroups", true },
    { "networking.istio.io/v1alpha3", "WorkloadGroup", "workloadgroups", true },
    { "networking.istio.io/v1beta1", "ProxyConfig", "proxyconfigs", true },
    { "networking.istio.io/v1alpha3", "EnvoyFilter", "envoyfilters", true },
    { "security.istio.io/v1beta1", "PeerAuthentication", "peerauthentications", true },
    { "security.istio.io/v1", "PeerAuthentication", "peerauthentications", true },
    { "security.istio.io/v1beta1", "AuthorizationPolicy", "authorizationpolicies", true },
    { "security.istio.io/v1", "AuthorizationPolicy", "authorizationpolicies", true },
    { "security.istio.io/v1beta1", "RequestAuthentication", "requestauthentications", true },
    { "telemetry.istio.io/v1alpha1", "Telemetry", "telemetries", true },
    { "extensions.istio.io/v1alpha1", "WasmPlugin", "wasmplugins", true },
    { "install.istio.io/v1alpha1", "IstioOperator", "istiooperators", true },
    { "mesh.cloud.google.com/v1beta1", "ControlPlaneRevision", "controlplanerevisions", true },
    { "rootshift.dev/v1", "IssuanceRecord", "issuancerecords", true },
};

const struct rs_kind *rs_kind_find(const char *api_version, const char *kind)
{
    for (size_t i = 0; kind && i < RS_COUNT(kinds); i++)
        if (strcmp(kinds[i].kind, kind) == 0 && (!api_version || strcmp(kinds[i].api_version, api_version) == 0))
            return &kinds[i];
    return NULL;
}

/* Names in paths: anything that would change the path's meaning is escaped (a name may hold ':' but no '/'). */
static void add_segment(struct rs_buf *b, const char *s)
{
    rs_buf_add(b, "/", 1);
    for (; *s; s++)
        if (strchr("%/?#", *s) || (unsigned char)*s <= ' ' || (unsigned char)*s > '~')
            rs_buf_addf(b, "%%%02X", (unsigned char)*s);
        else
            rs_buf_add(b, s, 1);
}

char *rs_kind_path(const struct rs_kind *k, const char *namespace, const char *name)
{
    struct rs_buf b;
    rs_buf_init(&b, 4096);
    rs_buf_adds(&b, strchr(k->api_version, '/') ? "/apis/" : "/api/");
    rs_buf_adds(&b, k->api_version);
    if (k->namespaced && namespace && *namespace) {
        rs_buf_adds(&b, "/namespaces");
        add_segment(&b, namespace);
    }
    add_segment(&b, k->plural);
    if (name)
        add_segment(&b, name);
    return rs_buf_take(&b);
}

char *rs_object_path(const json_t *o, bool with_name)
{
    const struct rs_kind *k = rs_kind_find(rs_json_str(o, "apiVersion"), rs_json_str(o, "kind"));
    return k ? rs_kind_path(k, rs_object_namespace(o), with_name ? rs_object_name(o) : NULL) : NULL;
}

static const char *meta(const json_t *o, const char *key)
{
    const char *s = rs_json_str(o, "metadata", key);
    return s ? s : "";
}

const char *rs_object_name(const json_t *o) { return meta(o, "name"); }
const char *rs_object_namespace(const json_t *o) { return meta(o, "namespace"); }
const char *rs_object_uid(const json_t *o) { return meta(o, "uid"); }
const char *rs_object_rv(const json_t *o) { return meta(o, "resourceVersion"); }
const char *rs_object_label(const json_t *o, const char *key) { return rs_json_str(o, "metadata", "labels", key); }
const char *rs_object_annotation(const json_t *o, const char *key) { return rs_json_str(o, "metadata", "annotations", key); }
bool rs_object_deleting(const json_t *o) { return rs_json_str(o, "metadata", "deletionTimestamp") != NULL; }

const json_t *rs_object_owner(const json_t *o)
{
    size_t i;
    json_t *ref;
    json_array_foreach(rs_json_at(o, "metadata", "ownerReferences"), i, ref)
        if (rs_json_true(ref, "controller"))
            return ref;
    return NULL;
}

bool rs_pod_ready(const json_t *pod)
{
    size_t i;
    json_t *c;
    json_array_foreach(rs_json_at(pod, "status", "conditions"), i, c)
        if (rs_streq(rs_json_str(c, "type"), "Ready"))
            return rs_streq(rs_json_str(c, "status"), "True");
    return false;
}

const char *rs_pod_ip(const json_t *pod)
{
    const char *ip = rs_json_str(pod, "status", "podIP");
    return ip ? ip : "";
}

char *rs_secret_value(const json_t *secret, const char *key, size_t *ret_n)
{
    const char *coded = rs_json_str(secret, "data", key);
    unsigned char *bytes;
    size_t n;
    if (!coded)
        return NULL;
    if (rs_streq(rs_json_str(secret, "kind"), "ConfigMap")) {
        if (ret_n)
            *ret_n = strlen(coded);
        return rs_strdup(coded);
    }
    if (rs_unbase64(rs_str_of(coded), false, &bytes, &n) < 0)
        return NULL;
    if (ret_n)
        *ret_n = n;
    return (char *)bytes;
}

const char *rs_configmap_value(const json_t *cm, const char *key) { return rs_json_str(cm, "data", key); }

bool rs_labels_include(const json_t *labels, const json_t *wanted)
{
    const char *key;
    json_t *value;
    if (json_object_size(wanted) == 0)
        return false;
    json_object_foreach((json_t *)wanted, key, value)
        if (!rs_streq(json_string_value(json_object_get(labels, key)), json_string_value(value)))
            return false;
    return true;
}
