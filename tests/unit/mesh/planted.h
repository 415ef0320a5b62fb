/* Proxies planted for tests: real certificates, and config_dumps in Envoy's own form. */
#pragma once
#include "base/time.h"
#include "kube/object.h"
#include "mesh/proxy.h"
#include "pki/issue.h"

struct planted_ca { EVP_PKEY *key; rs_cert *cert; };

static inline struct planted_ca planted_root(EVP_PKEY *key, const char *organization)
{
    struct planted_ca ca = { 0 };
    struct rs_err e;
    if (key)
        EVP_PKEY_up_ref(key), ca.key = key;
    else
        rs_assert(rs_key_generate(&ca.key, RS_KEY_P256, &e) == 0);
    rs_assert(rs_issue_root(&ca.cert, ca.key, organization, NULL, rs_now_ms(), 86400000, &e) == 0);
    return ca;
}

static inline void planted_root_done(struct planted_ca *ca)
{
    EVP_PKEY_free(ca->key);
    rs_cert_unref(ca->cert);
}

static inline char *planted_leaf(const struct planted_ca *by, const char *uri)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = NULL;
    RS_AUTO(rs_cert) *leaf = NULL;
    const char *const sans[] = { uri, NULL };
    struct rs_issuer issuer = { by->cert, by->key };
    rs_assert(rs_key_generate(&key, RS_KEY_P256, &e) == 0);
    rs_assert(rs_issue_leaf(&leaf, &issuer, key, sans, rs_now_ms(), 3600000, &e) == 0);
    return rs_strdup(rs_cert_pem(leaf));
}

/* config_dump of a proxy that trusts `roots` (PEM) and presents `chain` (PEM); either may be NULL. */
static inline char *planted_dump(const char *roots, const char *chain, bool warming)
{
    json_t *active = json_array(), *waiting = json_array();
    if (roots) {
        RS_AUTO(rs_chars) *b = rs_base64(roots, strlen(roots));
        json_array_append_new(active, rs_json_pack("{s:s, s:{s:s, s:{s:{s:s}}}}", "name", "ROOTCA", "secret", "name", "ROOTCA",
                                                   "validation_context", "trusted_ca", "inline_bytes", b));
    }
    if (chain) {
        RS_AUTO(rs_chars) *b = rs_base64(chain, strlen(chain));
        json_array_insert_new(active, 0, rs_json_pack("{s:s, s:{s:s, s:{s:{s:s}}}}", "name", "default", "secret", "name", "default",
                                                      "tls_certificate", "certificate_chain", "inline_bytes", b));
    }
    if (warming)
        json_array_append_new(waiting, rs_json_pack("{s:s, s:{s:s}}", "name", "ROOTCA", "secret", "name", "ROOTCA"));
    RS_AUTO(json_t) *dump = rs_json_pack("{s:[{s:s, s:o, s:o}]}", "configs", "@type", "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
                                         "dynamic_active_secrets", active, "dynamic_warming_secrets", waiting);
    return rs_json_text(dump);
}

static inline struct rs_proxy *planted_proxy(const char *namespace, const char *name, const char *revision)
{
    RS_AUTO(rs_chars) *status = rs_printf("{\"revision\":\"%s\"}", revision);
    RS_AUTO(json_t) *pod = rs_json_pack("{s:{s:s, s:s, s:s, s:{s:s}}, s:{s:[{s:s}, {s:s}]}, s:{s:s}}", "metadata", "name", name, "namespace", namespace,
                                        "uid", name, "annotations", "sidecar.istio.io/status", status,
                                        "spec", "containers", "name", "app", "name", "istio-proxy", "status", "phase", "Running");
    return rs_proxy_of_pod(pod);
}
