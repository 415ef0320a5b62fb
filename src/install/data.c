#include "install/data.h"

#include "base/buf.h"
#include "base/yaml.h"

const char *rs_data_text(const char *name)
{
    for (const struct rs_data_file *f = rs_data_files; f->name; f++)
        if (rs_streq(f->name, name))
            return f->text;
    return NULL;
}

json_t *rs_data_documents(const char *name)
{
    const char *text = rs_data_text(name);
    rs_assert(text);
    json_t *docs = NULL;
    struct rs_err e;
    int r = rs_yaml_parse_all(&docs, rs_str_of(text), &e);
    rs_assert(r == 0);
    return docs;
}

/* Value of ${NAME} at *p (which points at '$'); moves *p behind it. NULL: unknown, name in err. */
static json_t *place(const char **p, const json_t *vars, struct rs_err *e)
{
    const char *name = *p + 2, *end = strchr(name, '}');
    size_t n = end ? (size_t)(end - name) : 0;
    json_t *v = end ? json_object_getn(vars, name, n) : NULL;
    if (!v) {
        (void)RS_FAIL(e, RS_INVALID, "unknown place ${%.*s}", (int)(end ? n : 20), name);
        return NULL;
    }
    *p = end + 1;
    return v;
}

static int fill_text(json_t **ret, const char *s, const json_t *vars, struct rs_err *e)
{
    const char *p = s;
    if (rs_starts(s, "${") && strchr(s, '}') && !strchr(s, '}')[1]) {
        json_t *v = place(&p, vars, e);
        *ret = v ? json_deep_copy(v) : NULL;
        return v ? 0 : -1;
    }
    RS_AUTO_BUF b;
    rs_buf_init(&b, 1024 * 1024);
    while (*p) {
        const char *next = strstr(p, "${");
        rs_buf_add(&b, p, next ? (size_t)(next - p) : strlen(p));
        if (!next)
            break;
        p = next;
        json_t *v = place(&p, vars, e);
        if (!v)
            return -1;
        if (!json_is_string(v))
            return RS_FAIL(e, RS_INVALID, "\"%s\": a value that is no text stands inside a text", s);
        rs_buf_adds(&b, json_string_value(v));
    }
    *ret = json_string(b.p ? b.p : "");
    return 0;
}

int rs_data_fill(json_t **ret, const json_t *doc, const json_t *vars, struct rs_err *e)
{
    if (json_is_string(doc))
        return fill_text(ret, json_string_value(doc), vars, e);
    if (json_is_array(doc)) {
        RS_AUTO(json_t) *out = json_array();
        for (size_t i = 0; i < json_array_size(doc); i++) {
            json_t *v = NULL;
            if (rs_data_fill(&v, json_array_get(doc, i), vars, e) < 0)
                return -1;
            json_array_append_new(out, v);
        }
        *ret = rs_take(out);
        return 0;
    }
    if (json_is_object(doc)) {
        RS_AUTO(json_t) *out = json_object();
        const char *key;
        json_t *old;
        json_object_foreach((json_t *)(uintptr_t)doc, key, old) {
            json_t *v = NULL;
            if (rs_data_fill(&v, old, vars, e) < 0)
                return -1;
            json_object_set_new(out, key, v);
        }
        *ret = rs_take(out);
        return 0;
    }
    *ret = json_deep_copy(doc);
    return 0;
}
