#include "cluster/table_int.h"

#include "base/time.h"
#include "kube/object.h"

json_t *rs_cell_age(const char *time)
{
    int64_t ms;
    char buf[RS_TIME_TEXT];
    if (!time || !rs_time_parse(time, &ms))
        return json_string("<unknown>");
    int64_t age = rs_now_ms() - ms;
    return json_string(rs_duration_age(age < 0 ? 0 : age, buf));
}

static void add_column(json_t *columns, const char *name, const char *type, int priority)
{
    json_array_append_new(columns, rs_json_pack("{s:s, s:s, s:s, s:s, s:i}", "name", name, "type", type, "format",
                                                rs_streq(name, "Name") ? "name" : "", "description", "", "priority", priority));
}

static void parse_columns(json_t *out, const char *spec)
{
    char **v = rs_split(spec, ',');
    for (size_t i = 0; v[i]; i++) {
        char *name = v[i] + strspn(v[i], " "), *type = strchr(name, ':');
        if (type)
            *type++ = 0;
        bool wide = *name == '*';
        add_column(out, name + wide, type ? type : "string", wide);
    }
    rs_strv_free(v);
}

static const struct rs_printer *printer_of(const struct rs_resource *res)
{
    for (size_t i = 0; i < rs_n_printers; i++)
        if (rs_streq(rs_printers[i].key, res->key))
            return &rs_printers[i];
    return NULL;
}

static const json_t *crd_columns(const struct rs_resource *res, const char *version)
{
    return res->crd ? json_object_get(rs_crd_version(res->crd, version), "additionalPrinterColumns") : NULL;
}

static void custom_columns(json_t *out, const json_t *list)
{
    size_t i;
    json_t *col;
    add_column(out, "Name", "string", 0);
    json_array_foreach(list, i, col) {
        const char *name = rs_json_str(col, "name"), *type = rs_json_str(col, "type");
        add_column(out, name ? name : "", type ? type : "string", (int)rs_json_int(col, 0, "priority"));
    }
    if (!json_array_size(list))
        add_column(out, "Age", "date", 0);
}

json_t *rs_table_new(const struct rs_resource *res, const char *version)
{
    json_t *columns = json_array();
    const struct rs_printer *p = printer_of(res);
    if (p)
        parse_columns(columns, p->columns);
    else if (res->crd)
        custom_columns(columns, crd_columns(res, version));
    else
        parse_columns(columns, "Name, Age");
    return rs_json_pack("{s:s, s:s, s:{}, s:o, s:[]}", "kind", "Table", "apiVersion", "meta.k8s.io/v1", "metadata",
                        "columnDefinitions", columns, "rows");
}

/* The simple JSONPaths that printer columns use: .a.b, ['key'] / ["key"], [n], \. inside a key, [?(@.k=="v")]. */
static const json_t *follow(const json_t *o, const char *path)
{
    while (o && *path) {
        char key[128], want[128];
        size_t n = 0;
        int used = 0;
        long index;
        if (*path == '.') {
            path++;
        } else if (sscanf(path, "[%ld]%n", &index, &used) == 1 && used) {
            o = index >= 0 ? json_array_get(o, (size_t)index) : NULL;
            path += used;
        } else if (sscanf(path, "[?(@.%127[^=! ] == \"%127[^\"]\")]%n", key, want, &used) == 2 && used) {
            size_t i;
            const json_t *item, *found = NULL;
            json_array_foreach((json_t *)o, i, item)
                if (!found && rs_streq(rs_json_str(item, key), want))
                    found = item;
            o = found;
            path += used;
        } else if ((sscanf(path, "['%127[^']']%n", key, &used) == 1 || sscanf(path, "[\"%127[^\"]\"]%n", key, &used) == 1) && used) {
            o = json_object_get(o, key);
            path += used;
        } else {
            for (; *path && *path != '.' && *path != '[' && n < sizeof key - 1; path++) {
                if (*path == '\\' && path[1])
                    path++;
                key[n++] = *path;
            }
            key[n] = 0;
            if (n == 0)
                return NULL;
            o = json_object_get(o, key);
        }
    }
    return o;
}

static void custom_cells(json_t *row, const json_t *doc, const json_t *list)
{
    size_t i;
    json_t *col;
    json_array_append_new(row, json_string(rs_object_name(doc)));
    json_array_foreach(list, i, col) {
        const char *path = rs_json_str(col, "jsonPath");
        const json_t *v = path ? follow(doc, path) : NULL;
        if (v && rs_streq(rs_json_str(col, "type"), "date"))
            json_array_append_new(row, rs_cell_age(json_string_value(v)));
        else if (json_is_object(v) || json_is_array(v)) {
            RS_AUTO(rs_chars) *text = rs_json_text(v);
            json_array_append_new(row, json_string(text));
        } else {
            json_array_append_new(row, v ? json_incref((json_t *)v) : json_null());
        }
    }
    if (!json_array_size(list)) {
        const char *at = rs_json_str(doc, "metadata", "creationTimestamp");
        json_array_append_new(row, json_string(at ? at : ""));
    }
}

void rs_table_add(json_t *table, const struct rs_resource *res, const char *version, const json_t *doc)
{
    json_t *cells = json_array();
    const struct rs_printer *p = printer_of(res);
    if (p) {
        json_array_append_new(cells, json_string(rs_object_name(doc)));
        p->cells(cells, doc);
    } else if (res->crd) {
        custom_cells(cells, doc, crd_columns(res, version));
    } else {
        json_array_append_new(cells, json_string(rs_object_name(doc)));
        json_array_append_new(cells, rs_cell_age(rs_json_str(doc, "metadata", "creationTimestamp")));
    }
    json_t *meta = json_object_get(doc, "metadata");
    json_array_append_new(json_object_get(table, "rows"), rs_json_pack("{s:o, s:{s:s, s:s, s:o}}", "cells", cells, "object",
        "kind", "PartialObjectMetadata", "apiVersion", "meta.k8s.io/v1", "metadata", meta ? json_incref(meta) : json_object()));
}
