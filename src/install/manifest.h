/* A compiled operator as Kubernetes objects. Pure. */
#pragma once
#include "base/json.h"

struct rs_manifest {
    json_t *crds;                                        /* CustomResourceDefinitions, applied first */
    json_t *shared;                                      /* made when absent only: Service istiod, default validator */
    json_t *revision;                                    /* everything of the revision, in the order to apply; Namespace istio-system first */
};
/* serving_root: PEM of the serving CA (what webhooks are verified by). RS_INVALID names what the operator says wrongly. */
RS_MUST_USE int rs_manifest_build(struct rs_manifest *ret, const json_t *op, const char *serving_root, struct rs_err *e);
void rs_manifest_done(struct rs_manifest *m);

/* The MeshConfig that a revision gets: the operator's with defaults filled in. New reference. */
json_t *rs_manifest_mesh_config(const json_t *op);
/* Values as the injector reads them: global, revision. New reference. */
json_t *rs_manifest_values(const json_t *op);
/* Service `istiod` that points at this revision (asm/istio/istiod-service.yaml). New reference. */
json_t *rs_manifest_istiod_service(const char *revision);
/* Documents as one YAML stream. malloc'ed. */
char *rs_yaml_stream(const json_t *objects);
