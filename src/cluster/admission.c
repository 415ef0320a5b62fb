#include "cluster/admission.h"

#include "base/json_patch.h"
#include "base/log.h"
#include "base/random.h"
#include "base/time.h"
#include "cluster/convert.h"
#include "cluster/status.h"
#include "kube/object.h"

enum { ENDPOINTS_MAX = 64, ANSWER_MAX = 8 * 1024 * 1024 };

struct rs_admission { rs_loop *loop; rs_store *store; const rs_registry *registry; rs_http_client *http; };

/* One webhook of a configuration, as it was when the run began. */
struct hook { json_t *doc; unsigned called_at; bool called; };

struct run {
    rs_admission *a;
    struct rs_admission_request *r;
    bool mutating, again;          /* again: second round, for reinvocationPolicy IfNeeded */
    struct hook *hooks; size_t n, next;
    unsigned changes;              /* how often the object was changed */
    size_t open;                   /* validating calls under way, plus one while they are started */
    json_t *failure;
    void (*done)(void *ctx, json_t *status);
    void *ctx;
};

/* One call of one webhook. */
struct call {
    struct run *run;
    struct hook *hook;
    const char *version;
    char *uid, *url, *shown_url, *ca, *body;
    char *endpoints[ENDPOINTS_MAX]; size_t n_endpoints, endpoint;
    int64_t deadline;
};

rs_admission *rs_admission_new(rs_loop *loop, rs_store *store, const rs_registry *registry, rs_http_client *http)
{
    rs_admission *a = rs_new(rs_admission);
    *a = (rs_admission){ loop, store, registry, http };
    return a;
}

void rs_admission_free(rs_admission *a)
{
    free(a);
}

static void call_free(struct call *c)
{
    free(c->uid);
    free(c->url);
    free(c->shown_url);
    free(c->ca);
    free(c->body);
    for (size_t i = 0; i < c->n_endpoints; i++)
        free(c->endpoints[i]);
    free(c);
}

static void run_end(struct run *run)
{
    void (*done)(void *, json_t *) = run->done;
    void *ctx = run->ctx;
    json_t *failure = run->failure;
    for (size_t i = 0; i < run->n; i++)
        json_decref(run->hooks[i].doc);
    free(run->hooks);
    free(run);
    done(ctx, failure);
}

/* --- the review --- */

static json_t *gvk(const struct rs_resource *res, const char *version)
{
    return rs_json_pack("{s:s, s:s, s:s}", "group", res->group, "version", version, "kind", res->kind);
}

static json_t *gvr(const struct rs_resource *res, const char *version)
{
    return rs_json_pack("{s:s, s:s, s:s}", "group", res->group, "version", version, "resource", res->plural);
}

static json_t *in_version(const json_t *doc, const struct rs_resource *res, const char *version)
{
    if (!doc)
        return json_null();
    if (rs_streq(res->storage, version))
        return json_incref((json_t *)doc);
    json_t *copy = json_deep_copy(doc);
    rs_convert(copy, res, res->storage, version);
    return copy;
}

/* Read anew for each webhook: the one before may have replaced the object that holds the text. */
static const char *name_of(const struct rs_admission_request *r)
{
    return r->name ? r->name : rs_object_name(r->object);
}

static json_t *review(const struct call *c, const char *review_version)
{
    const struct rs_admission_request *r = c->run->r;
    const char *kind = rs_streq(r->operation, "CREATE") ? "CreateOptions" : rs_streq(r->operation, "UPDATE") ? "UpdateOptions" : "DeleteOptions";
    json_t *q = rs_json_pack("{s:s, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:b, s:{s:s, s:s}}", "uid", c->uid, "kind", gvk(r->res, c->version),
        "resource", gvr(r->res, c->version), "requestKind", gvk(r->res, r->version), "requestResource", gvr(r->res, r->version),
        "operation", r->operation, "userInfo", rs_user_info(r->user), "object", in_version(r->object, r->res, c->version),
        "oldObject", in_version(r->old, r->res, c->version), "dryRun", r->dry_run ? 1 : 0, "options", "kind", kind, "apiVersion", "meta.k8s.io/v1");
    const char *name = name_of(r);
    if (*name)
        rs_json_set_str(q, "name", name);
    if (r->namespace && *r->namespace)
        rs_json_set_str(q, "namespace", r->namespace);
    if (rs_streq(r->res->key, "namespaces") && *name)
        rs_json_set_str(q, "namespace", name);
    if (r->sub) {
        rs_json_set_str(q, "subResource", r->sub);
        rs_json_set_str(q, "requestSubResource", r->sub);
    }
    RS_AUTO(rs_chars) *gv = rs_printf("admission.k8s.io/%s", review_version);
    return rs_json_pack("{s:s, s:s, s:o}", "kind", "AdmissionReview", "apiVersion", gv, "request", q);
}

/* The first version in the webhook's list that we speak. */
static const char *review_version(const json_t *hook)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(hook, "admissionReviewVersions"), i, v)
        if (rs_streq(json_string_value(v), "v1") || rs_streq(json_string_value(v), "v1beta1"))
            return json_string_value(v);
    return NULL;
}

/* --- where the webhook is --- */

static void add_endpoints(struct call *c, const json_t *subset, const char *port_name)
{
    size_t i, k;
    json_t *port, *addr;
    json_array_foreach(json_object_get(subset, "ports"), i, port) {
        const char *name = rs_json_str(port, "name");
        if (strcmp(name ? name : "", port_name ? port_name : ""))
            continue;
        json_array_foreach(json_object_get(subset, "addresses"), k, addr)
            if (rs_json_str(addr, "ip") && c->n_endpoints < ENDPOINTS_MAX)
                c->endpoints[c->n_endpoints++] = rs_printf("%s:%lld", rs_json_str(addr, "ip"), (long long)rs_json_int(port, 0, "port"));
    }
}

/* Pods behind a Service, straight from its Endpoints: the server needs no service routing of its own. */
static int resolve_service(struct call *c, const json_t *ref, struct rs_err *e)
{
    const char *ns = rs_json_str(ref, "namespace"), *name = rs_json_str(ref, "name"), *path = rs_json_str(ref, "path");
    json_int_t port = rs_json_int(ref, 443, "port");
    rs_store *store = c->run->a->store;
    c->url = rs_printf("https://%s.%s.svc:%lld%s%s", name ? name : "", ns ? ns : "", (long long)port, path && *path == '/' ? "" : "/", path ? path : "");
    rs_record *service = rs_store_get(store, "services", ns ? ns : "", name ? name : "");
    if (!service)
        return RS_FAIL(e, RS_NOT_FOUND, "service \"%s\" not found", name ? name : "");
    const json_t *entry = NULL, *p;
    size_t i;
    json_array_foreach(rs_json_at(rs_record_doc(service), "spec", "ports"), i, p)
        if (rs_json_int(p, 0, "port") == port)
            entry = p;
    if (!entry)
        return RS_FAIL(e, RS_NOT_FOUND, "no service port %lld found for service \"%s\"", (long long)port, name);
    rs_record *endpoints = rs_store_get(store, "endpoints", ns, name);
    if (endpoints)
        json_array_foreach(json_object_get(rs_record_doc(endpoints), "subsets"), i, p)
            add_endpoints(c, p, rs_json_str(entry, "name"));
    if (!c->n_endpoints)
        return RS_FAIL(e, RS_UNAVAILABLE, "no endpoints available for service \"%s\"", name);
    c->endpoint = (size_t)rs_random_below(c->n_endpoints);
    return 0;
}

static int read_target(struct call *c, struct rs_err *e)
{
    const json_t *config = json_object_get(c->hook->doc, "clientConfig");
    const char *url = rs_json_str(config, "url"), *ca = rs_json_str(config, "caBundle");
    unsigned char *pem = NULL;
    size_t n;
    json_int_t seconds = rs_json_int(c->hook->doc, 10, "timeoutSeconds");
    c->deadline = rs_mono_ms() + seconds * 1000;
    if (ca && *ca) {
        if (rs_unbase64(rs_str_of(ca), false, &pem, &n) < 0)
            return RS_FAIL(e, RS_INVALID, "caBundle is not base64");
        c->ca = (char *)pem;
    }
    int r = 0;
    if (url)
        c->url = rs_strdup(url);
    else
        r = resolve_service(c, json_object_get(config, "service"), e);
    c->shown_url = rs_printf("%s%ctimeout=%llds", c->url, strchr(c->url, '?') ? '&' : '?', (long long)seconds);
    return r;
}

/* --- what the answer does --- */

static void call_failed(struct call *c, const char *why);
static void call_succeeded(struct call *c);

static void refuse(struct run *run, json_t *status)
{
    if (run->failure)
        json_decref(status);
    else
        run->failure = status;
}

static void deny(struct call *c, const json_t *status)
{
    const char *message = rs_json_str(status, "message"), *reason = rs_json_str(status, "reason"), *name = rs_json_str(c->hook->doc, "name");
    int code = (int)rs_json_int(status, 403, "code");
    if (code < 400 || code > 599)
        code = 403;
    const char *why = message && *message ? message : reason && *reason ? reason : NULL;
    refuse(c->run, rs_status(code, reason && *reason ? reason : code == 403 ? "Forbidden" : "", "admission webhook \"%s\" denied the request%s%s",
                             name ? name : "", why ? ": " : " without explanation", why ? why : ""));
}

static int apply_answer_patch(struct call *c, const char *patch64, struct rs_err *e)
{
    struct rs_admission_request *r = c->run->r;
    unsigned char *bytes = NULL;
    size_t n;
    if (rs_unbase64(rs_str_of(patch64), false, &bytes, &n) < 0)
        return RS_FAIL(e, RS_INVALID, "the patch is not base64");
    RS_AUTO(json_t) *patch = NULL, *out = NULL;
    int got = rs_json_parse(&patch, (rs_str){ (char *)bytes, n }, e);
    free(bytes);
    RS_AUTO(json_t) *base = in_version(r->object, r->res, c->version);
    if (got < 0 || rs_json_patch_apply(&out, base, patch, e) < 0)
        return rs_err_wrap(e, "the patch");
    if (!json_is_object(out))
        return RS_FAIL(e, RS_INVALID, "the patch leaves no object");
    if (!rs_streq(c->version, r->res->storage))
        rs_convert(out, r->res, c->version, r->res->storage);
    if (!json_equal(out, r->object)) {
        c->run->changes++;
        json_decref(r->object);
        r->object = rs_take(out);
    }
    return 0;
}

static void add_warnings(struct rs_admission_request *r, const json_t *list)
{
    if (!json_array_size(list))
        return;
    if (!r->warnings)
        r->warnings = json_array();
    json_array_extend(r->warnings, (json_t *)list);
}

static int use_answer(struct call *c, rs_str text, bool *ret_denied, struct rs_err *e)
{
    RS_AUTO(json_t) *doc = NULL;
    *ret_denied = false;
    if (rs_json_parse(&doc, text, e) < 0)
        return -1;
    const json_t *answer = json_object_get(doc, "response");
    if (!rs_streq(rs_json_str(doc, "kind"), "AdmissionReview") || !json_is_object(answer))
        return RS_FAIL(e, RS_INVALID, "expected webhook response of kind AdmissionReview, got %s", rs_json_str(doc, "kind") ? rs_json_str(doc, "kind") : "none");
    if (!rs_streq(rs_json_str(answer, "uid"), c->uid))
        return RS_FAIL(e, RS_INVALID, "expected response.uid=\"%s\", got \"%s\"", c->uid, rs_json_str(answer, "uid") ? rs_json_str(answer, "uid") : "");
    add_warnings(c->run->r, json_object_get(answer, "warnings"));
    if (!rs_json_true(answer, "allowed")) {
        *ret_denied = true;
        deny(c, json_object_get(answer, "status"));
        return 0;
    }
    const char *patch = rs_json_str(answer, "patch"), *type = rs_json_str(answer, "patchType");
    if (!patch || !*patch || !c->run->mutating || !c->run->r->object)
        return 0;
    if (type && strcmp(type, "JSONPatch"))
        return RS_FAIL(e, RS_INVALID, "unsupported patchType \"%s\"", type);
    return apply_answer_patch(c, patch, e);
}

/* --- calling --- */

static void start_call(struct call *c);

static void answered(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    struct call *c = ctx;
    struct rs_err e;
    bool denied;
    if (!r && why->code == RS_UNAVAILABLE && c->endpoint + 1 < c->n_endpoints && rs_mono_ms() < c->deadline) {
        c->endpoint++;                         /* that pod is gone: another one stands behind the same Service */
        start_call(c);
    } else if (!r) {
        call_failed(c, why->code == RS_DEADLINE ? "context deadline exceeded" : why->msg);
    } else if (r->status != 200) {
        RS_AUTO(rs_chars) *text = rs_printf("an error on the server (\"%.*s\") has prevented the request from succeeding",
                                            (int)(r->body.n > 200 ? 200 : r->body.n), r->body.p);
        call_failed(c, text);
    } else if (use_answer(c, r->body, &denied, &e) < 0) {
        call_failed(c, e.msg);
    } else {
        call_succeeded(c);
    }
}

static void start_call(struct call *c)
{
    static const char *const headers[] = { "Content-Type: application/json", "Accept: application/json, */*",
                                           "User-Agent: kube-apiserver-admission", NULL };
    int64_t left = c->deadline - rs_mono_ms();
    struct rs_http_request q = { .method = "POST", .url = c->shown_url, .headers = headers, .body = rs_str_of(c->body), .ca_pem = c->ca,
        .connect_to = c->n_endpoints ? c->endpoints[c->endpoint] : NULL, .timeout_ms = left > 1 ? (int)left : 1, .max_body = ANSWER_MAX };
    rs_http_start(c->run->a->http, &q, answered, c);
}

static void begin(struct run *run, struct hook *hook, const char *version)
{
    struct call *c = rs_new(struct call);
    struct rs_err e;
    char uid[RS_UUID_TEXT];
    const char *rv = review_version(hook->doc);
    c->run = run;
    c->hook = hook;
    c->version = version;
    c->uid = rs_strdup(rs_uuid4(uid));
    hook->called = true;
    if (read_target(c, &e) < 0) {
        call_failed(c, e.msg);
        return;
    }
    if (!rv) {
        call_failed(c, "webhook does not accept known AdmissionReview versions (v1, v1beta1)");
        return;
    }
    RS_AUTO(json_t) *doc = review(c, rv);
    c->body = rs_json_text(doc);
    /* Endpoints are tried in a ring that starts anywhere. */
    for (size_t i = 0; i < c->endpoint; i++) {
        char *first = c->endpoints[0];
        memmove(c->endpoints, c->endpoints + 1, (c->n_endpoints - 1) * sizeof(*c->endpoints));
        c->endpoints[c->n_endpoints - 1] = first;
    }
    c->endpoint = 0;
    start_call(c);
}

/* --- the order of calls --- */

static const json_t *namespace_of(const struct run *run)
{
    const char *ns = run->r->namespace;
    rs_record *r = ns && *ns ? rs_store_get(run->a->store, "namespaces", "", ns) : NULL;
    return r ? rs_record_doc(r) : NULL;
}

/* Serially: the next webhook that wants the object as it is by now. */
static void mutate_next(struct run *run)
{
    const char *version;
    while (!run->failure && run->next < run->n) {
        struct hook *h = &run->hooks[run->next++];
        if (run->again && !(h->called && rs_streq(rs_json_str(h->doc, "reinvocationPolicy"), "IfNeeded") && run->changes > h->called_at))
            continue;
        if (rs_admission_matches(h->doc, run->r, namespace_of(run), &version)) {
            begin(run, h, version);
            return;
        }
    }
    if (!run->failure && !run->again && run->changes > 0) {
        run->again = true;
        run->next = 0;
        mutate_next(run);
        return;
    }
    run_end(run);
}

static void validate_done(struct run *run)
{
    if (--run->open == 0)
        run_end(run);
}

static void validate_all(struct run *run)
{
    const char *version;
    run->open = 1;
    for (size_t i = 0; i < run->n; i++)
        if (rs_admission_matches(run->hooks[i].doc, run->r, namespace_of(run), &version)) {
            run->open++;
            begin(run, &run->hooks[i], version);
        }
    validate_done(run);
}

static void go_on(struct run *run, struct hook *hook)
{
    hook->called_at = run->changes;
    if (run->mutating)
        mutate_next(run);
    else
        validate_done(run);
}

static void call_succeeded(struct call *c)
{
    struct run *run = c->run;
    struct hook *hook = c->hook;
    call_free(c);
    go_on(run, hook);
}

static void call_failed(struct call *c, const char *why)
{
    struct run *run = c->run;
    struct hook *hook = c->hook;
    const char *name = rs_json_str(hook->doc, "name");
    if (rs_streq(rs_json_str(hook->doc, "failurePolicy"), "Ignore"))
        rs_log_warning("webhook ignored name=%s: Post \"%s\": %s", name ? name : "", c->shown_url ? c->shown_url : "", why);
    else
        refuse(run, rs_status_internal("Internal error occurred: failed calling webhook \"%s\": Post \"%s\": %s", name ? name : "",
                                       c->shown_url ? c->shown_url : "", why));
    call_free(c);
    go_on(run, hook);
}

static void collect(struct run *run)
{
    const char *key = run->mutating ? "admissionregistration.k8s.io/mutatingwebhookconfigurations"
                                    : "admissionregistration.k8s.io/validatingwebhookconfigurations";
    rs_record *const *v;
    size_t n = rs_store_list(run->a->store, key, NULL, &v), i;
    json_t *hook;
    for (size_t k = 0; k < n; k++)
        json_array_foreach(json_object_get(rs_record_doc(v[k]), "webhooks"), i, hook) {
            run->hooks = rs_realloc(run->hooks, (run->n + 1) * sizeof(*run->hooks));
            run->hooks[run->n++] = (struct hook){ .doc = json_incref(hook) };
        }
}

void rs_admission_run(rs_admission *a, bool mutating, struct rs_admission_request *r, void (*done)(void *ctx, json_t *status), void *ctx)
{
    struct run *run = rs_new(struct run);
    *run = (struct run){ .a = a, .r = r, .mutating = mutating, .done = done, .ctx = ctx };
    collect(run);
    if (mutating)
        mutate_next(run);
    else
        validate_all(run);
}
