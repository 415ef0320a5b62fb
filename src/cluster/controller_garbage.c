/* Garbage collection: an object none of whose owners exists any more is deleted in the background. That an owner is gone is
 * taken from its DELETED event or from the API server, never from a cache that may be behind. Owners of kinds that are not
 * in kube/object.h's table count as alive. */
#include <uthash.h>

#include "base/time.h"
#include "cluster/controller_int.h"

enum { OWNERS_MAX = 4, GONE_MAX = 10000 };

struct gone { char *uid; UT_hash_handle hh; };       /* owners that are known not to exist */
struct garbage {
    rs_controllers *c;
    rs_queue *queue;
    rs_index *by_owner[OWNERS_MAX];                  /* by the uid of the 1st, 2nd, ... ownerReference */
    struct gone *gone;
};

static const char *owner_uid(const json_t *o, size_t i)
{
    return rs_json_str(json_array_get(rs_json_at(o, "metadata", "ownerReferences"), i), "uid");
}
static const char *first_owner(const json_t *o) { return owner_uid(o, 0); }
static const char *second_owner(const json_t *o) { return owner_uid(o, 1); }
static const char *third_owner(const json_t *o) { return owner_uid(o, 2); }
static const char *fourth_owner(const json_t *o) { return owner_uid(o, 3); }

/* A key names cache and object: "3:namespace/name". */
static char *key_of(enum rs_watched what, const json_t *o)
{
    return rs_printf("%d:%s/%s", (int)what, rs_object_namespace(o), rs_object_name(o));
}

static const json_t *object_of(const struct garbage *g, const char *key)
{
    return rs_cached_key(g->c, (enum rs_watched)atoi(key), strchr(key, ':') + 1);
}

static bool is_gone(const struct garbage *g, const char *uid)
{
    struct gone *x;
    HASH_FIND_STR(g->gone, uid, x);
    return x != NULL;
}

static void forget_all(struct garbage *g)
{
    struct gone *x, *next;
    HASH_ITER(hh, g->gone, x, next) {
        HASH_DEL(g->gone, x);
        free(x->uid);
        free(x);
    }
}

static void note_gone(struct garbage *g, const char *uid)
{
    if (!*uid || is_gone(g, uid))
        return;
    if (HASH_COUNT(g->gone) >= GONE_MAX)
        forget_all(g);
    struct gone *x = rs_new(struct gone);
    x->uid = rs_strdup(uid);
    HASH_ADD_KEYPTR(hh, g->gone, x->uid, strlen(x->uid), x);
}

/* The owner's path; NULL when the kind is unknown to us. */
static char *owner_path(const json_t *ref, const json_t *dependent)
{
    const struct rs_kind *kind = rs_kind_find(rs_json_str(ref, "apiVersion"), rs_json_str(ref, "kind"));
    const char *name = rs_json_str(ref, "name");
    return kind && name ? rs_kind_path(kind, rs_object_namespace(dependent), name) : NULL;
}

static bool cached_alive(const struct garbage *g, const json_t *ref, const json_t *dependent)
{
    const char *name = rs_json_str(ref, "name");
    const struct rs_kind *kind = rs_kind_find(rs_json_str(ref, "apiVersion"), rs_json_str(ref, "kind"));
    enum rs_watched what = rs_watched_kind(rs_json_str(ref, "apiVersion"), rs_json_str(ref, "kind"));
    if (!kind || !name)
        return true;
    if (what == RS_WATCHED)
        return false;
    const json_t *o = rs_cached(g->c, what, kind->namespaced ? rs_object_namespace(dependent) : "", name);
    return rs_streq(rs_object_uid(o), rs_json_str(ref, "uid"));
}

/* Either a question to the API server about owners that no cache shows, or the end of the object. */
static json_t *plan_for(struct garbage *g, const json_t *o)
{
    json_t *plan = json_array(), *ref;
    size_t i;
    json_array_foreach(rs_json_at(o, "metadata", "ownerReferences"), i, ref) {
        const char *uid = rs_json_str(ref, "uid");
        if (!uid || is_gone(g, uid))
            continue;
        RS_AUTO(rs_chars) *path = cached_alive(g, ref, o) ? NULL : owner_path(ref, o);
        if (!path) {                     /* alive, or not for us to judge */
            json_array_clear(plan);
            return plan;
        }
        rs_plan_call(plan, "GET", path, NULL, NULL);
        rs_json_set_str(json_array_get(plan, json_array_size(plan) - 1), "uid", uid);
    }
    if (json_array_size(plan) == 0) {
        RS_AUTO(rs_chars) *path = rs_object_path(o, true);
        rs_plan_call(plan, "DELETE", path, NULL, rs_delete_options(o));
    }
    return plan;
}

static void sync(void *ctx, rs_queue_item *item, const char *key)
{
    struct garbage *g = ctx;
    const json_t *o = object_of(g, key);
    bool owned = o && !rs_object_deleting(o) && json_array_size(rs_json_at(o, "metadata", "ownerReferences")) > 0;
    rs_queue_run(item, owned ? plan_for(g, o) : NULL, true);
}

static bool answered(void *ctx, const char *key, const json_t *call, const json_t *answer, const struct rs_err *why)
{
    struct garbage *g = ctx;
    const char *uid = rs_json_str(call, "uid");
    if (!uid)
        return why && why->code == RS_ABORTED;       /* another object has that name now */
    bool gone = why ? why->code == RS_NOT_FOUND : !rs_streq(rs_object_uid(answer), uid);
    if (!gone)
        return false;
    note_gone(g, uid);
    rs_queue_add_key(g->queue, key);
    return true;
}

static void look_at_dependents(struct garbage *g, const char *uid)
{
    for (size_t i = 0; i < OWNERS_MAX; i++) {
        struct rs_index_list list = rs_index_get(g->by_owner[i], uid);
        for (size_t j = 0; j < list.n; j++) {
            enum rs_watched what = rs_watched_kind(rs_json_str(list.v[j], "apiVersion"), rs_json_str(list.v[j], "kind"));
            RS_AUTO(rs_chars) *key = key_of(what, list.v[j]);
            rs_queue_add_key(g->queue, key);
        }
    }
}

static void change(void *self, enum rs_watched what, const json_t *old, const json_t *now)
{
    struct garbage *g = self;
    const json_t *owners = rs_json_at(now, "metadata", "ownerReferences");
    for (size_t i = 0; i < OWNERS_MAX; i++)
        if (owner_uid(old, i) || owner_uid(now, i))
            rs_index_change(g->by_owner[i], owner_uid(old, i) ? old : NULL, owner_uid(now, i) ? now : NULL);
    if (!now) {
        note_gone(g, rs_object_uid(old));
        look_at_dependents(g, rs_object_uid(old));
    } else if (json_array_size(owners) > 0 && !rs_object_deleting(now) && !(old && json_equal(owners, rs_json_at(old, "metadata", "ownerReferences")))) {
        RS_AUTO(rs_chars) *key = key_of(what, now);
        rs_queue_add_key(g->queue, key);
    }
}

static void *new(rs_controllers *c)
{
    static const struct rs_queue_ops ops = { .sync = sync, .answered = answered };
    static const char *(*const keys[OWNERS_MAX])(const json_t *o) = { first_owner, second_owner, third_owner, fourth_owner };
    struct garbage *g = rs_new(struct garbage);
    g->c = c;
    g->queue = rs_queue_new(rs_controllers_kube(c), "garbage", &ops, g);
    for (size_t i = 0; i < OWNERS_MAX; i++)
        g->by_owner[i] = rs_index_new(keys[i]);
    return g;
}

static void destroy(void *self)
{
    struct garbage *g = self;
    rs_queue_free(g->queue);
    for (size_t i = 0; i < OWNERS_MAX; i++)
        rs_index_free(g->by_owner[i]);
    forget_all(g);
    free(g);
}

const struct rs_controller rs_garbage_collector = { new, change, destroy };
