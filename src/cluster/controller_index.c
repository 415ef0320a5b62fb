#include "cluster/controller_index.h"

#include <uthash.h>

#include "kube/object.h"

struct bucket {
    char *key;
    struct rs_index_list list;
    UT_hash_handle hh;
};
struct rs_index {
    const char *(*key)(const json_t *o);
    struct bucket *buckets;
};

rs_index *rs_index_new(const char *(*key)(const json_t *o))
{
    rs_index *x = rs_new(rs_index);
    x->key = key;
    return x;
}

static void bucket_free(rs_index *x, struct bucket *b)
{
    for (size_t i = 0; i < b->list.n; i++)
        json_decref((json_t *)b->list.v[i]);
    HASH_DEL(x->buckets, b);
    free(b->list.v);
    free(b->key);
    free(b);
}

void rs_index_free(rs_index *x)
{
    struct bucket *b, *next;
    if (!x)
        return;
    HASH_ITER(hh, x->buckets, b, next)
        bucket_free(x, b);
    free(x);
}

static struct bucket *find(const rs_index *x, const char *key)
{
    struct bucket *b;
    HASH_FIND_STR(x->buckets, key, b);
    return b;
}

static bool drop_from(rs_index *x, struct bucket *b, const json_t *o)
{
    for (size_t i = 0; b && i < b->list.n; i++) {
        if (!rs_streq(rs_object_uid(b->list.v[i]), rs_object_uid(o)))
            continue;
        json_decref((json_t *)b->list.v[i]);
        b->list.v[i] = b->list.v[--b->list.n];
        if (b->list.n == 0)
            bucket_free(x, b);
        return true;
    }
    return false;
}

/* The last state of a deleted object may have another key than the one it stands under. */
static void drop(rs_index *x, const json_t *o)
{
    struct bucket *b, *next;
    const char *key = x->key(o);
    if (key && drop_from(x, find(x, key), o))
        return;
    HASH_ITER(hh, x->buckets, b, next)
        if (drop_from(x, b, o))
            return;
}

static void put(rs_index *x, const json_t *o)
{
    const char *key = x->key(o);
    struct bucket *b = key ? find(x, key) : NULL;
    if (!key)
        return;
    if (!b) {
        b = rs_new(struct bucket);
        b->key = rs_strdup(key);
        HASH_ADD_KEYPTR(hh, x->buckets, b->key, strlen(b->key), b);
    }
    b->list.v = rs_realloc(b->list.v, (b->list.n + 1) * sizeof(*b->list.v));
    b->list.v[b->list.n++] = json_incref((json_t *)o);
}

void rs_index_change(rs_index *x, const json_t *old, const json_t *now)
{
    if (old)
        drop(x, old);
    if (now)
        put(x, now);
}

struct rs_index_list rs_index_get(const rs_index *x, const char *key)
{
    const struct bucket *b = find(x, key);
    return b ? b->list : (struct rs_index_list){ NULL, 0 };
}

const char *rs_key_owner(const json_t *o) { return rs_json_str(rs_object_owner(o), "uid"); }
const char *rs_key_namespace(const json_t *o) { return rs_object_namespace(o); }
