#include "ca/callers.h"

#include <uthash.h>
#include <utlist.h>

#include "base/time.h"
#include "pki/digest.h"
#include "pki/jwt.h"

enum { KEEP_MS = 60 * 1000, KEEP_MAX = 20000, REFETCH_MS = 5000, SKEW_MS = 60 * 1000, TOKEN_MAX = 16 * 1024, AUDIENCES_MAX = 16 };

struct known { rs_digest token; struct rs_caller caller; int64_t until_ms; UT_hash_handle hh; };     /* an answered review */

struct cluster {
    char *name, *issuer;
    rs_jwks *keys;                 /* NULL: not fetched yet */
    rs_kube *kube;                 /* NULL: keys are given and never change */
    rs_kube_call *fetch;
    int64_t fetched_mono_ms;
    struct cluster *next;
    rs_callers *owner;
};

struct rs_callers_call {
    rs_callers *owner;
    rs_digest token;
    rs_secret *text;               /* while keys are fetched */
    struct cluster *cluster;
    rs_kube_call *review;
    void (*done)(void *ctx, const struct rs_caller *caller, const struct rs_err *why);
    void *ctx;
    rs_callers_call *prev, *next;
};

struct rs_callers {
    rs_kube *kube;                 /* by review */
    char *cluster;
    char *audiences[AUDIENCES_MAX];
    size_t n_audiences;
    struct known *known;
    struct cluster *clusters;
    rs_callers_call *calls;
};

static rs_callers *callers_new(const char *const *audiences)
{
    rs_callers *a = rs_new(rs_callers);
    for (; *audiences && a->n_audiences < AUDIENCES_MAX; audiences++)
        a->audiences[a->n_audiences++] = rs_strdup(*audiences);
    return a;
}

rs_callers *rs_callers_by_review(rs_kube *k, const char *const *audiences, const char *cluster)
{
    rs_callers *a = callers_new(audiences);
    a->kube = k;
    a->cluster = rs_strdup(cluster);
    return a;
}

rs_callers *rs_callers_by_keys(rs_loop *loop, const char *const *audiences)
{
    return callers_new(audiences);
}

static void forget(rs_callers *a, struct known *k)
{
    HASH_DEL(a->known, k);
    rs_caller_done(&k->caller);
    free(k);
}

/* Takes the call off and frees it; the answer goes out last, because it may free the authenticator. */
static void finish(rs_callers_call *call, const struct rs_caller *caller, const struct rs_err *why)
{
    void (*done)(void *, const struct rs_caller *, const struct rs_err *) = call->done;
    void *ctx = call->ctx;
    DL_DELETE(call->owner->calls, call);
    rs_secret_free(call->text);
    free(call);
    done(ctx, caller, why);
}

void rs_callers_cancel(rs_callers_call *call)
{
    if (!call)
        return;
    if (call->review)
        rs_kube_cancel(call->review);
    DL_DELETE(call->owner->calls, call);
    rs_secret_free(call->text);
    free(call);
}

void rs_callers_free(rs_callers *a)
{
    if (!a)
        return;
    struct rs_err cancelled;
    RS_FAIL(&cancelled, RS_CANCELLED, "the authenticator was closed");
    while (a->calls) {
        if (a->calls->review)
            rs_kube_cancel(a->calls->review);
        finish(a->calls, NULL, &cancelled);
    }
    struct known *k, *tmp;
    HASH_ITER(hh, a->known, k, tmp)
        forget(a, k);
    struct cluster *c, *next;
    LL_FOREACH_SAFE(a->clusters, c, next) {
        if (c->fetch)
            rs_kube_cancel(c->fetch);
        rs_jwks_free(c->keys);
        free(c->name);
        free(c->issuer);
        free(c);
    }
    for (size_t i = 0; i < a->n_audiences; i++)
        free(a->audiences[i]);
    free(a->cluster);
    free(a);
}

/* ---- by review ---- */

static void remember(rs_callers *a, const rs_digest *token, const struct rs_caller *caller)
{
    struct known *k = NULL;
    HASH_FIND(hh, a->known, token, sizeof(*token), k);
    if (k)
        forget(a, k);
    if (HASH_COUNT(a->known) >= KEEP_MAX)
        forget(a, a->known);                   /* the oldest: uthash keeps insertion order */
    k = rs_new(struct known);
    k->token = *token;
    rs_caller_copy(&k->caller, caller);
    k->until_ms = rs_now_ms() + KEEP_MS;
    if (caller->expires_ms && caller->expires_ms < k->until_ms)
        k->until_ms = caller->expires_ms;
    HASH_ADD(hh, a->known, token, sizeof(k->token), k);
}

static void on_review(void *ctx, json_t *answer, const struct rs_err *why)
{
    rs_callers_call *call = ctx;
    rs_callers *a = call->owner;
    struct rs_caller caller = { 0 };
    struct rs_err e;
    call->review = NULL;
    if (why) {
        RS_FAIL(&e, RS_UNAVAILABLE, "the caller can't be checked now: %s", why->msg);
        finish(call, NULL, &e);
        return;
    }
    if (rs_caller_from_review(&caller, answer, (const char *const *)a->audiences, a->n_audiences, a->cluster, &e) < 0) {
        finish(call, NULL, &e);
        return;
    }
    RS_AUTO(json_t) *claims = NULL;            /* the cluster has verified them: only their expiry is of interest */
    if (rs_jwt_peek(&claims, (rs_str){ call->text->p, call->text->n }, &e) == 0)
        caller.expires_ms = (int64_t)json_number_value(json_object_get(claims, "exp")) * 1000;
    remember(a, &call->token, &caller);
    finish(call, &caller, NULL);
    rs_caller_done(&caller);
}

static void start_review(rs_callers_call *call)
{
    rs_callers *a = call->owner;
    json_t *audiences = json_array();
    for (size_t i = 0; i < a->n_audiences; i++)
        json_array_append_new(audiences, json_string(a->audiences[i]));
    RS_AUTO(json_t) *review = rs_json_pack("{s:s, s:s, s:{s:s, s:o}}", "apiVersion", "authentication.k8s.io/v1", "kind", "TokenReview",
                                           "spec", "token", call->text->p, "audiences", audiences);
    call->review = rs_kube_start(a->kube, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", NULL, review, on_review, call);
}

/* ---- by keys ---- */

static int verify(rs_callers *a, const struct cluster *c, rs_str token, struct rs_caller *ret, struct rs_err *e)
{
    const struct rs_jwt_check want = {
        .issuer = c->issuer, .audiences = (const char *const *)a->audiences, .n_audiences = a->n_audiences,
        .now_ms = rs_now_ms(), .skew_ms = SKEW_MS,
    };
    RS_AUTO(json_t) *claims = NULL;
    if (!c->keys || !c->issuer)
        return RS_FAIL(e, RS_NOT_FOUND, "the keys of cluster %s are not known yet", c->name);
    if (rs_jwt_verify(&claims, token, c->keys, &want, e) < 0)
        return -1;
    return rs_caller_from_claims(ret, claims, c->name, e);
}

/* Every call that waits for this cluster's keys; key still unknown means not accepted, no keys at all means not now. */
static void answer_waiting(struct cluster *c)
{
    rs_callers_call *call, *tmp;
    DL_FOREACH_SAFE(c->owner->calls, call, tmp) {
        if (call->cluster != c)
            continue;
        struct rs_caller caller = { 0 };
        struct rs_err e;
        int r = verify(c->owner, c, (rs_str){ call->text->p, call->text->n }, &caller, &e);
        if (r < 0)
            e.code = c->keys && c->issuer ? RS_UNAUTHENTICATED : RS_UNAVAILABLE;
        finish(call, r < 0 ? NULL : &caller, r < 0 ? &e : NULL);
        rs_caller_done(&caller);
    }
}

static void on_keys(void *ctx, json_t *answer, const struct rs_err *why)
{
    struct cluster *c = ctx;
    struct rs_err e;
    rs_jwks *keys = NULL;
    c->fetch = NULL;
    /* A failed or broken answer changes nothing: the keys we have stay. */
    if (!why && rs_jwks_parse(&keys, answer, &e) == 0) {
        rs_jwks_free(c->keys);
        c->keys = keys;
    }
    answer_waiting(c);
}

static void on_issuer(void *ctx, json_t *answer, const struct rs_err *why)
{
    struct cluster *c = ctx;
    const char *issuer = why ? NULL : rs_json_str(answer, "issuer");
    c->fetch = NULL;
    if (!issuer) {
        answer_waiting(c);
        return;
    }
    c->issuer = rs_strdup(issuer);
    c->fetch = rs_kube_start(c->kube, "GET", "/openid/v1/jwks", NULL, NULL, on_keys, c);
}

static void fetch(struct cluster *c)
{
    c->fetched_mono_ms = rs_mono_ms();
    if (c->issuer)
        c->fetch = rs_kube_start(c->kube, "GET", "/openid/v1/jwks", NULL, NULL, on_keys, c);
    else
        c->fetch = rs_kube_start(c->kube, "GET", "/.well-known/openid-configuration", NULL, NULL, on_issuer, c);
}

int rs_callers_add_cluster(rs_callers *a, const char *cluster, const char *issuer, const json_t *jwks, rs_kube *k, struct rs_err *e)
{
    rs_jwks *keys = NULL;
    if (!jwks == !k || (jwks && !issuer))
        return RS_FAIL(e, RS_INVALID, "cluster %s: needs its issuer with its keys, or an API server to ask", cluster);
    if (jwks && rs_jwks_parse(&keys, jwks, e) < 0)
        return rs_err_wrap(e, "cluster %s", cluster);
    struct cluster *c = rs_new(struct cluster);
    *c = (struct cluster){ .name = rs_strdup(cluster), .issuer = rs_strdup(issuer), .keys = keys, .kube = k, .owner = a };
    LL_APPEND(a->clusters, c);
    if (k)
        fetch(c);
    return 0;
}

/* The cluster that wrote the token says so itself (iss, unverified): it only chooses whose keys must prove it. */
static struct cluster *cluster_of(rs_callers *a, rs_str token)
{
    RS_AUTO(json_t) *claims = NULL;
    struct rs_err e;
    struct cluster *c, *unfetched = NULL;
    if (rs_jwt_peek(&claims, token, &e) < 0)
        return NULL;
    LL_FOREACH(a->clusters, c) {
        if (c->issuer && rs_streq(c->issuer, rs_json_str(claims, "iss")))
            return c;
        if (!c->issuer && !unfetched)
            unfetched = c;
    }
    return unfetched;
}

/* True when the answer has to wait for keys. */
static bool check_keys(rs_callers *a, rs_str token, struct cluster **ret_cluster, struct rs_caller *caller, struct rs_err *e)
{
    struct cluster *c = cluster_of(a, token);
    if (!c) {
        RS_FAIL(e, RS_UNAUTHENTICATED, "the token comes from no cluster of the pool");
        return false;
    }
    if (verify(a, c, token, caller, e) == 0 || e->code != RS_NOT_FOUND)
        return false;
    bool may_fetch = c->kube && (c->fetch || rs_mono_ms() - c->fetched_mono_ms >= REFETCH_MS);
    if (!may_fetch) {
        e->code = c->keys ? RS_UNAUTHENTICATED : RS_UNAVAILABLE;
        return false;
    }
    if (!c->fetch)
        fetch(c);
    *ret_cluster = c;
    return true;
}

static rs_callers_call *wait(rs_callers *a, rs_str token, struct cluster *c,
                           void (*done)(void *ctx, const struct rs_caller *caller, const struct rs_err *why), void *ctx)
{
    rs_callers_call *call = rs_new(rs_callers_call);
    *call = (rs_callers_call){ .owner = a, .cluster = c, .done = done, .ctx = ctx, .text = rs_secret_new(token.p, token.n), .token = rs_sha256(token.p, token.n) };
    DL_APPEND(a->calls, call);
    return call;
}

rs_callers_call *rs_callers_check(rs_callers *a, rs_str token, void (*done)(void *ctx, const struct rs_caller *caller, const struct rs_err *why), void *ctx)
{
    struct rs_err e;
    if (token.n == 0 || token.n > TOKEN_MAX) {
        RS_FAIL(&e, RS_UNAUTHENTICATED, token.n ? "the token is too long" : "there is no bearer token");
        done(ctx, NULL, &e);
        return NULL;
    }
    if (a->kube) {
        rs_digest id = rs_sha256(token.p, token.n);
        struct known *k = NULL;
        HASH_FIND(hh, a->known, &id, sizeof(id), k);
        if (k && k->until_ms > rs_now_ms()) {
            struct rs_caller caller;           /* a copy: the callback may let the entry be replaced */
            rs_caller_copy(&caller, &k->caller);
            done(ctx, &caller, NULL);
            rs_caller_done(&caller);
            return NULL;
        }
        rs_callers_call *call = wait(a, token, NULL, done, ctx);
        start_review(call);
        return call;
    }
    struct rs_caller caller = { 0 };
    struct cluster *c = NULL;
    if (check_keys(a, token, &c, &caller, &e))
        return wait(a, token, c, done, ctx);
    done(ctx, caller.namespace ? &caller : NULL, caller.namespace ? NULL : &e);
    rs_caller_done(&caller);
    return NULL;
}
