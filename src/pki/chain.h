/* Verification of a real chain against a real bundle, as Envoy (BoringSSL) does it: any certificate of the bundle is an
 * anchor (partial chains), times at `now`, CA bits, path lengths, key usage, name constraints. */
#pragma once
#include "pki/bundle.h"

/* chain[0] is the leaf, the rest its intermediates in any order; a root of the bundle among them is named as the anchor
 * rather than its twin (same subject and key). On success *ret_root is a new reference to the anchor
 * reached (may be passed NULL). RS_PRECONDITION with OpenSSL's reason when it does not verify. */
RS_MUST_USE int rs_chain_verify(const rs_certs *chain, const rs_bundle *roots, int64_t now_ms, rs_cert **ret_root, struct rs_err *e);
/* The same with what TLS demands of the side: extended key usage for servers (as_server) or clients along the path. */
RS_MUST_USE int rs_chain_verify_for(const rs_certs *chain, const rs_bundle *roots, int64_t now_ms, bool as_server, rs_cert **ret_root, struct rs_err *e);

/* What `rootshift install` checks before anything is touched (facts C.3, with its gaps closed): parses, key match, CA bit
 * and keyCertSign, order, chain verifies to root, validity (not expired, at least min_life_ms left), SHA-1.
 * The error (always RS_INVALID) names file, certificate and reason. The texts given are canonical: they do not depend on the
 * files' wrapping, and the key is PKCS#8. */
struct rs_ca_files { const char *ca_cert, *ca_key, *root_cert, *cert_chain; };   /* paths */
struct rs_ca_input { rs_secret *key; char *ca_cert, *root_cert, *cert_chain; };  /* PEM texts */
RS_MUST_USE int rs_ca_input_load(struct rs_ca_input *ret, const struct rs_ca_files *files, int64_t now_ms, int64_t min_life_ms, struct rs_err *e);
void rs_ca_input_done(struct rs_ca_input *in);
