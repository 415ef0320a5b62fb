/* Watches: each is one chunked answer, fed from the store's changes after they are durable. */
#include "cluster/api_int.h"

#include <utlist.h>

#include "base/buf.h"
#include "base/time.h"
#include "cluster/field_selector.h"
#include "cluster/table.h"
#include "kube/object.h"

enum { PENDING_MAX = 16 * 1024 * 1024, BOOKMARK_MS = 60 * 1000, TIMEOUT_MAX_S = 24 * 3600, TIMEOUT_DEFAULT_S = 1800 };

struct watch {
    struct watch *prev, *next;
    rs_api_call *c;
    rs_selector *labels;
    rs_field_selector *fields;
    rs_timer *end, *bookmark;
    bool table_begun;              /* the first Table carries the column definitions */
    bool broken;                   /* the client reads too slowly: it is cut off and resumes */
};

static void watch_free(struct watch *w)
{
    DL_DELETE(w->c->api->watches, w);
    rs_timer_free(w->end);
    rs_timer_free(w->bookmark);
    rs_selector_free(w->labels);
    rs_field_selector_free(w->fields);
    rs_call_free(w->c);
    free(w);
}

static void watch_end(struct watch *w)
{
    rs_http_exchange *x = w->c->x;
    w->c->x = NULL;
    if (x) {
        rs_http_on_abort(x, NULL, NULL);
        rs_http_stream_end(x);
    }
    watch_free(w);
}

static void on_gone(void *ctx, rs_http_exchange *x)
{
    struct watch *w = ctx;
    (void)x;
    w->c->x = NULL;
    watch_free(w);
}

static void on_timeout(void *ctx)
{
    watch_end(ctx);
}

static void send_line(struct watch *w, const char *type, rs_str object)
{
    struct rs_buf line;
    rs_buf_init(&line, 64 * 1024 * 1024);
    rs_buf_addf(&line, "{\"type\":\"%s\",\"object\":", type);
    rs_buf_add(&line, object.p, object.n);
    rs_buf_adds(&line, "}\n");
    rs_http_stream_write(w->c->x, line.p, line.n);
    rs_buf_done(&line);
    if (rs_http_stream_pending(w->c->x) > PENDING_MAX)
        w->broken = true;
}

static void send_json(struct watch *w, const char *type, json_t *object)
{
    RS_AUTO(rs_chars) *text = rs_json_text(object);
    json_decref(object);
    send_line(w, type, rs_str_of(text));
}

static json_t *as_table(struct watch *w, const json_t *doc)
{
    json_t *table = rs_table_new(w->c->res, w->c->version);
    if (w->table_begun)
        json_object_set_new(table, "columnDefinitions", json_null());
    w->table_begun = true;
    rs_json_set_str(rs_json_need(table, "metadata"), "resourceVersion", rs_object_rv(doc));
    rs_table_add(table, w->c->res, w->c->version, doc);
    return table;
}

static void send_record(struct watch *w, const char *type, rs_record *r)
{
    const rs_api_call *c = w->c;
    if (c->shape == RS_SHAPE_PLAIN && rs_streq(c->version, c->res->storage))
        send_line(w, type, (rs_str){ r->text, r->text_n });
    else if (c->shape == RS_SHAPE_TABLE)
        send_json(w, type, as_table(w, rs_record_doc(r)));
    else
        send_json(w, type, rs_api_present(c->res, c->version, c->shape, rs_record_doc(r)));
}

static bool wanted(const struct watch *w, rs_record *r)
{
    if (!w->labels && !w->fields)
        return true;
    const json_t *doc = rs_record_doc(r);
    return (!w->labels || rs_selector_matches(w->labels, rs_json_at(doc, "metadata", "labels"))) &&
           (!w->fields || rs_field_selector_matches(w->fields, doc));
}

static bool concerned(const struct watch *w, const rs_record *r)
{
    const rs_api_call *c = w->c;
    return strcmp(r->resource, c->res->key) == 0 && (!*c->namespace || strcmp(r->namespace, c->namespace) == 0) &&
           (!c->name || strcmp(r->name, c->name) == 0);
}

/* An object that begins or ceases to match a selector is told as added or deleted. */
static void tell(void *ctx, const struct rs_change *change)
{
    struct watch *w = ctx;
    if (w->broken || !concerned(w, change->now))
        return;
    bool was = change->old && wanted(w, change->old), is = !change->deleted && wanted(w, change->now);
    if (is)
        send_record(w, was ? "MODIFIED" : "ADDED", change->now);
    else if (was && change->deleted)
        send_record(w, "DELETED", change->now);
    else if (was)
        send_record(w, "DELETED", change->now);
}

void rs_api_watch_change(rs_api *api, const struct rs_change *change)
{
    struct watch *w, *tmp;
    DL_FOREACH_SAFE(api->watches, w, tmp) {
        tell(w, change);
        if (w->broken)
            watch_end(w);
    }
}

void rs_api_watch_end_all(rs_api *api)
{
    while (api->watches)
        watch_end(api->watches);
}

static void on_bookmark(void *ctx)
{
    struct watch *w = ctx;
    const rs_api_call *c = w->c;
    char rv[24];
    snprintf(rv, sizeof rv, "%llu", (unsigned long long)rs_store_rv(c->api->store));
    /* With writes not yet durable the bookmark could run ahead of events: the next turn will do. */
    if (!rs_store_dirty(c->api->store)) {
        RS_AUTO(rs_chars) *gv = rs_group_version(c->res->group, c->version);
        RS_AUTO(json_t) *doc = rs_json_pack("{s:s, s:s, s:{s:s, s:n}}", "kind", c->res->kind, "apiVersion", gv,
                                            "metadata", "resourceVersion", rv, "creationTimestamp");
        if (c->shape == RS_SHAPE_TABLE) {
            json_t *table = as_table(w, doc);
            json_object_set_new(table, "rows", json_array());
            send_json(w, "BOOKMARK", table);
        } else {
            send_json(w, "BOOKMARK", rs_api_present(c->res, c->version, c->shape, doc));
        }
    }
    rs_timer_set(w->bookmark, BOOKMARK_MS);
}

/* Objects that exist, for a watch without a starting point. */
static void send_all(struct watch *w)
{
    rs_record *const *v;
    const rs_api_call *c = w->c;
    size_t n = rs_store_list(c->api->store, c->res->key, *c->namespace ? c->namespace : NULL, &v);
    for (size_t i = 0; i < n && !w->broken; i++)
        if ((!c->name || strcmp(v[i]->name, c->name) == 0) && wanted(w, v[i]))
            send_record(w, "ADDED", v[i]);
}

static json_t *read_options(struct watch *w, uint64_t *ret_rv, bool *ret_all)
{
    const rs_api_call *c = w->c;
    struct rs_err e;
    RS_AUTO(rs_chars) *labels = rs_call_param(c, "labelSelector"), *fields = rs_call_param(c, "fieldSelector");
    RS_AUTO(rs_chars) *rv = rs_call_param(c, "resourceVersion"), *initial = rs_call_param(c, "sendInitialEvents");
    RS_AUTO(rs_chars) *match = rs_call_param(c, "resourceVersionMatch");
    json_t *causes = json_array();
    if (match && *match)
        rs_cause_add(causes, "FieldValueForbidden", "resourceVersionMatch", "resourceVersionMatch is forbidden for watch");
    if (initial && *initial)
        rs_cause_add(causes, "FieldValueForbidden", "sendInitialEvents", "sendInitialEvents is forbidden for watch: this server lists and watches");
    if (json_array_size(causes))
        return rs_status_invalid("meta.k8s.io", "ListOptions", "", causes);
    json_decref(causes);
    if (labels && *labels && rs_selector_parse(&w->labels, labels, &e) < 0)
        return rs_status_bad_request("%s", e.msg);
    if (fields && *fields && rs_field_selector_parse(&w->fields, fields, c->res, &e) < 0)
        return rs_status_bad_request("%s", e.msg);
    if (rv && *rv && !rs_str_u64(rs_str_of(rv), ret_rv))
        return rs_status_bad_request("resourceVersion: Invalid value: \"%s\": strconv.ParseUint: parsing \"%s\": invalid syntax", rv, rv);
    *ret_all = !rv || !*rv || *ret_rv == 0;
    return NULL;
}

static void arm_timers(struct watch *w)
{
    rs_api_call *c = w->c;
    RS_AUTO(rs_chars) *text = rs_call_param(c, "timeoutSeconds");
    uint64_t s = TIMEOUT_DEFAULT_S;
    if (text && rs_str_u64(rs_str_of(text), &s) && s == 0)
        s = TIMEOUT_DEFAULT_S;
    w->end = rs_timer_new(c->api->loop, on_timeout, w);
    rs_timer_set(w->end, (int64_t)(s > TIMEOUT_MAX_S ? TIMEOUT_MAX_S : s) * 1000);
    if (rs_call_flag(c, "allowWatchBookmarks")) {
        w->bookmark = rs_timer_new(c->api->loop, on_bookmark, w);
        rs_timer_set(w->bookmark, BOOKMARK_MS);
    }
}

void rs_api_watch(rs_api_call *c)
{
    struct watch *w = rs_new(struct watch);
    uint64_t rv = 0;
    bool all = false;
    rs_api_flush(c->api);
    w->c = c;
    DL_APPEND(c->api->watches, w);
    json_t *refusal = c->api->closing ? rs_status(503, "ServiceUnavailable", "the API server is shutting down") : read_options(w, &rv, &all);
    if (refusal) {
        w->c = rs_new(rs_api_call);            /* c itself answers */
        w->c->api = c->api;
        watch_free(w);
        rs_call_refuse(c, refusal);
        return;
    }
    rs_http_on_abort(c->x, on_gone, w);
    rs_http_stream_begin(c->x, 200, "application/json");
    arm_timers(w);
    if (all) {
        send_all(w);
    } else if (rv > rs_store_rv(c->api->store) || !rs_store_replay(c->api->store, rv, tell, w)) {
        send_json(w, "ERROR", rs_status(410, "Expired", "too old resource version: %llu (%llu)", (unsigned long long)rv,
                                        (unsigned long long)rs_store_rv(c->api->store)));
        watch_end(w);
        return;
    }
    if (w->broken)
        watch_end(w);
}
