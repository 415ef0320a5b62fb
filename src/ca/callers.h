/* Proving callers. Two kinds: by asking the cluster (TokenReview, the answer kept for at most a minute, so that the token of a
 * deleted pod does not live on here), or by the signing keys of the clusters of a pool (one issuer per cluster; a key
 * that is unknown makes us fetch the cluster's keys again, at most every 5 s). Loop thread only. */
#pragma once
#include "ca/caller.h"
#include "kube/client.h"

typedef struct rs_callers rs_callers;
typedef struct rs_callers_call rs_callers_call;

/* audiences is NULL-terminated and copied. */
rs_callers *rs_callers_by_review(rs_kube *k, const char *const *audiences, const char *cluster);
rs_callers *rs_callers_by_keys(rs_loop *loop, const char *const *audiences);
/* A cluster whose keys are given (jwks) or fetched from its API server (k: /openid/v1/jwks; issuer NULL: asked there too). */
RS_MUST_USE int rs_callers_add_cluster(rs_callers *a, const char *cluster, const char *issuer, const json_t *jwks, rs_kube *k, struct rs_err *e);
void rs_callers_free(rs_callers *a);                 /* running checks end with RS_CANCELLED */

/* done exactly once, now or later: caller (borrowed) or why. RS_UNAUTHENTICATED: not accepted; RS_UNAVAILABLE: can't be
 * known now. The handle is for cancel and is NULL when done was called already. */
rs_callers_call *rs_callers_check(rs_callers *a, rs_str token, void (*done)(void *ctx, const struct rs_caller *caller, const struct rs_err *why), void *ctx);
void rs_callers_cancel(rs_callers_call *call);       /* no callback follows; NULL is a no-op */
