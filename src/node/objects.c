#include "node/objects.h"
#include <uthash.h>
#include "kube/object.h"

struct entry {
    char *key, *kind, *ns, *name;
    size_t holds;
    rs_objects *all;
    rs_informer *informer;
    UT_hash_handle hh;
};

struct rs_objects {
    rs_kube *k;
    void (*changed)(void *ctx, const char *kind, const char *ns, const char *name);
    void *ctx;
    struct entry *entries;
};

rs_objects *rs_objects_new(rs_kube *k, void (*changed)(void *ctx, const char *kind, const char *ns, const char *name), void *ctx)
{
    rs_objects *o = rs_new(rs_objects);

    *o = (rs_objects){ .k = k, .changed = changed, .ctx = ctx };
    return o;
}

static struct entry *find(rs_objects *o, const char *kind, const char *ns, const char *name)
{
    RS_AUTO(rs_chars) *key = rs_printf("%s/%s/%s", kind, ns, name);
    struct entry *e;

    HASH_FIND_STR(o->entries, key, e);
    return e;
}

static void on_change(void *ctx, const json_t *old, const json_t *now, bool final)
{
    struct entry *e = ctx;

    if (rs_informer_synced(e->informer))
        e->all->changed(e->all->ctx, e->kind, e->ns, e->name);
}

static void on_synced(void *ctx)
{
    struct entry *e = ctx;

    e->all->changed(e->all->ctx, e->kind, e->ns, e->name);
}

void rs_objects_hold(rs_objects *o, const char *kind, const char *ns, const char *name)
{
    static const struct rs_informer_ops ops = { on_change, on_synced };
    struct entry *e = find(o, kind, ns, name);

    if (!e) {
        e = rs_new(struct entry);
        *e = (struct entry){ .key = rs_printf("%s/%s/%s", kind, ns, name), .kind = rs_strdup(kind), .ns = rs_strdup(ns), .name = rs_strdup(name), .all = o };
        RS_AUTO(rs_chars) *path = rs_kind_path(rs_kind_find("v1", kind), ns, NULL), *field = rs_printf("metadata.name=%s", name);
        HASH_ADD_KEYPTR(hh, o->entries, e->key, strlen(e->key), e);
        e->informer = rs_informer_new(o->k, path, NULL, field, &ops, e);
    }
    e->holds++;
}

static void entry_free(struct entry *e)
{
    rs_informer_free(e->informer);
    free(e->key);
    free(e->kind);
    free(e->ns);
    free(e->name);
    free(e);
}

void rs_objects_release(rs_objects *o, const char *kind, const char *ns, const char *name)
{
    struct entry *e = find(o, kind, ns, name);

    if (!e || --e->holds > 0)
        return;
    HASH_DEL(o->entries, e);
    entry_free(e);
}

enum rs_lookup_state rs_objects_get(rs_objects *o, const char *kind, const char *ns, const char *name, const json_t **ret)
{
    struct entry *e = find(o, kind, ns, name);

    if (!e || !rs_informer_synced(e->informer))
        return RS_LOOKUP_WAIT;
    *ret = rs_informer_get(e->informer, ns, name);
    return *ret ? RS_LOOKUP_FOUND : RS_LOOKUP_MISSING;
}

void rs_objects_free(rs_objects *o)
{
    struct entry *e, *next;

    if (!o)
        return;
    HASH_ITER(hh, o->entries, e, next) {
        HASH_DEL(o->entries, e);
        entry_free(e);
    }
    free(o);
}
