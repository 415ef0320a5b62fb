#include "xds/snapshot.h"

#include <stdatomic.h>
#include <uthash.h>

#include "base/buf.h"
#include "xds/encode.h"

enum { RESOURCE_MAX = 8 * 1024 * 1024 };

struct entry {
    struct rs_xds_resource public;
    char *name, *bytes;
    UT_hash_handle hh;
};

struct rs_xds_snapshot {
    atomic_int refs;
    struct { struct entry *by_name, **v; size_t n; uint64_t hash; } types[RS_XDS_TYPES];
};

static const char *const urls[RS_XDS_TYPES] = {
    [RS_XDS_CLUSTER] = RS_TYPE_CLUSTER, [RS_XDS_ENDPOINT] = RS_TYPE_ENDPOINT, [RS_XDS_LISTENER] = RS_TYPE_LISTENER,
    [RS_XDS_ROUTE] = RS_TYPE_ROUTE, [RS_XDS_SECRET] = RS_TYPE_SECRET, [RS_XDS_PCDS] = RS_TYPE_PCDS,
};

const char *rs_xds_type_url(enum rs_xds_type t)
{
    return urls[t];
}

bool rs_xds_type_of(const char *url, enum rs_xds_type *ret)
{
    for (enum rs_xds_type t = 0; t < RS_XDS_TYPES; t++)
        if (rs_streq(urls[t], url)) {
            *ret = t;
            return true;
        }
    return false;
}

/* FNV-1a: only to see that something changed, within one process and its own content. */
static uint64_t hash_bytes(uint64_t h, const void *p, size_t n)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001b3;
    return h;
}

rs_xds_snapshot *rs_xds_snapshot_new(void)
{
    rs_xds_snapshot *s = rs_new(rs_xds_snapshot);
    s->refs = 1;
    for (enum rs_xds_type t = 0; t < RS_XDS_TYPES; t++)
        s->types[t].hash = 0xcbf29ce484222325;
    return s;
}

int rs_xds_snapshot_add(rs_xds_snapshot *s, const json_t *resource, struct rs_err *e)
{
    enum rs_xds_type t;
    const char *url = rs_json_str(resource, "@type"), *name = rs_json_str(resource, "name");
    if (!url || !rs_xds_type_of(url, &t))
        return RS_FAIL(e, RS_INVALID, "%s is not a type of resource", url ? url : "(none)");
    if (t == RS_XDS_ENDPOINT)
        name = rs_json_str(resource, "cluster_name");
    if (t == RS_XDS_PCDS)
        name = "default";
    if (!name)
        return RS_FAIL(e, RS_INVALID, "%s without a name", url);
    if (rs_xds_snapshot_find(s, t, name))
        return RS_FAIL(e, RS_EXISTS, "two resources named %s of type %s", name, url);

    RS_AUTO_BUF bytes;
    rs_buf_init(&bytes, RESOURCE_MAX);
    if (rs_xds_encode(resource, &bytes, e) < 0)
        return -1;
    struct entry *n = rs_new(struct entry);
    size_t size = bytes.n;
    n->name = rs_strdup(name);
    n->bytes = rs_buf_take(&bytes);
    n->public = (struct rs_xds_resource){ n->name, { n->bytes, size }, hash_bytes(0xcbf29ce484222325, n->bytes, size) };
    HASH_ADD_KEYPTR(hh, s->types[t].by_name, n->name, strlen(n->name), n);
    s->types[t].v = rs_realloc(s->types[t].v, (s->types[t].n + 1) * sizeof *s->types[t].v);
    s->types[t].v[s->types[t].n++] = n;
    s->types[t].hash = hash_bytes(hash_bytes(s->types[t].hash, name, strlen(name) + 1), &n->public.hash, sizeof n->public.hash);
    return 0;
}

int rs_xds_snapshot_add_all(rs_xds_snapshot *s, const json_t *resources, struct rs_err *e)
{
    size_t i;
    json_t *r;
    json_array_foreach(resources, i, r)
        if (rs_xds_snapshot_add(s, r, e) < 0)
            return -1;
    return 0;
}

size_t rs_xds_snapshot_count(const rs_xds_snapshot *s, enum rs_xds_type t)
{
    return s->types[t].n;
}

const struct rs_xds_resource *rs_xds_snapshot_at(const rs_xds_snapshot *s, enum rs_xds_type t, size_t i)
{
    return i < s->types[t].n ? &s->types[t].v[i]->public : NULL;
}

const struct rs_xds_resource *rs_xds_snapshot_find(const rs_xds_snapshot *s, enum rs_xds_type t, const char *name)
{
    struct entry *n;
    HASH_FIND(hh, s->types[t].by_name, name, strlen(name), n);
    return n ? &n->public : NULL;
}

uint64_t rs_xds_snapshot_hash(const rs_xds_snapshot *s, enum rs_xds_type t)
{
    return s->types[t].hash;
}

rs_xds_snapshot *rs_xds_snapshot_ref(rs_xds_snapshot *s)
{
    if (s)
        s->refs++;
    return s;
}

void rs_xds_snapshot_unref(rs_xds_snapshot *s)
{
    if (!s || --s->refs > 0)
        return;
    for (enum rs_xds_type t = 0; t < RS_XDS_TYPES; t++) {
        HASH_CLEAR(hh, s->types[t].by_name);
        for (size_t i = 0; i < s->types[t].n; i++) {
            free(s->types[t].v[i]->name);
            free(s->types[t].v[i]->bytes);
            free(s->types[t].v[i]);
        }
        free(s->types[t].v);
    }
    free(s);
}
