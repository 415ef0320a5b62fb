/* Subresources that are no plain part of their object: scale, binding, eviction, token; and reviews. */
#include "cluster/api_int.h"

#include "base/time.h"
#include "kube/object.h"

enum { TOKEN_MIN_S = 600, TOKEN_DEFAULT_S = 3600, TOKEN_MAX_S = 365 * 24 * 3600 };

/* --- scale --- */

/* Path of a CRD's scale member (".spec.replicas") as keys; n out of 4. */
static json_t *at_path(json_t *doc, const char *path, const char **ret_last, char buf[128])
{
    snprintf(buf, 128, "%s", path);
    char *p = buf + (*buf == '.'), *dot;
    while ((dot = strchr(p, '.'))) {
        *dot = 0;
        json_t *next = json_object_get(doc, p);
        if (!json_is_object(next))
            json_object_set_new(doc, p, next = json_object());
        doc = next;
        p = dot + 1;
    }
    *ret_last = p;
    return doc;
}

static const char *scale_path(const struct rs_resource *res, const char *version, const char *which, const char *fallback)
{
    const char *p = res->crd ? rs_json_str(rs_crd_version(res->crd, version), "subresources", "scale", which) : NULL;
    return p ? p : fallback;
}

static json_t *scale_value(const struct rs_resource *res, const char *version, const json_t *doc, const char *which, const char *fallback)
{
    char buf[128];
    const char *last;
    RS_AUTO(json_t) *copy = json_deep_copy(doc);
    json_t *holder = at_path(copy, scale_path(res, version, which, fallback), &last, buf);
    json_t *v = json_object_get(holder, last);
    return v ? json_incref(v) : json_integer(0);
}

static char *selector_text(const json_t *selector)
{
    char *text = rs_strdup("");
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(selector, "matchLabels"), key, value) {
        char *more = rs_printf("%s%s%s=%s", text, *text ? "," : "", key, json_is_string(value) ? json_string_value(value) : "");
        free(text);
        text = more;
    }
    return text;
}

json_t *rs_scale_of(const struct rs_resource *res, const char *version, const json_t *doc)
{
    json_t *meta = json_object();
    static const char *const keep[] = { "name", "namespace", "uid", "resourceVersion", "creationTimestamp" };
    for (size_t i = 0; i < RS_COUNT(keep); i++)
        if (rs_json_at(doc, "metadata", keep[i]))
            json_object_set(meta, keep[i], rs_json_at(doc, "metadata", keep[i]));
    RS_AUTO(rs_chars) *selector = selector_text(rs_json_at(doc, "spec", "selector"));
    return rs_json_pack("{s:s, s:s, s:o, s:{s:o}, s:{s:o, s:s}}", "kind", "Scale", "apiVersion", "autoscaling/v1", "metadata", meta,
                        "spec", "replicas", scale_value(res, version, doc, "specReplicasPath", ".spec.replicas"),
                        "status", "replicas", scale_value(res, version, doc, "statusReplicasPath", ".status.replicas"), "selector", selector);
}

void rs_scale_into(const struct rs_resource *res, const char *version, json_t *doc, const json_t *scale)
{
    char buf[128];
    const char *last;
    json_t *holder = at_path(doc, scale_path(res, version, "specReplicasPath", ".spec.replicas"), &last, buf);
    json_object_set_new(holder, last, json_integer(rs_json_int(scale, 0, "spec", "replicas")));
}

/* --- binding and eviction --- */

static void bind_pod(rs_api_call *c, const json_t *body)
{
    rs_record *r = rs_api_get(c->api, "pods", c->namespace, c->name);
    const char *target = rs_json_str(body, "target", "name"), *node = r ? rs_json_str(rs_record_doc(r), "spec", "nodeName") : NULL;
    char now[RS_TIME_TEXT];
    if (!r) {
        rs_call_refuse(c, rs_status_not_found("", "pods", c->name));
        return;
    }
    if (!target || !*target) {
        rs_call_refuse(c, rs_status_bad_request("target.name is required"));
        return;
    }
    if (node && *node) {
        rs_call_refuse(c, rs_status_conflict("", "pods/binding", c->name, "pod %s is already assigned to node \"%s\"", c->name, node));
        return;
    }
    json_t *doc = json_deep_copy(rs_record_doc(r));
    rs_json_set_str(rs_json_need(doc, "spec"), "nodeName", target);
    json_t *status = rs_json_need(doc, "status"), *list = json_object_get(status, "conditions");
    if (!json_is_array(list))
        json_object_set_new(status, "conditions", list = json_array());
    json_array_append_new(list, rs_json_pack("{s:s, s:s, s:n, s:s}", "type", "PodScheduled", "status", "True", "lastProbeTime",
                                             "lastTransitionTime", rs_time_text(rs_now_ms(), now)));
    if (c->dry_run)
        json_decref(doc);
    else
        rs_api_put(c->api, c->res, c->namespace, c->name, doc);
    rs_call_reply(c, 201, rs_status_success());
}

static void evicted(void *ctx, int code, const json_t *answer)
{
    rs_api_call *c = ctx;
    if (code >= 400)
        rs_call_refuse(c, json_deep_copy(answer));
    else
        rs_call_reply(c, 201, rs_status_success());
}

/* A deletion with the options inside; no disruption budget stands in the way yet. */
static void evict_pod(rs_api_call *c, const json_t *body)
{
    rs_api_call *child = rs_call_child(c, RS_VERB_DELETE, c->namespace, c->name);
    child->body = json_incref(json_object_get(body, "deleteOptions"));
    child->done = evicted;
    child->ctx = c;
    rs_api_delete(child);
}

/* --- tokens --- */

static json_t *bound_pod(const rs_api_call *c, const json_t *spec, rs_record **ret)
{
    const char *kind = rs_json_str(spec, "boundObjectRef", "kind"), *name = rs_json_str(spec, "boundObjectRef", "name");
    const char *uid = rs_json_str(spec, "boundObjectRef", "uid");
    *ret = NULL;
    if (!json_is_object(json_object_get(spec, "boundObjectRef")))
        return NULL;
    if (!rs_streq(kind, "Pod"))
        return rs_status_bad_request("cannot bind token to object of type %s", kind ? kind : "");
    *ret = rs_api_get(c->api, "pods", c->namespace, name ? name : "");
    if (!*ret)
        return rs_status_not_found("", "pods", name ? name : "");
    if (uid && *uid && strcmp(uid, rs_object_uid(rs_record_doc(*ret))))
        return rs_status_conflict("", "pods", name, "the UID in the bound object reference (%s) does not match the UID in record. "
                                  "The object might have been deleted and then recreated", uid);
    if (!rs_streq(rs_json_str(rs_record_doc(*ret), "spec", "serviceAccountName"), c->name))
        return rs_status_bad_request("pod %s uses the service account %s", name, rs_json_str(rs_record_doc(*ret), "spec", "serviceAccountName"));
    return NULL;
}

static json_t *token_lifetime(const json_t *spec, int64_t *ret_s)
{
    *ret_s = rs_json_int(spec, TOKEN_DEFAULT_S, "expirationSeconds");
    json_t *causes = json_array();
    if (*ret_s < TOKEN_MIN_S)
        rs_cause_add(causes, "FieldValueInvalid", "spec.expirationSeconds", "%lld: may not specify a duration less than 10 minutes", (long long)*ret_s);
    else if (*ret_s > TOKEN_MAX_S)
        rs_cause_add(causes, "FieldValueInvalid", "spec.expirationSeconds", "%lld: may not specify a duration larger than a year", (long long)*ret_s);
    if (json_array_size(causes))
        return rs_status_invalid("authentication.k8s.io", "TokenRequest", "", causes);
    json_decref(causes);
    return NULL;
}

static void request_token(rs_api_call *c, json_t *body)
{
    struct rs_err e;
    rs_record *account = rs_api_get(c->api, "serviceaccounts", c->namespace, c->name), *pod = NULL;
    json_t *spec = rs_json_need(body, "spec");
    int64_t seconds = 0, now = rs_now_ms();
    RS_AUTO(rs_chars) *token = NULL;
    char until[RS_TIME_TEXT];
    json_t *refusal = account ? token_lifetime(spec, &seconds) : rs_status_not_found("", "serviceaccounts", c->name);
    if (!refusal)
        refusal = bound_pod(c, spec, &pod);
    if (!refusal && rs_tokens_issue(&token, c->api->tokens, rs_record_doc(account), pod ? rs_record_doc(pod) : NULL,
                                    json_object_get(spec, "audiences"), now, seconds * 1000, &e) < 0)
        refusal = rs_status_internal("%s", e.msg);
    if (refusal) {
        rs_call_refuse(c, refusal);
        return;
    }
    if (!json_array_size(json_object_get(spec, "audiences")))
        json_object_set_new(spec, "audiences", rs_json_pack("[s]", rs_tokens_issuer(c->api->tokens)));
    json_object_set_new(spec, "expirationSeconds", json_integer(seconds));
    rs_call_reply(c, 201, rs_json_pack("{s:s, s:s, s:{s:s, s:s}, s:O, s:{s:s, s:s}}", "kind", "TokenRequest", "apiVersion", "authentication.k8s.io/v1",
        "metadata", "name", c->name, "namespace", c->namespace, "spec", spec,
        "status", "token", token, "expirationTimestamp", rs_time_text(now + seconds * 1000, until)));
}

void rs_api_subresource(rs_api_call *c)
{
    if (rs_streq(c->sub, "scale")) {
        rs_record *r = rs_api_get(c->api, c->res->key, c->namespace, c->name);
        if (r)
            rs_call_reply(c, 200, rs_scale_of(c->res, c->version, rs_record_doc(r)));
        else
            rs_call_refuse(c, rs_status_not_found(c->res->group, c->res->plural, c->name));
        return;
    }
    json_t *refusal = NULL;
    c->body = rs_call_parse_body(c, &refusal);
    if (c->body && !json_is_object(c->body))
        refusal = rs_status_bad_request("the object provided is not a JSON object");
    if (refusal)
        rs_call_refuse(c, refusal);
    else if (rs_streq(c->sub, "binding"))
        bind_pod(c, c->body);
    else if (rs_streq(c->sub, "eviction"))
        evict_pod(c, c->body);
    else
        request_token(c, c->body);
}

/* --- reviews --- */

static json_t *review_token(const rs_api_call *c, const json_t *body)
{
    struct rs_token_subject s;
    struct rs_err e;
    RS_AUTO(json_t) *audiences = NULL;
    const char *token = rs_json_str(body, "spec", "token");
    if (rs_tokens_check(&s, &audiences, c->api->tokens, rs_str_of(token), rs_json_at(body, "spec", "audiences"), rs_now_ms(), &e) < 0)
        return rs_json_pack("{s:{}, s:s}", "user", "error", e.msg);
    RS_AUTO(rs_chars) *name = rs_printf("system:serviceaccount:%s:%s", s.namespace, s.account);
    RS_AUTO(rs_chars) *group = rs_printf("system:serviceaccounts:%s", s.namespace);
    json_t *user = rs_json_pack("{s:s, s:s, s:[s, s, s]}", "username", name, "uid", s.account_uid, "groups", "system:serviceaccounts", group,
                                "system:authenticated");
    if (s.pod)
        json_object_set_new(user, "extra", rs_json_pack("{s:[s], s:[s]}", "authentication.kubernetes.io/pod-name", s.pod,
                                                        "authentication.kubernetes.io/pod-uid", s.pod_uid));
    rs_token_subject_done(&s);
    return rs_json_pack("{s:b, s:o, s:O}", "authenticated", 1, "user", user, "audiences", audiences);
}

/* Authenticated users may do everything; nobody else anything (RBAC objects are kept, not enforced). */
static json_t *review_access(const rs_api_call *c, const json_t *body)
{
    const char *user = rs_json_str(body, "spec", "user");
    bool self = rs_starts(c->res->kind, "Self");
    bool allowed = self ? !c->user->anonymous : (user && *user && strcmp(user, "system:anonymous")) || json_array_size(rs_json_at(body, "spec", "groups"));
    return rs_json_pack("{s:b}", "allowed", allowed ? 1 : 0);
}

static json_t *review_rules(void)
{
    return rs_json_pack("{s:[{s:[s], s:[s], s:[s]}], s:[{s:[s], s:[s]}], s:b}", "resourceRules", "verbs", "*", "apiGroups", "*", "resources", "*",
                        "nonResourceRules", "verbs", "*", "nonResourceURLs", "*", "incomplete", 0);
}

void rs_api_review(rs_api_call *c)
{
    json_t *refusal = NULL;
    json_t *body = c->body = rs_call_parse_body(c, &refusal);
    if (body && !json_is_object(body))
        refusal = rs_status_bad_request("the object provided is not a JSON object");
    if (refusal) {
        rs_call_refuse(c, refusal);
        return;
    }
    json_t *status;
    if (rs_streq(c->res->kind, "TokenReview"))
        status = review_token(c, body);
    else if (rs_streq(c->res->kind, "SelfSubjectReview"))
        status = rs_json_pack("{s:o}", "userInfo", rs_user_info(c->user));
    else if (rs_streq(c->res->kind, "SelfSubjectRulesReview"))
        status = review_rules();
    else
        status = review_access(c, body);
    json_t *out = json_deep_copy(body);
    RS_AUTO(rs_chars) *gv = rs_group_version(c->res->group, c->version);
    rs_json_set_str(out, "apiVersion", gv);
    rs_json_set_str(out, "kind", c->res->kind);
    rs_json_need(out, "metadata");
    json_object_set_new(out, "status", status);
    rs_call_reply(c, 201, out);
}
