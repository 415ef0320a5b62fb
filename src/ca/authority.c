#include "ca/authority.h"

#include <stdatomic.h>

#include "base/time.h"
#include "pki/chain.h"
#include "pki/csr.h"
#include "pki/spiffe.h"

enum { DAY_MS = 24 * 3600 * 1000 };

struct rs_authority {
    atomic_int refs;
    char *name, *trust_domain;
    rs_cert *cert, *root;
    EVP_PKEY *key;
    rs_certs middle;               /* what stands between a leaf and the root, in order */
    rs_bundle *roots;
    char *roots_pem;               /* in the order given, each once: the last element of an answer */
    int64_t default_ttl_ms, max_ttl_ms;
};

/* The certificates of the chain that are no roots; the signing certificate first, also when the chain lacks it. */
static int read_middle(rs_authority *a, rs_str chain_pem, struct rs_err *e)
{
    RS_AUTO_CERTS chain = { 0 };
    if (rs_str_trim(chain_pem).n && rs_certs_parse(&chain, chain_pem, e) < 0)
        return rs_err_wrap(e, "cert_chain");
    a->middle.v = rs_new_array(rs_cert *, chain.n + 1);
    bool first = chain.n && rs_digest_eq(rs_cert_digest(chain.v[0]), rs_cert_digest(a->cert));
    if (!first && !rs_bundle_has(a->roots, rs_cert_digest(a->cert)))
        a->middle.v[a->middle.n++] = rs_cert_ref(a->cert);
    for (size_t i = 0; i < chain.n; i++)
        if (!rs_bundle_has(a->roots, rs_cert_digest(chain.v[i])))
            a->middle.v[a->middle.n++] = rs_cert_ref(chain.v[i]);
    return 0;
}

static int read_roots(rs_authority *a, rs_str pem, struct rs_err *e)
{
    RS_AUTO_CERTS all = { 0 };
    if (rs_bundle_parse(&a->roots, pem, e) < 0 || rs_certs_parse(&all, pem, e) < 0)
        return rs_err_wrap(e, "root_cert");
    size_t kept = 0;
    rs_certs once = { rs_new_array(rs_cert *, all.n), 0 };
    for (size_t i = 0; i < all.n; i++) {
        bool seen = false;
        for (size_t k = 0; k < kept; k++)
            seen |= rs_digest_eq(rs_cert_digest(once.v[k]), rs_cert_digest(all.v[i]));
        if (!seen)
            once.v[kept++] = all.v[i];
    }
    once.n = kept;
    a->roots_pem = rs_certs_pem(&once);
    free(once.v);
    return 0;
}

/* The anchor that leaves reach: the signing certificate itself when it is a root, else found by verifying. */
static int find_root(rs_authority *a, int64_t now_ms, struct rs_err *e)
{
    if (rs_bundle_has(a->roots, rs_cert_digest(a->cert))) {
        a->root = rs_cert_ref(a->cert);
        return 0;
    }
    if (rs_chain_verify(&a->middle, a->roots, now_ms, &a->root, e) < 0)
        return rs_err_wrap(e, "the signing certificate does not verify to its root");
    return 0;
}

static int read_signer(rs_authority *a, const struct rs_authority_config *config, struct rs_err *e)
{
    RS_AUTO_CERTS ca = { 0 };
    if (rs_certs_parse(&ca, config->ca_cert, e) < 0)
        return rs_err_wrap(e, "ca_cert");
    if (rs_key_from_pem(&a->key, config->ca_key, e) < 0)
        return rs_err_wrap(e, "ca_key");
    a->cert = rs_cert_ref(ca.v[0]);
    if (!rs_cert_is_ca(a->cert))
        return RS_FAIL(e, RS_INVALID, "ca_cert (%s) is not a CA", rs_cert_subject(a->cert));
    if (!rs_key_same(rs_cert_key(a->cert), a->key))
        return RS_FAIL(e, RS_INVALID, "ca_key does not belong to ca_cert (%s)", rs_cert_subject(a->cert));
    return 0;
}

static char *clean_trust_domain(const char *td)
{
    char *ret = rs_strdup(td);
    for (char *p = ret; *p; p++)
        if (*p == '@')
            *p = '.';
    return ret;
}

int rs_authority_new(rs_authority **ret, const struct rs_authority_config *config, int64_t now_ms, struct rs_err *e)
{
    RS_AUTO(rs_authority) *a = rs_new(rs_authority);
    atomic_init(&a->refs, 1);
    a->name = rs_strdup(config->name);
    a->trust_domain = clean_trust_domain(config->trust_domain);
    a->default_ttl_ms = config->default_ttl_ms > 0 ? config->default_ttl_ms : DAY_MS;
    a->max_ttl_ms = config->max_ttl_ms > 0 ? config->max_ttl_ms : (int64_t)90 * DAY_MS;
    if (!rs_trust_domain_valid(a->trust_domain))
        return RS_FAIL(e, RS_INVALID, "not a trust domain: %.255s", config->trust_domain);
    if (read_signer(a, config, e) < 0 || read_roots(a, config->root_cert, e) < 0 || read_middle(a, config->cert_chain, e) < 0 ||
        find_root(a, now_ms, e) < 0)
        return -1;
    *ret = rs_take(a);
    return 0;
}

rs_authority *rs_authority_ref(rs_authority *a)
{
    atomic_fetch_add(&a->refs, 1);
    return a;
}

void rs_authority_unref(rs_authority *a)
{
    if (!a || atomic_fetch_sub(&a->refs, 1) > 1)
        return;
    free(a->name);
    free(a->trust_domain);
    rs_cert_unref(a->cert);
    rs_cert_unref(a->root);
    EVP_PKEY_free(a->key);
    rs_certs_done(&a->middle);
    rs_bundle_unref(a->roots);
    free(a->roots_pem);
    free(a);
}

const char *rs_authority_name(const rs_authority *a) { return a->name; }
const char *rs_authority_trust_domain(const rs_authority *a) { return a->trust_domain; }
rs_cert *rs_authority_cert(const rs_authority *a) { return a->cert; }
rs_cert *rs_authority_root(const rs_authority *a) { return a->root; }
const rs_bundle *rs_authority_roots(const rs_authority *a) { return a->roots; }
int64_t rs_authority_max_ttl_ms(const rs_authority *a) { return a->max_ttl_ms; }

static char **compose(const rs_authority *a, const rs_cert *leaf)
{
    char **chain = rs_new_array(char *, a->middle.n + 3);
    size_t n = 0;
    chain[n++] = rs_strdup(rs_cert_pem(leaf));
    for (size_t i = 0; i < a->middle.n; i++)
        chain[n++] = rs_strdup(rs_cert_pem(a->middle.v[i]));
    chain[n++] = rs_strdup(a->roots_pem);
    return chain;
}

int rs_authority_issue_server(const rs_authority *a, EVP_PKEY *key, const char *const *names, int64_t ttl_ms,
                              int64_t now_ms, struct rs_issued *ret, struct rs_err *e)
{
    rs_cert *leaf = NULL;
    if (rs_issue_leaf(&leaf, &(struct rs_issuer){ a->cert, a->key }, key, names, now_ms, ttl_ms, e) < 0)
        return -1;
    *ret = (struct rs_issued){ .leaf = leaf, .chain = compose(a, leaf) };
    return 0;
}

int rs_authority_issue(const rs_authority *a, const char *namespace, const char *service_account, rs_str csr,
                       int64_t ttl_ms, int64_t now_ms, struct rs_issued *ret, struct rs_err *e)
{
    RS_AUTO(EVP_PKEY) *key = NULL;
    if (rs_csr_read(&key, csr, e) < 0)
        return RS_FAIL(e, RS_INVALID, "CSR signing error (%s)", e->msg);
    if (ttl_ms > a->max_ttl_ms)
        return RS_FAIL(e, RS_INVALID, "CSR signing error (requested lifetime of %lld s is greater than the maximum of %lld s)",
                       (long long)(ttl_ms / 1000), (long long)(a->max_ttl_ms / 1000));
    RS_AUTO(rs_chars) *identity = rs_spiffe_uri(a->trust_domain, namespace, service_account);
    const char *const names[] = { identity, NULL };
    if (rs_authority_issue_server(a, key, names, ttl_ms > 0 ? ttl_ms : a->default_ttl_ms, now_ms, ret, e) < 0)
        return RS_FAIL(e, RS_INTERNAL, "CSR signing error (%s)", e->msg);
    ret->identity = rs_take(identity);
    return 0;
}

void rs_issued_done(struct rs_issued *i)
{
    rs_cert_unref(i->leaf);
    free(i->identity);
    if (i->chain)
        rs_strv_free(i->chain);
    *i = (struct rs_issued){ 0 };
}
