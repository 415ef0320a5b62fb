#include <uthash.h>

#include "base/time.h"
#include "cluster/controller_plan.h"
#include "cluster/controller_queue.h"
#include "kube/object.h"

enum { REMEMBERED = 1000 };

struct seen {
    char *id, *path;                     /* what makes it equal; where it stands */
    int64_t count;
    UT_hash_handle hh;
};

struct rs_recorder {
    rs_kube *k;
    struct seen *seen;
};

rs_recorder *rs_recorder_new(rs_kube *k)
{
    rs_recorder *r = rs_new(rs_recorder);
    r->k = k;
    return r;
}

static void forget(rs_recorder *r)
{
    struct seen *s, *next;
    HASH_ITER(hh, r->seen, s, next) {
        HASH_DEL(r->seen, s);
        free(s->id);
        free(s->path);
        free(s);
    }
}

void rs_recorder_free(rs_recorder *r)
{
    if (!r)
        return;
    forget(r);
    free(r);
}

/* An Event that could not be written is lost: nothing may depend on it. */
static void written(void *ctx, json_t *answer, const struct rs_err *why) { }

static void repeat(rs_recorder *r, struct seen *s, const char *now)
{
    RS_AUTO(json_t) *patch = rs_json_pack("{s:I,s:s}", "count", (json_int_t)++s->count, "lastTimestamp", now);
    rs_kube_start(r->k, "PATCH", s->path, RS_MERGE_PATCH, patch, written, NULL);
}

void rs_recorder_add(rs_recorder *r, const json_t *event)
{
    char now[RS_TIME_TEXT];
    const json_t *about = json_object_get(event, "involvedObject");
    RS_AUTO(rs_chars) *id = rs_printf("%s %s %s", rs_json_str(about, "uid"), rs_json_str(event, "reason"), rs_json_str(event, "message"));
    struct seen *s;
    rs_time_text(rs_now_ms(), now);
    HASH_FIND_STR(r->seen, id, s);
    if (s) {
        repeat(r, s, now);
        return;
    }
    RS_AUTO(json_t) *o = json_deep_copy(event);
    RS_AUTO(rs_chars) *hash = rs_content_hash(event, 0);
    RS_AUTO(rs_chars) *name = rs_printf("%s.%llx%s", rs_json_str(about, "name"), (unsigned long long)rs_now_ms(), hash);
    rs_json_set_str(json_object_get(o, "metadata"), "name", name);
    rs_json_set_str(o, "firstTimestamp", now);
    rs_json_set_str(o, "lastTimestamp", now);
    json_object_set_new(o, "count", json_integer(1));
    if (HASH_COUNT(r->seen) >= REMEMBERED)
        forget(r);
    s = rs_new(struct seen);
    s->id = rs_take(id);
    s->path = rs_object_path(o, true);
    s->count = 1;
    HASH_ADD_KEYPTR(hh, r->seen, s->id, strlen(s->id), s);
    RS_AUTO(rs_chars) *collection = rs_object_path(o, false);
    rs_kube_start(r->k, "POST", collection, NULL, o, written, NULL);
}
