/* The sequential forms: the loop runs until the answer is there. */
#include "base/buf.h"
#include "kube/client_int.h"
#include "kube/object.h"

enum { WAIT_MS = 30000, LIST_PAGE = 500 };

struct waiting { bool done; json_t *answer; char *text; bool failed; struct rs_err e; };

static void json_arrived(void *ctx, json_t *answer, const struct rs_err *why)
{
    struct waiting *w = ctx;
    w->done = true;
    if (why) {
        w->failed = true;
        w->e = *why;
    } else {
        w->answer = json_incref(answer);
    }
}

static void text_arrived(void *ctx, rs_str body, const struct rs_err *why)
{
    struct waiting *w = ctx;
    w->done = true;
    if (why) {
        w->failed = true;
        w->e = *why;
    } else {
        w->text = rs_strndup(body.p, body.n);
    }
}

static int wait_for(rs_kube *k, rs_kube_call *call, struct waiting *w, struct rs_err *e)
{
    if (!rs_loop_run_until(rs_kube_loop(k), &w->done, WAIT_MS)) {
        rs_kube_cancel(call);
        return RS_FAIL(e, RS_DEADLINE, "%s: no answer in %d s", rs_kube_config_of(k)->server, WAIT_MS / 1000);
    }
    if (w->failed)
        *e = w->e;
    return w->failed ? -1 : 0;
}

int rs_kube_do(rs_kube *k, const char *method, const char *path, const char *content_type, const json_t *body, json_t **ret, struct rs_err *e)
{
    struct waiting w = { 0 };
    rs_kube_call *call = rs_kube_start(k, method, path, content_type, body, json_arrived, &w);
    if (wait_for(k, call, &w, e) < 0)
        return -1;
    if (ret)
        *ret = w.answer;
    else
        json_decref(w.answer);
    return 0;
}

int rs_kube_get_text(rs_kube *k, const char *path, char **ret, struct rs_err *e)
{
    struct waiting w = { 0 };
    rs_kube_call *call = rs_kube_start_raw(k, &(struct rs_kube_raw){
        .method = "GET", .path = path, .accept = "*/*", .timeout_ms = WAIT_MS, .done = text_arrived, .ctx = &w });
    if (wait_for(k, call, &w, e) < 0)
        return -1;
    *ret = w.text;
    return 0;
}

char *rs_kube_list_path(const char *path, const char *label_selector, const char *field_selector, const char *next)
{
    struct rs_buf b;
    rs_buf_init(&b, 65536);
    rs_buf_addf(&b, "%s%climit=%d", path, strchr(path, '?') ? '&' : '?', LIST_PAGE);
    const struct { const char *name, *value; } more[] = {
        { "labelSelector", label_selector }, { "fieldSelector", field_selector }, { "continue", next } };
    for (size_t i = 0; i < RS_COUNT(more); i++) {
        if (!more[i].value || !*more[i].value)
            continue;
        RS_AUTO(rs_chars) *escaped = rs_http_escape(more[i].value);
        rs_buf_addf(&b, "&%s=%s", more[i].name, escaped);
    }
    return rs_buf_take(&b);
}

static int list_once(rs_kube *k, const char *path, const char *label_selector, json_t *into, char **ret_rv, struct rs_err *e)
{
    RS_AUTO(rs_chars) *next = NULL;
    do {
        RS_AUTO(rs_chars) *page_path = rs_kube_list_path(path, label_selector, NULL, next);
        RS_AUTO(json_t) *page = NULL;
        if (rs_kube_get(k, page_path, &page, e) < 0)
            return -1;
        rs_kube_fill_items(page);
        json_array_extend(into, json_object_get(page, "items"));
        free(next);
        next = rs_strdup(rs_json_str(page, "metadata", "continue"));
        free(*ret_rv);
        *ret_rv = rs_strdup(rs_json_str(page, "metadata", "resourceVersion"));
    } while (next && *next);
    return 0;
}

int rs_kube_list(rs_kube *k, const char *path, const char *label_selector, json_t **ret, char **ret_rv, struct rs_err *e)
{
    RS_AUTO(json_t) *all = json_array();
    RS_AUTO(rs_chars) *rv = NULL;
    int rc = list_once(k, path, label_selector, all, &rv, e);
    if (rc < 0 && e->code == RS_RANGE) {     /* the continue token grew too old */
        json_array_clear(all);
        rc = list_once(k, path, label_selector, all, &rv, e);
    }
    if (rc < 0)
        return -1;
    *ret = rs_take(all);
    if (ret_rv)
        *ret_rv = rs_take(rv);
    return 0;
}

static int apply_once(rs_kube *k, const json_t *object, bool dry_run, bool *changed, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_object_path(object, true), *collection = rs_object_path(object, false);
    if (!path || !*rs_object_name(object))
        return RS_FAIL(e, RS_INVALID, "apply: an object of unknown kind or without name");
    const char *query = dry_run ? "?dryRun=All" : "";
    RS_AUTO(json_t) *live = NULL;
    if (rs_kube_get(k, path, &live, e) == 0) {
        *changed = !rs_json_contains(live, object);
        RS_AUTO(rs_chars) *patch_path = rs_printf("%s%s", path, query);
        return *changed ? rs_kube_do(k, "PATCH", patch_path, RS_MERGE_PATCH, object, NULL, e) : 0;
    }
    if (e->code != RS_NOT_FOUND)
        return -1;
    *changed = true;
    RS_AUTO(rs_chars) *create_path = rs_printf("%s%s", collection, query);
    return rs_kube_do(k, "POST", create_path, NULL, object, NULL, e);
}

int rs_kube_apply(rs_kube *k, const json_t *object, bool dry_run, bool *ret_changed, struct rs_err *e)
{
    bool changed = false;
    int rc = apply_once(k, object, dry_run, &changed, e);
    if (rc < 0 && (e->code == RS_EXISTS || e->code == RS_ABORTED))      /* somebody else was faster */
        rc = apply_once(k, object, dry_run, &changed, e);
    if (rc < 0)
        return rs_err_wrap(e, "apply %s %s%s%s", rs_json_str(object, "kind") ? rs_json_str(object, "kind") : "object",
                           rs_object_namespace(object), *rs_object_namespace(object) ? "/" : "", rs_object_name(object));
    if (ret_changed)
        *ret_changed = changed;
    return 0;
}
