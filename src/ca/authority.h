/* What a CA signs with: certificate, key, the certificates between it and its root, its root(s), and the limits of a leaf.
 * Immutable and atomically reference-counted, so that signing may run on any thread; a change is a new one. */
#pragma once
#include "pki/bundle.h"
#include "pki/issue.h"

typedef struct rs_authority rs_authority;

struct rs_authority_config {
    const char *name;                            /* "istio-ca", "mesh-ca": field `ca` of its records */
    const char *trust_domain;                    /* of every identity it signs; '@' becomes '.' as in Istio */
    rs_str ca_cert, ca_key, root_cert;           /* PEM */
    rs_str cert_chain;                           /* PEM; may be empty */
    int64_t default_ttl_ms, max_ttl_ms;          /* 0: 24 h, 90 d */
};
/* RS_INVALID / RS_PRECONDITION name what does not fit: key, chain, root, validity at now. */
RS_MUST_USE int rs_authority_new(rs_authority **ret, const struct rs_authority_config *config, int64_t now_ms, struct rs_err *e);
rs_authority *rs_authority_ref(rs_authority *a);
void rs_authority_unref(rs_authority *a);        /* NULL is a no-op */
RS_DEFINE_AUTO(rs_authority, rs_authority_unref)

const char *rs_authority_name(const rs_authority *a);
const char *rs_authority_trust_domain(const rs_authority *a);
rs_cert *rs_authority_cert(const rs_authority *a);          /* signs; borrowed */
rs_cert *rs_authority_root(const rs_authority *a);          /* anchor that its leaves reach; borrowed */
const rs_bundle *rs_authority_roots(const rs_authority *a); /* all of root_cert; borrowed */
int64_t rs_authority_max_ttl_ms(const rs_authority *a);

struct rs_issued {
    rs_cert *leaf;
    char *identity;                              /* NULL for serving certificates */
    /* The answer's elements: leaf, every certificate between it and the root, last root_cert as ONE text (it may hold several). */
    char **chain;                                /* NULL-terminated */
};
/* A workload's leaf for spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT from the CSR's public key; nothing else of the CSR is
 * used. ttl_ms <= 0: the default. RS_INVALID "CSR signing error (...)" on a bad CSR or a lifetime above the maximum;
 * RS_INTERNAL when the CA can't sign now (it expired). */
RS_MUST_USE int rs_authority_issue(const rs_authority *a, const char *namespace, const char *service_account, rs_str csr,
                                   int64_t ttl_ms, int64_t now_ms, struct rs_issued *ret, struct rs_err *e);
/* A server's leaf for these names (NULL-terminated); not recorded. */
RS_MUST_USE int rs_authority_issue_server(const rs_authority *a, EVP_PKEY *key, const char *const *names, int64_t ttl_ms,
                                          int64_t now_ms, struct rs_issued *ret, struct rs_err *e);
void rs_issued_done(struct rs_issued *i);
