/* Writes ConfigMap istio-ca-root-cert (root-cert.pem) into every namespace: serving root ∪ roots of all istio-trust-bundle*
 * records. A function of cluster objects, written by the holder of Lease istio-namespace-controller-election across all
 * revisions, so that a change of leader changes nothing. A record that can't be read stops writing until it can. Loop thread only. */
#pragma once
#include "control/leader.h"
#include "pki/bundle.h"

typedef struct rs_root_cert rs_root_cert;

rs_root_cert *rs_root_cert_new(rs_kube *k, const char *namespace, const char *identity, rs_bundle *serving_root);
void rs_root_cert_set_serving(rs_root_cert *r, rs_bundle *serving_root);
/* Gives leadership back before the process ends. */
void rs_root_cert_release(rs_root_cert *r, void (*done)(void *ctx), void *ctx);
void rs_root_cert_free(rs_root_cert *r);                 /* NULL is a no-op */
/* Content from the serving root and the records (array of ConfigMaps). RS_INVALID names the record. Pure. */
RS_MUST_USE int rs_root_cert_content(rs_bundle **ret, const rs_bundle *serving_root, const json_t *records, struct rs_err *e);
/* Kubernetes' own namespaces get none. Pure. */
bool rs_root_cert_wanted(const char *namespace);
