/* ServiceAccount tokens: RS256 JWTs bound to a ServiceAccount and, when asked, to a pod. */
#pragma once
#include "cluster/store.h"
#include "pki/jwt.h"

typedef struct rs_tokens rs_tokens;
/* Borrows store. key gives the signing key (borrowed) when it is first needed: a fresh one may still be in the making. */
rs_tokens *rs_tokens_new(int (*key)(void *ctx, EVP_PKEY **ret, struct rs_err *e), void *ctx, const char *issuer, rs_store *store);
void rs_tokens_free(rs_tokens *t);
const char *rs_tokens_issuer(const rs_tokens *t);
RS_MUST_USE int rs_tokens_jwks(json_t **ret, rs_tokens *t, struct rs_err *e);

/* A token for a ServiceAccount document; pod may be NULL; audiences NULL or empty: the API's own. */
RS_MUST_USE int rs_tokens_issue(char **ret, rs_tokens *t, const json_t *account, const json_t *pod, const json_t *audiences,
                                int64_t now_ms, int64_t ttl_ms, struct rs_err *e);

/* What a token proves. Reads claims and checks that ServiceAccount and pod still are the ones it was made for.
 * audiences NULL: the API's own. *ret_audiences: those of the token that were asked for (new reference). RS_UNAUTHENTICATED. */
struct rs_token_subject { char *namespace, *account, *account_uid, *pod, *pod_uid; };
RS_MUST_USE int rs_tokens_check(struct rs_token_subject *ret, json_t **ret_audiences, rs_tokens *t, rs_str token,
                                const json_t *audiences, int64_t now_ms, struct rs_err *e);
void rs_token_subject_done(struct rs_token_subject *s);
