#include "cluster/service_account.h"

#include "base/random.h"
#include "cluster/status.h"
#include "kube/object.h"

#define MOUNT_PATH "/var/run/secrets/kubernetes.io/serviceaccount"
enum { TOKEN_SECONDS = 3607 };                 /* kube-apiserver's own number */

static bool wants_mount(const json_t *pod, const json_t *account)
{
    const json_t *spec = rs_json_at(pod, "spec", "automountServiceAccountToken"), *own = json_object_get(account, "automountServiceAccountToken");
    return spec ? !json_is_false(spec) : !json_is_false(own);
}

static bool has_mount(const json_t *container)
{
    size_t i;
    json_t *m;
    json_array_foreach(json_object_get(container, "volumeMounts"), i, m)
        if (rs_streq(rs_json_str(m, "mountPath"), MOUNT_PATH))
            return true;
    return false;
}

static json_t *list_at(json_t *o, const char *key)
{
    json_t *list = json_object_get(o, key);
    if (!json_is_array(list))
        json_object_set_new(o, key, list = json_array());
    return list;
}

/* True when at least one container needs the volume. */
static bool mount_everywhere(json_t *spec, const char *volume)
{
    static const char *const lists[] = { "initContainers", "containers" };
    bool used = false;
    for (size_t k = 0; k < RS_COUNT(lists); k++) {
        size_t i;
        json_t *c;
        json_array_foreach(json_object_get(spec, lists[k]), i, c) {
            if (!json_is_object(c) || has_mount(c))
                continue;
            json_array_append_new(list_at(c, "volumeMounts"),
                                  rs_json_pack("{s:s, s:b, s:s}", "name", volume, "readOnly", 1, "mountPath", MOUNT_PATH));
            used = true;
        }
    }
    return used;
}

static json_t *access_volume(const char *name)
{
    return rs_json_pack("{s:s, s:{s:i, s:[{s:{s:i, s:s}}, {s:{s:s, s:[{s:s, s:s}]}}, {s:{s:[{s:s, s:{s:s, s:s}}]}}]}}", "name", name,
                        "projected", "defaultMode", 420, "sources",
                        "serviceAccountToken", "expirationSeconds", TOKEN_SECONDS, "path", "token",
                        "configMap", "name", "kube-root-ca.crt", "items", "key", "ca.crt", "path", "ca.crt",
                        "downwardAPI", "items", "path", "namespace", "fieldRef", "apiVersion", "v1", "fieldPath", "metadata.namespace");
}

static void add_volume(json_t *spec)
{
    char tail[6];
    RS_AUTO(rs_chars) *name = rs_printf("kube-api-access-%s", rs_random_name(tail, 5));
    if (mount_everywhere(spec, name))
        json_array_append_new(list_at(spec, "volumes"), access_volume(name));
}

json_t *rs_pod_service_account(const rs_store *store, json_t *pod)
{
    json_t *spec = json_object_get(pod, "spec");
    const char *ns = rs_object_namespace(pod), *name = rs_json_str(spec, "serviceAccountName");
    if (!json_is_object(spec))
        return NULL;
    if (!name || !*name) {
        rs_json_set_str(spec, "serviceAccountName", "default");
        rs_json_set_str(spec, "serviceAccount", "default");
        name = "default";
    }
    rs_record *r = rs_store_get(store, "serviceaccounts", ns, name);
    if (!r) {
        const char *prefix = rs_json_str(pod, "metadata", "generateName");
        return rs_status_forbidden("", "pods", *rs_object_name(pod) ? rs_object_name(pod) : prefix ? prefix : "",
                                   "error looking up service account %s/%s: serviceaccount \"%s\" not found", ns, name, name);
    }
    if (wants_mount(pod, rs_record_doc(r)))
        add_volume(spec);
    return NULL;
}
