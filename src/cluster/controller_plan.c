#include "cluster/controller_plan.h"

#include <stdarg.h>

#include "base/time.h"
#include "kube/object.h"

void rs_plan_call(json_t *plan, const char *method, const char *path, const char *type, json_t *body)
{
    json_t *call = rs_json_pack("{s:s,s:s}", "method", method, "path", path);
    rs_json_set_str(call, "type", type);
    if (body)
        json_object_set_new(call, "body", body);
    json_array_append_new(plan, call);
}

void rs_plan_event(json_t *plan, const json_t *about, const char *component, const char *type, const char *reason, const char *fmt, ...)
{
    char message[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    json_t *event = rs_json_pack("{s:s,s:s,s:{s:s},s:{},s:s,s:s,s:s,s:{s:s}}", "apiVersion", "v1", "kind", "Event", "metadata", "namespace",
                                 *rs_object_namespace(about) ? rs_object_namespace(about) : "default", "involvedObject",
                                 "type", type, "reason", reason, "message", message, "source", "component", component);
    json_t *to = json_object_get(event, "involvedObject");
    rs_json_set_str(to, "apiVersion", rs_json_str(about, "apiVersion"));
    rs_json_set_str(to, "kind", rs_json_str(about, "kind"));
    rs_json_set_str(to, "name", rs_object_name(about));
    if (*rs_object_namespace(about))
        rs_json_set_str(to, "namespace", rs_object_namespace(about));
    rs_json_set_str(to, "uid", rs_object_uid(about));
    rs_json_set_str(to, "resourceVersion", rs_object_rv(about));
    json_array_append_new(plan, rs_json_pack("{s:o}", "event", event));
}

json_t *rs_owner_reference(const json_t *owner)
{
    return rs_json_pack("{s:s,s:s,s:s,s:s,s:b,s:b}", "apiVersion", rs_json_str(owner, "apiVersion"), "kind", rs_json_str(owner, "kind"),
                        "name", rs_object_name(owner), "uid", rs_object_uid(owner), "controller", 1, "blockOwnerDeletion", 1);
}

char *rs_content_hash(const json_t *o, int64_t salt)
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    RS_AUTO(rs_chars) *text = json_dumps(o, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY);
    rs_assert(text);
    uint32_t h = 2166136261u;            /* FNV-1a */
    for (const char *p = text; *p; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    for (uint64_t s = (uint64_t)salt; s; s >>= 8)
        h = (h ^ (uint32_t)(s & 255)) * 16777619u;
    char *out = rs_printf("%u", h);
    for (char *p = out; *p; p++)
        *p = alphabet[(unsigned char)*p % (sizeof(alphabet) - 1)];
    return out;
}

json_t *rs_delete_options(const json_t *o)
{
    return rs_json_pack("{s:s,s:s,s:s,s:{s:s}}", "apiVersion", "v1", "kind", "DeleteOptions", "propagationPolicy", "Background",
                        "preconditions", "uid", rs_object_uid(o));
}

bool rs_pod_available(const json_t *pod, int64_t min_ready_seconds, int64_t now_ms, int64_t *ret_in_ms)
{
    size_t i;
    json_t *c;
    if (ret_in_ms)
        *ret_in_ms = 0;
    if (!rs_pod_ready(pod))
        return false;
    if (min_ready_seconds <= 0)
        return true;
    json_array_foreach(rs_json_at(pod, "status", "conditions"), i, c) {
        int64_t since;
        const char *at = rs_json_str(c, "lastTransitionTime");
        if (!rs_streq(rs_json_str(c, "type"), "Ready") || !at || !rs_time_parse(at, &since))
            continue;
        int64_t left = since + min_ready_seconds * 1000 - now_ms;
        if (left <= 0)
            return true;
        if (ret_in_ms)
            *ret_in_ms = left;
    }
    return false;
}
