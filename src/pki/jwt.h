/* JSON Web Tokens (RFC 7515/7519) and key sets (RFC 7517): RS256/384 and ES256/384. The key decides the algorithm, never
 * the header alone; `none` and HMAC do not exist here. */
#pragma once
#include "base/json.h"
#include "pki/key.h"

/* Signs claims; header {alg, kid} with kid = base64url(SHA-256 of the DER public key). The caller frees. */
RS_MUST_USE int rs_jwt_sign(char **ret, EVP_PKEY *key, const json_t *claims, struct rs_err *e);
/* Key id as above. */
char *rs_jwk_id(EVP_PKEY *key);
/* {"keys":[{kty,use,alg,kid,...}]} of the public key. New reference. */
json_t *rs_jwks_of(EVP_PKEY *const *keys, size_t n);

typedef struct rs_jwks rs_jwks;                        /* parsed key set; owned by one thread */
RS_MUST_USE int rs_jwks_parse(rs_jwks **ret, const json_t *jwks, struct rs_err *e);
void rs_jwks_free(rs_jwks *k);
RS_DEFINE_AUTO(rs_jwks, rs_jwks_free)

struct rs_jwt_check {
    const char *issuer;                                /* NULL: any */
    const char *const *audiences; size_t n_audiences;  /* at least one must be in the token; 0: any */
    int64_t now_ms, skew_ms;
};
/* Verifies signature, exp, nbf, iss, aud. RS_UNAUTHENTICATED with the reason; RS_NOT_FOUND when the kid is unknown
 * (the caller may refresh its keys). *ret_claims is a new reference. */
RS_MUST_USE int rs_jwt_verify(json_t **ret_claims, rs_str token, const rs_jwks *keys, const struct rs_jwt_check *want, struct rs_err *e);
/* Claims without verification (for looking at one's own token's expiry). */
RS_MUST_USE int rs_jwt_peek(json_t **ret_claims, rs_str token, struct rs_err *e);
