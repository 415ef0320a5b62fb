/* Where the API server keeps its objects: every one in memory, and in SQLite (WAL, synchronous=FULL) as JSON text. One
 * counter gives each write its resourceVersion. Writes become visible at once to the owner, who must not tell anybody
 * before rs_store_commit() succeeded: one commit takes all writes of a loop turn. A failed commit undoes them.
 * One thread. Records are immutable and reference-counted. */
#pragma once
#include "base/json.h"

typedef struct rs_store rs_store;

typedef struct rs_record {
    int refs;
    const char *resource;          /* "pods", "apps/deployments"; interned by the store */
    char *namespace, *name;        /* namespace "" at cluster scope */
    uint64_t rv;
    char *text;                    /* the document with its resourceVersion */
    size_t text_n;
    json_t *doc;                   /* parsed on demand: use rs_record_doc */
    bool used;                     /* doc was read since the last rs_store_rest */
} rs_record;

rs_record *rs_record_ref(rs_record *r);
void rs_record_unref(rs_record *r);            /* NULL is a no-op */
RS_DEFINE_AUTO(rs_record, rs_record_unref)
const json_t *rs_record_doc(rs_record *r);     /* borrowed; never changed */

/* A committed write. old NULL: added. deleted: now is the last state with the deletion's own resourceVersion. */
struct rs_change { uint64_t rv; rs_record *old, *now; bool deleted; };

/* path ":memory:" keeps nothing. */
RS_MUST_USE int rs_store_open(rs_store **ret, const char *path, struct rs_err *e);
void rs_store_free(rs_store *s);               /* NULL is a no-op; drops what was not committed */
RS_DEFINE_AUTO(rs_store, rs_store_free)

uint64_t rs_store_rv(const rs_store *s);       /* of the last write */
size_t rs_store_count(const rs_store *s);
rs_record *rs_store_get(const rs_store *s, const char *resource, const char *namespace, const char *name);   /* borrowed or NULL */
/* Borrowed run of records ordered by namespace and name, good until the next write; namespace NULL: all. */
size_t rs_store_list(const rs_store *s, const char *resource, const char *namespace, rs_record *const **ret);
/* Calls fn with every record; fn must not write. */
void rs_store_each(const rs_store *s, void (*fn)(void *ctx, rs_record *r), void *ctx);

/* Creates or replaces. Takes over doc and sets its metadata.resourceVersion. Borrowed result. */
rs_record *rs_store_put(rs_store *s, const char *resource, const char *namespace, const char *name, json_t *doc);
/* Removes; the borrowed result is the last state with the new resourceVersion (good until the commit), NULL when there was none. */
rs_record *rs_store_delete(rs_store *s, const char *resource, const char *namespace, const char *name);

/* Lets go of parsed documents that nobody read since the last call: trees take ten times the memory of their text. */
void rs_store_rest(rs_store *s);

bool rs_store_dirty(const rs_store *s);
/* Makes the writes since the last commit durable, then calls on_change for each, in order. On failure they are undone. */
RS_MUST_USE int rs_store_commit(rs_store *s, struct rs_err *e);
void rs_store_on_change(rs_store *s, void (*fn)(void *ctx, const struct rs_change *c), void *ctx);

/* Calls fn with each kept change after rv, in order; false (and no call) when some of them are no longer kept. */
bool rs_store_replay(const rs_store *s, uint64_t rv, void (*fn)(void *ctx, const struct rs_change *c), void *ctx);

/* Lets the file grow to so many pages only (tests of a full disk); 0: no limit. */
void rs_store_limit_pages(rs_store *s, int pages);
