/* get and list. */
#include "cluster/api_int.h"

#include "base/buf.h"
#include "cluster/field_selector.h"
#include "cluster/table.h"
#include "kube/object.h"

static void read_one(rs_api_call *c)
{
    rs_record *r = rs_api_get(c->api, c->res->key, c->namespace, c->name);
    if (!r) {
        rs_call_refuse(c, rs_status_not_found(c->res->group, c->res->plural, c->name));
        return;
    }
    if (c->shape == RS_SHAPE_TABLE) {
        json_t *table = rs_table_new(c->res, c->version);
        rs_table_add(table, c->res, c->version, rs_record_doc(r));
        rs_json_set_str(rs_json_need(table, "metadata"), "resourceVersion", rs_object_rv(rs_record_doc(r)));
        rs_call_reply(c, 200, table);
    } else if (c->shape == RS_SHAPE_PLAIN && rs_streq(c->version, c->res->storage)) {
        rs_call_reply_text(c, 200, "application/json", (rs_str){ r->text, r->text_n });
    } else {
        rs_call_reply_object(c, 200, json_incref((json_t *)rs_record_doc(r)));
    }
}

struct list { rs_api_call *c; json_t *table; struct rs_buf out; bool any; };

static void list_add(void *ctx, rs_record *r)
{
    struct list *l = ctx;
    const rs_api_call *c = l->c;
    if (l->table) {
        rs_table_add(l->table, c->res, c->version, rs_record_doc(r));
        return;
    }
    if (l->any)
        rs_buf_adds(&l->out, ",");
    l->any = true;
    if (c->shape == RS_SHAPE_PLAIN && rs_streq(c->version, c->res->storage)) {
        rs_buf_add(&l->out, r->text, r->text_n);
        return;
    }
    RS_AUTO(json_t) *doc = rs_api_present(c->res, c->version, c->shape, rs_record_doc(r));
    RS_AUTO(rs_chars) *text = rs_json_text(doc);
    rs_buf_adds(&l->out, text);
}

static void list_finish(struct list *l)
{
    rs_api_call *c = l->c;
    char rv[24];
    snprintf(rv, sizeof rv, "%llu", (unsigned long long)rs_store_rv(c->api->store));
    if (l->table) {
        rs_json_set_str(rs_json_need(l->table, "metadata"), "resourceVersion", rv);
        rs_call_reply(c, 200, rs_take(l->table));
        return;
    }
    rs_buf_adds(&l->out, "]}");
    if (l->out.over)
        rs_call_refuse(c, rs_status_internal("the list is too long for one answer"));
    else
        rs_call_reply_text(c, 200, "application/json", rs_buf_str(&l->out));
}

static void list_begin(struct list *l)
{
    const rs_api_call *c = l->c;
    if (c->shape == RS_SHAPE_TABLE) {
        l->table = rs_table_new(c->res, c->version);
        return;
    }
    bool meta = c->shape == RS_SHAPE_METADATA;
    RS_AUTO(rs_chars) *gv = meta ? rs_strdup("meta.k8s.io/v1") : rs_group_version(c->res->group, c->version);
    rs_buf_addf(&l->out, "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{\"resourceVersion\":\"%llu\"},\"items\":[",
                meta ? "PartialObjectMetadataList" : c->res->list_kind, gv, (unsigned long long)rs_store_rv(c->api->store));
}

typedef void (*each_fn)(void *ctx, rs_record *r);

/* Calls fn with every record that path and selectors name. */
static json_t *each_selected(rs_api_call *c, each_fn fn, void *ctx)
{
    struct rs_err e;
    RS_AUTO(rs_selector) *labels = NULL;
    RS_AUTO(rs_field_selector) *fields = NULL;
    RS_AUTO(rs_chars) *l_text = rs_call_param(c, "labelSelector"), *f_text = rs_call_param(c, "fieldSelector");
    if (rs_selector_parse(&labels, l_text ? l_text : "", &e) < 0 || rs_field_selector_parse(&fields, f_text, c->res, &e) < 0)
        return rs_status_bad_request("%s", e.msg);
    bool all = !(l_text && *l_text) && rs_field_selector_empty(fields);
    rs_record *const *v;
    size_t n = rs_store_list(c->api->store, c->res->key, *c->namespace ? c->namespace : NULL, &v);
    for (size_t i = 0; i < n; i++)
        if (all || (rs_selector_matches(labels, rs_json_at(rs_record_doc(v[i]), "metadata", "labels")) &&
                    rs_field_selector_matches(fields, rs_record_doc(v[i]))))
            fn(ctx, v[i]);
    return NULL;
}

static void append_doc(void *ctx, rs_record *r)
{
    json_array_append(ctx, (json_t *)rs_record_doc(r));
}

json_t *rs_api_select(rs_api_call *c, json_t *items)
{
    return each_selected(c, append_doc, items);
}

static void read_list(rs_api_call *c)
{
    struct list l = { .c = c };
    rs_buf_init(&l.out, 256 * 1024 * 1024);
    list_begin(&l);
    json_t *refusal = each_selected(c, list_add, &l);
    if (refusal) {
        json_decref(l.table);
        rs_call_refuse(c, refusal);
    } else {
        list_finish(&l);
    }
    rs_buf_done(&l.out);
}

void rs_api_read(rs_api_call *c)
{
    if (c->verb == RS_VERB_GET)
        read_one(c);
    else
        read_list(c);
}
