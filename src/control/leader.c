#include "control/leader.h"

#include "base/log.h"
#include "base/random.h"
#include "base/time.h"

enum { LEASE_S = 15, RENEW_MS = 5000, LOOK_MS = 1500, RELEASE_MS = 1000 };

struct rs_leader {
    rs_kube *kube;
    char *namespace, *name, *identity, *path;
    json_t *lease;                 /* as last seen */
    int64_t seen_mono_ms;          /* when it was last seen to change */
    int64_t held_mono_ms;          /* when our last renewal was sent off that succeeded */
    int64_t sent_mono_ms;
    bool leading, releasing;
    rs_timer *look, *giving_up;
    rs_kube_call *call;
    void (*on_change)(void *ctx, bool leading);
    void (*released)(void *ctx);
    void *ctx, *released_ctx;
};

static void set_leading(rs_leader *l, bool leading)
{
    if (l->leading == leading)
        return;
    l->leading = leading;
    rs_log_debug("%s lease %s/%s", leading ? "took" : "lost", l->namespace, l->name);
    l->on_change(l->ctx, leading);
}

static void look_again(rs_leader *l)
{
    if (l->leading && rs_mono_ms() - l->held_mono_ms >= LEASE_S * 1000)
        set_leading(l, false);
    if (!l->releasing)
        rs_timer_set(l->look, (l->leading ? RENEW_MS : LOOK_MS) - (int64_t)rs_random_below(LOOK_MS / 5));
}

/* Keeps the newest state and when it was first seen. */
static void saw(rs_leader *l, json_t *lease)
{
    const char *now = rs_json_str(lease, "metadata", "resourceVersion"), *before = rs_json_str(l->lease, "metadata", "resourceVersion");
    if (!rs_streq(now, before))
        l->seen_mono_ms = rs_mono_ms();
    json_incref(lease);
    json_decref(l->lease);
    l->lease = lease;
}

static void on_written(void *ctx, json_t *answer, const struct rs_err *why)
{
    rs_leader *l = ctx;
    l->call = NULL;
    if (!why) {
        saw(l, answer);
        l->held_mono_ms = l->sent_mono_ms;
        set_leading(l, true);
    } else if (why->code == RS_ABORTED || why->code == RS_EXISTS) {
        l->held_mono_ms = l->leading ? l->held_mono_ms : 0;        /* somebody wrote in between: look at it next time */
    } else {
        rs_log_debug("lease %s/%s: %s", l->namespace, l->name, why->msg);
    }
    look_again(l);
}

static json_t *lease_body(const rs_leader *l, bool taking)
{
    char now[RS_TIME_TEXT];
    rs_time_text_ms(rs_now_ms(), now);
    json_t *o = l->lease ? json_deep_copy(l->lease) : rs_json_pack("{s:s, s:s, s:{s:s, s:s}}", "apiVersion", "coordination.k8s.io/v1", "kind", "Lease",
                                                                  "metadata", "namespace", l->namespace, "name", l->name);
    json_t *spec = rs_json_need(o, "spec");
    rs_json_set_str(spec, "holderIdentity", l->identity);
    rs_json_set_str(spec, "renewTime", now);
    json_object_set_new(spec, "leaseDurationSeconds", json_integer(LEASE_S));
    if (taking) {
        rs_json_set_str(spec, "acquireTime", now);
        json_object_set_new(spec, "leaseTransitions", json_integer(rs_json_int(spec, 0, "leaseTransitions") + (l->lease ? 1 : 0)));
    }
    return o;
}

/* Full updates with the resourceVersion seen: two takers can't both win. */
static void write(rs_leader *l, bool taking)
{
    RS_AUTO(json_t) *body = lease_body(l, taking);
    l->sent_mono_ms = rs_mono_ms();
    if (l->lease) {
        l->call = rs_kube_start(l->kube, "PUT", l->path, NULL, body, on_written, l);
    } else {
        RS_AUTO(rs_chars) *all = rs_printf("/apis/coordination.k8s.io/v1/namespaces/%s/leases", l->namespace);
        l->call = rs_kube_start(l->kube, "POST", all, NULL, body, on_written, l);
    }
}

static void on_read(void *ctx, json_t *answer, const struct rs_err *why)
{
    rs_leader *l = ctx;
    l->call = NULL;
    if (why && why->code != RS_NOT_FOUND) {
        rs_log_debug("lease %s/%s: %s", l->namespace, l->name, why->msg);
        look_again(l);
        return;
    }
    if (why) {
        json_decref(rs_take(l->lease));
        write(l, true);
        return;
    }
    saw(l, answer);
    const char *holder = rs_json_str(answer, "spec", "holderIdentity");
    bool ours = rs_streq(holder, l->identity), free_now = !holder || !*holder;
    int64_t length = rs_json_int(answer, LEASE_S, "spec", "leaseDurationSeconds") * 1000;
    if (ours || free_now || rs_mono_ms() - l->seen_mono_ms >= length) {
        write(l, !ours);
        return;
    }
    set_leading(l, false);
    look_again(l);
}

static void on_look(void *ctx)
{
    rs_leader *l = ctx;
    if (!l->call)
        l->call = rs_kube_start(l->kube, "GET", l->path, NULL, NULL, on_read, l);
}

rs_leader *rs_leader_new(rs_kube *k, const char *namespace, const char *name, const char *identity,
                         void (*on_change)(void *ctx, bool leading), void *ctx)
{
    rs_leader *l = rs_new(rs_leader);
    *l = (rs_leader){ .kube = k, .namespace = rs_strdup(namespace), .name = rs_strdup(name), .identity = rs_strdup(identity),
                      .path = rs_printf("/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s", namespace, name), .on_change = on_change, .ctx = ctx };
    l->look = rs_timer_new(rs_kube_loop(k), on_look, l);
    on_look(l);
    return l;
}

bool rs_leader_is(const rs_leader *l)
{
    return l->leading && rs_mono_ms() - l->held_mono_ms < LEASE_S * 1000;
}

static void finish_release(rs_leader *l)
{
    if (l->call)
        rs_kube_cancel(rs_take(l->call));
    rs_timer_cancel(l->giving_up);
    void (*released)(void *) = rs_take(l->released);
    if (released)
        released(l->released_ctx);
}

static void on_released(void *ctx, json_t *answer, const struct rs_err *why)
{
    rs_leader *l = ctx;
    l->call = NULL;
    finish_release(l);
}

static void on_giving_up(void *ctx)
{
    finish_release(ctx);
}

void rs_leader_release(rs_leader *l, void (*done)(void *ctx), void *ctx)
{
    l->releasing = true;
    l->released = done;
    l->released_ctx = ctx;
    rs_timer_cancel(l->look);
    if (l->call)
        rs_kube_cancel(rs_take(l->call));
    bool held = l->leading && l->lease;
    set_leading(l, false);
    l->giving_up = rs_timer_new(rs_kube_loop(l->kube), on_giving_up, l);
    rs_timer_set(l->giving_up, held ? RELEASE_MS : 0);
    if (!held)
        return;
    RS_AUTO(json_t) *body = json_deep_copy(l->lease);
    rs_json_set_str(json_object_get(body, "spec"), "holderIdentity", "");
    l->call = rs_kube_start(l->kube, "PUT", l->path, NULL, body, on_released, l);
}

void rs_leader_free(rs_leader *l)
{
    if (!l)
        return;
    if (l->call)
        rs_kube_cancel(l->call);
    rs_timer_free(l->look);
    rs_timer_free(l->giving_up);
    json_decref(l->lease);
    free(l->namespace);
    free(l->name);
    free(l->identity);
    free(l->path);
    free(l);
}
