#include "cluster/status.h"

#include <stdarg.h>

static json_t *status_text(int code, const char *reason, char *message)
{
    json_t *s = rs_json_pack("{s:s, s:s, s:{}, s:s, s:s, s:s, s:i}", "kind", "Status", "apiVersion", "v1", "metadata",
                             "status", "Failure", "message", message, "reason", reason, "code", code);
    free(message);
    return s;
}

static char *format(const char *fmt, va_list ap)
{
    char *s = NULL;
    rs_assert(vasprintf(&s, fmt, ap) >= 0);
    return s;
}

json_t *rs_status(int code, const char *reason, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = format(fmt, ap);
    va_end(ap);
    /* jansson refuses text that is not UTF-8; such text can only come from a hostile request. */
    json_t *probe = json_string(s);
    if (!probe) {
        free(s);
        s = rs_strdup("the request holds bytes that are not UTF-8");
    }
    json_decref(probe);
    return status_text(code, reason, s);
}

int rs_status_code(const json_t *status)
{
    return (int)rs_json_int(status, 500, "code");
}

static void set_details(json_t *s, const char *group, const char *kind, const char *name)
{
    json_t *d = rs_json_need(s, "details");
    if (name && *name)
        rs_json_set_str(d, "name", name);
    if (group && *group)
        rs_json_set_str(d, "group", group);
    if (kind && *kind)
        rs_json_set_str(d, "kind", kind);
}

/* "deployments.apps" or "pods". */
static char *qualified(const char *group, const char *plural)
{
    return *group ? rs_printf("%s.%s", plural, group) : rs_strdup(plural);
}

json_t *rs_status_not_found(const char *group, const char *plural, const char *name)
{
    RS_AUTO(rs_chars) *q = qualified(group, plural);
    json_t *s = rs_status(404, "NotFound", "%s \"%s\" not found", q, name);
    set_details(s, group, plural, name);
    return s;
}

json_t *rs_status_exists(const char *group, const char *plural, const char *name)
{
    RS_AUTO(rs_chars) *q = qualified(group, plural);
    json_t *s = rs_status(409, "AlreadyExists", "%s \"%s\" already exists", q, name);
    set_details(s, group, plural, name);
    return s;
}

json_t *rs_status_conflict(const char *group, const char *plural, const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    RS_AUTO(rs_chars) *why = format(fmt, ap);
    va_end(ap);
    RS_AUTO(rs_chars) *q = qualified(group, plural);
    json_t *s = rs_status(409, "Conflict", "Operation cannot be fulfilled on %s \"%s\": %s", q, name, why);
    set_details(s, group, plural, name);
    return s;
}

json_t *rs_status_modified(const char *group, const char *plural, const char *name)
{
    return rs_status_conflict(group, plural, name,
        "the object has been modified; please apply your changes to the latest version and try again");
}

json_t *rs_status_forbidden(const char *group, const char *plural, const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    RS_AUTO(rs_chars) *why = format(fmt, ap);
    va_end(ap);
    RS_AUTO(rs_chars) *q = qualified(group, plural);
    json_t *s = name && *name ? rs_status(403, "Forbidden", "%s \"%s\" is forbidden: %s", q, name, why)
                              : rs_status(403, "Forbidden", "%s is forbidden: %s", q, why);
    set_details(s, group, plural, name);
    return s;
}

json_t *rs_status_invalid(const char *group, const char *kind, const char *name, json_t *causes)
{
    RS_AUTO(rs_chars) *q = qualified(group, kind);
    RS_AUTO(rs_chars) *list = NULL;
    size_t i;
    json_t *c;
    json_array_foreach(causes, i, c) {
        char *more = rs_printf("%s%s%s: %s", list ? list : "", list ? ", " : "", rs_json_str(c, "field"), rs_json_str(c, "message"));
        free(list);
        list = more;
    }
    bool many = json_array_size(causes) > 1;
    json_t *s = rs_status(422, "Invalid", "%s \"%s\" is invalid: %s%s%s", q, name ? name : "", many ? "[" : "", list ? list : "", many ? "]" : "");
    set_details(s, group, kind, name);
    json_object_set_new(rs_json_need(s, "details"), "causes", causes);
    return s;
}

void rs_cause_add(json_t *causes, const char *reason, const char *field, const char *fmt, ...)
{
    static const struct { const char *reason, *text; } texts[] = {
        { "FieldValueRequired", "Required value" }, { "FieldValueInvalid", "Invalid value" }, { "FieldValueForbidden", "Forbidden" },
        { "FieldValueDuplicate", "Duplicate value" }, { "FieldValueNotSupported", "Unsupported value" }, { "FieldValueNotFound", "Not found" },
    };
    const char *text = reason;
    for (size_t i = 0; i < RS_COUNT(texts); i++)
        if (rs_streq(texts[i].reason, reason))
            text = texts[i].text;
    va_list ap;
    va_start(ap, fmt);
    RS_AUTO(rs_chars) *detail = format(fmt, ap);
    va_end(ap);
    RS_AUTO(rs_chars) *message = *detail ? rs_printf("%s: %s", text, detail) : rs_strdup(text);
    json_array_append_new(causes, rs_json_pack("{s:s, s:s, s:s}", "reason", reason, "message", message, "field", field));
}

json_t *rs_status_deleted(const char *group, const char *plural, const char *name, const char *uid)
{
    json_t *s = rs_status_success();
    set_details(s, group, plural, name);
    if (uid && *uid)
        rs_json_set_str(rs_json_need(s, "details"), "uid", uid);
    return s;
}

json_t *rs_status_success(void)
{
    return rs_json_pack("{s:s, s:s, s:{}, s:s}", "kind", "Status", "apiVersion", "v1", "metadata", "status", "Success");
}
