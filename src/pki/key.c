#include "pki/key.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "pki/pem.h"

int rs_key_generate(EVP_PKEY **ret, enum rs_key_kind kind, struct rs_err *e)
{
    ERR_clear_error();
    EVP_PKEY *key = NULL;
    switch (kind) {
    case RS_KEY_P256: key = EVP_EC_gen("P-256"); break;
    case RS_KEY_P384: key = EVP_EC_gen("P-384"); break;
    case RS_KEY_RSA2048: key = EVP_RSA_gen(2048); break;
    case RS_KEY_RSA3072: key = EVP_RSA_gen(3072); break;
    case RS_KEY_RSA4096: key = EVP_RSA_gen(4096); break;
    }
    if (!key)
        return RS_FAIL_OPENSSL(e, RS_INTERNAL, "generate key");
    *ret = key;
    return 0;
}

static bool str_ends(rs_str s, const char *suffix)
{
    size_t n = strlen(suffix);
    return s.n >= n && memcmp(s.p + s.n - n, suffix, n) == 0;
}

static int key_of_block(EVP_PKEY **ret, const struct rs_pem_block *block, struct rs_err *e)
{
    if (rs_str_is(block->label, "ENCRYPTED PRIVATE KEY") ||
        memmem(block->body.p, block->body.n, "ENCRYPTED", strlen("ENCRYPTED")))
        return RS_FAIL(e, RS_INVALID, "the private key is encrypted; give it without a passphrase");
    unsigned char *der = NULL;
    size_t n = 0;
    if (rs_pem_bytes(block, &der, &n, e) < 0)
        return rs_err_wrap(e, "private key");
    const unsigned char *p = der;
    ERR_clear_error();
    EVP_PKEY *key = n ? d2i_AutoPrivateKey(NULL, &p, (long)n) : NULL;
    bool whole = p == der + n;
    rs_free_cleansed(der, n);
    if (!key)
        return RS_FAIL_OPENSSL(e, RS_INVALID, "the private key can't be read");
    if (!whole) {
        EVP_PKEY_free(key);
        return RS_FAIL(e, RS_INVALID, "the private key has bytes after its end");
    }
    *ret = key;
    return 0;
}

int rs_key_from_pem(EVP_PKEY **ret, rs_str pem, struct rs_err *e)
{
    if (pem.n > 64 * 1024)
        return RS_FAIL(e, RS_EXHAUSTED, "private key file of %zu bytes", pem.n);
    struct rs_pem_block block;
    for (;;) {
        int r = rs_pem_next(&pem, &block, e);
        if (r < 0)
            return -1;
        if (r == 0)
            return RS_FAIL(e, RS_INVALID, "no private key in PEM form found");
        if (str_ends(block.label, "PRIVATE KEY"))
            return key_of_block(ret, &block, e);
    }
}

rs_secret *rs_key_to_pem(EVP_PKEY *key)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    rs_assert(info);
    unsigned char *der = NULL;
    int n = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
    PKCS8_PRIV_KEY_INFO_free(info);
    rs_assert(n > 0);
    char *text = rs_pem_text("PRIVATE KEY", der, (size_t)n);
    OPENSSL_clear_free(der, (size_t)n);
    rs_secret *s = rs_secret_new(text, strlen(text));
    rs_free_cleansed(text, s->n);
    return s;
}

bool rs_key_same(EVP_PKEY *a, EVP_PKEY *b)
{
    ERR_set_mark();
    bool same = a && b && EVP_PKEY_eq(a, b) == 1;
    ERR_pop_to_mark();
    return same;
}

int rs_key_policy(EVP_PKEY *key, struct rs_err *e)
{
    if (EVP_PKEY_is_a(key, "RSA")) {
        int bits = EVP_PKEY_get_bits(key);
        return bits >= 2048 && bits <= 4096 ? 0 : RS_FAIL(e, RS_INVALID, "RSA key of %d bits (allowed: 2048 to 4096)", bits);
    }
    char group[64] = "", encoding[32] = "";
    if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1)
        return RS_FAIL(e, RS_INVALID, "unknown kind of key (allowed: RSA, ECDSA P-256 and P-384)");
    if (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_EC_ENCODING, encoding, sizeof(encoding), NULL) == 1 &&
        strcmp(encoding, OSSL_PKEY_EC_ENCODING_GROUP) != 0)
        return RS_FAIL(e, RS_INVALID, "ECDSA key with explicit curve parameters");
    if (strcmp(group, "prime256v1") != 0 && strcmp(group, "P-256") != 0 && strcmp(group, "secp384r1") != 0 && strcmp(group, "P-384") != 0)
        return RS_FAIL(e, RS_INVALID, "ECDSA key on curve %s (allowed: P-256, P-384)", group);
    return 0;
}

const EVP_MD *rs_key_digest(EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) > 256 ? EVP_sha384() : EVP_sha256();
}
