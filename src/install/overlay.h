/* IstioOperator documents: what an installation is made of, merged in asmcli's order (facts C.2). Pure. */
#pragma once
#include "base/json.h"

enum rs_ca_kind { RS_CA_CITADEL, RS_CA_MESH_CA };        /* --ca citadel, --ca mesh_ca */
RS_MUST_USE int rs_ca_kind_parse(enum rs_ca_kind *ret, const char *text, struct rs_err *e);     /* case is ignored, as asmcli does */
const char *rs_ca_kind_text(enum rs_ca_kind ca);

struct rs_operator_inputs {
    const char *revision, *fleet;                        /* checked names */
    enum rs_ca_kind ca;
    const char *mesh_ca_address;                         /* "mesh-ca.mesh-ca.svc:443" */
    const char *mesh_ca_root;                            /* PEM; NULL: not known */
    const char *const *options; size_t n_options;        /* names of --option */
    const char *hub, *tag;                               /* NULL: as the base document says */
    /* --custom_overlay: file name and text, in order. */
    struct rs_overlay_text { const char *name, *text; } *custom; size_t n_custom;
};

/* Base, CA overlay, options, custom overlays and, for citadel, the CA overlay once more. RS_INVALID names the overlay. */
RS_MUST_USE int rs_operator_compile(json_t **ret, const struct rs_operator_inputs *in, struct rs_err *e);
/* One document over another: objects by member; trustDomainAliases as a union; k8s.env by name; other arrays are replaced;
 * null removes. New reference. */
json_t *rs_operator_merge(const json_t *base, const json_t *overlay);
/* Parts of a compiled operator that this installer doesn't act on, as one sentence each. New array of texts. */
json_t *rs_operator_warnings(const json_t *op);
/* Which CA signs for workloads of a compiled or installed operator (by proxyMetadata CA_PROVIDER). */
enum rs_ca_kind rs_operator_ca(const json_t *op);
/* Names of --option as one text ("ca-migration-citadel, ca-migration-meshca"), for messages. */
const char *rs_operator_options(void);
