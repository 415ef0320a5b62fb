/* The bundle record of a revision and its next state: sources, what is recorded and what the gate says in, record out. Pure. */
#pragma once
#include "base/json.h"
#include "pki/bundle.h"

/* As recorded in ConfigMap istio-trust-bundle-REV. */
struct rs_trust_state {
    rs_bundle *roots;
    json_t *sources;               /* digest -> names of the sources it had last; RS_SOURCE_RECORDS once a leaf under it was recorded */
    json_t *retired;               /* [{sha256, at, reason}] */
    json_t *kept;                  /* digest -> why a root without a source is still there */
    int64_t read_ms;               /* when a replica last read the Secrets; a replica that read them before reads them again */
};
void rs_trust_state_done(struct rs_trust_state *s);
bool rs_trust_state_eq(const struct rs_trust_state *a, const struct rs_trust_state *b);
/* From the ConfigMap; RS_INVALID names the broken key. */
RS_MUST_USE int rs_trust_state_read(struct rs_trust_state *ret, const json_t *configmap, struct rs_err *e);
/* Object `data` of the ConfigMap. New reference. */
json_t *rs_trust_state_data(const struct rs_trust_state *s);

#define RS_SOURCE_OWN_CA "istio-ca"            /* this revision signs under it */
#define RS_SOURCE_MESH_CONFIG "mesh-config"    /* caCertificates */
#define RS_SOURCE_RECORDS "issuance-records"
/* The Secrets are called by their names: "cacerts", "istio-ca-secret". */

struct rs_trust_source {
    const char *name;
    const rs_bundle *roots;        /* NULL with failed: nothing that came from it is retired */
    bool failed;
};
/* A source without a name: roots of a CA that another replica of the revision runs. They are left as they are recorded. */

/* Asked about a root without a source. Open: true. Shut: *ret_why is malloc'ed. */
typedef bool (*rs_trust_gate)(void *ctx, const rs_digest *root, const json_t *sources_of_it, char **ret_why);
/* Whether a leaf under the root was ever recorded (still to be seen). */
typedef bool (*rs_trust_recorded)(void *ctx, const rs_digest *root);

/* now NULL: nothing is recorded yet. Fails only past the greatest number of roots. */
RS_MUST_USE int rs_trust_next(struct rs_trust_state *ret, const struct rs_trust_state *now, const struct rs_trust_source *sources, size_t n_sources,
                              int64_t read_ms, rs_trust_gate gate, rs_trust_recorded recorded, void *ctx, int64_t now_ms, struct rs_err *e);
/* caCertificates[].pem of a MeshConfig as one bundle (empty when there are none). RS_INVALID on any that is broken. */
RS_MUST_USE int rs_trust_mesh_roots(rs_bundle **ret, const json_t *mesh_config, struct rs_err *e);
