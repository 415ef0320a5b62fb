/* What a revision distributes (ARCHITECTURE 7): gathers roots from its sources, records the bundle in ConfigMap
 * istio-trust-bundle-REV before anybody gets it, and retires a root only by an explicit, recorded act once no leaf under it
 * is alive. Loop thread only. */
#pragma once
#include "kube/client.h"
#include "pki/bundle.h"

typedef struct rs_trust rs_trust;

struct rs_trust_config {
    const char *namespace, *revision;                    /* "istio-system"; "default" or "": no suffix */
    const rs_bundle *own_roots;                          /* of the CA that signs here; NULL when its CA is off or could not start */
    bool ca_enabled;                                     /* true with own_roots NULL: its source failed, so nothing of it is ever retired */
    bool multi_root;                                     /* ISTIO_MULTIROOT_MESH: caCertificates of the mesh config count */
    const json_t *owner;                                 /* Deployment istiod-REV for the ownerReference; NULL: none */
};
struct rs_trust_ops {
    /* The recorded bundle changed (also the first time). retired: SHA-256 texts of roots that agents may drop, NULL-terminated. */
    void (*on_change)(void *ctx, rs_bundle *bundle, const char *const *retired);
    /* Something a person should see: reason "RootKept", "RootRetired", "SourceFailed", and a sentence. May be NULL. */
    void (*on_event)(void *ctx, const char *reason, const char *message);
};
/* Reads record and Secrets (sequential: not from callbacks). Fails only when they can't be read at all. */
RS_MUST_USE int rs_trust_new(rs_trust **ret, rs_kube *k, const struct rs_trust_config *config, const json_t *mesh_config,
                             const struct rs_trust_ops *ops, void *ctx, struct rs_err *e);
void rs_trust_free(rs_trust *t);                         /* NULL is a no-op */
/* The mesh config changed: its caCertificates are read again. A list that can't be read changes nothing. */
void rs_trust_set_mesh(rs_trust *t, const json_t *mesh_config);
rs_bundle *rs_trust_bundle(const rs_trust *t);           /* recorded and distributed; NULL before the first record; borrowed */
const char *const *rs_trust_retired(const rs_trust *t);  /* never NULL; borrowed */
/* Why roots without a source are still there: one line each, NULL-terminated; borrowed. Empty: none. */
const char *const *rs_trust_kept(const rs_trust *t);
