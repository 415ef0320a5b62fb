#include "ca/keeper.h"

#include <uthash.h>
#include <utlist.h>

#include "base/log.h"
#include "base/time.h"
#include "kube/informer.h"
#include "kube/object.h"
#include "mesh/issuance.h"

enum { SWEEP_MS = 60 * 1000, KEEP_EXPIRED_MS = 3600 * 1000, REMEMBER_MAX = 50000 };

/* A pod on its way out, or gone with proof. */
struct end {
    char *uid;
    bool graceful;                 /* some state of it had a grace period */
    int64_t ended_ms;              /* 0: still there */
    char *evidence;
    UT_hash_handle hh;
};

struct rs_keeper {
    rs_kube *kube;
    rs_informer *pods, *records;
    rs_timer *sweep;
    struct end *ends;
    struct act { struct rs_keeper *owner; rs_kube_call *call; struct act *prev, *next; } *acts;
};

static struct end *find(rs_keeper *k, const char *uid)
{
    struct end *d = NULL;
    HASH_FIND_STR(k->ends, uid, d);
    return d;
}

static void forget(rs_keeper *k, struct end *d)
{
    HASH_DEL(k->ends, d);
    free(d->uid);
    free(d->evidence);
    free(d);
}

static struct end *need(rs_keeper *k, const char *uid)
{
    struct end *d = find(k, uid);
    if (d)
        return d;
    if (HASH_COUNT(k->ends) >= REMEMBER_MAX)
        forget(k, k->ends);                    /* the oldest; its records live to their expiry */
    d = rs_new(struct end);
    d->uid = rs_strdup(uid);
    HASH_ADD_KEYPTR(hh, k->ends, d->uid, strlen(d->uid), d);
    return d;
}

/* ---- acts ---- */

static void act_done(void *ctx, json_t *answer, const struct rs_err *why)
{
    struct act *a = ctx;
    DL_DELETE(a->owner->acts, a);
    free(a);
    if (why && why->code != RS_NOT_FOUND)      /* the next sweep tries again */
        rs_log_debug("keeper: %s", why->msg);
}

static void act(rs_keeper *k, const char *method, const json_t *record, const json_t *body)
{
    struct act *a = rs_new(struct act);
    a->owner = k;
    DL_APPEND(k->acts, a);
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s", RS_RECORDS_PATH, rs_object_name(record));
    a->call = rs_kube_start(k->kube, method, path, body ? RS_MERGE_PATCH : NULL, body, act_done, a);
}

static void mark(rs_keeper *k, const json_t *record, const struct end *d)
{
    char when[RS_TIME_TEXT];
    if (!d || !d->ended_ms || rs_issuance_ended(record))
        return;
    RS_AUTO(json_t) *patch = rs_json_pack("{s:{s:s, s:s}}", "status", "endedAt", rs_time_text(d->ended_ms, when), "evidence", d->evidence);
    act(k, "PATCH", record, patch);
}

static const struct end *end_of(rs_keeper *k, const json_t *record)
{
    const char *uid = rs_json_str(record, "spec", "podUID");
    return uid && *uid ? find(k, uid) : NULL;
}

static void mark_all(rs_keeper *k, const struct end *only)
{
    RS_AUTO(json_t) *list = rs_informer_list(k->records);
    size_t i;
    json_t *record;
    json_array_foreach(list, i, record) {
        const struct end *d = end_of(k, record);
        if (!only || d == only)
            mark(k, record, d);
    }
}

static void on_sweep(void *ctx)
{
    rs_keeper *k = ctx;
    RS_AUTO(json_t) *list = rs_informer_list(k->records);
    size_t i;
    json_t *record;
    json_array_foreach(list, i, record) {
        if (rs_issuance_expired(record, rs_now_ms() - KEEP_EXPIRED_MS))
            act(k, "DELETE", record, NULL);
        else
            mark(k, record, end_of(k, record));
    }
    rs_timer_set(k->sweep, SWEEP_MS);
}

/* ---- what is seen ---- */

static char *evidence_of(const json_t *pod)
{
    return rs_printf("pod %s/%s: %zu containers seen terminated, deleted with a grace period of %lld s", rs_object_namespace(pod),
                     rs_object_name(pod), json_array_size(rs_json_at(pod, "status", "containerStatuses")),
                     (long long)rs_json_int(pod, 0, "metadata", "deletionGracePeriodSeconds"));
}

static void on_pod(void *ctx, const json_t *old, const json_t *now, bool final)
{
    rs_keeper *k = ctx;
    const json_t *pod = now ? now : old;
    const char *uid = rs_object_uid(pod);
    /* A name that changed its UID between two looks is another pod; of the old one nothing was seen to end. */
    if (!*uid || (now && !rs_object_deleting(now)))
        return;
    bool grace = rs_json_int(pod, 0, "metadata", "deletionGracePeriodSeconds") > 0;
    if (now) {
        need(k, uid)->graceful |= grace;
        return;
    }
    struct end *d = find(k, uid);
    if (!final || !rs_pod_verifiably_ended(old, d && d->graceful)) {
        if (d)
            forget(k, d);
        return;
    }
    d = need(k, uid);
    d->ended_ms = rs_now_ms();
    free(d->evidence);
    d->evidence = evidence_of(old);
    mark_all(k, d);
}

static void on_record(void *ctx, const json_t *old, const json_t *now, bool final)
{
    rs_keeper *k = ctx;
    if (now && !old)                           /* a record that arrives after its pod's end */
        mark(k, now, end_of(k, now));
}

rs_keeper *rs_keeper_new(rs_kube *kube)
{
    static const struct rs_informer_ops pods = { .on_change = on_pod }, records = { .on_change = on_record };
    rs_keeper *k = rs_new(rs_keeper);
    k->kube = kube;
    k->records = rs_informer_new(kube, RS_RECORDS_PATH, NULL, NULL, &records, k);
    k->pods = rs_informer_new(kube, "/api/v1/pods", NULL, NULL, &pods, k);
    k->sweep = rs_timer_new(rs_kube_loop(kube), on_sweep, k);
    rs_timer_set(k->sweep, SWEEP_MS);
    return k;
}

void rs_keeper_free(rs_keeper *k)
{
    if (!k)
        return;
    rs_timer_free(k->sweep);
    rs_informer_free(k->pods);
    rs_informer_free(k->records);
    struct act *a, *next;
    DL_FOREACH_SAFE(k->acts, a, next) {
        rs_kube_cancel(a->call);
        free(a);
    }
    struct end *d, *tmp;
    HASH_ITER(hh, k->ends, d, tmp)
        forget(k, d);
    free(k);
}
