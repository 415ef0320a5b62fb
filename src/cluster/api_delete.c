/* delete and deletecollection: grace of pods, finalizers, the two-step end of namespaces, owners that orphan. */
#include "cluster/api_int.h"

#include "base/time.h"
#include "kube/object.h"

struct options { int64_t grace; bool has_grace, orphan; const char *uid, *rv; };

static void delete_mutated(void *ctx, json_t *status);
static void delete_validated(void *ctx, json_t *status);

bool rs_api_may_vanish(const json_t *doc)
{
    return json_array_size(rs_json_at(doc, "metadata", "finalizers")) == 0 &&
           rs_json_int(doc, 0, "metadata", "deletionGracePeriodSeconds") == 0 &&
           !(rs_streq(rs_json_str(doc, "kind"), "Namespace") && json_array_size(rs_json_at(doc, "spec", "finalizers")));
}

static json_t *read_options(rs_api_call *c, struct options *o)
{
    RS_AUTO(rs_chars) *grace = rs_call_param(c, "gracePeriodSeconds"), *policy = rs_call_param(c, "propagationPolicy");
    const json_t *b = c->body;
    const char *p = rs_json_str(b, "propagationPolicy");
    *o = (struct options){ .orphan = rs_streq(p ? p : policy, "Orphan") || rs_json_true(b, "orphanDependents") };
    o->uid = rs_json_str(b, "preconditions", "uid");
    o->rv = rs_json_str(b, "preconditions", "resourceVersion");
    uint64_t n;
    if (json_is_integer(json_object_get(b, "gracePeriodSeconds"))) {
        o->has_grace = true;
        o->grace = json_integer_value(json_object_get(b, "gracePeriodSeconds"));
    } else if (grace && *grace) {
        if (!rs_str_u64(rs_str_of(grace), &n) || n > 1000000000)
            return rs_status_bad_request("invalid gracePeriodSeconds \"%s\"", grace);
        o->has_grace = true;
        o->grace = (int64_t)n;
    }
    json_t *item = json_array_get(json_object_get(b, "dryRun"), 0);
    if (rs_streq(json_string_value(item), "All"))
        c->dry_run = true;
    return o->grace < 0 ? rs_status_bad_request("gracePeriodSeconds must not be negative") : NULL;
}

static json_t *check_preconditions(const rs_api_call *c, const struct options *o, const json_t *doc)
{
    if (o->uid && strcmp(o->uid, rs_object_uid(doc)))
        return rs_status_conflict(c->res->group, c->res->plural, c->name, "Precondition failed: UID in precondition: %s, UID in object meta: %s",
                                  o->uid, rs_object_uid(doc));
    if (o->rv && strcmp(o->rv, rs_object_rv(doc)))
        return rs_status_conflict(c->res->group, c->res->plural, c->name,
                                  "Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %s", o->rv, rs_object_rv(doc));
    return NULL;
}

static json_t *check_protected(const rs_api_call *c)
{
    static const char *const kept[] = { "default", "kube-system", "kube-public" };
    for (size_t i = 0; rs_streq(c->res->key, "namespaces") && i < RS_COUNT(kept); i++)
        if (rs_streq(c->name, kept[i]))
            return rs_status_forbidden("", "namespaces", c->name, "this namespace may not be deleted");
    return NULL;
}

/* Starts the webhooks' part; body and options are read. */
static void delete_begin(rs_api_call *c)
{
    struct options o;
    rs_record *r = rs_api_get(c->api, c->res->key, c->namespace, c->name);
    json_t *refusal = r ? NULL : rs_status_not_found(c->res->group, c->res->plural, c->name);
    if (!refusal)
        refusal = check_protected(c);
    if (!refusal)
        refusal = read_options(c, &o);
    if (!refusal)
        refusal = check_preconditions(c, &o, rs_record_doc(r));
    if (refusal) {
        rs_call_refuse(c, refusal);
        return;
    }
    c->old = json_incref((json_t *)rs_record_doc(r));
    c->admission = (struct rs_admission_request){ .operation = "DELETE", .res = c->res, .version = c->version, .namespace = c->namespace,
        .name = c->name, .user = c->user, .old = c->old, .dry_run = c->dry_run };
    rs_admission_run(c->api->admission, true, &c->admission, delete_mutated, c);
}

void rs_api_delete(rs_api_call *c)
{
    json_t *refusal = NULL;
    if (c->x && rs_http_body(c->x).n) {
        c->body = rs_call_parse_body(c, &refusal);
        if (c->body && !json_is_object(c->body) && !json_is_null(c->body))
            refusal = rs_status_bad_request("DeleteOptions must be a JSON object");
    }
    if (refusal)
        rs_call_refuse(c, refusal);
    else
        delete_begin(c);
}

static void delete_mutated(void *ctx, json_t *status)
{
    rs_api_call *c = ctx;
    if (status)
        rs_call_refuse(c, status);
    else
        rs_admission_run(c->api->admission, false, &c->admission, delete_validated, c);
}

/* --- orphans --- */

struct orphans { rs_api *api; const char *uid; rs_record **v; size_t n; };

static void find_dependent(void *ctx, rs_record *r)
{
    struct orphans *o = ctx;
    if (!strstr(r->text, o->uid))              /* spares parsing nearly everything */
        return;
    size_t i;
    json_t *ref;
    json_array_foreach(rs_json_at(rs_record_doc(r), "metadata", "ownerReferences"), i, ref)
        if (rs_streq(rs_json_str(ref, "uid"), o->uid)) {
            o->v = rs_realloc(o->v, (o->n + 1) * sizeof(*o->v));
            o->v[o->n++] = rs_record_ref(r);
            return;
        }
}

/* Dependents of an owner that is deleted with policy Orphan forget it before it goes. */
static void orphan_dependents(rs_api *api, const char *uid)
{
    struct orphans o = { .api = api, .uid = uid };
    if (!*uid)
        return;
    rs_store_each(api->store, find_dependent, &o);
    for (size_t k = 0; k < o.n; k++) {
        const struct rs_resource *res = rs_registry_find_key(api->registry, o.v[k]->resource);
        json_t *doc = json_deep_copy(rs_record_doc(o.v[k])), *refs = rs_json_at(doc, "metadata", "ownerReferences");
        for (size_t i = json_array_size(refs); i-- > 0;)
            if (rs_streq(rs_json_str(json_array_get(refs, i), "uid"), uid))
                json_array_remove(refs, i);
        if (json_array_size(refs) == 0)
            json_object_del(rs_json_need(doc, "metadata"), "ownerReferences");
        if (res)
            rs_api_put(api, res, o.v[k]->namespace, o.v[k]->name, doc);
        else
            json_decref(doc);
        rs_record_unref(o.v[k]);
    }
    free(o.v);
}

/* --- what becomes of the object --- */

static int64_t grace_of(const rs_api_call *c, const struct options *o, const json_t *doc)
{
    if (!rs_streq(c->res->key, "pods"))
        return 0;
    const char *phase = rs_json_str(doc, "status", "phase"), *node = rs_json_str(doc, "spec", "nodeName");
    if (!node || !*node || rs_streq(phase, "Succeeded") || rs_streq(phase, "Failed"))
        return 0;
    return o->has_grace ? o->grace : rs_json_int(doc, 30, "spec", "terminationGracePeriodSeconds");
}

/* The same document marked as being deleted; NULL when the mark that is there already is at least as strict. */
static json_t *mark(const json_t *doc, int64_t grace, bool namespace, int64_t now)
{
    char at[RS_TIME_TEXT];
    int64_t when = now + grace * 1000, before;
    json_t *out = json_deep_copy(doc), *meta = rs_json_need(out, "metadata");
    const char *deleting = rs_json_str(meta, "deletionTimestamp");
    if (deleting && rs_time_parse(deleting, &before)) {
        int64_t had = rs_json_int(meta, 0, "deletionGracePeriodSeconds");
        if (grace >= had) {
            json_decref(out);
            return NULL;
        }
        when = before - (had - grace) * 1000;
    }
    rs_json_set_str(meta, "deletionTimestamp", rs_time_text(when, at));
    json_object_set_new(meta, "deletionGracePeriodSeconds", json_integer(grace));
    if (namespace)
        rs_json_set_str(rs_json_need(out, "status"), "phase", "Terminating");
    if (json_object_get(meta, "generation") && !deleting)
        json_object_set_new(meta, "generation", json_integer(rs_json_int(meta, 0, "generation") + 1));
    return out;
}

/* Custom resources go before their definition. True when some are left, which have finalizers of their own. */
static bool crd_keeps_objects(rs_api_call *c)
{
    const struct rs_resource *res = rs_registry_find(c->api->registry, rs_json_str(c->old, "spec", "group"),
        rs_json_str(json_array_get(rs_json_at(c->old, "spec", "versions"), 0), "name"), rs_json_str(c->old, "spec", "names", "plural"));
    if (!res || !(res->flags & RS_RES_CUSTOM))
        return false;
    rs_record *const *v;
    size_t n = rs_store_list(c->api->store, res->key, NULL, &v), kept = 0;
    rs_record **copy = rs_new_array(rs_record *, n + 1);
    for (size_t i = 0; i < n; i++)
        copy[i] = rs_record_ref(v[i]);
    for (size_t i = 0; i < n; i++) {
        const json_t *doc = rs_record_doc(copy[i]);
        if (json_array_size(rs_json_at(doc, "metadata", "finalizers")) == 0) {
            rs_store_delete(c->api->store, res->key, copy[i]->namespace, copy[i]->name);
        } else {
            json_t *marked = mark(doc, 0, false, rs_now_ms());
            if (marked)
                rs_api_put(c->api, res, copy[i]->namespace, copy[i]->name, marked);
            kept++;
        }
        rs_record_unref(copy[i]);
    }
    free(copy);
    return kept > 0;
}

#define CRD_FINALIZER "customresourcecleanup.apiextensions.k8s.io"

void rs_api_crd_settle(rs_api *api, const char *key)
{
    rs_record *const *v;
    const char *slash = strchr(key, '/');
    const struct rs_resource *crds = rs_registry_find_key(api->registry, "apiextensions.k8s.io/customresourcedefinitions");
    RS_AUTO(rs_chars) *name = rs_printf("%s.%.*s", slash + 1, (int)(slash - key), key);
    rs_record *crd = rs_api_get(api, crds->key, "", name);
    if (!crd || !rs_object_deleting(rs_record_doc(crd)) || rs_store_list(api->store, key, NULL, &v) > 0)
        return;
    json_t *doc = json_deep_copy(rs_record_doc(crd)), *list = rs_json_at(doc, "metadata", "finalizers");
    for (size_t i = json_array_size(list); i-- > 0;)
        if (rs_streq(json_string_value(json_array_get(list, i)), CRD_FINALIZER))
            json_array_remove(list, i);
    if (rs_api_may_vanish(doc)) {
        json_decref(doc);
        rs_api_remove(api, crds, "", name);
    } else {
        rs_api_put(api, crds, "", name, doc);
    }
}

static json_t *with_finalizer(json_t *doc, const char *finalizer)
{
    json_t *meta = rs_json_need(doc, "metadata"), *list = json_object_get(meta, "finalizers");
    if (!json_is_array(list))
        json_object_set_new(meta, "finalizers", list = json_array());
    json_array_append_new(list, json_string(finalizer));
    return doc;
}

static void finish(rs_api_call *c, const struct options *o, const json_t *doc)
{
    const struct rs_resource *res = c->res;
    bool namespace = rs_streq(res->key, "namespaces"), deleting = rs_object_deleting(doc);
    int64_t grace = grace_of(c, o, doc);
    RS_AUTO(json_t) *kept = json_deep_copy(doc);
    if (o->orphan && !c->dry_run)
        orphan_dependents(c->api, rs_object_uid(doc));
    if (rs_streq(res->key, "apiextensions.k8s.io/customresourcedefinitions") && !c->dry_run && !deleting && crd_keeps_objects(c))
        with_finalizer(kept, CRD_FINALIZER);
    RS_AUTO(json_t) *marked = mark(kept, grace, namespace, rs_now_ms());
    if (grace == 0 && rs_api_may_vanish(marked ? marked : kept)) {
        if (!c->dry_run)
            rs_api_remove(c->api, res, c->namespace, c->name);
        rs_call_reply(c, 200, rs_status_deleted(res->group, res->plural, c->name, rs_object_uid(doc)));
        return;
    }
    if (marked && !c->dry_run)
        rs_api_put(c->api, res, c->namespace, c->name, json_incref(marked));
    rs_call_reply_object(c, 200, json_incref(marked ? marked : kept));
}

static void delete_validated(void *ctx, json_t *status)
{
    rs_api_call *c = ctx;
    struct options o;
    rs_record *r = rs_api_get(c->api, c->res->key, c->namespace, c->name);
    if (!status)
        status = r ? read_options(c, &o) : rs_status_not_found(c->res->group, c->res->plural, c->name);
    if (!status)
        status = check_preconditions(c, &o, rs_record_doc(r));     /* webhooks took their time */
    if (status) {
        rs_call_refuse(c, status);
        return;
    }
    json_decref(c->old);
    c->old = json_incref((json_t *)rs_record_doc(r));
    finish(c, &o, c->old);
}

/* --- deletecollection: one delete after the other, answered with the list of what was deleted --- */

struct sweep { rs_api_call *parent; json_t *items; size_t left; json_t *failure; };

static void swept(void *ctx, int code, const json_t *answer)
{
    struct sweep *s = ctx;
    if (code >= 400 && code != 404 && !s->failure)
        s->failure = json_deep_copy(answer);
    if (--s->left > 0)
        return;
    rs_api_call *c = s->parent;
    if (s->failure) {
        json_decref(s->items);
        rs_call_refuse(c, s->failure);
    } else {
        RS_AUTO(rs_chars) *gv = rs_group_version(c->res->group, c->version), *rv = rs_printf("%llu", (unsigned long long)rs_store_rv(c->api->store));
        rs_call_reply(c, 200, rs_json_pack("{s:s, s:s, s:{s:s}, s:o}", "kind", c->res->list_kind, "apiVersion", gv, "metadata",
                                           "resourceVersion", rv, "items", s->items));
    }
    free(s);
}

static void start_sweep(rs_api_call *c, json_t *items)
{
    struct sweep *s = rs_new(struct sweep);
    *s = (struct sweep){ .parent = c, .items = items, .left = 1 };
    size_t i;
    json_t *item;
    json_array_foreach(items, i, item) {
        rs_api_call *child = rs_call_child(c, RS_VERB_DELETE, rs_object_namespace(item), rs_object_name(item));
        child->body = json_incref(c->body);
        child->query = (free(child->query), rs_strdup(c->query));
        child->done = swept;
        child->ctx = s;
        s->left++;
        delete_begin(child);
    }
    swept(s, 200, NULL);                       /* the 1 that stood for this loop */
}

void rs_api_delete_all(rs_api_call *c)
{
    json_t *refusal = NULL;
    if (c->x && rs_http_body(c->x).n)
        c->body = rs_call_parse_body(c, &refusal);
    if (refusal) {
        rs_call_refuse(c, refusal);
        return;
    }
    json_t *items = json_array();
    refusal = rs_api_select(c, items);
    if (refusal) {
        json_decref(items);
        rs_call_refuse(c, refusal);
        return;
    }
    start_sweep(c, items);
}
