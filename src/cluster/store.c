#include "cluster/store.h"

#include <malloc.h>
#include <sqlite3.h>

#include "base/log.h"

/* Changes kept for watches that resume: bounded by number and by bytes of text. */
enum { RING_MAX = 4096, RING_BYTES = 4 * 1024 * 1024 };

struct table { char *resource; rs_record **v; size_t n, cap; };

struct rs_store {
    sqlite3 *db;
    sqlite3_stmt *upsert, *remove, *set_rv;
    struct table **tables; size_t n_tables;
    struct rs_change *pending; size_t n_pending, cap_pending;
    struct rs_change ring[RING_MAX];
    size_t ring_start, ring_n, ring_bytes;
    uint64_t rv, committed_rv, forgotten_rv;   /* forgotten: newest change that is no longer in the ring */
    size_t count;
    void (*on_change)(void *ctx, const struct rs_change *c);
    void *ctx;
};

/* --- records --- */

rs_record *rs_record_ref(rs_record *r)
{
    r->refs++;
    return r;
}

void rs_record_unref(rs_record *r)
{
    if (!r || --r->refs > 0)
        return;
    json_decref(r->doc);
    free(r->namespace);
    free(r->name);
    free(r->text);
    free(r);
}

const json_t *rs_record_doc(rs_record *r)
{
    struct rs_err e;
    r->used = true;
    if (!r->doc && rs_json_parse(&r->doc, (rs_str){ r->text, r->text_n }, &e) < 0)
        rs_assert(!"a stored document parses");
    return r->doc;
}

/* A superseded record only waits in the ring: its text suffices there. */
static void forget_doc(rs_record *r)
{
    if (r && r->doc) {
        json_decref(r->doc);
        r->doc = NULL;
    }
}

static rs_record *record_new(const char *resource, const char *namespace, const char *name, uint64_t rv, char *text, json_t *doc)
{
    rs_record *r = rs_new(rs_record);
    r->refs = 1;
    r->resource = resource;
    r->namespace = rs_strdup(namespace);
    r->name = rs_strdup(name);
    r->rv = rv;
    r->text = text;
    r->text_n = strlen(text);
    r->doc = doc;
    return r;
}

/* --- tables: one sorted array per resource --- */

static struct table *table_find(const rs_store *s, const char *resource)
{
    for (size_t i = 0; i < s->n_tables; i++)
        if (strcmp(s->tables[i]->resource, resource) == 0)
            return s->tables[i];
    return NULL;
}

static struct table *table_need(rs_store *s, const char *resource)
{
    struct table *t = table_find(s, resource);
    if (t)
        return t;
    t = rs_new(struct table);
    t->resource = rs_strdup(resource);
    s->tables = rs_realloc(s->tables, (s->n_tables + 1) * sizeof(*s->tables));
    s->tables[s->n_tables++] = t;
    return t;
}

static int order(const rs_record *r, const char *namespace, const char *name)
{
    int c = strcmp(r->namespace, namespace);
    return c ? c : strcmp(r->name, name);
}

/* Index of the first record not below the key. */
static size_t lower_bound(const struct table *t, const char *namespace, const char *name)
{
    size_t lo = 0, hi = t->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (order(t->v[mid], namespace, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool at(const struct table *t, size_t i, const char *namespace, const char *name)
{
    return i < t->n && order(t->v[i], namespace, name) == 0;
}

/* Puts r (a reference is taken over) at its place and returns what was there, or NULL. */
static rs_record *table_set(rs_store *s, struct table *t, rs_record *r)
{
    size_t i = lower_bound(t, r->namespace, r->name);
    if (at(t, i, r->namespace, r->name)) {
        rs_record *old = t->v[i];
        t->v[i] = r;
        return old;
    }
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 16;
        t->v = rs_realloc(t->v, t->cap * sizeof(*t->v));
    }
    memmove(t->v + i + 1, t->v + i, (t->n - i) * sizeof(*t->v));
    t->v[i] = r;
    t->n++;
    s->count++;
    return NULL;
}

static rs_record *table_take(rs_store *s, struct table *t, const char *namespace, const char *name)
{
    size_t i = lower_bound(t, namespace, name);
    if (!at(t, i, namespace, name))
        return NULL;
    rs_record *old = t->v[i];
    memmove(t->v + i, t->v + i + 1, (t->n - i - 1) * sizeof(*t->v));
    t->n--;
    s->count--;
    return old;
}

/* --- reading --- */

uint64_t rs_store_rv(const rs_store *s) { return s->rv; }
size_t rs_store_count(const rs_store *s) { return s->count; }
bool rs_store_dirty(const rs_store *s) { return s->n_pending > 0; }

rs_record *rs_store_get(const rs_store *s, const char *resource, const char *namespace, const char *name)
{
    struct table *t = table_find(s, resource);
    if (!t)
        return NULL;
    size_t i = lower_bound(t, namespace, name);
    return at(t, i, namespace, name) ? t->v[i] : NULL;
}

size_t rs_store_list(const rs_store *s, const char *resource, const char *namespace, rs_record *const **ret)
{
    struct table *t = table_find(s, resource);
    *ret = NULL;
    if (!t)
        return 0;
    if (!namespace) {
        *ret = t->v;
        return t->n;
    }
    size_t from = lower_bound(t, namespace, ""), to = from;
    while (to < t->n && strcmp(t->v[to]->namespace, namespace) == 0)
        to++;
    *ret = t->v + from;
    return to - from;
}

void rs_store_each(const rs_store *s, void (*fn)(void *ctx, rs_record *r), void *ctx)
{
    for (size_t i = 0; i < s->n_tables; i++)
        for (size_t k = 0; k < s->tables[i]->n; k++)
            fn(ctx, s->tables[i]->v[k]);
}

void rs_store_rest(rs_store *s)
{
    for (size_t i = 0; i < s->n_tables; i++)
        for (size_t k = 0; k < s->tables[i]->n; k++) {
            rs_record *r = s->tables[i]->v[k];
            if (!r->used)
                forget_doc(r);
            r->used = false;
        }
    malloc_trim(0);
}

void rs_store_on_change(rs_store *s, void (*fn)(void *ctx, const struct rs_change *c), void *ctx)
{
    s->on_change = fn;
    s->ctx = ctx;
}

/* --- writing --- */

static struct rs_change *pending_add(rs_store *s)
{
    if (s->n_pending == s->cap_pending) {
        s->cap_pending = s->cap_pending ? s->cap_pending * 2 : 16;
        s->pending = rs_realloc(s->pending, s->cap_pending * sizeof(*s->pending));
    }
    struct rs_change *c = &s->pending[s->n_pending++];
    *c = (struct rs_change){ .rv = s->rv };
    return c;
}

static rs_record *make(rs_store *s, struct table *t, const char *namespace, const char *name, json_t *doc)
{
    char rv[24];
    snprintf(rv, sizeof rv, "%llu", (unsigned long long)++s->rv);
    rs_json_set_str(rs_json_need(doc, "metadata"), "resourceVersion", rv);
    return record_new(t->resource, namespace, name, s->rv, rs_json_text(doc), doc);
}

rs_record *rs_store_put(rs_store *s, const char *resource, const char *namespace, const char *name, json_t *doc)
{
    struct table *t = table_need(s, resource);
    rs_record *r = make(s, t, namespace, name, doc);
    struct rs_change *c = pending_add(s);
    c->now = rs_record_ref(r);
    c->old = table_set(s, t, r);
    return r;
}

rs_record *rs_store_delete(rs_store *s, const char *resource, const char *namespace, const char *name)
{
    struct table *t = table_find(s, resource);
    rs_record *old = t ? table_take(s, t, namespace, name) : NULL;
    if (!old)
        return NULL;
    rs_record *r = make(s, t, old->namespace, old->name, json_deep_copy(rs_record_doc(old)));
    *pending_add(s) = (struct rs_change){ .rv = s->rv, .old = old, .now = r, .deleted = true };
    return r;
}

static void change_done(struct rs_change *c)
{
    rs_record_unref(c->old);
    rs_record_unref(c->now);
    *c = (struct rs_change){ 0 };
}

static void ring_drop(rs_store *s)
{
    struct rs_change *c = &s->ring[s->ring_start];
    s->forgotten_rv = c->rv;
    s->ring_bytes -= c->now->text_n;
    change_done(c);
    s->ring_start = (s->ring_start + 1) % RING_MAX;
    s->ring_n--;
}

static void ring_add(rs_store *s, struct rs_change c)
{
    while (s->ring_n == RING_MAX || (s->ring_n && s->ring_bytes + c.now->text_n > RING_BYTES))
        ring_drop(s);
    s->ring[(s->ring_start + s->ring_n++) % RING_MAX] = c;
    s->ring_bytes += c.now->text_n;
}

bool rs_store_replay(const rs_store *s, uint64_t rv, void (*fn)(void *ctx, const struct rs_change *c), void *ctx)
{
    if (rv < s->forgotten_rv)
        return false;
    for (size_t i = 0; i < s->ring_n; i++) {
        const struct rs_change *c = &s->ring[(s->ring_start + i) % RING_MAX];
        if (c->rv > rv)
            fn(ctx, c);
    }
    return true;
}

/* --- SQLite --- */

static int db_fail(rs_store *s, const char *what, struct rs_err *e)
{
    int code = sqlite3_errcode(s->db);
    return RS_FAIL(e, code == SQLITE_FULL ? RS_EXHAUSTED : RS_INTERNAL, "%s: %s", what, sqlite3_errmsg(s->db));
}

static int step(rs_store *s, sqlite3_stmt *q, const char *what, struct rs_err *e)
{
    int code = sqlite3_step(q);
    sqlite3_reset(q);
    return code == SQLITE_DONE ? 0 : db_fail(s, what, e);
}

static int write_change(rs_store *s, const struct rs_change *c, struct rs_err *e)
{
    sqlite3_stmt *q = c->deleted ? s->remove : s->upsert;
    sqlite3_bind_text(q, 1, c->now->resource, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 2, c->now->namespace, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 3, c->now->name, -1, SQLITE_STATIC);
    if (!c->deleted) {
        sqlite3_bind_int64(q, 4, (sqlite3_int64)c->rv);
        sqlite3_bind_text(q, 5, c->now->text, (int)c->now->text_n, SQLITE_STATIC);
    }
    return step(s, q, "write an object", e);
}

static int exec(rs_store *s, const char *sql, const char *what, struct rs_err *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(s, what, e);
}

static int write_all(rs_store *s, struct rs_err *e)
{
    if (exec(s, "BEGIN IMMEDIATE", "begin a transaction", e) < 0)
        return -1;
    for (size_t i = 0; i < s->n_pending; i++)
        if (write_change(s, &s->pending[i], e) < 0)
            return -1;
    sqlite3_bind_int64(s->set_rv, 1, (sqlite3_int64)s->rv);
    if (step(s, s->set_rv, "write the resource version", e) < 0)
        return -1;
    return exec(s, "COMMIT", "commit", e);
}

/* Newest first, so that several writes of one object unwind in order. */
static void undo(rs_store *s)
{
    for (size_t i = s->n_pending; i-- > 0;) {
        struct rs_change *c = &s->pending[i];
        struct table *t = table_need(s, c->now->resource);
        if (c->old)
            rs_record_unref(table_set(s, t, rs_take(c->old)));
        else
            rs_record_unref(table_take(s, t, c->now->namespace, c->now->name));
        change_done(c);
    }
    s->n_pending = 0;
}

int rs_store_commit(rs_store *s, struct rs_err *e)
{
    if (!s->n_pending)
        return 0;
    if (write_all(s, e) < 0) {
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
        undo(s);
        return rs_err_wrap(e, "store");
    }
    s->committed_rv = s->rv;
    size_t n = s->n_pending;
    struct rs_change *changes = rs_take(s->pending);
    s->n_pending = s->cap_pending = 0;
    for (size_t i = 0; i < n; i++) {
        if (s->on_change)
            s->on_change(s->ctx, &changes[i]);
        forget_doc(changes[i].old);
        if (changes[i].deleted)
            forget_doc(changes[i].now);
        ring_add(s, changes[i]);
    }
    free(changes);
    return 0;
}

static int load(rs_store *s, struct rs_err *e)
{
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(s->db, "SELECT resource, namespace, name, rv, doc FROM objects", -1, &q, NULL) != SQLITE_OK)
        return db_fail(s, "read the store", e);
    int code;
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
        struct table *t = table_need(s, (const char *)sqlite3_column_text(q, 0));
        rs_record *r = record_new(t->resource, (const char *)sqlite3_column_text(q, 1), (const char *)sqlite3_column_text(q, 2),
                                  (uint64_t)sqlite3_column_int64(q, 3), rs_strdup((const char *)sqlite3_column_text(q, 4)), NULL);
        rs_record_unref(table_set(s, t, r));
        if (r->rv > s->rv)
            s->rv = r->rv;
    }
    sqlite3_finalize(q);
    if (code != SQLITE_DONE)
        return db_fail(s, "read the store", e);
    if (sqlite3_prepare_v2(s->db, "SELECT value FROM meta WHERE key = 'rv'", -1, &q, NULL) != SQLITE_OK)
        return db_fail(s, "read the store", e);
    if (sqlite3_step(q) == SQLITE_ROW && (uint64_t)sqlite3_column_int64(q, 0) > s->rv)
        s->rv = (uint64_t)sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return 0;
}

static int prepare(rs_store *s, sqlite3_stmt **ret, const char *sql, struct rs_err *e)
{
    return sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL) == SQLITE_OK ? 0 : db_fail(s, "open the store", e);
}

static int open_db(rs_store *s, const char *path, struct rs_err *e)
{
    if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return db_fail(s, "open", e);
    static const char *const schema =
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -512; PRAGMA locking_mode = EXCLUSIVE;"
        "CREATE TABLE IF NOT EXISTS objects (resource TEXT, namespace TEXT, name TEXT, rv INTEGER NOT NULL, doc TEXT NOT NULL,"
        " PRIMARY KEY (resource, namespace, name)) WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;";
    if (exec(s, schema, "prepare the store", e) < 0)
        return -1;
    if (prepare(s, &s->upsert, "INSERT INTO objects VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET rv = excluded.rv, doc = excluded.doc", e) < 0 ||
        prepare(s, &s->remove, "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?", e) < 0 ||
        prepare(s, &s->set_rv, "INSERT INTO meta VALUES ('rv', ?) ON CONFLICT DO UPDATE SET value = excluded.value", e) < 0)
        return -1;
    return load(s, e);
}

int rs_store_open(rs_store **ret, const char *path, struct rs_err *e)
{
    RS_AUTO(rs_store) *s = rs_new(rs_store);
    if (open_db(s, path, e) < 0)
        return rs_err_wrap(e, "store %s", path);
    if (s->rv == 0)
        s->rv = 1;                 /* "0" and "" mean something else to watches */
    s->committed_rv = s->forgotten_rv = s->rv;
    *ret = rs_take(s);
    return 0;
}

void rs_store_free(rs_store *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_pending; i++)
        change_done(&s->pending[i]);
    free(s->pending);
    while (s->ring_n)
        ring_drop(s);
    for (size_t i = 0; i < s->n_tables; i++) {
        for (size_t k = 0; k < s->tables[i]->n; k++)
            rs_record_unref(s->tables[i]->v[k]);
        free(s->tables[i]->v);
        free(s->tables[i]->resource);
        free(s->tables[i]);
    }
    free(s->tables);
    sqlite3_finalize(s->upsert);
    sqlite3_finalize(s->remove);
    sqlite3_finalize(s->set_rv);
    sqlite3_close(s->db);
    free(s);
}

void rs_store_limit_pages(rs_store *s, int pages)
{
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA max_page_count = %d", pages > 0 ? pages : 1073741823);
    sqlite3_exec(s->db, sql, NULL, NULL, NULL);
}
