/* Where Istio CA's key comes from: Secret `cacerts` (plugged in; wins) or `istio-ca-secret` (self-signed), facts istio-wire 3.4, 3.5. */
#pragma once
#include "kube/client.h"
#include "pki/bundle.h"

struct rs_ca_material {
    char *secret;                                /* name of the Secret it is from */
    rs_secret *key;
    char *ca_cert, *cert_chain, *root_cert;      /* PEM; cert_chain may be "" */
    bool minted;                                 /* made just now */
};
void rs_ca_material_done(struct rs_ca_material *m);

/* From a Secret: ca-cert.pem, ca-key.pem, root-cert.pem, cert-chain.pem, or tls.crt, tls.key, ca.crt. A self-signed Secret may
 * lack root-cert.pem (the certificate is its own root). RS_INVALID names the missing key: half a Secret is never taken for none. Pure. */
RS_MUST_USE int rs_ca_material_read(struct rs_ca_material *ret, const json_t *secret, struct rs_err *e);
/* Roots alone (for a control plane whose CA is off); the key is not needed. Pure. */
RS_MUST_USE int rs_ca_roots_read(rs_bundle **ret, const json_t *secret, struct rs_err *e);

struct rs_istio_ca_config {
    const char *namespace;                       /* "istio-system" */
    const char *organization;                    /* of a root made here: the trust domain */
};
/* Reads the Secrets, in this order: cacerts, istio-ca-secret. When there is neither, makes a self-signed root (RSA 2048, ten years) and
 * creates istio-ca-secret, unless a migration is on record (ConfigMap rootshift-migration) or any revision has recorded a bundle
 * (ConfigMap with label rootshift.dev/trust-bundle): then RS_PRECONDITION, because a new root would split the mesh. Sequential: not from callbacks. */
RS_MUST_USE int rs_istio_ca_load(struct rs_ca_material *ret, rs_kube *k, const struct rs_istio_ca_config *config, int64_t now_ms, struct rs_err *e);
/* Roots of whichever Secret is there; *ret NULL when there is none (two clear 404s). *ret_secret (static text) names it. Sequential. */
RS_MUST_USE int rs_istio_ca_roots(rs_bundle **ret, const char **ret_secret, rs_kube *k, const char *namespace, struct rs_err *e);
