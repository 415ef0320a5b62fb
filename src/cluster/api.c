#include "cluster/api_int.h"

#include <openssl/ssl.h>

#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "base/yaml.h"
#include "kube/client.h"

enum { BODY_MAX = 8 * 1024 * 1024, SWEEP_MS = 15 * 1000, SWEEPS_PER_EVENT_SWEEP = 20 };

/* --- answers, held back until what they tell of is durable --- */

void rs_call_free(rs_api_call *c)
{
    if (!c)
        return;
    if (c->x)
        rs_http_on_abort(c->x, NULL, NULL);
    rs_user_free(c->user);
    free(c->version);
    free(c->namespace);
    free(c->name);
    free(c->sub);
    free(c->rest);
    free(c->query);
    free(c->content_type);
    json_decref(c->body);
    json_decref(c->old);
    json_decref(c->object);
    json_decref(c->admission.warnings);
    json_decref(c->answer_json);
    free(c->answer);
    free(c);
}

static void send_answer(rs_api_call *c)
{
    if (c->done)
        c->done(c->ctx, c->answer_code, c->answer_json);
    if (c->x) {
        size_t i;
        json_t *w;
        json_array_foreach(c->admission.warnings, i, w) {
            RS_AUTO(rs_chars) *quoted = rs_json_text(w);
            RS_AUTO(rs_chars) *line = rs_printf("299 - %s", quoted);
            rs_http_add_header(c->x, "Warning", line);
        }
        rs_http_exchange *x = c->x;
        c->x = NULL;
        rs_http_on_abort(x, NULL, NULL);
        rs_http_reply(x, c->answer_code, "application/json", rs_str_of(c->answer));
    }
    rs_call_free(c);
}

static void set_answer(rs_api_call *c, int code, json_t *body)
{
    free(c->answer);
    json_decref(c->answer_json);
    c->answer_code = code;
    c->answer = c->x ? rs_json_text(body) : NULL;
    c->answer_json = body;
    if (!c->done) {
        json_decref(body);
        c->answer_json = NULL;
    }
}

void rs_call_reply(rs_api_call *c, int code, json_t *body)
{
    set_answer(c, code, body);
    if (!rs_store_dirty(c->api->store)) {
        send_answer(c);
        return;
    }
    c->next = NULL;
    *c->api->answered_end = c;
    c->api->answered_end = &c->next;
}

void rs_call_refuse(rs_api_call *c, json_t *status)
{
    rs_call_reply(c, rs_status_code(status), status);
}

void rs_call_reply_object(rs_api_call *c, int code, json_t *doc)
{
    json_t *out = rs_api_present(c->res, c->version, c->shape, doc);
    json_decref(doc);
    rs_call_reply(c, code, out);
}

/* For reads: texts of records, which may be of writes that are not durable yet. */
void rs_call_reply_text(rs_api_call *c, int code, const char *content_type, rs_str text)
{
    if (rs_store_dirty(c->api->store)) {
        free(c->answer);
        c->answer = rs_strndup(text.p, text.n);
        c->answer_code = code;
        c->next = NULL;
        *c->api->answered_end = c;
        c->api->answered_end = &c->next;
        return;
    }
    rs_http_exchange *x = c->x;
    c->x = NULL;
    if (x) {
        rs_http_on_abort(x, NULL, NULL);
        rs_http_reply(x, code, content_type, text);
    }
    rs_call_free(c);
}

static void commit(void *ctx)
{
    rs_api *api = ctx;
    struct rs_err e;
    api->commit_posted = false;
    bool failed = rs_store_commit(api->store, &e) < 0;
    rs_api_call *list = rs_take(api->answered);
    api->answered_end = &api->answered;
    if (failed)
        rs_log_error("%s", e.msg);
    while (list) {
        rs_api_call *c = list;
        list = c->next;
        if (failed)
            set_answer(c, 500, rs_status_internal("the object was not stored: %s", e.msg));
        send_answer(c);
    }
}

void rs_api_flush(rs_api *api)
{
    if (rs_store_dirty(api->store))
        commit(api);
}

static void post_commit(rs_api *api)
{
    if (api->commit_posted)
        return;
    api->commit_posted = true;
    rs_loop_post(api->loop, commit, api);
}

rs_record *rs_api_put(rs_api *api, const struct rs_resource *res, const char *namespace, const char *name, json_t *doc)
{
    post_commit(api);
    return rs_store_put(api->store, res->key, namespace, name, doc);
}

void rs_api_remove(rs_api *api, const struct rs_resource *res, const char *namespace, const char *name)
{
    post_commit(api);
    rs_store_delete(api->store, res->key, namespace, name);
    if (res->flags & RS_RES_CUSTOM)
        rs_api_crd_settle(api, res->key);
}

rs_record *rs_api_get(const rs_api *api, const char *key, const char *namespace, const char *name)
{
    return rs_store_get(api->store, key, namespace, name);
}

static void on_change(void *ctx, const struct rs_change *change)
{
    rs_api *api = ctx;
    if (rs_streq(change->now->resource, "apiextensions.k8s.io/customresourcedefinitions")) {
        if (change->deleted)
            rs_registry_drop_crd(api->registry, change->now->name);
        else
            rs_registry_set_crd(api->registry, rs_record_doc(change->now));
    }
    rs_api_watch_change(api, change);
}

/* --- presentation --- */

json_t *rs_api_present(const struct rs_resource *res, const char *version, enum rs_shape shape, const json_t *doc)
{
    if (shape == RS_SHAPE_METADATA)
        return rs_json_pack("{s:s, s:s, s:O}", "kind", "PartialObjectMetadata", "apiVersion", "meta.k8s.io/v1",
                            "metadata", json_object_get(doc, "metadata"));
    if (rs_streq(version, res->storage))
        return json_incref((json_t *)doc);
    json_t *out = json_deep_copy(doc);
    rs_convert(out, res, res->storage, version);
    return out;
}

/* --- reading the request --- */

char *rs_call_param(const rs_api_call *c, const char *name)
{
    return rs_http_query(c->query, name, 0);
}

bool rs_call_flag(const rs_api_call *c, const char *name)
{
    static const char *const yes[] = { "1", "t", "T", "TRUE", "true", "True" };
    RS_AUTO(rs_chars) *v = rs_call_param(c, name);
    for (size_t i = 0; v && i < RS_COUNT(yes); i++)
        if (strcmp(v, yes[i]) == 0)
            return true;
    return false;
}

json_t *rs_call_parse_body(rs_api_call *c, json_t **ret_status)
{
    static const char *const json_types[] = { "application/json", RS_MERGE_PATCH, RS_JSON_PATCH, RS_STRATEGIC_PATCH };
    struct rs_err e;
    json_t *body = NULL;
    rs_str text = rs_http_body(c->x);
    const char *type = c->content_type;
    bool json = !*type, yaml = strcmp(type, "application/yaml") == 0;
    for (size_t i = 0; i < RS_COUNT(json_types); i++)
        json = json || strcmp(type, json_types[i]) == 0;
    if (!json && !yaml) {
        *ret_status = rs_status(415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: "
                                "application/json, application/yaml");
        return NULL;
    }
    int r = yaml ? rs_yaml_parse(&body, text, &e) : rs_json_parse(&body, text, &e);
    if (r < 0) {
        *ret_status = rs_status_bad_request("the object provided is unrecognized (must be of type %s): couldn't get version/kind; %s",
                                            c->res->kind, e.msg);
        return NULL;
    }
    return body;
}

rs_api_call *rs_call_child(const rs_api_call *parent, enum rs_verb verb, const char *namespace, const char *name)
{
    rs_api_call *c = rs_new(rs_api_call);
    c->api = parent->api;
    c->user = rs_user_copy(parent->user);
    c->verb = verb;
    c->res = parent->res;
    c->version = rs_strdup(parent->version);
    c->namespace = rs_strdup(namespace);
    c->name = rs_strdup(name);
    c->query = rs_strdup("");
    c->content_type = rs_strdup("");
    c->dry_run = parent->dry_run;
    return c;
}

static bool media_param(const char *clause, const char *param)
{
    const char *p = strcasestr(clause, param);
    char end = p ? p[strlen(param)] : 'x';
    return end == 0 || end == ';' || end == ' ';
}

/* The first clause of Accept that can be served decides; false: none can. */
static bool negotiate(const char *accept, enum rs_shape *ret)
{
    *ret = RS_SHAPE_PLAIN;
    if (!accept || !*accept)
        return true;
    char **clauses = rs_split(accept, ',');
    bool found = false;
    for (size_t i = 0; clauses[i] && !found; i++) {
        char *cl = clauses[i] + strspn(clauses[i], " \t");
        if (!rs_starts(cl, "application/json") && !rs_starts(cl, "*/*") && !rs_starts(cl, "application/*"))
            continue;
        if (!strcasestr(cl, "as="))
            found = true;
        else if (media_param(cl, "as=Table") && media_param(cl, "v=v1"))
            found = true, *ret = RS_SHAPE_TABLE;
        else if (media_param(cl, "as=PartialObjectMetadata") || media_param(cl, "as=PartialObjectMetadataList"))
            found = true, *ret = RS_SHAPE_METADATA;
    }
    rs_strv_free(clauses);
    return found;
}

/* Splits "/apis/apps/v1/namespaces/x/deployments/y/scale" into the call; false: not a resource path. */
static bool parse_path(rs_api_call *c, const char *path)
{
    char **v = rs_split(path, '/');            /* v[0] is empty: the path starts with a slash */
    size_t n = 0, i = 1;
    while (v[n])
        n++;
    if (n > 2 && !*v[n - 1])
        n--;                                   /* a trailing slash, as behind /proxy/ */
    const char *group = NULL;
    if (n > 3 && rs_streq(v[1], "api")) {
        group = "";
        i = 2;
    } else if (n > 4 && rs_streq(v[1], "apis")) {
        group = v[2];
        i = 3;
    }
    bool ok = group != NULL;
    if (ok) {
        c->version = rs_strdup(v[i++]);
        bool scoped = rs_streq(v[i], "namespaces") && n > i + 2 && strcmp(v[i + 2], "status") && strcmp(v[i + 2], "finalize");
        c->namespace = rs_strdup(scoped ? v[i + 1] : "");
        i += scoped ? 2 : 0;
        c->res = rs_registry_find(c->api->registry, group, c->version, v[i++]);
        ok = c->res && (!scoped || (c->res->flags & RS_RES_NAMESPACED));
    }
    if (ok) {
        c->name = i < n ? rs_strdup(v[i]) : NULL;
        c->sub = i + 1 < n ? rs_strdup(v[i + 1]) : NULL;
        c->all_namespaces = (c->res->flags & RS_RES_NAMESPACED) && !*c->namespace;
        ok = !(c->all_namespaces && c->name);
    }
    for (size_t k = i + 2; ok && k < n; k++) {
        char *more = rs_printf("%s/%s", c->rest ? c->rest : "", v[k]);
        free(c->rest);
        c->rest = more;
    }
    rs_strv_free(v);
    return ok;
}

static bool choose_verb(rs_api_call *c, const char *method)
{
    bool watch = rs_call_flag(c, "watch");
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        c->verb = watch && !c->sub ? RS_VERB_WATCH : c->name ? RS_VERB_GET : RS_VERB_LIST;
    else if (strcmp(method, "POST") == 0)
        c->verb = RS_VERB_CREATE;
    else if (strcmp(method, "PUT") == 0)
        c->verb = RS_VERB_UPDATE;
    else if (strcmp(method, "PATCH") == 0)
        c->verb = RS_VERB_PATCH;
    else if (strcmp(method, "DELETE") == 0)
        c->verb = c->name ? RS_VERB_DELETE : RS_VERB_DELETE_ALL;
    else
        return false;
    return (c->verb != RS_VERB_UPDATE && c->verb != RS_VERB_PATCH) || c->name;
}

static json_t *read_dry_run(rs_api_call *c)
{
    RS_AUTO(rs_chars) *v = rs_call_param(c, "dryRun");
    if (!v || !*v)
        return NULL;
    c->dry_run = strcmp(v, "All") == 0;
    if (c->dry_run)
        return NULL;
    json_t *causes = json_array();
    rs_cause_add(causes, "FieldValueNotSupported", "dryRun", "\"%s\": supported values: \"All\"", v);
    return rs_status_invalid("meta.k8s.io", "CreateOptions", "", causes);
}

static json_t *check_authorized(const rs_api_call *c)
{
    static const char *const verbs[] = { "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection" };
    if (!c->user->anonymous)
        return NULL;
    RS_AUTO(rs_chars) *where = *c->namespace ? rs_printf("in the namespace \"%s\"", c->namespace) : rs_strdup("at the cluster scope");
    return rs_status_forbidden(c->res->group, c->res->plural, c->name, "User \"%s\" cannot %s resource \"%s%s%s\" in API group \"%s\" %s",
                               c->user->name, verbs[c->verb], c->res->plural, c->sub ? "/" : "", c->sub ? c->sub : "", c->res->group, where);
}

static bool is_connect(const rs_api_call *c)
{
    static const char *const subs[] = { "log", "exec", "attach", "portforward", "proxy" };
    for (size_t i = 0; c->sub && i < RS_COUNT(subs); i++)
        if (strcmp(c->sub, subs[i]) == 0)
            return rs_streq(c->res->key, "pods") || (rs_streq(c->res->key, "services") && rs_streq(c->sub, "proxy"));
    return false;
}

static bool known_subresource(const rs_api_call *c)
{
    if (!c->sub)
        return true;
    if (c->rest)
        return false;
    return (rs_streq(c->sub, "status") && (c->res->flags & RS_RES_STATUS)) || (rs_streq(c->sub, "scale") && (c->res->flags & RS_RES_SCALE)) ||
           (rs_streq(c->sub, "finalize") && rs_streq(c->res->key, "namespaces")) ||
           (rs_streq(c->res->key, "pods") && (rs_streq(c->sub, "binding") || rs_streq(c->sub, "eviction"))) ||
           (rs_streq(c->sub, "token") && rs_streq(c->res->key, "serviceaccounts"));
}

static json_t *not_allowed(void)
{
    return rs_status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
}

static void dispatch(rs_api_call *c)
{
    json_t *refusal = check_authorized(c);
    if (!refusal)
        refusal = read_dry_run(c);
    bool connect = is_connect(c), review = c->res->flags & RS_RES_REVIEW;
    if (!refusal && !connect && !known_subresource(c))
        refusal = rs_status(404, "NotFound", "the server could not find the requested resource");
    if (!refusal && review && c->verb != RS_VERB_CREATE)
        refusal = not_allowed();
    bool post_sub = rs_streq(c->sub, "token") || rs_streq(c->sub, "binding") || rs_streq(c->sub, "eviction");
    if (!refusal && !connect && c->sub && (post_sub ? c->verb != RS_VERB_CREATE : c->verb == RS_VERB_CREATE || c->verb == RS_VERB_DELETE))
        refusal = not_allowed();
    if (!refusal && c->verb == RS_VERB_CREATE && !c->sub && (c->name || (c->all_namespaces && !review)))
        refusal = not_allowed();
    if (refusal)
        rs_call_refuse(c, refusal);
    else if (connect)
        rs_api_connect(c);
    else if (review)
        rs_api_review(c);
    else if (post_sub || (rs_streq(c->sub, "scale") && c->verb == RS_VERB_GET))
        rs_api_subresource(c);
    else if (c->verb == RS_VERB_GET || c->verb == RS_VERB_LIST)
        rs_api_read(c);
    else if (c->verb == RS_VERB_WATCH)
        rs_api_watch(c);
    else if (c->verb == RS_VERB_CREATE)
        rs_api_create(c);
    else if (c->verb == RS_VERB_UPDATE || c->verb == RS_VERB_PATCH)
        rs_api_update(c);
    else if (c->verb == RS_VERB_DELETE)
        rs_api_delete(c);
    else
        rs_api_delete_all(c);
}

static void client_gone(void *ctx, rs_http_exchange *x)
{
    (void)x;
    ((rs_api_call *)ctx)->x = NULL;
}

static void reply_status(rs_http_exchange *x, json_t *status)
{
    RS_AUTO(rs_chars) *text = rs_json_text(status);
    int code = rs_status_code(status);
    json_decref(status);
    rs_http_reply(x, code, "application/json", rs_str_of(text));
}

static char *media_type(const char *header)
{
    if (!header)
        return rs_strdup("");
    rs_str s = rs_str_trim((rs_str){ header, strcspn(header, ";") });
    char *type = rs_strndup(s.p, s.n);
    for (char *p = type; *p; p++)
        *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    return type;
}

static void handle(void *ctx, rs_http_exchange *x)
{
    rs_api *api = ctx;
    struct rs_user *user = rs_authn_user(api->authn, x);
    if (!user) {
        reply_status(x, rs_status(401, "Unauthorized", "Unauthorized"));
        return;
    }
    if (rs_api_meta(api, x, user)) {
        rs_user_free(user);
        return;
    }
    rs_api_call *c = rs_new(rs_api_call);
    c->api = api;
    c->user = user;
    c->query = rs_strdup(rs_http_query_raw(x));
    c->content_type = media_type(rs_http_header(x, "content-type"));
    json_t *refusal = NULL;
    if (!parse_path(c, rs_http_path(x)))
        refusal = rs_status(404, "NotFound", "the server could not find the requested resource");
    else if (!choose_verb(c, rs_http_method(x)))
        refusal = not_allowed();
    else if (!is_connect(c) && !negotiate(rs_http_header(x, "accept"), &c->shape))
        refusal = rs_status(406, "NotAcceptable", "only the following media types are accepted: application/json");
    if (refusal) {
        rs_call_free(c);
        reply_status(x, refusal);
        return;
    }
    c->x = x;
    rs_http_on_abort(x, client_gone, c);
    dispatch(c);
}

/* --- life of the server --- */

struct sweep { int64_t before; rs_record **v; size_t n; };

static void old_event(void *ctx, rs_record *r)
{
    struct sweep *s = ctx;
    if (!rs_streq(r->resource, "events"))
        return;
    const json_t *doc = rs_record_doc(r);
    const char *at = rs_json_str(doc, "lastTimestamp");
    if (!at || !*at)
        at = rs_json_str(doc, "metadata", "creationTimestamp");
    int64_t ms;
    if (at && rs_time_parse(at, &ms) && ms < s->before) {
        s->v = rs_realloc(s->v, (s->n + 1) * sizeof(*s->v));
        s->v[s->n++] = rs_record_ref(r);
    }
}

static void sweep_events(rs_api *api)
{
    struct sweep s = { .before = rs_now_ms() - api->event_ttl_ms };
    const struct rs_resource *events = rs_registry_find_key(api->registry, "events");
    rs_store_each(api->store, old_event, &s);
    for (size_t i = 0; i < s.n; i++) {
        rs_api_remove(api, events, s.v[i]->namespace, s.v[i]->name);
        rs_record_unref(s.v[i]);
    }
    free(s.v);
}

static void sweep(void *ctx)
{
    rs_api *api = ctx;
    if (++api->sweeps % SWEEPS_PER_EVENT_SWEEP == 0)
        sweep_events(api);
    rs_store_rest(api->store);
    rs_timer_set(api->sweep, SWEEP_MS);
}

static int read_cidr(rs_api *api, const char *text, struct rs_err *e)
{
    unsigned a, b, c, d, n;
    char end;
    if (sscanf(text, "%u.%u.%u.%u/%u%c", &a, &b, &c, &d, &n, &end) != 5 || a > 255 || b > 255 || c > 255 || d > 255 || n < 8 || n > 24)
        return RS_FAIL(e, RS_INVALID, "service range \"%s\" is not an IPv4 network a.b.c.d/8 to /24", text);
    api->service_mask = 0xffffffffu << (32 - n);
    api->service_net = (a << 24 | b << 16 | c << 8 | d) & api->service_mask;
    return 0;
}

static int token_key(void *ctx, EVP_PKEY **ret, struct rs_err *e)
{
    return rs_cluster_pki_token_key(ctx, ret, e);
}

static int open_parts(rs_api *api, const struct rs_api_config *config, struct rs_err *e)
{
    RS_AUTO(rs_chars) *dir = rs_printf("%s/api", config->state), *db = rs_printf("%s/objects.db", dir);
    RS_AUTO(rs_chars) *pki = rs_printf("%s/pki", config->state);
    uint32_t ip = api->service_net + 1;
    RS_AUTO(rs_chars) *service_ip = rs_printf("%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
    if (rs_mkdirs(dir, 0700, e) < 0 || rs_store_open(&api->store, db, e) < 0 || rs_cluster_pki_open(&api->pki, pki, service_ip, e) < 0)
        return -1;
    api->tokens = rs_tokens_new(token_key, api->pki, config->issuer, api->store);
    if (rs_authn_new(&api->authn, rs_cluster_pki_token_file(api->pki), api->tokens, e) < 0)
        return -1;
    return rs_cluster_pki_server_tls(&api->tls, api->pki, e);
}

static void load_crd(void *ctx, rs_record *r)
{
    rs_api *api = ctx;
    if (rs_streq(r->resource, "apiextensions.k8s.io/customresourcedefinitions"))
        rs_registry_set_crd(api->registry, rs_record_doc(r));
}

int rs_api_new(rs_api **ret, rs_loop *loop, const struct rs_api_config *config, struct rs_err *e)
{
    RS_AUTO(rs_api) *api = rs_new(rs_api);
    api->loop = loop;
    api->event_ttl_ms = config->event_ttl_ms;
    api->answered_end = &api->answered;
    api->registry = rs_registry_new();
    if (read_cidr(api, config->service_cidr, e) < 0 || open_parts(api, config, e) < 0)
        return -1;
    rs_store_each(api->store, load_crd, api);
    rs_store_on_change(api->store, on_change, api);
    api->http = rs_http_client_new(loop);
    api->admission = rs_admission_new(loop, api->store, api->registry, api->http);
    struct rs_http_server_config http = { .tls = api->tls, .body_max = BODY_MAX, .handle = handle, .ctx = api };
    api->server = rs_http_server_new(loop, &http);
    if (rs_api_bootstrap(api, e) < 0)
        return -1;
    api->sweep = rs_timer_new(loop, sweep, api);
    rs_timer_set(api->sweep, SWEEP_MS);
    *ret = rs_take(api);
    return 0;
}

void rs_api_add_connection(rs_api *api, int fd)
{
    rs_http_server_add(api->server, fd);
}

void rs_api_drain(rs_api *api)
{
    api->closing = true;
    rs_api_watch_end_all(api);
    rs_http_server_drain(api->server);
}

void rs_api_free(rs_api *api)
{
    if (!api)
        return;
    rs_timer_free(api->sweep);
    rs_admission_free(api->admission);
    rs_http_client_free(api->http);
    rs_http_server_free(api->server);
    rs_authn_free(api->authn);
    rs_tokens_free(api->tokens);
    rs_cluster_pki_free(api->pki);
    SSL_CTX_free(api->tls);
    rs_store_free(api->store);
    rs_registry_free(api->registry);
    free(api);
}

size_t rs_api_connections(const rs_api *api)
{
    return rs_http_server_connections(api->server);
}

size_t rs_api_objects(const rs_api *api)
{
    return rs_store_count(api->store);
}

int rs_api_write_kubeconfig(const rs_api *api, const char *path, const char *name, const char *server, struct rs_err *e)
{
    return rs_cluster_pki_kubeconfig(api->pki, path, name, server, e);
}
