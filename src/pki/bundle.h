/* Trust bundle: a set of roots keyed by SHA-256 of their DER. Immutable once built, reference-counted, shared between
 * threads; a migration publishes a new one instead of editing the old. Duplicates vanish; order is by digest. */
#pragma once
#include "pki/cert.h"

typedef struct rs_bundle rs_bundle;
enum { RS_BUNDLE_MAX_ROOTS = 64 };

/* Every certificate of the PEM text. RS_INVALID on none, a damaged block or a certificate that is no CA;
 * RS_EXHAUSTED past RS_BUNDLE_MAX_ROOTS. *ret is untouched on failure. */
RS_MUST_USE int rs_bundle_parse(rs_bundle **ret, rs_str pem, struct rs_err *e);
rs_bundle *rs_bundle_empty(void);
rs_bundle *rs_bundle_of(rs_cert *root);
/* New sets; inputs stay. union aborts never: past the maximum it fails RS_EXHAUSTED. */
RS_MUST_USE int rs_bundle_union(rs_bundle **ret, const rs_bundle *a, const rs_bundle *b, struct rs_err *e);
rs_bundle *rs_bundle_without(const rs_bundle *a, const rs_digest *roots, size_t n);

bool rs_bundle_has(const rs_bundle *b, const rs_digest *root);
bool rs_bundle_covers(const rs_bundle *b, const rs_bundle *part);       /* every root of part is in b */
bool rs_bundle_eq(const rs_bundle *a, const rs_bundle *b);
size_t rs_bundle_count(const rs_bundle *b);
rs_cert *rs_bundle_root(const rs_bundle *b, size_t i);                  /* borrowed */
const char *rs_bundle_pem(const rs_bundle *b);                          /* all roots, deterministic; borrowed */

rs_bundle *rs_bundle_ref(rs_bundle *b);
void rs_bundle_unref(rs_bundle *b);                                     /* NULL is a no-op */
RS_DEFINE_AUTO(rs_bundle, rs_bundle_unref)
