/* Bringing an installation into the cluster and seeing that it serves. Sequential. */
#pragma once
#include "install/install.h"
#include "install/manifest.h"

/* Root of the serving CA (Secret istiod-serving-ca), made when it is absent. dry_run: a throw-away one instead. PEM, malloc'ed. */
RS_MUST_USE int rs_apply_serving_ca(rs_kube *k, bool dry_run, char **ret_root, struct rs_err *e);
RS_MUST_USE int rs_apply_cacerts(rs_kube *k, const struct rs_ca_input *in, struct rs_err *e);
/* CRDs (waits until they are served), the revision's objects, then what is shared and absent. dry_run: nothing is stored;
 * `say` tells what would be. */
RS_MUST_USE int rs_apply_crds(rs_kube *k, const json_t *crds, struct rs_err *e);
RS_MUST_USE int rs_apply_objects(rs_kube *k, const struct rs_manifest *m, struct rs_err *e);
RS_MUST_USE int rs_apply_dry(rs_kube *k, const struct rs_manifest *m, const struct rs_install *in, struct rs_err *e);

/* Waits until the Deployment of this content is available; RS_INTERNAL tells what its pods wait for. */
RS_MUST_USE int rs_wait_deployment(rs_kube *k, const char *namespace, const char *name, int64_t timeout_ms, struct rs_err *e);
/* Waits until a server-side dry run shows that the revision's webhooks inject and validate. */
RS_MUST_USE int rs_wait_webhooks(rs_kube *k, const char *revision, int64_t timeout_ms, struct rs_err *e);
