/* ServiceAccount tokens: RS256 JWTs bound to a ServiceAccount and, when asked, to a pod. */
#pragma once
#include "cluster/store.h"
#include "pki/jwt.h"

typedef struct rs_tokens rs_tokens;
/* Borrows store; key is the signing key (its own reference is taken). */
RS_MUST_USE int rs_tokens_new(rs_tokens **ret, EVP_PKEY *key, const char *issuer, rs_store *store, struct rs_err *e);
void rs_tokens_free(rs_tokens *t);
const char *rs_tokens_issuer(const rs_tokens *t);
json_t *rs_tokens_jwks(const rs_tokens *t);

/* A token for a ServiceAccount document; pod may be NULL; audiences NULL or empty: the API's own. */
RS_MUST_USE int rs_tokens_issue(char **ret, const rs_tokens *t, const json_t *account, const json_t *pod, const json_t *audiences,
                                int64_t now_ms, int64_t ttl_ms, struct rs_err *e);

/* What a token proves. Reads claims and checks that ServiceAccount and pod still are the ones it was made for.
 * audiences NULL: the API's own. *ret_audiences: those of the token that were asked for (new reference). RS_UNAUTHENTICATED. */
struct rs_token_subject { char *namespace, *account, *account_uid, *pod, *pod_uid; };
RS_MUST_USE int rs_tokens_check(struct rs_token_subject *ret, json_t **ret_audiences, const rs_tokens *t, rs_str token,
                                const json_t *audiences, int64_t now_ms, struct rs_err *e);
void rs_token_subject_done(struct rs_token_subject *s);
