#include "ca/records.h"

#include <utlist.h>

#include "base/time.h"
#include "mesh/issuance.h"

enum { GIVE_UP_MS = 5000, RETRY_MS = 250 };

struct write {
    rs_records *owner;
    json_t *record;
    rs_kube_call *call;
    rs_timer *again;
    int64_t until_mono_ms;
    void (*done)(void *ctx, const struct rs_err *why);
    void *ctx;
    struct write *prev, *next;
};

struct rs_records { rs_kube *kube; struct write *writes; };

rs_records *rs_records_new(rs_kube *k)
{
    rs_records *r = rs_new(rs_records);
    r->kube = k;
    return r;
}

static void finish(struct write *w, const struct rs_err *why)
{
    void (*done)(void *, const struct rs_err *) = w->done;
    void *ctx = w->ctx;
    DL_DELETE(w->owner->writes, w);
    rs_timer_free(w->again);
    json_decref(w->record);
    free(w);
    done(ctx, why);
}

void rs_records_free(rs_records *r)
{
    if (!r)
        return;
    struct rs_err cancelled;
    RS_FAIL(&cancelled, RS_CANCELLED, "the writer of records was closed");
    while (r->writes) {
        if (r->writes->call)
            rs_kube_cancel(r->writes->call);
        finish(r->writes, &cancelled);
    }
    free(r);
}

static void on_answer(void *ctx, json_t *answer, const struct rs_err *why)
{
    struct write *w = ctx;
    w->call = NULL;
    if (!why || why->code == RS_EXISTS) {      /* exists: an earlier try arrived though its answer did not */
        finish(w, NULL);
        return;
    }
    bool later = why->code == RS_UNAVAILABLE || why->code == RS_EXHAUSTED || why->code == RS_DEADLINE || why->code == RS_ABORTED;
    if (later && rs_mono_ms() + RETRY_MS < w->until_mono_ms) {
        rs_timer_set(w->again, RETRY_MS);
        return;
    }
    finish(w, why);
}

static void try(void *ctx)
{
    struct write *w = ctx;
    w->call = rs_kube_start(w->owner->kube, "POST", RS_RECORDS_PATH, NULL, w->record, on_answer, w);
}

void rs_records_write(rs_records *r, const json_t *record, void (*done)(void *ctx, const struct rs_err *why), void *ctx)
{
    struct write *w = rs_new(struct write);
    *w = (struct write){ .owner = r, .record = json_incref((json_t *)record), .done = done, .ctx = ctx,
                         .until_mono_ms = rs_mono_ms() + GIVE_UP_MS };
    w->again = rs_timer_new(rs_kube_loop(r->kube), try, w);
    DL_APPEND(r->writes, w);
    try(w);
}
