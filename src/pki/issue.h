/* Making certificates. Pure but for randomness; times come in. */
#pragma once
#include "pki/cert.h"

/* A CA that signs: certificate, key, the chain above it (intermediates, without the root) and the root bundle text. */
struct rs_issuer { rs_cert *cert; EVP_PKEY *key; };

enum { RS_LEAF_BACKDATE_MS = 120 * 1000 };

/* sans is NULL-terminated. Leaf as istiod's (facts istio-wire 3.3): 128-bit serial, notBefore = now - 2 min, notAfter = now + ttl but never past the issuer's,
 * empty subject, critical SAN; every item of sans: "spiffe://..." URI, IP literal, else DNS name. */
RS_MUST_USE int rs_issue_leaf(rs_cert **ret, const struct rs_issuer *by, EVP_PKEY *subject_key, const char *const *sans,
                              int64_t now_ms, int64_t ttl_ms, struct rs_err *e);
/* Self-signed root: subject O=organization [CN=common_name]; CA:TRUE, keyCertSign + cRLSign, SKI. */
RS_MUST_USE int rs_issue_root(rs_cert **ret, EVP_PKEY *key, const char *organization, const char *common_name,
                              int64_t now_ms, int64_t ttl_ms, struct rs_err *e);
/* Intermediate CA under by; path_length < 0: none. */
RS_MUST_USE int rs_issue_intermediate(rs_cert **ret, const struct rs_issuer *by, EVP_PKEY *subject_key, const char *organization,
                                      const char *common_name, int path_length, int64_t now_ms, int64_t ttl_ms, struct rs_err *e);
