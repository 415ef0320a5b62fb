#include "node/source.h"
#include <unistd.h>
#include "base/buf.h"
#include "kube/object.h"

enum { VALUE_MAX = 1024 * 1024 };

/* Sorted `key="value"` lines, as the downward API writes labels and annotations. */
static char *map_text(const json_t *map)
{
    RS_AUTO_BUF b;
    rs_buf_init(&b, VALUE_MAX);
    RS_AUTO(json_t) *keys = json_array();
    const char *k;
    json_t *v;

    json_object_foreach((json_t *)map, k, v) {
        size_t at = 0;
        while (at < json_array_size(keys) && strcmp(json_string_value(json_array_get(keys, at)), k) < 0)
            at++;
        json_array_insert_new(keys, at, json_string(k));
    }
    size_t i;
    json_t *key;
    json_array_foreach(keys, i, key) {
        rs_buf_addf(&b, "%s%s=\"", b.n ? "\n" : "", json_string_value(key));
        const char *text = rs_json_str(map, json_string_value(key));
        for (; text && *text; text++) {
            if (*text == '\n')
                rs_buf_adds(&b, "\\n");
            else if (*text == '"' || *text == '\\')
                rs_buf_addf(&b, "\\%c", *text);
            else
                rs_buf_add(&b, text, 1);
        }
        rs_buf_adds(&b, "\"");
    }
    return rs_buf_take(&b);
}

/* metadata.labels['key'] */
static char *map_entry(const json_t *pod, const char *map, const char *rest)
{
    size_t n = strlen(rest);

    if (n < 4 || rest[0] != '[' || rest[1] != '\'' || rest[n - 2] != '\'' || rest[n - 1] != ']')
        return NULL;
    RS_AUTO(rs_chars) *key = rs_strndup(rest + 2, n - 4);
    const char *value = rs_json_str(pod, "metadata", map, key);
    return rs_strdup(value ? value : "");
}

char *rs_source_field(const struct rs_source *s, const char *path)
{
    static const char *const plain[] = { "metadata.name", "metadata.namespace", "metadata.uid", NULL };

    for (size_t i = 0; plain[i]; i++)
        if (rs_streq(path, plain[i])) {
            const char *v = rs_json_str(s->pod, "metadata", strchr(path, '.') + 1);
            return rs_strdup(v ? v : "");
        }
    if (rs_streq(path, "metadata.labels") || rs_streq(path, "metadata.annotations"))
        return map_text(rs_json_at(s->pod, "metadata", strchr(path, '.') + 1));
    if (rs_starts(path, "metadata.labels["))
        return map_entry(s->pod, "labels", path + strlen("metadata.labels"));
    if (rs_starts(path, "metadata.annotations["))
        return map_entry(s->pod, "annotations", path + strlen("metadata.annotations"));
    if (rs_streq(path, "spec.nodeName"))
        return rs_strdup(s->node_name);
    if (rs_streq(path, "spec.serviceAccountName")) {
        const char *v = rs_json_str(s->pod, "spec", "serviceAccountName");
        return rs_strdup(v ? v : "default");
    }
    if (rs_streq(path, "status.podIP") || rs_streq(path, "status.podIPs"))
        return rs_strdup(s->ip ? s->ip : "");
    if (rs_streq(path, "status.hostIP") || rs_streq(path, "status.hostIPs"))
        return rs_strdup(s->host_ip);
    return NULL;
}

/* Kubernetes quantities to a plain number: 100m, 2, 1Gi, 500M. */
static double quantity(const char *text)
{
    static const struct { const char *suffix; double by; } units[] = {
        { "m", 1e-3 }, { "k", 1e3 }, { "M", 1e6 }, { "G", 1e9 }, { "T", 1e12 },
        { "Ki", 1024.0 }, { "Mi", 1048576.0 }, { "Gi", 1073741824.0 }, { "Ti", 1099511627776.0 },
    };
    char *end;
    double v = strtod(text, &end);

    for (size_t i = 0; i < RS_COUNT(units); i++)
        if (rs_streq(end, units[i].suffix))
            return v * units[i].by;
    return v;
}

char *rs_source_resource(const struct rs_source *s, const json_t *ref, const json_t *container)
{
    const char *what = rs_json_str(ref, "resource"), *divisor = rs_json_str(ref, "divisor"), *of = rs_json_str(ref, "containerName");
    const char *dot = what ? strchr(what, '.') : NULL;
    if (!dot)
        return NULL;
    RS_AUTO(rs_chars) *side = rs_strndup(what, (size_t)(dot - what));
    bool cpu = rs_streq(dot + 1, "cpu"), memory = rs_streq(dot + 1, "memory");
    if (of) {
        const json_t *list = rs_json_at(s->pod, "spec", "containers");
        size_t i;
        json_t *c;
        json_array_foreach(list, i, c)
            if (rs_streq(rs_json_str(c, "name"), of))
                container = c;
    }
    const char *given = rs_json_str(container, "resources", side, dot + 1);
    double amount = given ? quantity(given)
                  : cpu && rs_streq(side, "limits") ? (double)sysconf(_SC_NPROCESSORS_ONLN)
                  : memory && rs_streq(side, "limits") ? (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) : 0;
    double by = divisor && !rs_streq(divisor, "0") ? quantity(divisor) : 1;
    double whole = by > 0 ? amount / by : amount;
    long long up = (long long)whole;
    return rs_printf("%lld", up + ((double)up < whole));
}

static const char *env_value(const json_t *env, const char *name, size_t n)
{
    for (size_t i = json_array_size(env); i-- > 0;) {
        const char *kv = json_string_value(json_array_get(env, i));
        if (strncmp(kv, name, n) == 0 && kv[n] == '=')
            return kv + n + 1;
    }
    return NULL;
}

char *rs_source_expand(const char *text, const json_t *env)
{
    RS_AUTO_BUF b;
    rs_buf_init(&b, VALUE_MAX);

    for (const char *p = text; *p; p++) {
        const char *close, *value;
        if (p[0] == '$' && p[1] == '$') {
            rs_buf_adds(&b, "$");
            p++;
        } else if (p[0] == '$' && p[1] == '(' && (close = strchr(p, ')'))) {
            value = env_value(env, p + 2, (size_t)(close - p - 2));
            if (value)
                rs_buf_adds(&b, value);
            else
                rs_buf_add(&b, p, (size_t)(close - p + 1));
            p = close;
        } else {
            rs_buf_add(&b, p, 1);
        }
    }
    return rs_buf_take(&b);
}

char *rs_source_value(const char *kind, const json_t *object, const char *key, size_t *ret_n)
{
    if (rs_streq(kind, "Secret"))
        return rs_secret_value(object, key, ret_n);
    const char *text = rs_json_str(object, "data", key), *binary = rs_json_str(object, "binaryData", key);
    unsigned char *bytes;
    if (text) {
        *ret_n = json_string_length(rs_json_at(object, "data", key));
        return rs_strndup(text, *ret_n);
    }
    if (binary && rs_unbase64(rs_str_of(binary), false, &bytes, ret_n) == 0)
        return (char *)bytes;
    return NULL;
}

static void put(json_t *env, const char *name, const char *value)
{
    RS_AUTO(rs_chars) *kv = rs_printf("%s=%s", name, value);
    size_t n = strlen(name);

    for (size_t i = 0; i < json_array_size(env); i++) {
        const char *old = json_string_value(json_array_get(env, i));
        if (strncmp(old, name, n) == 0 && old[n] == '=')
            json_array_remove(env, i--);
    }
    json_t *text = json_string(kv);
    if (text)                                           /* not UTF-8: cannot stand in a runc configuration */
        json_array_append_new(env, text);
}

/* Finds the object of a reference; returns 1 when it is missing but optional. */
static int find(const struct rs_source *s, const char *kind, const json_t *ref, const json_t **ret, struct rs_err *e)
{
    const char *name = rs_json_str(ref, "name");
    enum rs_lookup_state st = s->object(s->ctx, kind, name ? name : "", ret);

    if (st == RS_LOOKUP_WAIT)
        return RS_FAIL(e, RS_UNAVAILABLE, "waiting for %s %s", kind, name ? name : "");
    if (st == RS_LOOKUP_FOUND)
        return 0;
    if (rs_json_true(ref, "optional"))
        return 1;
    return RS_FAIL(e, RS_NOT_FOUND, "%s \"%s\" not found", rs_streq(kind, "Secret") ? "secret" : "configmap", name ? name : "");
}

static int key_value(char **ret, const struct rs_source *s, const char *kind, const json_t *ref, struct rs_err *e)
{
    const json_t *object;
    const char *key = rs_json_str(ref, "key");
    size_t n;
    int r = find(s, kind, ref, &object, e);
    if (r != 0)
        return r;
    *ret = rs_source_value(kind, object, key ? key : "", &n);
    if (*ret)
        return 0;
    if (rs_json_true(ref, "optional"))
        return 1;
    return RS_FAIL(e, RS_NOT_FOUND, "couldn't find key %s in %s %s/%s", key ? key : "", kind, rs_object_namespace(s->pod), rs_json_str(ref, "name"));
}

static int from_value(char **ret, const struct rs_source *s, const json_t *from, const json_t *container, struct rs_err *e)
{
    const json_t *ref;
    const char *path;

    if ((ref = json_object_get(from, "fieldRef"))) {
        path = rs_json_str(ref, "fieldPath");
        *ret = path ? rs_source_field(s, path) : NULL;
        return *ret ? 0 : RS_FAIL(e, RS_INVALID, "field \"%s\" is not supported", path ? path : "");
    }
    if ((ref = json_object_get(from, "resourceFieldRef"))) {
        *ret = rs_source_resource(s, ref, container);
        return *ret ? 0 : RS_FAIL(e, RS_INVALID, "a resource is not supported");
    }
    if ((ref = json_object_get(from, "configMapKeyRef")))
        return key_value(ret, s, "ConfigMap", ref, e);
    if ((ref = json_object_get(from, "secretKeyRef")))
        return key_value(ret, s, "Secret", ref, e);
    return RS_FAIL(e, RS_INVALID, "valueFrom of no known kind");
}

static int add_all(json_t *env, const struct rs_source *s, const json_t *from, struct rs_err *e)
{
    const char *kind = json_object_get(from, "secretRef") ? "Secret" : "ConfigMap", *prefix = rs_json_str(from, "prefix"), *key;
    const json_t *object, *ref = json_object_get(from, rs_streq(kind, "Secret") ? "secretRef" : "configMapRef");
    json_t *v;
    int r = find(s, kind, ref, &object, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    json_object_foreach((json_t *)rs_json_at(object, "data"), key, v) {
        size_t n;
        RS_AUTO(rs_chars) *value = rs_source_value(kind, object, key, &n);
        RS_AUTO(rs_chars) *name = rs_printf("%s%s", prefix ? prefix : "", key);
        if (value && !strchr(name, '='))
            put(env, name, value);
    }
    return 0;
}

int rs_source_env(json_t **ret, const struct rs_source *s, const json_t *container, struct rs_err *e)
{
    RS_AUTO(json_t) *env = json_array();
    size_t i;
    json_t *entry;

    json_array_foreach(json_object_get(container, "envFrom"), i, entry)
        if (add_all(env, s, entry, e) < 0)
            return -1;
    json_array_foreach(json_object_get(container, "env"), i, entry) {
        const char *name = rs_json_str(entry, "name"), *value = rs_json_str(entry, "value");
        const json_t *from = json_object_get(entry, "valueFrom");
        RS_AUTO(rs_chars) *text = NULL;
        int r = 0;
        if (!name)
            continue;
        if (json_is_object(from))
            r = from_value(&text, s, from, container, e);
        else
            text = rs_source_expand(value ? value : "", env);
        if (r < 0)
            return -1;
        if (r == 0)
            put(env, name, text);
    }
    *ret = rs_take(env);
    return 0;
}
