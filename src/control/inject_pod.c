#include "control/inject_int.h"

#include <ctype.h>

#include "base/buf.h"
#include "kube/object.h"

void inject_workload(const json_t *pod, const char *namespace, char **ret_name, char **ret_owner)
{
    const json_t *owner = rs_object_owner(pod);
    const char *kind = owner ? rs_json_str(owner, "kind") : "Pod", *version = owner ? rs_json_str(owner, "apiVersion") : "v1";
    const char *name = owner ? rs_json_str(owner, "name") : rs_object_name(pod), *hash = rs_object_label(pod, "pod-template-hash");
    if (!owner && name && !*name)
        name = rs_json_str(pod, "metadata", "generateName");
    char *n = rs_strdup(name ? name : "");
    size_t len = strlen(n), tail = hash ? strlen(hash) : 0;
    if (rs_streq(kind, "ReplicaSet") && tail && len > tail + 1 && n[len - tail - 1] == '-' && strcmp(n + len - tail, hash) == 0) {
        n[len - tail - 1] = '\0';
        kind = "Deployment";
    } else if (!owner && len && n[len - 1] == '-') {
        n[len - 1] = '\0';
    }
    RS_AUTO(rs_chars) *plural = rs_printf("%ss", kind ? kind : "Pod");
    for (char *p = plural; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    *ret_owner = rs_printf("kubernetes://apis/%s/namespaces/%s/%s/%s", version ? version : "v1", namespace, plural, n);
    *ret_name = n;
}

char *inject_pod_ports(const json_t *pod)
{
    RS_AUTO(json_t) *out = json_array();
    size_t i, k;
    json_t *c, *p;
    json_array_foreach(rs_json_at(pod, "spec", "containers"), i, c)
        if (!rs_streq(rs_json_str(c, "name"), "istio-proxy"))
            json_array_foreach(json_object_get(c, "ports"), k, p)
                json_array_append(out, p);
    return rs_json_text(out);
}

char *inject_app_containers(const json_t *pod)
{
    struct rs_buf b;
    rs_buf_init(&b, 64 * 1024);
    size_t i;
    json_t *c;
    json_array_foreach(rs_json_at(pod, "spec", "containers"), i, c) {
        const char *name = rs_json_str(c, "name");
        if (name && strcmp(name, "istio-proxy") != 0)
            rs_buf_addf(&b, "%s%s", b.n ? "," : "", name);
    }
    return rs_buf_take(&b);
}

/* ---- merging ---- */

static json_t *find(json_t *list, const char *key, const json_t *value)
{
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o)
        if (value && json_equal(json_object_get(o, key), value))
            return o;
    return NULL;
}

/* Items of ours, with theirs over them or added behind, by key. New reference. */
static json_t *merge_list(const json_t *ours, const json_t *theirs, const char *key)
{
    json_t *out = json_deep_copy(ours), *o;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)theirs, i, o) {
        json_t *same = find(out, key, json_object_get(o, key));
        if (same) {
            json_object_clear(same);
            json_object_update(same, o);
        } else {
            json_array_append(out, o);
        }
    }
    return out;
}

/* The pod's own container over the template's. New reference. */
static json_t *merge_container(const json_t *ours, const json_t *theirs)
{
    static const struct { const char *list, *key; } lists[] = {
        { "env", "name" }, { "volumeMounts", "mountPath" }, { "ports", "containerPort" },
    };
    bool automatic = rs_streq(rs_json_str(theirs, "image"), "auto");
    json_t *out = json_deep_copy(ours), *v;
    const char *key;
    json_object_foreach((json_t *)(uintptr_t)theirs, key, v) {
        if (automatic && (strcmp(key, "image") == 0 || strcmp(key, "imagePullPolicy") == 0))
            continue;
        const char *by = NULL;
        for (size_t i = 0; i < RS_COUNT(lists); i++)
            if (strcmp(key, lists[i].list) == 0 && json_is_array(json_object_get(ours, key)))
                by = lists[i].key;
        json_t *mine = json_object_get(ours, key);
        if (by)
            json_object_set_new(out, key, merge_list(mine, v, by));
        else if (json_is_object(mine) && json_is_object(v))
            json_object_update_recursive(json_object_get(out, key), v);
        else
            json_object_set(out, key, v);
    }
    return out;
}

static void merge_containers(json_t *spec, const char *list, const json_t *ours)
{
    json_t *theirs = json_object_get(spec, list), *o;
    size_t i, k;
    if (!ours)
        return;
    if (!json_is_array(theirs))
        json_object_set_new(spec, list, theirs = json_array());
    json_array_foreach((json_t *)(uintptr_t)ours, i, o) {
        for (k = 0; k < json_array_size(theirs); k++)
            if (json_equal(json_object_get(json_array_get(theirs, k), "name"), json_object_get(o, "name")))
                break;
        if (k < json_array_size(theirs))
            json_array_set_new(theirs, k, merge_container(o, json_array_get(theirs, k)));
        else
            json_array_append_new(theirs, json_deep_copy(o));
    }
}

static void add_missing(json_t *pod, const char *what, const json_t *ours)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)ours, key, v)
        if (!json_object_get(rs_json_need(pod, "metadata", what), key))
            json_object_set(rs_json_need(pod, "metadata", what), key, v);
}

void inject_merge(json_t *pod, const json_t *template)
{
    add_missing(pod, "labels", rs_json_at(template, "metadata", "labels"));
    add_missing(pod, "annotations", rs_json_at(template, "metadata", "annotations"));
    json_t *spec = rs_json_need(pod, "spec"), *v;
    const char *key;
    json_object_foreach(json_object_get(template, "spec"), key, v) {
        if (strcmp(key, "containers") == 0 || strcmp(key, "initContainers") == 0) {
            merge_containers(spec, key, v);
        } else if (strcmp(key, "volumes") == 0) {
            json_t *theirs = json_object_get(spec, key), *o;
            size_t i;
            if (!json_is_array(theirs))
                json_object_set_new(spec, key, theirs = json_array());
            json_array_foreach(v, i, o)
                if (!find(theirs, "name", json_object_get(o, "name")))
                    json_array_append_new(theirs, json_deep_copy(o));
        } else if (!json_object_get(spec, key)) {
            json_object_set_new(spec, key, json_deep_copy(v));
        }
    }
}

/* ---- probes ---- */

static json_t *number_of_port(const json_t *container, json_t *port)
{
    size_t i;
    json_t *p;
    if (!json_is_string(port))
        return json_incref(port);
    json_array_foreach(json_object_get(container, "ports"), i, p)
        if (json_equal(json_object_get(p, "name"), port))
            return json_incref(json_object_get(p, "containerPort"));
    return NULL;
}

static void rewrite(json_t *container, const char *probe_name, const char *word, json_t *probers)
{
    json_t *probe = json_object_get(container, probe_name), *get = json_object_get(probe, "httpGet");
    if (!get)
        return;
    RS_AUTO(json_t) *port = number_of_port(container, json_object_get(get, "port"));
    if (!port)
        return;                                          /* a port that no one has: stays as wrong as it is */
    RS_AUTO(rs_chars) *path = rs_printf("/app-health/%s/%s", rs_json_str(container, "name"), word);
    json_t *was = json_deep_copy(get);
    json_object_set(was, "port", port);
    if (!json_object_get(was, "scheme"))
        rs_json_set_str(was, "scheme", "HTTP");
    if (!json_object_get(was, "path"))
        rs_json_set_str(was, "path", "/");
    json_t *entry = rs_json_pack("{s:o}", "httpGet", was), *timeout = json_object_get(probe, "timeoutSeconds");
    if (timeout)
        json_object_set(entry, "timeoutSeconds", timeout);
    json_object_set_new(probers, path, entry);
    rs_json_set_str(get, "path", path);
    rs_json_set_str(get, "scheme", "HTTP");
    json_object_set_new(get, "port", json_integer(15020));
}

void inject_rewrite_probes(json_t *pod, json_t *probers)
{
    size_t i;
    json_t *c;
    json_array_foreach(rs_json_at(pod, "spec", "containers"), i, c) {
        if (!rs_json_str(c, "name") || strcmp(rs_json_str(c, "name"), "istio-proxy") == 0)
            continue;
        rewrite(c, "readinessProbe", "readyz", probers);
        rewrite(c, "livenessProbe", "livez", probers);
        rewrite(c, "startupProbe", "startupz", probers);
    }
}
