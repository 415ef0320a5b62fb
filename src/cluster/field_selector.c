#include "cluster/field_selector.h"

enum { TERMS_MAX = 32 };
struct term { char *path, *value; bool equal; };
struct rs_field_selector { struct term t[TERMS_MAX]; size_t n; };

/* Fields beside metadata.name and metadata.namespace. */
static const struct { const char *key; const char *fields; } selectable[] = {
    { "pods", "spec.nodeName status.phase status.podIP spec.restartPolicy spec.serviceAccountName spec.schedulerName status.nominatedNodeName" },
    { "events", "involvedObject.kind involvedObject.name involvedObject.namespace involvedObject.uid involvedObject.apiVersion "
                "involvedObject.resourceVersion involvedObject.fieldPath reason reportingComponent type source" },
    { "secrets", "type" },
    { "namespaces", "status.phase" },
    { "nodes", "spec.unschedulable" },
    { "apps/replicasets", "status.replicas" },
};

static bool word_in(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == 0 || p[n] == ' '))
            return true;
    return false;
}

static bool supported(const struct rs_resource *res, const char *path)
{
    if (rs_streq(path, "metadata.name") || rs_streq(path, "metadata.namespace"))
        return true;
    for (size_t i = 0; i < RS_COUNT(selectable); i++)
        if (rs_streq(selectable[i].key, res->key))
            return word_in(selectable[i].fields, path);
    return false;
}

static int parse_term(struct term *t, const char *text, const struct rs_resource *res, struct rs_err *e)
{
    const char *op = strchr(text, '=');
    if (!op || op == text)
        return RS_FAIL(e, RS_INVALID, "invalid selector: '%s'; can't understand '%s'", text, text);
    t->equal = op[-1] != '!';
    t->path = rs_strndup(text, (size_t)(op - text) - (t->equal ? 0 : 1));
    t->value = rs_strdup(op + (op[1] == '=' ? 2 : 1));
    if (!supported(res, t->path))
        return RS_FAIL(e, RS_INVALID, "field label not supported: %s", t->path);
    return 0;
}

int rs_field_selector_parse(rs_field_selector **ret, const char *text, const struct rs_resource *res, struct rs_err *e)
{
    RS_AUTO(rs_field_selector) *s = rs_new(rs_field_selector);
    char **parts = rs_split(text ? text : "", ',');
    int r = 0;
    for (size_t i = 0; parts[i] && r == 0; i++) {
        if (!*parts[i])
            continue;
        if (s->n == TERMS_MAX)
            r = RS_FAIL(e, RS_INVALID, "more than %d terms in a field selector", TERMS_MAX);
        else
            r = parse_term(&s->t[s->n++], parts[i], res, e);
    }
    rs_strv_free(parts);
    if (r == 0)
        *ret = rs_take(s);
    return r;
}

static const char *value_at(const json_t *doc, const char *path, char buf[32])
{
    char key[64];
    while (doc && *path) {
        size_t n = strcspn(path, ".");
        if (n >= sizeof key)
            return "";
        memcpy(key, path, n);
        key[n] = 0;
        doc = json_object_get(doc, key);
        path += n + (path[n] == '.');
    }
    if (json_is_string(doc))
        return json_string_value(doc);
    if (json_is_boolean(doc))
        return json_is_true(doc) ? "true" : "false";
    if (json_is_integer(doc)) {
        snprintf(buf, 32, "%lld", (long long)json_integer_value(doc));
        return buf;
    }
    return json_is_object(doc) ? rs_json_str(doc, "component") : "";       /* an event's source */
}

bool rs_field_selector_matches(const rs_field_selector *s, const json_t *doc)
{
    for (size_t i = 0; i < s->n; i++) {
        char buf[32];
        const char *v = value_at(doc, s->t[i].path, buf);
        if (!v || !*v)
            v = rs_streq(s->t[i].path, "spec.unschedulable") ? "false" : "";
        if ((strcmp(v, s->t[i].value) == 0) != s->t[i].equal)
            return false;
    }
    return true;
}

const char *rs_field_selector_name(const rs_field_selector *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->t[i].equal && rs_streq(s->t[i].path, "metadata.name"))
            return s->t[i].value;
    return NULL;
}

bool rs_field_selector_empty(const rs_field_selector *s)
{
    return s->n == 0;
}

void rs_field_selector_free(rs_field_selector *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++) {
        free(s->t[i].path);
        free(s->t[i].value);
    }
    free(s);
}
