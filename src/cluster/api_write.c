/* create, update, patch: body -> defaults -> mutating webhooks -> defaults and checks -> validating webhooks -> store.
 * Webhooks take time, so each step ends in a continuation; an object that changed meanwhile sends the write back to its
 * beginning (or to a conflict, when the client named a resourceVersion). */
#include "cluster/api_int.h"

#include "base/json_patch.h"
#include "base/random.h"
#include "base/time.h"
#include "cluster/defaults.h"
#include "cluster/patch_strategic.h"
#include "cluster/service_account.h"
#include "cluster/validate.h"
#include "kube/client.h"
#include "kube/object.h"

enum { ATTEMPTS_MAX = 10 };

static void create_mutated(void *ctx, json_t *status);
static void create_validated(void *ctx, json_t *status);
static void update_begin(rs_api_call *c);
static void update_mutated(void *ctx, json_t *status);
static void update_validated(void *ctx, json_t *status);

static void admit(rs_api_call *c, const char *operation, bool mutating, void (*next)(void *ctx, json_t *status))
{
    struct rs_admission_request *r = &c->admission;
    json_t *warnings = r->warnings;
    *r = (struct rs_admission_request){ .operation = operation, .res = c->res, .version = c->version, .sub = c->sub,
        .namespace = c->namespace, .name = c->name, .user = c->user, .object = c->object,
        .old = c->old, .dry_run = c->dry_run, .warnings = warnings };
    rs_admission_run(c->api->admission, mutating, r, next, c);
}

/* Webhooks replace the object rather than edit it. */
static void adopt_mutations(rs_api_call *c)
{
    c->object = c->admission.object;
}

/* The document must be what the URL says. */
static json_t *check_type(const rs_api_call *c, const json_t *doc)
{
    RS_AUTO(rs_chars) *gv = rs_group_version(c->res->group, c->version);
    const char *have = rs_json_str(doc, "apiVersion"), *kind = rs_json_str(doc, "kind");
    if (!json_is_object(doc))
        return rs_status_bad_request("the object provided is not a JSON object");
    if (have && *have && strcmp(have, gv))
        return rs_status_bad_request("the API version in the data (%s) does not match the expected API version (%s)", have, gv);
    if (kind && *kind && strcmp(kind, c->res->kind))
        return rs_status_bad_request("the kind in the data (%s) does not match the expected kind (%s)", kind, c->res->kind);
    if (json_object_get(doc, "metadata") && !json_is_object(json_object_get(doc, "metadata")))
        return rs_status_bad_request("metadata is not an object");
    const char *ns = rs_json_str(doc, "metadata", "namespace");
    if (ns && *ns && strcmp(ns, c->namespace))
        return rs_status_bad_request("the namespace of the provided object does not match the namespace sent on the request");
    const char *name = rs_json_str(doc, "metadata", "name");
    if (c->name && name && *name && strcmp(name, c->name))
        return rs_status_bad_request("the name of the object (%s) does not match the name on the URL (%s)", name, c->name);
    return NULL;
}

static void set_type(rs_api_call *c, json_t *doc)
{
    RS_AUTO(rs_chars) *gv = rs_group_version(c->res->group, c->version);
    rs_json_set_str(doc, "apiVersion", gv);
    rs_json_set_str(doc, "kind", c->res->kind);
    json_t *meta = rs_json_need(doc, "metadata");
    if (c->res->flags & RS_RES_NAMESPACED)
        rs_json_set_str(meta, "namespace", c->namespace);
    else
        json_object_del(meta, "namespace");
    json_object_del(meta, "managedFields");
    json_object_del(meta, "selfLink");
    rs_convert(doc, c->res, c->version, c->res->storage);
}

json_t *rs_api_check_namespace(const rs_api_call *c)
{
    if (!(c->res->flags & RS_RES_NAMESPACED))
        return NULL;
    rs_record *ns = rs_api_get(c->api, "namespaces", "", c->namespace);
    if (!ns)
        return rs_status_not_found("", "namespaces", c->namespace);
    if (!rs_object_deleting(rs_record_doc(ns)))
        return NULL;
    json_t *s = rs_status_forbidden(c->res->group, c->res->plural, rs_object_name(c->object),
        "unable to create new content in namespace %s because it is being terminated", c->namespace);
    RS_AUTO(rs_chars) *text = rs_printf("namespace %s is being terminated", c->namespace);
    json_object_set_new(rs_json_need(s, "details"), "causes", rs_json_pack("[{s:s, s:s, s:s}]", "reason", "NamespaceTerminating",
                        "message", text, "field", "metadata.namespace"));
    return s;
}

/* --- create --- */

void rs_api_create(rs_api_call *c)
{
    json_t *refusal = NULL;
    c->object = rs_call_parse_body(c, &refusal);
    if (c->object)
        refusal = check_type(c, c->object);
    if (!refusal) {
        set_type(c, c->object);
        refusal = rs_api_check_namespace(c);
    }
    if (refusal) {
        rs_call_refuse(c, refusal);
        return;
    }
    json_t *meta = rs_json_need(c->object, "metadata");
    static const char *const not_yours[] = { "uid", "resourceVersion", "generation", "deletionTimestamp", "deletionGracePeriodSeconds" };
    for (size_t i = 0; i < RS_COUNT(not_yours); i++)
        json_object_del(meta, not_yours[i]);
    json_object_set_new(meta, "creationTimestamp", json_null());
    rs_defaults_new(c->object, c->res);
    rs_defaults(c->object, c->res);
    if (rs_streq(c->res->key, "pods"))
        refusal = rs_pod_service_account(c->api->store, c->object);
    if (refusal)
        rs_call_refuse(c, refusal);
    else
        admit(c, "CREATE", true, create_mutated);
}

static void set_identity(rs_api_call *c)
{
    json_t *meta = rs_json_need(c->object, "metadata");
    char uuid[RS_UUID_TEXT], now[RS_TIME_TEXT], tail[6];
    const char *prefix = rs_json_str(meta, "generateName");
    if (!*rs_object_name(c->object) && prefix && *prefix) {
        RS_AUTO(rs_chars) *name = rs_printf("%.58s%s", prefix, rs_random_name(tail, 5));
        rs_json_set_str(meta, "name", name);
    }
    rs_json_set_str(meta, "uid", rs_uuid4(uuid));
    rs_json_set_str(meta, "creationTimestamp", rs_time_text(rs_now_ms(), now));
    if (c->res->flags & RS_RES_GENERATION)
        json_object_set_new(meta, "generation", json_integer(1));
}

static void create_mutated(void *ctx, json_t *status)
{
    rs_api_call *c = ctx;
    adopt_mutations(c);
    if (status) {
        rs_call_refuse(c, status);
        return;
    }
    set_type(c, c->object);
    set_identity(c);
    rs_defaults(c->object, c->res);
    if (rs_streq(c->res->key, "apiextensions.k8s.io/customresourcedefinitions"))
        rs_crd_complete(c->object, rs_now_ms());
    status = rs_object_check(c->object, NULL, c->res);
    if (status)
        rs_call_refuse(c, status);
    else
        admit(c, "CREATE", false, create_validated);
}

static void create_validated(void *ctx, json_t *status)
{
    rs_api_call *c = ctx;
    const char *name = rs_object_name(c->object);
    if (!status)
        status = rs_api_check_namespace(c);    /* webhooks took their time */
    if (!status && rs_api_get(c->api, c->res->key, c->namespace, name))
        status = rs_status_exists(c->res->group, c->res->plural, name);
    if (!status && rs_streq(c->res->key, "services"))
        status = rs_service_address(c->api, c->object, NULL);
    if (status) {
        rs_call_refuse(c, status);
        return;
    }
    json_t *doc = rs_take(c->object);
    if (!c->dry_run)
        rs_api_put(c->api, c->res, c->namespace, name, json_incref(doc));
    rs_call_reply_object(c, 201, doc);
}

/* --- update and patch --- */

static const char *strategy(const rs_api_call *c)
{
    static const char *const known[] = { RS_MERGE_PATCH, RS_JSON_PATCH, RS_STRATEGIC_PATCH };
    for (size_t i = 0; i < RS_COUNT(known); i++)
        if (strcmp(c->content_type, known[i]) == 0 && !(i == 2 && (c->res->flags & RS_RES_CUSTOM)))
            return known[i];
    return NULL;
}

static json_t *unsupported_patch(const rs_api_call *c)
{
    return rs_status(415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: %s%s",
                     RS_JSON_PATCH ", " RS_MERGE_PATCH, c->res->flags & RS_RES_CUSTOM ? "" : ", " RS_STRATEGIC_PATCH);
}

/* base: what the client sees. Result in *ret, same form. */
static json_t *apply_patch(const rs_api_call *c, const json_t *base, json_t **ret)
{
    struct rs_err e;
    const char *how = strategy(c);
    if (rs_streq(how, RS_JSON_PATCH)) {
        if (!json_is_array(c->body))
            return rs_status_bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch");
        if (rs_json_patch_apply(ret, base, c->body, &e) == 0)
            return NULL;
        json_t *refusal = rs_status(422, "Invalid", "the server rejected our request due to an error in our request: %s", e.msg);
        rs_json_need(refusal, "details");      /* kubectl prints the message only beside details */
        return refusal;
    }
    if (!json_is_object(c->body))
        return rs_status_bad_request("a merge patch must be a JSON object");
    if (rs_streq(how, RS_MERGE_PATCH))
        *ret = rs_json_merge(base, c->body);
    else if (rs_patch_strategic(ret, base, c->body, &e) < 0)
        return rs_status_bad_request("%s", e.msg);
    return NULL;
}

/* Base of the update in the requested version; for /scale a Scale. */
static json_t *base_of(const rs_api_call *c, const json_t *old)
{
    if (rs_streq(c->sub, "scale"))
        return rs_scale_of(c->res, c->version, old);
    json_t *base = json_deep_copy(old);
    rs_convert(base, c->res, c->res->storage, c->version);
    return base;
}

/* A resourceVersion or uid in the body is a precondition. */
static json_t *check_preconditions(rs_api_call *c, const json_t *old, const json_t *new)
{
    const char *rv = rs_json_str(new, "metadata", "resourceVersion"), *uid = rs_json_str(new, "metadata", "uid");
    if (uid && *uid && strcmp(uid, rs_object_uid(old)))
        return rs_status_conflict(c->res->group, c->res->plural, c->name, "Precondition failed: UID in precondition: %s, UID in object meta: %s",
                                  uid, rs_object_uid(old));
    if (rv && *rv && strcmp(rv, rs_object_rv(old)))
        return rs_status_modified(c->res->group, c->res->plural, c->name);
    return NULL;
}

static void copy_member(json_t *to, const json_t *from, const char *key)
{
    json_t *v = json_object_get(from, key);
    if (v)
        json_object_set(to, key, v);
    else
        json_object_del(to, key);
}

/* What a client can never change. */
static void keep_identity(json_t *new, const json_t *old)
{
    static const char *const fixed[] = { "name", "namespace", "uid", "creationTimestamp", "generateName", "deletionTimestamp",
                                         "deletionGracePeriodSeconds", "resourceVersion", "generation" };
    json_t *meta = rs_json_need(new, "metadata");
    for (size_t i = 0; i < RS_COUNT(fixed); i++)
        copy_member(meta, json_object_get(old, "metadata"), fixed[i]);
}

/* A subresource writes its own part of the object only; the main resource everything but status. */
static json_t *restrict_to_part(const rs_api_call *c, json_t *new, const json_t *old)
{
    if (!c->sub) {
        if (c->res->flags & RS_RES_STATUS)
            copy_member(new, old, "status");
        return new;
    }
    json_t *out = json_deep_copy(old);
    if (rs_streq(c->sub, "scale")) {
        rs_scale_into(c->res, c->version, out, new);
    } else if (rs_streq(c->sub, "finalize")) {
        copy_member(rs_json_need(out, "spec"), json_object_get(new, "spec"), "finalizers");
    } else {
        copy_member(out, new, "status");
        if (!(c->res->flags & RS_RES_CUSTOM))
            copy_member(rs_json_need(out, "metadata"), json_object_get(new, "metadata"), "annotations");
        if (rs_streq(c->res->key, "pods") || rs_streq(c->res->key, "nodes"))
            copy_member(rs_json_need(out, "metadata"), json_object_get(new, "metadata"), "labels");
    }
    json_decref(new);
    return out;
}

static json_t *build(rs_api_call *c, const json_t *old, json_t **ret)
{
    RS_AUTO(json_t) *base = base_of(c, old), *new = NULL;
    json_t *refusal = NULL;
    bool scale = rs_streq(c->sub, "scale");
    if (c->verb == RS_VERB_PATCH)
        refusal = apply_patch(c, base, &new);
    else
        new = json_deep_copy(c->body);
    if (!refusal && !scale)
        refusal = check_type(c, new);
    if (!refusal && !json_is_object(new))
        refusal = rs_status_bad_request("the object provided is not a JSON object");
    if (!refusal)
        refusal = check_preconditions(c, old, new);
    if (refusal)
        return refusal;
    if (!scale)
        set_type(c, new);
    new = restrict_to_part(c, new, old);
    keep_identity(new, old);
    rs_defaults(new, c->res);
    *ret = rs_take(new);
    return NULL;
}

void rs_api_update(rs_api_call *c)
{
    json_t *refusal = NULL;
    if (c->verb == RS_VERB_PATCH && !strategy(c))
        refusal = unsupported_patch(c);
    else
        c->body = rs_call_parse_body(c, &refusal);
    if (refusal)
        rs_call_refuse(c, refusal);
    else
        update_begin(c);
}

static void update_begin(rs_api_call *c)
{
    rs_record *r = rs_api_get(c->api, c->res->key, c->namespace, c->name);
    if (!r) {
        rs_call_refuse(c, rs_status_not_found(c->res->group, c->res->plural, c->name));
        return;
    }
    json_decref(c->old);
    json_decref(c->object);
    c->object = NULL;
    c->old = json_incref((json_t *)rs_record_doc(r));
    c->old_rv = r->rv;
    json_t *refusal = build(c, c->old, &c->object);
    if (refusal)
        rs_call_refuse(c, refusal);
    else if (rs_streq(c->sub, "scale") || rs_streq(c->sub, "finalize"))
        update_mutated((c->admission.object = c->object, c), NULL);
    else
        admit(c, "UPDATE", true, update_mutated);
}

static bool generation_moves(const rs_api_call *c, const json_t *new, const json_t *old)
{
    if (!(c->res->flags & RS_RES_GENERATION) || rs_streq(c->sub, "status"))
        return false;
    const char *part = rs_starts(c->res->key, "admissionregistration") ? "webhooks" : "spec";
    const json_t *a = json_object_get(new, part), *b = json_object_get(old, part);
    if (a != b && !(a && b && json_equal(a, b)))
        return true;
    a = rs_json_at(new, "metadata", "annotations");
    b = rs_json_at(old, "metadata", "annotations");
    return rs_streq(c->res->key, "apps/deployments") && a != b && !(a && b && json_equal(a, b));
}

static void update_mutated(void *ctx, json_t *status)
{
    rs_api_call *c = ctx;
    adopt_mutations(c);
    if (status) {
        rs_call_refuse(c, status);
        return;
    }
    keep_identity(c->object, c->old);
    rs_defaults(c->object, c->res);
    if (rs_streq(c->res->key, "apiextensions.k8s.io/customresourcedefinitions"))
        rs_crd_complete(c->object, rs_now_ms());
    if (generation_moves(c, c->object, c->old))
        json_object_set_new(rs_json_need(c->object, "metadata"), "generation",
                            json_integer(rs_json_int(c->old, 0, "metadata", "generation") + 1));
    status = rs_streq(c->sub, "status") ? NULL : rs_object_check(c->object, c->old, c->res);
    if (status)
        rs_call_refuse(c, status);
    else if (rs_streq(c->sub, "scale") || rs_streq(c->sub, "finalize"))
        update_validated(c, NULL);
    else
        admit(c, "UPDATE", false, update_validated);
}

static void reply_updated(rs_api_call *c, json_t *doc)
{
    if (!rs_streq(c->sub, "scale")) {
        rs_call_reply_object(c, 200, doc);
        return;
    }
    json_t *scale = rs_scale_of(c->res, c->version, doc);
    json_decref(doc);
    rs_call_reply(c, 200, scale);
}

static void update_validated(void *ctx, json_t *status)
{
    rs_api_call *c = ctx;
    rs_record *r = rs_api_get(c->api, c->res->key, c->namespace, c->name);
    if (!status && (!r || r->rv != c->old_rv)) {
        if (++c->attempts < ATTEMPTS_MAX) {
            update_begin(c);
            return;
        }
        status = rs_status_modified(c->res->group, c->res->plural, c->name);
    }
    if (!status && rs_streq(c->res->key, "services") && !c->sub)
        status = rs_service_address(c->api, c->object, c->old);
    if (status) {
        rs_call_refuse(c, status);
        return;
    }
    json_t *doc = rs_take(c->object);
    if (!c->dry_run && rs_object_deleting(doc) && rs_api_may_vanish(doc))
        rs_api_remove(c->api, c->res, c->namespace, c->name);
    else if (!c->dry_run && !json_equal(doc, c->old))
        rs_api_put(c->api, c->res, c->namespace, c->name, json_incref(doc));
    reply_updated(c, doc);
}
