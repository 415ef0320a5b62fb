#include <stdlib.h>
#include <unistd.h>

#include "unit.h"

#include "base/buf.h"
#include "base/file.h"
#include "http/server.h"
#include "io/listen.h"
#include "kube/client_int.h"
#include "kube/informer.h"
#include "kube/object.h"

/* A server that holds ConfigMaps of one namespace and lets the test push watch events by hand. */
struct world {
    rs_loop *loop;
    rs_http_server *server;
    rs_listener *listener;
    rs_kube *kube;
    json_t *items;                       /* name -> object */
    int rv, lists, watches, requests;
    rs_http_exchange *watch;
    char watch_rv[32];
    char wanted_token[32];               /* "" : any */
    char last[256];                      /* "METHOD target" of the last write */
    json_t *last_body;
    /* what the informer told */
    struct rs_buf told;
    bool synced, free_in_callback, flag;
    rs_informer *informer;
};

static json_t *config_map(struct world *w, const char *name, const char *value)
{
    char rv[16];
    snprintf(rv, sizeof(rv), "%d", ++w->rv);
    return rs_json_pack("{s:{s:s,s:s,s:s,s:s},s:{s:s}}", "metadata", "name", name, "namespace", "n", "uid", name, "resourceVersion", rv, "data", "k", value);
}

static void watch_gone(void *ctx, rs_http_exchange *x)
{
    struct world *w = ctx;
    if (w->watch == x)
        w->watch = NULL;
}

static void reply_json(rs_http_exchange *x, int status, json_t *o)
{
    RS_AUTO(rs_chars) *text = rs_json_text(o);
    rs_http_reply(x, status, "application/json", rs_str_of(text));
    json_decref(o);
}

static void status(rs_http_exchange *x, int code, const char *reason, const char *message)
{
    reply_json(x, code, rs_json_pack("{s:s,s:s,s:s,s:i}", "kind", "Status", "reason", reason, "message", message, "code", code));
}

static void serve_list(struct world *w, rs_http_exchange *x)
{
    RS_AUTO(rs_chars) *watch = rs_http_query(rs_http_query_raw(x), "watch", 0), *next = rs_http_query(rs_http_query_raw(x), "continue", 0);
    RS_AUTO(rs_chars) *rv = rs_http_query(rs_http_query_raw(x), "resourceVersion", 0), *limit = rs_http_query(rs_http_query_raw(x), "limit", 0);
    assert_string_equal(limit, "500");
    if (watch) {
        w->watches++;
        snprintf(w->watch_rv, sizeof(w->watch_rv), "%s", rv);
        rs_http_stream_begin(x, 200, "application/json");
        w->watch = x;
        rs_http_on_abort(x, watch_gone, w);
        return;
    }
    w->lists++;
    char text[16];
    snprintf(text, sizeof(text), "%d", w->rv);
    json_t *list = rs_json_pack("{s:s,s:s,s:{s:s},s:[]}", "kind", "ConfigMapList", "apiVersion", "v1", "metadata", "resourceVersion", text, "items");
    size_t i = 0, half = json_object_size(w->items) / 2;
    const char *name;
    json_t *o;
    json_object_foreach(w->items, name, o)      /* two pages */
        if ((i++ >= half) == (next != NULL))
            json_array_append_new(json_object_get(list, "items"), json_deep_copy(o));
    if (!next)
        rs_json_set_str(json_object_get(list, "metadata"), "continue", "page two");
    reply_json(x, 200, list);
}

static void serve_write(struct world *w, rs_http_exchange *x)
{
    struct rs_err e;
    snprintf(w->last, sizeof(w->last), "%s %s", rs_http_method(x), rs_http_target(x));
    json_decref(w->last_body);
    ASSERT_OK(rs_json_parse(&w->last_body, rs_http_body(x), &e));
    reply_json(x, 200, json_incref(w->last_body));
}

static void handle(void *ctx, rs_http_exchange *x)
{
    struct world *w = ctx;
    const char *path = rs_http_path(x), *auth = rs_http_header(x, "authorization"), base[] = "/api/v1/namespaces/n/configmaps";
    w->requests++;
    if (*w->wanted_token && !(auth && rs_ends(auth, w->wanted_token))) {
        status(x, 401, "Unauthorized", "Unauthorized");
    } else if (rs_starts(path, "/status/")) {
        const char *slash = strrchr(path, '/');
        status(x, atoi(path + 8), slash + 1, "told by the server");
    } else if (rs_streq(path, "/text")) {
        rs_http_reply(x, 200, "text/plain", RS_STR("ok\n"));
    } else if (rs_streq(path, "/never")) {
        w->watch = x;
        rs_http_on_abort(x, watch_gone, w);
    } else if (!rs_streq(rs_http_method(x), "GET")) {
        serve_write(w, x);
    } else if (rs_streq(path, base)) {
        serve_list(w, x);
    } else if (rs_starts(path, base) && json_object_get(w->items, path + sizeof(base))) {
        json_t *o = json_deep_copy(json_object_get(w->items, path + sizeof(base)));
        rs_json_set_str(o, "kind", "ConfigMap");
        rs_json_set_str(o, "apiVersion", "v1");
        reply_json(x, 200, o);
    } else {
        status(x, 404, "NotFound", "not found");
    }
}

static void add(void *ctx, int fd) { rs_http_server_add(((struct world *)ctx)->server, fd); }

static void new_client(struct world *w, struct rs_kube_config *c)
{
    struct rs_err e;
    rs_kube_free(w->kube);
    ASSERT_OK(rs_kube_new(&w->kube, w->loop, c, &e));
}

static char url[64];

static int set_up(void **state)
{
    struct rs_err e;
    struct world *w = rs_new(struct world);
    w->loop = rs_loop_new();
    w->items = json_object();
    rs_buf_init(&w->told, 65536);
    w->server = rs_http_server_new(w->loop, &(struct rs_http_server_config){ .body_max = 65536, .handle = handle, .ctx = w });
    int fd = rs_listen("127.0.0.1:0", &e);
    assert_true(fd >= 0);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", rs_listen_port(fd));
    w->listener = rs_listener_new(w->loop, fd, add, w);
    new_client(w, &(struct rs_kube_config){ .server = url, .token = (char *)"secret" });
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    rs_informer_free(w->informer);
    rs_kube_free(w->kube);
    rs_http_server_free(w->server);
    rs_listener_free(w->listener);
    rs_loop_free(w->loop);
    json_decref(w->items);
    json_decref(w->last_body);
    rs_buf_done(&w->told);
    free(w);
    return 0;
}

static void errors_keep_the_status(void **state)
{
    static const struct { const char *path; enum rs_code code; } cases[] = {
        { "/status/401/Unauthorized", RS_UNAUTHENTICATED }, { "/status/403/Forbidden", RS_FORBIDDEN }, { "/status/404/NotFound", RS_NOT_FOUND },
        { "/status/409/AlreadyExists", RS_EXISTS }, { "/status/409/Conflict", RS_ABORTED }, { "/status/410/Expired", RS_RANGE },
        { "/status/422/Invalid", RS_INVALID }, { "/status/429/TooManyRequests", RS_EXHAUSTED }, { "/status/500/InternalError", RS_UNAVAILABLE },
    };
    struct world *w = *state;
    struct rs_err e;
    for (size_t i = 0; i < RS_COUNT(cases); i++)
        ASSERT_FAILS(cases[i].code, "told by the server", rs_kube_get(w->kube, cases[i].path, NULL, &e));
    rs_kube_status_error(&e, 503, RS_STR("<html>down</html>\n"));
    assert_string_equal(e.msg, "HTTP status 503: <html>down</html>");
    RS_AUTO(rs_chars) *text = NULL;
    ASSERT_OK(rs_kube_get_text(w->kube, "/text", &text, &e));
    assert_string_equal(text, "ok\n");
    ASSERT_FAILS(RS_UNAVAILABLE, "answer", rs_kube_get(w->kube, "/text", NULL, &e));
    RS_AUTO(rs_kube) *nobody = NULL;
    ASSERT_OK(rs_kube_new(&nobody, w->loop, &(struct rs_kube_config){ .server = (char *)"http://127.0.0.1:1" }, &e));
    ASSERT_FAILS(RS_UNAVAILABLE, "http://127.0.0.1:1", rs_kube_get(nobody, "/version", NULL, &e));
    rs_kube *bad = NULL;
    ASSERT_FAILS(RS_INVALID, "no URL", rs_kube_new(&bad, w->loop, &(struct rs_kube_config){ .server = (char *)"https://:x" }, &e));
}

static void lists_and_applies(void **state)
{
    struct world *w = *state;
    struct rs_err e;
    RS_AUTO(json_t) *all = NULL, *object = unit_json("{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'b','namespace':'n'},'data':{'k':'2'}}");
    RS_AUTO(rs_chars) *rv = NULL;
    const char *const names[] = { "a", "b", "c" };
    for (size_t i = 0; i < RS_COUNT(names); i++)
        json_object_set_new(w->items, names[i], config_map(w, names[i], "1"));
    ASSERT_OK(rs_kube_list(w->kube, "/api/v1/namespaces/n/configmaps", "a in (b),c!=d", &all, &rv, &e));
    assert_int_equal(json_array_size(all), 3);
    assert_string_equal(rs_json_str(json_array_get(all, 2), "kind"), "ConfigMap");
    assert_string_equal(rv, "3");
    bool changed = false;
    ASSERT_OK(rs_kube_apply(w->kube, object, true, &changed, &e));
    assert_true(changed);
    assert_string_equal(w->last, "PATCH /api/v1/namespaces/n/configmaps/b?dryRun=All");
    json_object_set_new(w->items, "b", config_map(w, "b", "2"));
    ASSERT_OK(rs_kube_apply(w->kube, object, false, &changed, &e));
    assert_false(changed);
    json_object_del(w->items, "b");
    ASSERT_OK(rs_kube_apply(w->kube, object, false, &changed, &e));
    assert_true(changed);
    assert_string_equal(w->last, "POST /api/v1/namespaces/n/configmaps");
}

static void contains(void **state)
{
    static const struct { const char *whole, *part; bool yes; } cases[] = {
        { "{'a':1,'b':{'c':2,'d':3}}", "{'b':{'c':2}}", true }, { "{'a':1}", "{'a':2}", false }, { "{'a':1}", "{'b':null}", true },
        { "{'a':1}", "{'a':null}", false }, { "{'a':[{'x':1,'y':2}]}", "{'a':[{'x':1}]}", true }, { "{'a':[1,2]}", "{'a':[1]}", false },
        { "{}", "{'a':{}}", true }, { "{}", "{'a':{'b':1}}", false },
    };
    for (size_t i = 0; i < RS_COUNT(cases); i++) {
        RS_AUTO(json_t) *whole = unit_json(cases[i].whole), *part = unit_json(cases[i].part);
        if (rs_json_contains(whole, part) != cases[i].yes)
            fail_msg("%s in %s", cases[i].part, cases[i].whole);
    }
}

static void token_file_is_read_again(void **state)
{
    struct world *w = *state;
    struct rs_err e;
    char path[] = "/tmp/rs-token-XXXXXX";
    int RS_AUTO_FD fd = mkstemp(path);
    RS_AUTO(rs_chars) *text = NULL;
    assert_int_equal(write(fd, "first\n", 6), 6);
    new_client(w, &(struct rs_kube_config){ .server = url, .token_file = path });
    strcpy(w->wanted_token, "Bearer first");
    ASSERT_OK(rs_kube_get_text(w->kube, "/text", &text, &e));
    ASSERT_OK(rs_file_write(path, RS_STR("second"), 0600, &e));
    strcpy(w->wanted_token, "Bearer second");
    w->requests = 0;
    RS_AUTO(json_t) *o = NULL;
    ASSERT_FAILS(RS_NOT_FOUND, "not found", rs_kube_get(w->kube, "/none", &o, &e));
    assert_int_equal(w->requests, 2);
    strcpy(w->wanted_token, "Bearer third");
    ASSERT_FAILS(RS_UNAUTHENTICATED, "Unauthorized", rs_kube_get(w->kube, "/none", &o, &e));
    unlink(path);
}

static void exec_credential(void **state)
{
    struct world *w = *state;
    struct rs_err e;
    RS_AUTO(json_t) *exec = rs_json_pack("{s:s,s:[s,s]}", "command", "sh", "args", "-c",
                                         "echo '{\"kind\":\"ExecCredential\",\"status\":{\"token\":\"abc\"}}'");
    new_client(w, &(struct rs_kube_config){ .server = url, .exec = exec });
    strcpy(w->wanted_token, "Bearer abc");
    ASSERT_FAILS(RS_NOT_FOUND, "not found", rs_kube_get(w->kube, "/none", NULL, &e));
    RS_AUTO(json_t) *broken = rs_json_pack("{s:s,s:[s,s]}", "command", "sh", "args", "-c", "echo no luck >&2; exit 1");
    new_client(w, &(struct rs_kube_config){ .server = url, .exec = broken });
    ASSERT_FAILS(RS_INTERNAL, "no luck", rs_kube_get(w->kube, "/none", NULL, &e));
}

static void never_called(void *ctx, json_t *answer, const struct rs_err *why) { fail(); }

static void cancelled_calls_stay_silent(void **state)
{
    struct world *w = *state;
    struct rs_err e;
    RS_AUTO(rs_chars) *text = NULL;
    rs_kube_call *call = rs_kube_start(w->kube, "GET", "/never", NULL, NULL, never_called, NULL);
    ASSERT_OK(rs_kube_get_text(w->kube, "/text", &text, &e));
    rs_kube_cancel(call);
    rs_kube_start(w->kube, "GET", "/never", NULL, NULL, never_called, NULL);      /* ended by rs_kube_free */
}

/* ---- informer ---- */

static void on_change(void *ctx, const json_t *old, const json_t *now, bool final)
{
    struct world *w = ctx;
    rs_buf_addf(&w->told, "%s%s%s%s%s ", old ? now ? "~" : final ? "-" : "?" : "+", rs_object_name(now ? now : old),
                now ? "=" : "", now ? rs_configmap_value(now, "k") : "", now && !rs_json_str(now, "kind") ? "!" : "");
    if (w->free_in_callback)
        rs_informer_free(rs_take(w->informer));
}

static void on_synced(void *ctx)
{
    struct world *w = ctx;
    rs_buf_adds(&w->told, "| ");
    w->synced = true;
}

static void start_informer(struct world *w)
{
    static const struct rs_informer_ops ops = { .on_change = on_change, .on_synced = on_synced };
    w->informer = rs_informer_new(w->kube, "/api/v1/namespaces/n/configmaps", NULL, NULL, &ops, w);
    assert_true(rs_loop_run_until(w->loop, &w->synced, 5000));
}

static void expect(struct world *w, const char *told)
{
    for (int i = 0; i < 500 && w->told.n < strlen(told); i++)
        rs_loop_run_until(w->loop, &w->flag, 10);
    assert_string_equal(rs_buf_str(&w->told).p, told);
    rs_buf_clear(&w->told);
}

static void wait_watch(struct world *w, int n)
{
    for (int i = 0; i < 500 && !(w->watch && w->watches >= n); i++)
        rs_loop_run_until(w->loop, &w->flag, 10);
    assert_int_equal(w->watches, n);
}

static void push(struct world *w, const char *type, json_t *o)
{
    json_object_set_new(o, "kind", json_string("ConfigMap"));
    RS_AUTO(json_t) *event = rs_json_pack("{s:s,s:o}", "type", type, "object", o);
    RS_AUTO(rs_chars) *text = rs_json_text(event);
    size_t half = strlen(text) / 2;      /* in two pieces */
    rs_http_stream_write(w->watch, text, half);
    rs_http_stream_write(w->watch, text + half, strlen(text) - half);
    rs_http_stream_write(w->watch, "\n", 1);
}

static void informer_follows(void **state)
{
    struct world *w = *state;
    json_object_set_new(w->items, "a", config_map(w, "a", "1"));
    json_object_set_new(w->items, "b", config_map(w, "b", "1"));
    start_informer(w);
    expect(w, "+a=1 +b=1 | ");
    wait_watch(w, 1);
    assert_string_equal(w->watch_rv, "2");
    assert_int_equal(rs_informer_stale_ms(w->informer), 0);
    push(w, "MODIFIED", config_map(w, "a", "2"));
    push(w, "ADDED", config_map(w, "c", "1"));
    push(w, "BOOKMARK", config_map(w, "", ""));
    push(w, "DELETED", config_map(w, "b", "1"));
    expect(w, "~a=2 +c=1 -b ");
    assert_string_equal(rs_configmap_value(rs_informer_get(w->informer, "n", "a"), "k"), "2");
    assert_null(rs_informer_get(w->informer, "n", "b"));
    RS_AUTO(json_t) *all = rs_informer_list(w->informer);
    assert_int_equal(json_array_size(all), 2);
    assert_string_equal(rs_object_name(json_array_get(all, 0)), "a");
}

static void informer_relists(void **state)
{
    struct world *w = *state;
    json_object_set_new(w->items, "a", config_map(w, "a", "1"));
    json_object_set_new(w->items, "b", config_map(w, "b", "1"));
    start_informer(w);
    expect(w, "+a=1 +b=1 | ");
    wait_watch(w, 1);
    json_object_del(w->items, "a");
    json_object_set_new(w->items, "b", config_map(w, "b", "2"));
    json_object_set_new(w->items, "c", config_map(w, "c", "1"));
    push(w, "ERROR", rs_json_pack("{s:i,s:s}", "code", 410, "reason", "Expired"));
    expect(w, "?a ~b=2 +c=1 ");
    wait_watch(w, 2);
    assert_string_equal(w->watch_rv, "4");
    /* a lost connection */
    json_object_set_new(w->items, "d", config_map(w, "d", "1"));
    rs_http_stream_end(rs_take(w->watch));
    expect(w, "+d=1 ");
    wait_watch(w, 3);
    /* something that is no event */
    rs_http_stream_write(w->watch, "{broken\n", 8);
    json_object_set_new(w->items, "d", config_map(w, "d", "2"));
    expect(w, "~d=2 ");
    wait_watch(w, 4);
    assert_int_equal(rs_informer_stale_ms(w->informer), 0);
}

static void informer_freed_inside(void **state)
{
    struct world *w = *state;
    json_object_set_new(w->items, "a", config_map(w, "a", "1"));
    json_object_set_new(w->items, "b", config_map(w, "b", "1"));
    start_informer(w);
    wait_watch(w, 1);
    rs_buf_clear(&w->told);
    w->free_in_callback = true;
    push(w, "MODIFIED", config_map(w, "a", "2"));
    push(w, "MODIFIED", config_map(w, "b", "2"));
    expect(w, "~a=2 ");
    rs_loop_run_until(w->loop, &w->flag, 20);
    assert_int_equal(w->told.n, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(errors_keep_the_status), TEST(lists_and_applies), TEST(contains), TEST(token_file_is_read_again), TEST(exec_credential),
        TEST(cancelled_calls_stay_silent), TEST(informer_follows), TEST(informer_relists), TEST(informer_freed_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
