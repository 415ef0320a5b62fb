#include "cluster/controller_queue.h"

#include <uthash.h>
#include <utlist.h>

#include "base/log.h"
#include "base/random.h"
#include "base/time.h"

enum { BACKOFF_MIN_MS = 20, BACKOFF_MAX_MS = 10000 };

struct rs_queue_item {
    rs_queue *q;
    char *key;
    bool busy, again, failed;            /* again: it was added while busy */
    unsigned failures;
    rs_timer *later;
    int64_t later_at;                    /* monotonic; 0: not set */
    json_t *plan;                        /* being carried out */
    size_t next, running;
    bool at_once;
    struct call *calls;
    bool queued;
    rs_queue_item *q_prev, *q_next;      /* in ready */
    UT_hash_handle hh;
};

struct call {
    rs_queue_item *item;
    const json_t *what;
    rs_kube_call *under_way;
    struct call *prev, *next;
};

struct rs_queue {
    rs_kube *k;
    char *name;
    struct rs_queue_ops ops;
    void *ctx;
    rs_recorder *recorder;
    rs_queue_item *items;                /* all that are ready, busy, waiting or failing */
    rs_queue_item *ready;                /* in order */
    rs_timer *timer;
};

static void item_free(rs_queue_item *i)
{
    struct call *c, *next;
    DL_FOREACH_SAFE(i->calls, c, next) {
        rs_kube_cancel(c->under_way);
        free(c);
    }
    HASH_DEL(i->q->items, i);
    rs_timer_free(i->later);
    json_decref(i->plan);
    free(i->key);
    free(i);
}

static void make_ready(rs_queue_item *i)
{
    if (i->busy) {
        i->again = true;
        return;
    }
    if (i->queued)
        return;
    i->queued = true;
    DL_APPEND2(i->q->ready, i, q_prev, q_next);
    rs_timer_set(i->q->timer, 0);
}

static void later_fired(void *ctx)
{
    rs_queue_item *i = ctx;
    i->later_at = 0;
    make_ready(i);
}

static rs_queue_item *need(rs_queue *q, const char *key)
{
    rs_queue_item *i;
    HASH_FIND_STR(q->items, key, i);
    if (i)
        return i;
    i = rs_new(rs_queue_item);
    i->q = q;
    i->key = rs_strdup(key);
    HASH_ADD_KEYPTR(hh, q->items, i->key, strlen(i->key), i);
    return i;
}

static void wait(rs_queue_item *i, int64_t ms)
{
    int64_t at = rs_mono_ms() + ms;
    if (i->later_at && i->later_at <= at)
        return;
    if (!i->later)
        i->later = rs_timer_new(rs_kube_loop(i->q->k), later_fired, i);
    i->later_at = at;
    rs_timer_set(i->later, ms);
}

static void turn(void *ctx)
{
    rs_queue *q = ctx;
    rs_queue_item *i = q->ready;
    if (!i)
        return;
    DL_DELETE2(q->ready, i, q_prev, q_next);
    i->queued = false;
    i->busy = true;
    if (q->ready)
        rs_timer_set(q->timer, 0);
    q->ops.sync(q->ctx, i, i->key);
}

void rs_queue_add(rs_queue *q, const char *namespace, const char *name)
{
    RS_AUTO(rs_chars) *key = rs_printf("%s/%s", namespace ? namespace : "", name);
    rs_queue_add_key(q, key);
}

void rs_queue_add_key(rs_queue *q, const char *key) { make_ready(need(q, key)); }

void rs_queue_add_after(rs_queue *q, const char *key, int64_t ms) { wait(need(q, key), ms); }

/* The end of one sync. */
static void settle(rs_queue_item *i, bool ok)
{
    json_decref(rs_take(i->plan));
    if (i->q->ops.finished)
        i->q->ops.finished(i->q->ctx, i->key, ok);
    i->busy = false;
    if (ok) {
        i->failures = 0;
    } else {
        int64_t ms = BACKOFF_MIN_MS << (i->failures < 10 ? i->failures : 10);
        ms = ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : ms;
        i->failures++;
        wait(i, ms + (int64_t)rs_random_below((uint64_t)ms / 4 + 1));
    }
    if (i->again) {
        i->again = false;
        make_ready(i);
    } else if (!i->later_at && !i->queued) {
        item_free(i);
    }
}

void rs_queue_done(rs_queue_item *i, bool ok) { settle(i, ok); }

static void go_on(rs_queue_item *i);

static void call_over(struct call *c, const json_t *answer, const struct rs_err *why)
{
    rs_queue_item *i = c->item;
    rs_queue *q = i->q;
    const json_t *what = c->what;
    DL_DELETE(i->calls, c);
    free(c);
    i->running--;
    if (why && why->code == RS_NOT_FOUND && rs_streq(rs_json_str(what, "method"), "DELETE"))
        why = NULL;                      /* gone is what was wanted */
    bool forgiven = q->ops.answered && q->ops.answered(q->ctx, i->key, what, answer, why);
    if (why && !forgiven) {
        i->failed = true;
        rs_log_debug("%s %s: %s %s: %s", q->name, i->key, rs_json_str(what, "method"), rs_json_str(what, "path"), why->msg);
    }
    go_on(i);
}

static void call_done(void *ctx, json_t *answer, const struct rs_err *why)
{
    call_over(ctx, answer, why);
}

static void start_call(rs_queue_item *i, const json_t *what)
{
    struct call *c = rs_new(struct call);
    c->item = i;
    c->what = what;
    i->running++;
    DL_APPEND(i->calls, c);
    c->under_way = rs_kube_start(i->q->k, rs_json_str(what, "method"), rs_json_str(what, "path"), rs_json_str(what, "type"),
                                 json_object_get(what, "body"), call_done, c);
}

static void go_on(rs_queue_item *i)
{
    while (i->next < json_array_size(i->plan) && (i->at_once || i->running == 0) && (i->at_once || !i->failed)) {
        const json_t *what = json_array_get(i->plan, i->next++);
        const json_t *event = json_object_get(what, "event");
        if (!event)
            start_call(i, what);
        else if (i->q->recorder)
            rs_recorder_add(i->q->recorder, event);
    }
    if (i->running == 0)
        settle(i, !i->failed);
}

void rs_queue_run(rs_queue_item *i, json_t *plan, bool at_once)
{
    i->plan = plan;
    i->next = 0;
    i->failed = false;
    i->at_once = at_once;
    go_on(i);
}

rs_queue *rs_queue_new(rs_kube *k, const char *name, const struct rs_queue_ops *ops, void *ctx)
{
    rs_queue *q = rs_new(rs_queue);
    q->k = k;
    q->name = rs_strdup(name);
    q->ops = *ops;
    q->ctx = ctx;
    q->timer = rs_timer_new(rs_kube_loop(k), turn, q);
    return q;
}

void rs_queue_set_recorder(rs_queue *q, rs_recorder *r) { q->recorder = r; }

void rs_queue_free(rs_queue *q)
{
    rs_queue_item *i, *next;
    if (!q)
        return;
    HASH_ITER(hh, q->items, i, next)
        item_free(i);
    rs_timer_free(q->timer);
    free(q->name);
    free(q);
}
