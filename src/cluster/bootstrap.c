/* What every cluster has from its first start: the system namespaces, the Services of API and DNS; and the addresses of
 * Services. */
#include "cluster/api_int.h"

#include "base/random.h"
#include "base/time.h"
#include "cluster/defaults.h"
#include "kube/object.h"

enum { DNS_OFFSET = 10, ADDRESS_TRIES = 64 };

static char *address_text(uint32_t ip)
{
    return rs_printf("%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
}

/* --- addresses of Services --- */

static bool address_used(const rs_api *api, const char *ip, const char *but_uid)
{
    rs_record *const *v;
    size_t n = rs_store_list(api->store, "services", NULL, &v);
    for (size_t i = 0; i < n; i++)
        if (rs_streq(rs_json_str(rs_record_doc(v[i]), "spec", "clusterIP"), ip) && strcmp(rs_object_uid(rs_record_doc(v[i])), but_uid))
            return true;
    return false;
}

static void set_address(json_t *spec, const char *ip)
{
    rs_json_set_str(spec, "clusterIP", ip);
    json_object_set_new(spec, "clusterIPs", rs_json_pack("[s]", ip));
}

/* The first addresses are for the API, DNS and those who ask for a certain one. */
static char *free_address(const rs_api *api)
{
    uint32_t size = ~api->service_mask, low = 256 < size / 2 ? 256 : 16;
    for (int i = 0; i < ADDRESS_TRIES; i++) {
        char *ip = address_text(api->service_net + low + (uint32_t)rs_random_below(size - low));
        if (!address_used(api, ip, ""))
            return ip;
        free(ip);
    }
    for (uint32_t k = low; k < size; k++) {
        char *ip = address_text(api->service_net + k);
        if (!address_used(api, ip, ""))
            return ip;
        free(ip);
    }
    return NULL;
}

static bool in_range(const rs_api *api, const char *ip)
{
    unsigned a, b, c, d;
    char end;
    if (sscanf(ip, "%u.%u.%u.%u%c", &a, &b, &c, &d, &end) != 4 || a > 255 || b > 255 || c > 255 || d > 255)
        return false;
    uint32_t n = a << 24 | b << 16 | c << 8 | d;
    return (n & api->service_mask) == api->service_net && n != api->service_net && (n | api->service_mask) != 0xffffffffu;
}

static json_t *refuse_address(const json_t *doc, const char *ip, const char *why)
{
    json_t *causes = json_array();
    rs_cause_add(causes, "FieldValueInvalid", "spec.clusterIPs", "[]string{\"%s\"}: %s", ip, why);
    return rs_status_invalid("", "Service", rs_object_name(doc), causes);
}

json_t *rs_service_address(rs_api *api, json_t *doc, const json_t *old)
{
    json_t *spec = rs_json_need(doc, "spec");
    const char *ip = rs_json_str(spec, "clusterIP"), *had = rs_json_str(old, "spec", "clusterIP");
    if (rs_streq(rs_json_str(spec, "type"), "ExternalName")) {
        json_object_del(spec, "clusterIP");
        json_object_del(spec, "clusterIPs");
        return NULL;
    }
    if ((!ip || !*ip) && had && *had)
        ip = had;
    if (rs_streq(ip, "None") || (ip && *ip && rs_streq(ip, had))) {
        RS_AUTO(rs_chars) *keep = rs_strdup(ip);
        set_address(spec, keep);
        return NULL;
    }
    if (ip && *ip) {
        RS_AUTO(rs_chars) *wanted = rs_strdup(ip);
        if (!in_range(api, wanted))
            return refuse_address(doc, wanted, "failed to allocate IP: the provided IP is not in the valid range");
        if (address_used(api, wanted, rs_object_uid(doc)))
            return refuse_address(doc, wanted, "failed to allocate IP: provided IP is already allocated");
        set_address(spec, wanted);
        return NULL;
    }
    RS_AUTO(rs_chars) *fresh = free_address(api);
    if (!fresh)
        return rs_status_internal("failed to allocate a serviceIP: range is full");
    set_address(spec, fresh);
    return NULL;
}

/* --- objects of every cluster --- */

static void need(rs_api *api, const char *key, const char *namespace, const char *name, json_t *doc)
{
    const struct rs_resource *res = rs_registry_find_key(api->registry, key);
    char uid[RS_UUID_TEXT], now[RS_TIME_TEXT];
    if (rs_api_get(api, key, namespace, name)) {
        json_decref(doc);
        return;
    }
    RS_AUTO(rs_chars) *gv = rs_group_version(res->group, res->storage);
    rs_json_set_str(doc, "apiVersion", gv);
    rs_json_set_str(doc, "kind", res->kind);
    json_t *meta = rs_json_need(doc, "metadata");
    rs_json_set_str(meta, "name", name);
    if (*namespace)
        rs_json_set_str(meta, "namespace", namespace);
    rs_json_set_str(meta, "uid", rs_uuid4(uid));
    rs_json_set_str(meta, "creationTimestamp", rs_time_text(rs_now_ms(), now));
    rs_defaults_new(doc, res);
    rs_defaults(doc, res);
    rs_store_put(api->store, key, namespace, name, doc);
}

static json_t *service(const char *ip, const char *labels_name, json_t *ports)
{
    return rs_json_pack("{s:{s:{s:s, s:s, s:s}}, s:{s:s, s:[s], s:o}}", "metadata", "labels", "kubernetes.io/cluster-service", "true",
                        "kubernetes.io/name", labels_name, "provider", "kubernetes", "spec", "clusterIP", ip, "clusterIPs", ip, "ports", ports);
}

/* Endpoints and slice of a Service that no pod stands behind. */
static void need_fixed(rs_api *api, const char *namespace, const char *name, const char *ip, json_t *ports)
{
    need(api, "endpoints", namespace, name, rs_json_pack("{s:[{s:[{s:s}], s:O}]}", "subsets", "addresses", "ip", ip, "ports", ports));
    need(api, "discovery.k8s.io/endpointslices", namespace, name, rs_json_pack("{s:{s:{s:s}}, s:s, s:[{s:[s], s:{s:b}}], s:o}",
         "metadata", "labels", "kubernetes.io/service-name", name, "addressType", "IPv4", "endpoints", "addresses", ip, "conditions", "ready", 1,
         "ports", ports));
}

int rs_api_bootstrap(rs_api *api, struct rs_err *e)
{
    static const char *const namespaces[] = { "default", "kube-system", "kube-public", "kube-node-lease" };
    RS_AUTO(rs_chars) *own = address_text(api->service_net + 1), *dns = address_text(api->service_net + DNS_OFFSET);
    for (size_t i = 0; i < RS_COUNT(namespaces); i++)
        need(api, "namespaces", "", namespaces[i], json_object());
    need(api, "services", "default", "kubernetes", service(own, "Kubernetes",
         rs_json_pack("[{s:s, s:s, s:i, s:i}]", "name", "https", "protocol", "TCP", "port", 443, "targetPort", 443)));
    need_fixed(api, "default", "kubernetes", own, rs_json_pack("[{s:s, s:i, s:s}]", "name", "https", "port", 443, "protocol", "TCP"));
    need(api, "services", "kube-system", "kube-dns", service(dns, "CoreDNS", rs_json_pack("[{s:s, s:s, s:i, s:i}, {s:s, s:s, s:i, s:i}]",
         "name", "dns", "protocol", "UDP", "port", 53, "targetPort", 53, "name", "dns-tcp", "protocol", "TCP", "port", 53, "targetPort", 53)));
    need_fixed(api, "kube-system", "kube-dns", dns, rs_json_pack("[{s:s, s:i, s:s}, {s:s, s:i, s:s}]", "name", "dns", "port", 53, "protocol", "UDP",
               "name", "dns-tcp", "port", 53, "protocol", "TCP"));
    return rs_store_commit(api->store, e);
}
