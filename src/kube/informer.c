#include "kube/informer.h"

#include <uthash.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/random.h"
#include "base/time.h"
#include "kube/client_int.h"
#include "kube/object.h"

enum {
    WATCH_SECONDS = 240,                 /* the server ends a watch after this, at most twice as long */
    BACKOFF_MIN_MS = 50, BACKOFF_MAX_MS = 5000,
    LIST_TIMEOUT_MS = 30000,
    LINE_MAX_BYTES = 32 * 1024 * 1024,
};

struct entry {
    char *key;                           /* "namespace/name" */
    json_t *o;
    UT_hash_handle hh;
};

struct rs_informer {
    rs_kube *k;
    char *path, *label_selector, *field_selector;
    struct rs_informer_ops ops;
    void *ctx;
    struct entry *objects;
    struct entry *listing;               /* what the list under way has brought so far */
    rs_kube_call *call;
    rs_timer *timer;
    char *rv;
    struct rs_buf line;
    bool synced, relist;
    unsigned failures;
    int64_t stale_since;                 /* monotonic; 0 while good */
    int64_t watch_began;
    unsigned busy;                       /* callbacks on the stack */
    bool dead;                           /* freed from inside one of them */
};

/* ---- the cache ---- */

static char *key_of(const char *namespace, const char *name) { return rs_printf("%s/%s", namespace ? namespace : "", name); }

static struct entry *find(struct entry *in, const char *key)
{
    struct entry *e;
    HASH_FIND_STR(in, key, e);
    return e;
}

static void entry_free(struct entry *e)
{
    json_decref(e->o);
    free(e->key);
    free(e);
}

static void clear(struct entry **set)
{
    struct entry *e, *next;
    HASH_ITER(hh, *set, e, next) {
        HASH_DEL(*set, e);
        entry_free(e);
    }
}

static void put(struct entry **set, char *key, json_t *o)
{
    struct entry *e = find(*set, key);
    if (e) {
        free(key);
        json_decref(e->o);
        e->o = json_incref(o);
        return;
    }
    e = rs_new(struct entry);
    e->key = key;
    e->o = json_incref(o);
    HASH_ADD_KEYPTR(hh, *set, e->key, strlen(e->key), e);
}

static void informer_destroy(rs_informer *i)
{
    rs_kube_cancel(i->call);
    rs_timer_free(i->timer);
    clear(&i->objects);
    clear(&i->listing);
    rs_buf_done(&i->line);
    free(i->path);
    free(i->label_selector);
    free(i->field_selector);
    free(i->rv);
    free(i);
}

/* Calls that may end in a callback stand between hold and release; release returns false when the informer is gone. */
static void hold(rs_informer *i) { i->busy++; }

static bool release(rs_informer *i)
{
    if (--i->busy > 0 || !i->dead)
        return !i->dead;
    informer_destroy(i);
    return false;
}

static void tell(rs_informer *i, const json_t *old, const json_t *now, bool final)
{
    if (!i->dead)
        i->ops.on_change(i->ctx, old, now, final);
}

static void upsert(rs_informer *i, json_t *o)
{
    char *key = key_of(rs_object_namespace(o), rs_object_name(o));
    struct entry *e = find(i->objects, key);
    RS_AUTO(json_t) *old = e ? json_incref(e->o) : NULL, *now = json_incref(o);
    if (old && rs_streq(rs_object_rv(old), rs_object_rv(o)) && rs_streq(rs_object_uid(old), rs_object_uid(o))) {
        free(key);
        return;
    }
    put(&i->objects, key, o);
    tell(i, old, now, false);
}

static void delete(rs_informer *i, const char *key, json_t *last, bool final)
{
    struct entry *e = find(i->objects, key);
    if (!e)
        return;
    RS_AUTO(json_t) *old = json_incref(last ? last : e->o);
    HASH_DEL(i->objects, e);
    entry_free(e);
    tell(i, old, NULL, final);
}

/* ---- list ---- */

static void start_list(rs_informer *i, const char *next);
static void start_watch(rs_informer *i);

static void retry_later(rs_informer *i, const struct rs_err *why)
{
    if (i->stale_since == 0)
        i->stale_since = rs_mono_ms();
    int64_t ms = BACKOFF_MIN_MS << (i->failures < 7 ? i->failures : 7);
    i->failures++;
    ms = ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : ms;
    rs_log_debug("watch of %s: %s; again in about %d ms", i->path, why->msg, (int)ms);
    i->relist = true;
    rs_timer_set(i->timer, ms / 2 + (int64_t)rs_random_below((uint64_t)ms));
}

static void set_rv(rs_informer *i, const char *rv)
{
    if (!rv || !*rv)
        return;
    free(i->rv);
    i->rv = rs_strdup(rv);
}

/* The finished list becomes the cache; differences are told. Deletions first: a name may have a new owner. */
static void adopt_list(rs_informer *i)
{
    struct entry *e, *next, *listed = i->listing;
    i->listing = NULL;
    HASH_ITER(hh, i->objects, e, next)
        if (!find(listed, e->key)) {
            RS_AUTO(rs_chars) *key = rs_strdup(e->key);
            delete(i, key, NULL, false);
        }
    for (e = listed; e && !i->dead; e = e->hh.next)
        upsert(i, e->o);
    clear(&listed);
}

static void list_page(void *ctx, json_t *answer, const struct rs_err *why)
{
    rs_informer *i = ctx;
    size_t n;
    json_t *item;
    i->call = NULL;
    if (why) {
        clear(&i->listing);
        retry_later(i, why);
        return;
    }
    rs_kube_fill_items(answer);
    json_array_foreach(json_object_get(answer, "items"), n, item)
        put(&i->listing, key_of(rs_object_namespace(item), rs_object_name(item)), item);
    set_rv(i, rs_json_str(answer, "metadata", "resourceVersion"));
    const char *next = rs_json_str(answer, "metadata", "continue");
    if (next && *next) {
        start_list(i, next);
        return;
    }
    i->failures = 0;
    i->stale_since = 0;
    i->relist = false;
    hold(i);
    adopt_list(i);
    bool first = !i->synced;
    i->synced = true;
    if (first && !i->dead && i->ops.on_synced)
        i->ops.on_synced(i->ctx);
    if (release(i))
        start_watch(i);
}

static void start_list(rs_informer *i, const char *next)
{
    RS_AUTO(rs_chars) *path = rs_kube_list_path(i->path, i->label_selector, i->field_selector, next);
    i->call = rs_kube_start(i->k, "GET", path, NULL, NULL, list_page, i);
}

/* ---- watch ---- */

static void watch_event(rs_informer *i, json_t *event, struct rs_err *e)
{
    const char *type = rs_json_str(event, "type");
    json_t *o = json_object_get(event, "object");
    json_object_del(json_object_get(o, "metadata"), "managedFields");
    if (rs_streq(type, "ERROR")) {
        RS_AUTO(rs_chars) *text = rs_json_text(o);
        rs_kube_status_error(e, (int)rs_json_int(o, 500, "code"), rs_str_of(text));
        return;
    }
    set_rv(i, rs_object_rv(o));
    if (rs_streq(type, "ADDED") || rs_streq(type, "MODIFIED")) {
        upsert(i, o);
    } else if (rs_streq(type, "DELETED")) {
        RS_AUTO(rs_chars) *key = key_of(rs_object_namespace(o), rs_object_name(o));
        delete(i, key, o, true);
    }
}

static void watch_failed(rs_informer *i, const struct rs_err *why)
{
    rs_kube_cancel(i->call);
    i->call = NULL;
    rs_buf_clear(&i->line);
    if (why->code != RS_RANGE) {
        retry_later(i, why);
        return;
    }
    i->relist = true;                    /* our version is too old: an answer of a healthy server */
    rs_timer_set(i->timer, 0);
}

static void watch_data(void *ctx, rs_str data)
{
    rs_informer *i = ctx;
    struct rs_err e = { 0 };
    size_t used = 0;
    rs_buf_add(&i->line, data.p, data.n);
    if (i->line.over)
        rs_err_set(&e, RS_EXHAUSTED, 0, __FILE__, __LINE__, "event of more than %d bytes", LINE_MAX_BYTES);
    hold(i);
    while (e.code == RS_OK && !i->dead) {
        const char *p = i->line.p ? i->line.p + used : NULL, *end = p ? memchr(p, '\n', i->line.n - used) : NULL;
        if (!end)
            break;
        rs_str line = rs_str_trim((rs_str){ p, (size_t)(end - p) });
        used += (size_t)(end - p) + 1;
        RS_AUTO(json_t) *event = NULL;
        if (line.n == 0)
            continue;
        if (rs_json_parse(&event, line, &e) == 0)
            watch_event(i, event, &e);
    }
    rs_buf_drop(&i->line, used);
    if (release(i) && e.code != RS_OK)
        watch_failed(i, &e);
}

static void watch_done(void *ctx, rs_str body, const struct rs_err *why)
{
    rs_informer *i = ctx;
    struct rs_err e;
    i->call = NULL;
    if (!why && rs_mono_ms() - i->watch_began < 1000) {      /* a server that ends every watch at once must not be hammered */
        rs_err_set(&e, RS_UNAVAILABLE, 0, __FILE__, __LINE__, "the watch ended at once");
        why = &e;
    }
    if (why) {
        watch_failed(i, why);
        return;
    }
    rs_buf_clear(&i->line);
    start_watch(i);
}

static void start_watch(rs_informer *i)
{
    RS_AUTO(rs_chars) *list = rs_kube_list_path(i->path, i->label_selector, i->field_selector, NULL);
    RS_AUTO(rs_chars) *rv = rs_http_escape(i->rv ? i->rv : "0");
    unsigned seconds = WATCH_SECONDS + (unsigned)rs_random_below(WATCH_SECONDS);
    RS_AUTO(rs_chars) *path = rs_printf("%s&watch=true&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=%s", list, seconds, rv);
    i->watch_began = rs_mono_ms();
    i->call = rs_kube_start_raw(i->k, &(struct rs_kube_raw){
        .method = "GET", .path = path, .timeout_ms = (int)(seconds + 30) * 1000, .on_data = watch_data, .done = watch_done, .ctx = i });
}

static void timer_fired(void *ctx)
{
    rs_informer *i = ctx;
    if (i->relist)
        start_list(i, NULL);
    else
        start_watch(i);
}

/* ---- interface ---- */

rs_informer *rs_informer_new(rs_kube *k, const char *path, const char *label_selector, const char *field_selector,
                             const struct rs_informer_ops *ops, void *ctx)
{
    rs_informer *i = rs_new(rs_informer);
    i->k = k;
    i->path = rs_strdup(path);
    i->label_selector = rs_strdup(label_selector);
    i->field_selector = rs_strdup(field_selector);
    i->ops = *ops;
    i->ctx = ctx;
    i->stale_since = rs_mono_ms();
    i->timer = rs_timer_new(rs_kube_loop(k), timer_fired, i);
    rs_buf_init(&i->line, LINE_MAX_BYTES);
    start_list(i, NULL);
    return i;
}

void rs_informer_free(rs_informer *i)
{
    if (!i)
        return;
    if (i->busy == 0) {
        informer_destroy(i);
        return;
    }
    i->dead = true;
    rs_kube_cancel(i->call);
    i->call = NULL;
    rs_timer_cancel(i->timer);
}

bool rs_informer_synced(const rs_informer *i) { return i->synced; }

const json_t *rs_informer_get(const rs_informer *i, const char *namespace, const char *name)
{
    RS_AUTO(rs_chars) *key = key_of(namespace, name);
    struct entry *e = find(i->objects, key);
    return e ? e->o : NULL;
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(struct entry *const *)a)->key, (*(struct entry *const *)b)->key);
}

json_t *rs_informer_list(const rs_informer *i)
{
    size_t n = 0;
    json_t *list = json_array();
    struct entry **v = rs_new_array(struct entry *, HASH_COUNT(i->objects) + 1);
    for (struct entry *e = i->objects; e; e = e->hh.next)
        v[n++] = e;
    qsort(v, n, sizeof(*v), by_key);
    for (size_t j = 0; j < n; j++)
        json_array_append(list, v[j]->o);
    free(v);
    return list;
}

int64_t rs_informer_stale_ms(const rs_informer *i) { return i->stale_since ? rs_mono_ms() - i->stale_since : 0; }
