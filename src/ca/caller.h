/* Who calls: a Kubernetes ServiceAccount, proven by its token. Pure. */
#pragma once
#include "base/json.h"

struct rs_caller {
    char *namespace, *service_account;
    char *pod_name, *pod_uid;                    /* "" when the token is bound to no pod */
    char *cluster;
    int64_t expires_ms;                          /* of the token; 0 unknown */
};
void rs_caller_done(struct rs_caller *c);
void rs_caller_copy(struct rs_caller *to, const struct rs_caller *from);

/* Token of an `authorization: Bearer X` header; empty when there is none. */
rs_str rs_bearer_token(const char *authorization);
/* From an answered TokenReview: authenticated, one of the audiences, a ServiceAccount (facts istio-wire 3.1). RS_UNAUTHENTICATED. */
RS_MUST_USE int rs_caller_from_review(struct rs_caller *ret, const json_t *review, const char *const *audiences, size_t n_audiences,
                                      const char *cluster, struct rs_err *e);
/* From verified claims of a ServiceAccount token ("kubernetes.io": {namespace, serviceaccount, pod}). RS_UNAUTHENTICATED. */
RS_MUST_USE int rs_caller_from_claims(struct rs_caller *ret, const json_t *claims, const char *cluster, struct rs_err *e);
