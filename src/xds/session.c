#include "xds/session.h"

#include <uthash.h>
#include <utlist.h>

#include "envoy_discovery.pb-c.h"
#include "grpc/struct.h"

enum { NAMES_MAX = 100000 };

/* A resource that the proxy asked for by name. */
struct name {
    char *name;
    bool sent, wanted;
    uint64_t hash;                 /* of what was sent */
    struct rs_buf empty;           /* EDS: an assignment with this name and nothing else, once needed */
    UT_hash_handle hh;
};

struct kind {
    bool subscribed, wildcard;
    struct name *names;
    bool full;                     /* the next answer carries everything, changed or not */
    bool awaiting;                 /* the last answer is neither acknowledged nor rejected yet */
    bool answered;
    uint64_t sent_hash;            /* wildcard: of the last answer */
    unsigned nonce;
    char sent[24], acked[24], error[512];
    bool rejected;
    uint64_t acks, nacks;
};

/* A cluster that the snapshot no longer has, kept until nothing that the proxy runs can name it. */
struct retained {
    char *name;
    rs_str cluster, endpoints;     /* malloc'ed bytes; endpoints.p NULL: none */
    struct retained *next;
};

struct rs_xds_session {
    char *node_id;
    json_t *metadata;
    rs_xds_snapshot *snapshot;
    struct kind kinds[RS_XDS_TYPES];
    struct retained *retained;
};

rs_xds_session *rs_xds_session_new(void)
{
    rs_xds_session *s = rs_new(rs_xds_session);
    s->metadata = json_object();
    return s;
}

static void retained_free(struct retained *r)
{
    free(r->name);
    free((char *)r->cluster.p);
    free((char *)r->endpoints.p);
    free(r);
}

static void drop_retained(rs_xds_session *s)
{
    struct retained *r, *next;
    LL_FOREACH_SAFE(s->retained, r, next)
        retained_free(r);
    s->retained = NULL;
}

static void name_free(struct kind *k, struct name *n)
{
    HASH_DEL(k->names, n);
    rs_buf_done(&n->empty);
    free(n->name);
    free(n);
}

void rs_xds_session_free(rs_xds_session *s)
{
    if (!s)
        return;
    for (enum rs_xds_type t = 0; t < RS_XDS_TYPES; t++)
        while (s->kinds[t].names)
            name_free(&s->kinds[t], s->kinds[t].names);
    drop_retained(s);
    rs_xds_snapshot_unref(s->snapshot);
    json_decref(s->metadata);
    free(s->node_id);
    free(s);
}

/* ---- what there is ---- */

static struct retained *find_retained(const rs_xds_session *s, const char *name)
{
    struct retained *r;
    LL_FOREACH(s->retained, r)
        if (rs_streq(r->name, name))
            return r;
    return NULL;
}

static uint64_t wildcard_hash(const rs_xds_session *s, enum rs_xds_type t)
{
    uint64_t h = rs_xds_snapshot_hash(s->snapshot, t);
    struct retained *r;
    if (t == RS_XDS_CLUSTER)
        LL_FOREACH(s->retained, r)
            h = h * 31 + 1;
    return h;
}

/* The bytes for a name (NULL: none) and their hash. Endpoints exist for every name: a cluster without any must not warm for ever. */
static bool lookup(const rs_xds_session *s, enum rs_xds_type t, const struct name *n, rs_str *ret, uint64_t *ret_hash)
{
    const struct rs_xds_resource *r = rs_xds_snapshot_find(s->snapshot, t, n->name);
    struct retained *old = t == RS_XDS_ENDPOINT && !r ? find_retained(s, n->name) : NULL;
    *ret = r ? r->bytes : old ? old->endpoints : (rs_str){ NULL, 0 };
    *ret_hash = r ? r->hash : old ? 2 : 1;
    return r || t == RS_XDS_ENDPOINT;
}

static bool needed(const rs_xds_session *s, enum rs_xds_type t)
{
    const struct kind *k = &s->kinds[t];
    if (!k->subscribed || !s->snapshot)
        return false;
    if (k->full)
        return true;
    if (k->wildcard)
        return !k->answered || wildcard_hash(s, t) != k->sent_hash;
    for (const struct name *n = k->names; n; n = n->hh.next) {
        rs_str bytes;
        uint64_t hash;
        if (lookup(s, t, n, &bytes, &hash) && (!n->sent || n->hash != hash))
            return true;
    }
    return false;
}

/* ---- snapshots ---- */

static rs_str copy(rs_str s)
{
    return (rs_str){ s.p ? rs_strndup(s.p, s.n) : NULL, s.n };
}

/* Clusters of the snapshot that ends, and not of the next, live on until listeners and routes have moved. */
static void retain(rs_xds_session *s, const rs_xds_snapshot *next)
{
    struct retained *r, *tmp;
    LL_FOREACH_SAFE(s->retained, r, tmp)
        if (rs_xds_snapshot_find(next, RS_XDS_CLUSTER, r->name)) {
            LL_DELETE(s->retained, r);
            retained_free(r);
        }
    const struct rs_xds_resource *c;
    for (size_t i = 0; s->snapshot && s->kinds[RS_XDS_CLUSTER].answered && (c = rs_xds_snapshot_at(s->snapshot, RS_XDS_CLUSTER, i)); i++) {
        if (rs_xds_snapshot_find(next, RS_XDS_CLUSTER, c->name))
            continue;
        const struct rs_xds_resource *endpoints = rs_xds_snapshot_find(s->snapshot, RS_XDS_ENDPOINT, c->name);
        r = rs_new(struct retained);
        r->name = rs_strdup(c->name);
        r->cluster = copy(c->bytes);
        if (endpoints)
            r->endpoints = copy(endpoints->bytes);
        LL_PREPEND(s->retained, r);
    }
}

void rs_xds_session_set(rs_xds_session *s, rs_xds_snapshot *snapshot)
{
    if (s->snapshot == snapshot)
        return;
    retain(s, snapshot);
    rs_xds_snapshot_ref(snapshot);
    rs_xds_snapshot_unref(s->snapshot);
    s->snapshot = snapshot;
}

static bool moved(const rs_xds_session *s, enum rs_xds_type t)
{
    const struct kind *k = &s->kinds[t];
    return !k->subscribed || (!k->awaiting && !k->rejected && !needed(s, t));
}

/* True when the old clusters may go now. */
static bool release_retained(rs_xds_session *s)
{
    if (!s->retained || !moved(s, RS_XDS_CLUSTER) || !moved(s, RS_XDS_ENDPOINT) || !moved(s, RS_XDS_LISTENER) || !moved(s, RS_XDS_ROUTE))
        return false;
    drop_retained(s);
    return true;
}

/* ---- requests ---- */

static int take_node(rs_xds_session *s, const Envoy__Node *node, struct rs_err *e)
{
    if (s->node_id)
        return 0;
    if (!node || !node->id || !*node->id)
        return RS_FAIL(e, RS_INVALID, "the first discovery request names no node");
    if (node->has_metadata) {
        json_t *metadata;
        if (rs_struct_decode(&metadata, (rs_str){ (const char *)node->metadata.data, node->metadata.len }, e) < 0)
            return rs_err_wrap(e, "metadata of node %s", node->id);
        json_decref(s->metadata);
        s->metadata = metadata;
    }
    s->node_id = rs_strdup(node->id);
    return 0;
}

/* Returns true when the set of names changed. */
static bool take_names(struct kind *k, enum rs_xds_type t, char **names, size_t n)
{
    bool changed = false;
    k->wildcard = t == RS_XDS_PCDS || ((t == RS_XDS_CLUSTER || t == RS_XDS_LISTENER) && n == 0);
    for (size_t i = 0; i < n; i++) {
        struct name *found;
        HASH_FIND_STR(k->names, names[i], found);
        if (!found) {
            found = rs_new(struct name);
            found->name = rs_strdup(names[i]);
            HASH_ADD_KEYPTR(hh, k->names, found->name, strlen(found->name), found);
            changed = true;
        }
        found->wanted = true;
        if (rs_streq(names[i], "*"))
            k->wildcard = true;
    }
    struct name *it, *next;
    HASH_ITER(hh, k->names, it, next) {
        if (!it->wanted) {
            name_free(k, it);
            changed = true;
        } else {
            it->wanted = false;
        }
    }
    return changed;
}

static void take_answer(struct kind *k, const Envoy__Status *error)
{
    k->awaiting = false;
    k->rejected = error != NULL;
    if (!error) {
        memcpy(k->acked, k->sent, sizeof k->acked);
        k->error[0] = 0;
        k->acks++;
        return;
    }
    k->nacks++;
    snprintf(k->error, sizeof k->error, "%s", error->message ? error->message : "");
}

static void take_request(rs_xds_session *s, enum rs_xds_type t, const Envoy__DiscoveryRequest *r)
{
    struct kind *k = &s->kinds[t];
    char nonce[16];
    snprintf(nonce, sizeof nonce, "%u", k->nonce);
    bool fresh = !r->response_nonce || !*r->response_nonce || k->nonce == 0;
    if (!fresh && !rs_streq(r->response_nonce, nonce))
        return;                    /* speaks of an older answer; the one to the newest will come */
    bool changed = take_names(k, t, r->resource_names, r->n_resource_names), was_awaiting = k->awaiting;
    if (fresh) {
        k->subscribed = k->full = true;
        k->awaiting = false;
        return;
    }
    if (was_awaiting || r->error_detail)
        take_answer(k, r->error_detail);
    else if (!changed && !k->wildcard)
        k->full = true;            /* said again without need: a new watch that wants what an older one has */
}

int rs_xds_session_request(rs_xds_session *s, rs_str bytes, struct rs_err *e)
{
    enum rs_xds_type t;
    Envoy__DiscoveryRequest *r = envoy__discovery_request__unpack(NULL, bytes.n, (const uint8_t *)bytes.p);
    if (!r)
        return RS_FAIL(e, RS_INVALID, "malformed discovery request");
    int rc = take_node(s, r->node, e);
    if (rc == 0 && r->n_resource_names > NAMES_MAX)
        rc = RS_FAIL(e, RS_INVALID, "more than %d resource names", NAMES_MAX);
    if (rc == 0 && r->type_url && rs_xds_type_of(r->type_url, &t))
        take_request(s, t, r);
    envoy__discovery_request__free_unpacked(r, NULL);
    return rc;
}

/* ---- answers ---- */

struct answer { Envoy__Any *v; size_t n, cap; };

static void answer_add(struct answer *a, enum rs_xds_type t, rs_str bytes)
{
    if (a->n == a->cap)
        a->v = rs_realloc(a->v, (a->cap = a->cap * 2 + 8) * sizeof *a->v);
    a->v[a->n] = (Envoy__Any)ENVOY__ANY__INIT;
    a->v[a->n].type_url = (char *)rs_xds_type_url(t);
    a->v[a->n].has_value = true;
    a->v[a->n].value = (ProtobufCBinaryData){ bytes.n, (uint8_t *)bytes.p };
    a->n++;
}

static void collect_wildcard(rs_xds_session *s, enum rs_xds_type t, struct answer *a)
{
    const struct rs_xds_resource *r;
    struct retained *old;
    for (size_t i = 0; (r = rs_xds_snapshot_at(s->snapshot, t, i)); i++)
        answer_add(a, t, r->bytes);
    if (t == RS_XDS_CLUSTER)
        LL_FOREACH(s->retained, old)
            answer_add(a, t, old->cluster);
    s->kinds[t].sent_hash = wildcard_hash(s, t);
}

/* ClusterLoadAssignment { cluster_name: name }: field 1, length, text. */
static rs_str empty_assignment(struct name *n)
{
    if (n->empty.n)
        return rs_buf_str(&n->empty);
    size_t len = strlen(n->name);
    rs_buf_init(&n->empty, len + 16);
    rs_buf_adds(&n->empty, "\x0a");
    for (; len > 0x7f; len >>= 7)
        rs_buf_add(&n->empty, &(char){ (char)(len | 0x80) }, 1);
    rs_buf_add(&n->empty, &(char){ (char)len }, 1);
    rs_buf_adds(&n->empty, n->name);
    return rs_buf_str(&n->empty);
}

static void collect_named(rs_xds_session *s, enum rs_xds_type t, struct answer *a)
{
    struct kind *k = &s->kinds[t];
    /* An answer is accepted or refused as a whole: after a NACK nothing of the last one may be taken for delivered. */
    bool all = k->full || k->rejected;
    for (struct name *n = k->names; n; n = n->hh.next) {
        rs_str bytes;
        uint64_t hash;
        if (!lookup(s, t, n, &bytes, &hash) || (!all && n->sent && n->hash == hash))
            continue;
        n->sent = true;
        n->hash = hash;
        answer_add(a, t, bytes.p ? bytes : empty_assignment(n));
    }
}

static void write_answer(rs_xds_session *s, enum rs_xds_type t, const struct answer *a, struct rs_buf *out)
{
    struct kind *k = &s->kinds[t];
    char nonce[16];
    k->nonce++;
    snprintf(nonce, sizeof nonce, "%u", k->nonce);
    snprintf(k->sent, sizeof k->sent, "%016llx", (unsigned long long)rs_xds_snapshot_hash(s->snapshot, t));

    RS_AUTO(rs_chars) *block = NULL;
    Envoy__Any **resources = rs_new_array(Envoy__Any *, a->n);
    for (size_t i = 0; i < a->n; i++)
        resources[i] = &a->v[i];
    Envoy__DiscoveryResponse m = ENVOY__DISCOVERY_RESPONSE__INIT;
    m.version_info = k->sent;
    m.nonce = nonce;
    m.type_url = (char *)rs_xds_type_url(t);
    m.n_resources = a->n;
    m.resources = resources;
    size_t n = envoy__discovery_response__get_packed_size(&m);
    block = rs_alloc(n + 1);
    envoy__discovery_response__pack(&m, (uint8_t *)block);
    rs_buf_clear(out);
    rs_buf_add(out, block, n);
    free(resources);

    k->awaiting = t != RS_XDS_PCDS;
    k->answered = true;
    k->rejected = false;
}

static void follow_up(rs_xds_session *s, enum rs_xds_type t, bool first)
{
    /* A changed cluster warms until its endpoints come again, a changed listener until its routes do. */
    enum rs_xds_type next = t == RS_XDS_CLUSTER ? RS_XDS_ENDPOINT : RS_XDS_ROUTE;
    if (!first && (t == RS_XDS_CLUSTER || t == RS_XDS_LISTENER) && s->kinds[next].names)
        s->kinds[next].full = true;
}

static bool answer_type(rs_xds_session *s, enum rs_xds_type t, struct rs_buf *out)
{
    struct kind *k = &s->kinds[t];
    struct answer a = { 0 };
    bool first = !k->answered;
    if (k->wildcard)
        collect_wildcard(s, t, &a);
    else
        collect_named(s, t, &a);
    k->full = false;
    bool any = a.n > 0 || k->wildcard;
    if (any) {
        write_answer(s, t, &a, out);
        follow_up(s, t, first);
    }
    free(a.v);
    return any;
}

bool rs_xds_session_next(rs_xds_session *s, struct rs_buf *out)
{
    do {
        bool hold = false;         /* listeners and routes wait for what they build on; secrets and trust do not */
        for (enum rs_xds_type t = 0; t < RS_XDS_TYPES; t++) {
            if (!needed(s, t) || (hold && (t == RS_XDS_LISTENER || t == RS_XDS_ROUTE)))
                continue;
            if (!s->kinds[t].awaiting) {
                if (answer_type(s, t, out))
                    return true;
            } else {
                /* Endpoints go on all the same: Envoy acknowledges clusters only once their endpoints have come. */
                hold = hold || t < RS_XDS_ROUTE;
            }
        }
    } while (release_retained(s));
    return false;
}

/* ---- looking ---- */

const char *rs_xds_session_node_id(const rs_xds_session *s)
{
    return s->node_id;
}

const json_t *rs_xds_session_node_metadata(const rs_xds_session *s)
{
    return s->metadata;
}

void rs_xds_session_state(const rs_xds_session *s, enum rs_xds_type t, struct rs_xds_state *ret)
{
    const struct kind *k = &s->kinds[t];
    *ret = (struct rs_xds_state){ .subscribed = k->subscribed, .names = HASH_COUNT(k->names), .rejected = k->rejected, .acks = k->acks, .nacks = k->nacks };
    memcpy(ret->sent, k->sent, sizeof ret->sent);
    memcpy(ret->acked, k->acked, sizeof ret->acked);
    memcpy(ret->error, k->error, sizeof ret->error);
}

bool rs_xds_session_settled(const rs_xds_session *s)
{
    if (!s->snapshot || s->retained)
        return false;
    for (enum rs_xds_type t = 0; t < RS_XDS_TYPES; t++)
        if (!moved(s, t))
            return false;
    return true;
}
