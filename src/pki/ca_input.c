/* The certificate inputs of `rootshift install`, checked before anything is touched. */
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/file.h"
#include "base/time.h"
#include "pki/chain.h"
#include "pki/issue.h"

enum { INPUT_MAX = 1024 * 1024 };

struct input {
    const char *ca_path, *key_path, *root_path, *chain_path;
    rs_certs ca, root, chain;
    EVP_PKEY *key;
    int64_t now_ms, min_life_ms;
};

static void input_done(struct input *in)
{
    rs_certs_done(&in->ca);
    rs_certs_done(&in->root);
    rs_certs_done(&in->chain);
    EVP_PKEY_free(in->key);
}

/* A file that is missing is as much the caller's mistake as one that is broken. */
static int read_file(const char *option, const char *path, char **ret, size_t *ret_n, struct rs_err *e)
{
    if (!path)
        return RS_FAIL(e, RS_INVALID, "all four of --ca_cert, --ca_key, --root_cert and --cert_chain are needed; --%s is missing", option);
    if (rs_file_read(path, INPUT_MAX, ret, ret_n, e) == 0)
        return 0;
    e->code = RS_INVALID;
    return rs_err_wrap(e, "--%s", option);
}

static int load_certs(rs_certs *ret, const char *option, const char *path, struct rs_err *e)
{
    RS_AUTO(rs_chars) *text = NULL;
    size_t n;
    if (read_file(option, path, &text, &n, e) < 0)
        return -1;
    if (rs_certs_parse(ret, (rs_str){ text, n }, e) == 0)
        return 0;
    e->code = RS_INVALID;
    return rs_err_wrap(e, "--%s %s", option, path);
}

static int load_key(EVP_PKEY **ret, const char *path, struct rs_err *e)
{
    char *text = NULL;
    size_t n = 0;
    if (read_file("ca_key", path, &text, &n, e) < 0)
        return -1;
    int r = rs_key_from_pem(ret, (rs_str){ text, n }, e);
    rs_free_cleansed(text, n);
    if (r == 0)
        r = rs_key_policy(*ret, e);
    if (r == 0) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(*ret, NULL);
        r = ctx && EVP_PKEY_check(ctx) == 1 ? 0 : RS_FAIL_OPENSSL(e, RS_INVALID, "the private key is inconsistent");
        EVP_PKEY_CTX_free(ctx);
    }
    e->code = r == 0 ? e->code : RS_INVALID;
    return r == 0 ? 0 : rs_err_wrap(e, "--ca_key %s", path);
}

#define BAD(option, path, number, cert, ...) \
    (RS_FAIL(e, RS_INVALID, __VA_ARGS__), rs_err_wrap(e, "--%s %s: certificate %zu (%s)", (option), (path), (size_t)(number), rs_cert_subject(cert)))

static int check_ca(const struct input *in, const char *option, const char *path, const rs_certs *l, struct rs_err *e)
{
    char when[RS_TIME_TEXT];
    for (size_t i = 0; i < l->n; i++) {
        const rs_cert *c = l->v[i];
        uint32_t flags = X509_get_extension_flags(rs_cert_x509(c));
        int digest = NID_undef;
        if (!(flags & EXFLAG_CA))
            return BAD(option, path, i + 1, c, "is not a CA (basicConstraints CA:TRUE is missing)");
        if (!rs_cert_is_ca(c))
            return BAD(option, path, i + 1, c, "must not sign certificates (keyUsage lacks keyCertSign)");
        if (rs_cert_not_after(c) <= in->now_ms)
            return BAD(option, path, i + 1, c, "expired at %s", rs_time_text(rs_cert_not_after(c), when));
        if (rs_cert_not_before(c) > in->now_ms)
            return BAD(option, path, i + 1, c, "is not valid before %s", rs_time_text(rs_cert_not_before(c), when));
        if (rs_cert_not_after(c) - in->now_ms < in->min_life_ms)
            return BAD(option, path, i + 1, c, "expires too soon, at %s", rs_time_text(rs_cert_not_after(c), when));
        if (rs_key_policy(rs_cert_key(c), e) < 0) {
            e->code = RS_INVALID;
            return rs_err_wrap(e, "--%s %s: certificate %zu (%s)", option, path, i + 1, rs_cert_subject(c));
        }
        X509_get_signature_info(rs_cert_x509(c), &digest, NULL, NULL, NULL);
        if ((digest == NID_sha1 || digest == NID_md5) && !rs_cert_self_signed(c))
            return BAD(option, path, i + 1, c, "is signed with %s, which proxies refuse", digest == NID_sha1 ? "SHA-1" : "MD5");
    }
    return 0;
}

static size_t find(const rs_certs *l, const rs_cert *c)
{
    size_t i = 0;
    while (i < l->n && !rs_digest_eq(rs_cert_digest(l->v[i]), rs_cert_digest(c)))
        i++;
    return i;
}

/* The chain is what peers are sent after the leaf: it begins with the signing certificate and each is signed by the next. */
static int check_order(const struct input *in, struct rs_err *e)
{
    const rs_cert *ca = in->ca.v[0];
    size_t at = find(&in->chain, ca);
    if (at == in->chain.n)
        return RS_FAIL(e, RS_INVALID, "--cert_chain %s: lacks the signing certificate of --ca_cert (%s), which must come first",
                       in->chain_path, rs_cert_subject(ca));
    if (at > 0)
        return BAD("cert_chain", in->chain_path, at + 1, ca, "wrong order: it is the one of --ca_cert and must come first");
    for (size_t i = 0; i + 1 < in->chain.n; i++)
        if (!rs_cert_signed_by(in->chain.v[i], in->chain.v[i + 1]))
            return BAD("cert_chain", in->chain_path, i + 1, in->chain.v[i], "wrong order: it is not signed by the one after it (%s)",
                       rs_cert_subject(in->chain.v[i + 1]));
    return 0;
}

/* Proof by doing: a leaf signed here must verify for both sides of a connection. Finds path lengths, extended key usage
 * and whatever else stands between this CA and the root. */
static int check_by_leaf(const struct input *in, const rs_bundle *roots, struct rs_err *e)
{
    RS_AUTO(rs_cert) *leaf = NULL;
    RS_AUTO(EVP_PKEY) *key = NULL;
    struct rs_issuer by = { in->ca.v[0], in->key };
    if (rs_key_generate(&key, RS_KEY_P256, e) < 0 ||
        rs_issue_leaf(&leaf, &by, key, (const char *const[]){ "spiffe://check/ns/check/sa/check", NULL }, in->now_ms, 3600 * 1000, e) < 0)
        return -1;
    rs_certs l = { rs_new_array(rs_cert *, in->chain.n + 1), 0 };
    l.v[l.n++] = leaf;
    for (size_t i = 0; i < in->chain.n; i++)
        l.v[l.n++] = in->chain.v[i];
    int r = 0;
    for (int server = 0; r == 0 && server < 2; server++)
        r = rs_chain_verify_for(&l, roots, in->now_ms, server, NULL, e);
    free(l.v);
    return r;
}

static int check(const struct input *in, struct rs_err *e)
{
    if (in->ca.n > 1)
        return RS_FAIL(e, RS_INVALID, "--ca_cert %s: holds %zu certificates; give the signing certificate alone and the others in --cert_chain",
                       in->ca_path, in->ca.n);
    if (!rs_key_same(rs_cert_key(in->ca.v[0]), in->key))
        return RS_FAIL(e, RS_INVALID, "--ca_key %s: does not belong to the certificate (%s) in --ca_cert %s", in->key_path,
                       rs_cert_subject(in->ca.v[0]), in->ca_path);
    if (check_ca(in, "ca_cert", in->ca_path, &in->ca, e) < 0 || check_ca(in, "root_cert", in->root_path, &in->root, e) < 0 ||
        check_ca(in, "cert_chain", in->chain_path, &in->chain, e) < 0 || check_order(in, e) < 0)
        return -1;
    RS_AUTO(rs_bundle) *roots = NULL;
    RS_AUTO(rs_chars) *text = rs_certs_pem(&in->root);
    if (rs_bundle_parse(&roots, rs_str_of(text), e) == 0 && check_by_leaf(in, roots, e) == 0)
        return 0;
    e->code = RS_INVALID;
    return rs_err_wrap(e, "--cert_chain %s: does not verify to --root_cert %s", in->chain_path, in->root_path);
}

int rs_ca_input_load(struct rs_ca_input *ret, const struct rs_ca_files *files, int64_t now_ms, int64_t min_life_ms, struct rs_err *e)
{
    __attribute__((cleanup(input_done))) struct input in = {
        .ca_path = files->ca_cert, .key_path = files->ca_key, .root_path = files->root_cert, .chain_path = files->cert_chain,
        .now_ms = now_ms, .min_life_ms = min_life_ms,
    };
    if (load_certs(&in.ca, "ca_cert", in.ca_path, e) < 0 || load_key(&in.key, in.key_path, e) < 0 ||
        load_certs(&in.root, "root_cert", in.root_path, e) < 0 || load_certs(&in.chain, "cert_chain", in.chain_path, e) < 0 ||
        check(&in, e) < 0)
        return -1;
    *ret = (struct rs_ca_input){
        .key = rs_key_to_pem(in.key), .ca_cert = rs_certs_pem(&in.ca),
        .root_cert = rs_certs_pem(&in.root), .cert_chain = rs_certs_pem(&in.chain),
    };
    return 0;
}

void rs_ca_input_done(struct rs_ca_input *in)
{
    rs_secret_free(in->key);
    free(in->ca_cert);
    free(in->root_cert);
    free(in->cert_chain);
    *in = (struct rs_ca_input){ 0 };
}
