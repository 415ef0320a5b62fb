#include "node/events.h"
#include <stdarg.h>
#include "base/log.h"
#include "base/random.h"
#include "base/time.h"
#include "kube/object.h"

enum { KEPT = 256 };

struct seen { char *key, *path; int count; };

struct rs_events {
    rs_kube *k;
    char *node_name;
    struct seen ring[KEPT];
    size_t next;
};

rs_events *rs_events_new(rs_kube *k, const char *node_name)
{
    rs_events *v = rs_new(rs_events);

    v->k = k;
    v->node_name = rs_strdup(node_name);
    return v;
}

void rs_events_free(rs_events *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < KEPT; i++) {
        free(v->ring[i].key);
        free(v->ring[i].path);
    }
    free(v->node_name);
    free(v);
}

static void done(void *ctx, json_t *answer, const struct rs_err *why)
{
    if (why)
        rs_log_debug("event: %s", why->msg);           /* the namespace may be ending; nothing depends on events */
}

static void again(rs_events *v, struct seen *s)
{
    char now[RS_TIME_TEXT];
    RS_AUTO(json_t) *patch = rs_json_pack("{s:i, s:s}", "count", ++s->count, "lastTimestamp", rs_time_text(rs_now_ms(), now));

    rs_kube_start(v->k, "PATCH", s->path, RS_MERGE_PATCH, patch, done, NULL);
}

void rs_events_add(rs_events *v, const json_t *pod, const char *container, bool init, const char *type, const char *reason, const char *fmt, ...)
{
    char now[RS_TIME_TEXT], suffix[11], text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    RS_AUTO(rs_chars) *key = rs_printf("%s/%s/%s/%s", rs_object_uid(pod), container ? container : "", reason, text);
    for (size_t i = 0; i < KEPT; i++)
        if (rs_streq(v->ring[i].key, key)) {
            again(v, &v->ring[i]);
            return;
        }
    const char *ns = rs_object_namespace(pod);
    RS_AUTO(rs_chars) *name = rs_printf("%.230s.%s", rs_object_name(pod), rs_random_name(suffix, 10));
    RS_AUTO(rs_chars) *collection = rs_printf("/api/v1/namespaces/%s/events", ns);
    RS_AUTO(rs_chars) *field = container ? rs_printf("spec.%s{%s}", init ? "initContainers" : "containers", container) : NULL;
    RS_AUTO(json_t) *about = rs_json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "kind", "Pod", "apiVersion", "v1", "namespace", ns, "name", rs_object_name(pod),
                                          "uid", rs_object_uid(pod), "resourceVersion", rs_object_rv(pod));
    rs_json_set_str(about, "fieldPath", field);
    rs_time_text(rs_now_ms(), now);
    RS_AUTO(json_t) *event = rs_json_pack("{s:s, s:s, s:{s:s, s:s}, s:O, s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:s, s:i}", "apiVersion", "v1", "kind", "Event",
        "metadata", "name", name, "namespace", ns, "involvedObject", about, "reason", reason, "message", text, "type", type,
        "source", "component", "kubelet", "host", v->node_name, "firstTimestamp", now, "lastTimestamp", now, "count", 1);

    struct seen *s = &v->ring[v->next++ % KEPT];
    free(s->key);
    free(s->path);
    *s = (struct seen){ rs_take(key), rs_printf("%s/%s", collection, name), 1 };
    rs_kube_start(v->k, "POST", collection, NULL, event, done, NULL);
}
