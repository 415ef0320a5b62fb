/* Who may drop a root in a proxy: nobody, unless the distributed bundle names it as retired (design rule 4). Keeps the union
 * of the CA's root (last element of its answer) and of the distributed bundle. Pure; one owner. */
#pragma once
#include "base/json.h"
#include "pki/bundle.h"

typedef struct rs_roots rs_roots;

rs_roots *rs_roots_new(void);
void rs_roots_free(rs_roots *r);                         /* NULL is a no-op */
RS_DEFINE_AUTO(rs_roots, rs_roots_free)

/* Roots that came with a certificate. Only ever adds; a retired root does not come back this way unless it is the issuer's
 * own (the CA still signs under it). Returns true when the set changed. RS_INVALID keeps everything. */
RS_MUST_USE int rs_roots_from_ca(rs_roots *r, rs_str pem, bool *ret_changed, struct rs_err *e);

/* A distributed bundle: PEM texts of all entries joined, and the digests that it names as retired ("sha,sha" in hex, may be
 * empty). Adds what is new; drops exactly what is named and no longer in pem. Whatever else is missing from pem stays and is
 * counted as a refused shrinking. An empty or garbled bundle changes nothing and fails RS_INVALID. */
RS_MUST_USE int rs_roots_from_bundle(rs_roots *r, rs_str pem, const char *retired, bool *ret_changed, struct rs_err *e);

const rs_bundle *rs_roots_bundle(const rs_roots *r);     /* borrowed until the next change */
/* For GET /trust: {roots: [sha256...], refusedShrinkings, lastRefusal, bundlesSeen, retired: [...]}. New reference. */
json_t *rs_roots_status(const rs_roots *r);
