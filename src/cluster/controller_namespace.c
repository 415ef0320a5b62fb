/* Namespaces: what every one holds (ServiceAccount default, ConfigMap kube-root-ca.crt), and their end: everything in them is
 * deleted, kind by kind as discovery tells them, and only when nothing is left the finalizer goes. */
#include <uthash.h>

#include "cluster/controller_int.h"

enum { LOOK_AGAIN_MS = 200 };

/* The end of one namespace. Steps: the groups, the kinds of each, then listing and deleting in turn. */
struct ending {
    char *key;
    enum { ASK_GROUPS, ASK_KINDS, LIST, DELETE, FINALIZE } step;
    json_t *groups;                      /* paths "/apis/apps/v1" */
    json_t *collections;                 /* paths of collections in the namespace */
    json_t *doomed;                      /* collections with objects that nobody has deleted yet */
    bool left;                           /* something is still there */
    UT_hash_handle hh;
};
struct namespaces { rs_controllers *c; rs_queue *queue; struct ending *endings; };

static struct ending *ending_of(struct namespaces *n, const char *key)
{
    struct ending *e;
    HASH_FIND_STR(n->endings, key, e);
    if (e)
        return e;
    e = rs_new(struct ending);
    e->key = rs_strdup(key);
    e->groups = json_array();
    e->collections = json_array();
    e->doomed = json_array();
    HASH_ADD_KEYPTR(hh, n->endings, e->key, strlen(e->key), e);
    return e;
}

static void forget(struct namespaces *n, const char *key)
{
    struct ending *e;
    HASH_FIND_STR(n->endings, key, e);
    if (!e)
        return;
    HASH_DEL(n->endings, e);
    json_decref(e->groups);
    json_decref(e->collections);
    json_decref(e->doomed);
    free(e->key);
    free(e);
}

/* ---- what every namespace holds ---- */

static json_t *plan_contents(struct namespaces *n, const char *name)
{
    json_t *plan = json_array();
    const char *ca = rs_kube_config_of(rs_controllers_kube(n->c))->ca_pem;
    const json_t *cm = rs_cached(n->c, RS_WATCH_CONFIG_MAPS, name, "kube-root-ca.crt");
    RS_AUTO(rs_chars) *accounts = rs_kind_path(rs_kind_find("v1", "ServiceAccount"), name, NULL);
    RS_AUTO(rs_chars) *maps = rs_kind_path(rs_kind_find("v1", "ConfigMap"), name, NULL);
    if (!rs_cached(n->c, RS_WATCH_SERVICE_ACCOUNTS, name, "default"))
        rs_plan_call(plan, "POST", accounts, NULL, rs_json_pack("{s:s,s:s,s:{s:s,s:s}}", "apiVersion", "v1", "kind", "ServiceAccount",
                                                                "metadata", "name", "default", "namespace", name));
    if (ca && !cm) {
        rs_plan_call(plan, "POST", maps, NULL, rs_json_pack("{s:s,s:s,s:{s:s,s:s},s:{s:s}}", "apiVersion", "v1", "kind", "ConfigMap",
                                                            "metadata", "name", "kube-root-ca.crt", "namespace", name, "data", "ca.crt", ca));
    } else if (ca && !rs_streq(rs_configmap_value(cm, "ca.crt"), ca)) {
        RS_AUTO(rs_chars) *path = rs_object_path(cm, true);
        rs_plan_call(plan, "PATCH", path, RS_MERGE_PATCH, rs_json_pack("{s:{s:s}}", "data", "ca.crt", ca));
    }
    return plan;
}

/* ---- its end ---- */

static void call_each(json_t *plan, const char *method, const json_t *paths)
{
    size_t i;
    json_t *path;
    json_array_foreach(paths, i, path)
        rs_plan_call(plan, method, json_string_value(path), NULL, NULL);
}

static json_t *plan_end(struct ending *e, const json_t *namespace)
{
    json_t *plan = json_array();
    switch (e->step) {
    case ASK_GROUPS:
        json_array_clear(e->groups);
        json_array_append_new(e->groups, json_string("/api/v1"));
        rs_plan_call(plan, "GET", "/apis", NULL, NULL);
        break;
    case ASK_KINDS:
        json_array_clear(e->collections);
        call_each(plan, "GET", e->groups);
        break;
    case LIST:
        e->left = false;
        json_array_clear(e->doomed);
        call_each(plan, "GET", e->collections);
        break;
    case DELETE:
        call_each(plan, "DELETE", e->doomed);
        break;
    case FINALIZE: {
        json_t *body = json_deep_copy(namespace);
        RS_AUTO(rs_chars) *path = rs_object_path(namespace, true), *finalize = rs_printf("%s/finalize", path);
        json_object_set_new(rs_json_need(body, "spec"), "finalizers", json_array());
        rs_plan_call(plan, "PUT", finalize, NULL, body);
        break;
    }
    }
    return plan;
}

static void take_groups(struct ending *e, const json_t *answer)
{
    size_t i;
    json_t *group;
    json_array_foreach(json_object_get(answer, "groups"), i, group) {
        const char *version = rs_json_str(group, "preferredVersion", "groupVersion");
        RS_AUTO(rs_chars) *path = version ? rs_printf("/apis/%s", version) : NULL;
        if (path)
            json_array_append_new(e->groups, json_string(path));
    }
}

static bool has_verb(const json_t *kind, const char *verb)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(kind, "verbs"), i, v)
        if (rs_streq(json_string_value(v), verb))
            return true;
    return false;
}

static void take_kinds(struct ending *e, const char *group_path, const json_t *answer)
{
    size_t i;
    json_t *kind;
    json_array_foreach(json_object_get(answer, "resources"), i, kind) {
        const char *name = rs_json_str(kind, "name");
        if (!name || strchr(name, '/') || !rs_json_true(kind, "namespaced") || !has_verb(kind, "list") || !has_verb(kind, "deletecollection"))
            continue;
        RS_AUTO(rs_chars) *path = rs_printf("%s/namespaces/%s/%s", group_path, e->key + 1, name);
        json_array_append_new(e->collections, json_string(path));
    }
}

static void take_list(struct ending *e, const char *path, const json_t *answer)
{
    size_t i;
    json_t *o;
    bool fresh = false;
    json_array_foreach(json_object_get(answer, "items"), i, o) {
        e->left = true;
        fresh |= !rs_object_deleting(o);
    }
    if (fresh)
        json_array_append_new(e->doomed, json_string(path));
}

static void sync(void *ctx, rs_queue_item *item, const char *key)
{
    struct namespaces *n = ctx;
    const json_t *o = rs_cached(n->c, RS_WATCH_NAMESPACES, "", key + 1);
    json_t *plan = NULL;
    if (!o) {
        forget(n, key);
    } else if (!rs_object_deleting(o)) {
        plan = plan_contents(n, key + 1);
    } else if (json_array_size(rs_json_at(o, "spec", "finalizers")) > 0) {
        plan = plan_end(ending_of(n, key), o);
    }
    rs_queue_run(item, plan, true);
}

static bool answered(void *ctx, const char *key, const json_t *call, const json_t *answer, const struct rs_err *why)
{
    struct namespaces *n = ctx;
    const char *path = rs_json_str(call, "path");
    struct ending *e;
    HASH_FIND_STR(n->endings, key, e);
    if (why)                             /* somebody else made it; a kind whose definition is gone meanwhile */
        return why->code == RS_EXISTS || (why->code == RS_NOT_FOUND && e && (e->step == LIST || e->step == FINALIZE));
    if (e && e->step == ASK_GROUPS)
        take_groups(e, answer);
    else if (e && e->step == ASK_KINDS)
        take_kinds(e, path, answer);
    else if (e && e->step == LIST)
        take_list(e, path, answer);
    return false;
}

static void finished(void *ctx, const char *key, bool ok)
{
    struct namespaces *n = ctx;
    struct ending *e;
    HASH_FIND_STR(n->endings, key, e);
    if (!e)
        return;
    if (!ok) {
        e->step = ASK_GROUPS;
    } else if (e->step == FINALIZE) {
        return;
    } else if (e->step == LIST && e->left && json_array_size(e->doomed) == 0) {
        rs_queue_add_after(n->queue, key, LOOK_AGAIN_MS);            /* pods that stop, finalizers of others */
    } else {
        e->step = e->step == LIST && !e->left ? FINALIZE : e->step == DELETE ? LIST : (int)e->step + 1;
        rs_queue_add_key(n->queue, key);
    }
}

static void change(void *self, enum rs_watched what, const json_t *old, const json_t *now)
{
    struct namespaces *n = self;
    const json_t *o = now ? now : old;
    const char *name = rs_object_name(o), *namespace = rs_object_namespace(o);
    if (what == RS_WATCH_NAMESPACES) {
        rs_queue_add(n->queue, "", name);
    } else if ((what == RS_WATCH_SERVICE_ACCOUNTS && rs_streq(name, "default")) || (what == RS_WATCH_CONFIG_MAPS && rs_streq(name, "kube-root-ca.crt"))) {
        rs_queue_add(n->queue, "", namespace);
    } else if (!now && *namespace && n->endings) {
        struct ending *e;
        RS_AUTO(rs_chars) *key = rs_printf("/%s", namespace);
        HASH_FIND_STR(n->endings, key, e);
        if (e)
            rs_queue_add_key(n->queue, key);
    }
}

static void *new(rs_controllers *c)
{
    static const struct rs_queue_ops ops = { .sync = sync, .answered = answered, .finished = finished };
    struct namespaces *n = rs_new(struct namespaces);
    n->c = c;
    n->queue = rs_queue_new(rs_controllers_kube(c), "namespace", &ops, n);
    return n;
}

static void destroy(void *self)
{
    struct namespaces *n = self;
    struct ending *e, *next;
    rs_queue_free(n->queue);
    HASH_ITER(hh, n->endings, e, next)
        forget(n, e->key);
    free(n);
}

const struct rs_controller rs_namespace_controller = { new, change, destroy };
