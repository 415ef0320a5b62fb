/* Pure helpers of the client: what answers mean. */
#include "kube/client_int.h"
#include "kube/object.h"

static enum rs_code code_of(int status, const char *reason)
{
    switch (status) {
    case 400: case 405: case 406: case 415: case 422: return RS_INVALID;
    case 401: return RS_UNAUTHENTICATED;
    case 403: return RS_FORBIDDEN;
    case 404: return RS_NOT_FOUND;
    case 409: return rs_streq(reason, "AlreadyExists") ? RS_EXISTS : RS_ABORTED;
    case 410: return RS_RANGE;
    case 413: case 429: return RS_EXHAUSTED;
    case 504: return RS_DEADLINE;
    default: return status >= 500 ? RS_UNAVAILABLE : RS_UNKNOWN;
    }
}

int rs_kube_status_error(struct rs_err *e, int status, rs_str body)
{
    struct rs_err ignored;
    RS_AUTO(json_t) *o = NULL;
    if (rs_json_parse(&o, body, &ignored) < 0 || !json_is_object(o))
        o = NULL;
    const char *message = rs_json_str(o, "message"), *reason = rs_json_str(o, "reason");
    enum rs_code code = code_of(status, reason);
    if (message && *message)
        return RS_FAIL(e, code, "%s", message);
    body = rs_str_trim(body);
    return RS_FAIL(e, code, "HTTP status %d%s%.*s", status, body.n ? ": " : "", (int)(body.n > 200 ? 200 : body.n), body.p);
}

void rs_kube_fill_items(json_t *list)
{
    const char *kind = rs_json_str(list, "kind"), *api_version = rs_json_str(list, "apiVersion");
    size_t i;
    json_t *item;
    RS_AUTO(rs_chars) *item_kind = kind && rs_ends(kind, "List") ? rs_strndup(kind, strlen(kind) - 4) : NULL;
    json_array_foreach(json_object_get(list, "items"), i, item) {
        json_object_del(json_object_get(item, "metadata"), "managedFields");
        if (!json_object_get(item, "kind") && item_kind)
            rs_json_set_str(item, "kind", item_kind);
        if (!json_object_get(item, "apiVersion") && api_version)
            rs_json_set_str(item, "apiVersion", api_version);
    }
}

bool rs_json_contains(const json_t *whole, const json_t *part)
{
    const char *key;
    json_t *v;
    size_t i;
    if (json_is_null(part) || !part)
        return !whole || json_is_null(whole);
    if (json_is_object(part)) {
        if (!json_is_object(whole) && json_object_size(part) > 0)
            return false;
        json_object_foreach((json_t *)part, key, v)
            if (!rs_json_contains(json_object_get(whole, key), v))
                return false;
        return true;
    }
    if (!json_is_array(part))
        return whole && json_equal((json_t *)whole, (json_t *)part);
    if (json_array_size(part) != json_array_size(whole))
        return false;
    json_array_foreach(part, i, v)
        if (!rs_json_contains(json_array_get(whole, i), v))
            return false;
    return true;
}
