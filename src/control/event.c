#include "control/event.h"

#include "base/log.h"
#include "base/random.h"
#include "base/time.h"
#include "kube/object.h"

enum { AGAIN_MS = 10 * 60 * 1000, CALLS_MAX = 16 };

struct rs_events {
    rs_kube *kube;
    json_t *about;
    char *component, *last_reason, *last_message;
    int64_t last_ms;
    struct post { rs_events *events; rs_kube_call *call; } posts[CALLS_MAX];
};

rs_events *rs_events_new(rs_kube *k, const json_t *about, const char *component)
{
    rs_events *ev = rs_new(rs_events);
    ev->kube = k;
    ev->about = about ? json_deep_copy(about) : NULL;
    ev->component = rs_strdup(component);
    return ev;
}

static void on_done(void *ctx, json_t *answer, const struct rs_err *why)
{
    struct post *p = ctx;
    p->call = NULL;
    if (why)
        rs_log_warning("event was not written: %s", why->msg);
}

static json_t *event_object(const rs_events *ev, bool warning, const char *reason, const char *message)
{
    char suffix[17], now[RS_TIME_TEXT];
    rs_time_text(rs_now_ms(), now);
    RS_AUTO(rs_chars) *name = rs_printf("%.200s.%s", rs_object_name(ev->about), rs_random_name(suffix, 16));
    return rs_json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s, s:s, s:s}, s:s, s:s, s:s, s:i, s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind",
                        "Event", "metadata", "name", name, "namespace", rs_object_namespace(ev->about), "involvedObject", "apiVersion",
                        rs_json_str(ev->about, "apiVersion") ? rs_json_str(ev->about, "apiVersion") : "apps/v1", "kind",
                        rs_json_str(ev->about, "kind") ? rs_json_str(ev->about, "kind") : "Deployment", "name", rs_object_name(ev->about),
                        "namespace", rs_object_namespace(ev->about), "uid", rs_object_uid(ev->about), "type", warning ? "Warning" : "Normal", "reason",
                        reason, "message", message, "count", 1, "firstTimestamp", now, "lastTimestamp", now, "source", "component", ev->component);
}

void rs_events_post(rs_events *ev, bool warning, const char *reason, const char *message)
{
    bool again = rs_streq(ev->last_reason, reason) && rs_streq(ev->last_message, message) && rs_mono_ms() - ev->last_ms < AGAIN_MS;
    if (!ev->about || again)
        return;
    free(ev->last_reason);
    free(ev->last_message);
    ev->last_reason = rs_strdup(reason);
    ev->last_message = rs_strdup(message);
    ev->last_ms = rs_mono_ms();
    for (size_t i = 0; i < CALLS_MAX; i++) {
        struct post *p = &ev->posts[i];
        if (p->call)
            continue;
        RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/%s/events", rs_object_namespace(ev->about));
        RS_AUTO(json_t) *object = event_object(ev, warning, reason, message);
        *p = (struct post){ ev, NULL };
        p->call = rs_kube_start(ev->kube, "POST", path, NULL, object, on_done, p);
        return;
    }
    rs_log_warning("event was not written, too many are under way: %s: %s", reason, message);
}

void rs_events_free(rs_events *ev)
{
    if (!ev)
        return;
    for (size_t i = 0; i < CALLS_MAX; i++)
        rs_kube_cancel(ev->posts[i].call);
    json_decref(ev->about);
    free(ev->component);
    free(ev->last_reason);
    free(ev->last_message);
    free(ev);
}
