#include "pki/jwt.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>

#include "pki/digest.h"

enum { TOKEN_MAX = 16 * 1024, KEYS_MAX = 64 };

RS_DEFINE_AUTO(EVP_MD_CTX, EVP_MD_CTX_free)
RS_DEFINE_AUTO(EVP_PKEY_CTX, EVP_PKEY_CTX_free)
RS_DEFINE_AUTO(ECDSA_SIG, ECDSA_SIG_free)
RS_DEFINE_AUTO(BIGNUM, BN_free)
RS_DEFINE_AUTO(OSSL_PARAM_BLD, OSSL_PARAM_BLD_free)
RS_DEFINE_AUTO(OSSL_PARAM, OSSL_PARAM_free)

struct alg { const char *name, *kty, *crv; const EVP_MD *(*md)(void); size_t coordinate; };

static const struct alg algs[] = {
    { "RS256", "RSA", NULL, EVP_sha256, 0 }, { "RS384", "RSA", NULL, EVP_sha384, 0 },
    { "ES256", "EC", "P-256", EVP_sha256, 32 }, { "ES384", "EC", "P-384", EVP_sha384, 48 },
};

/* The algorithm that name and key agree on; name NULL: the one we sign with. NULL: none. */
static const struct alg *alg_for(const char *name, EVP_PKEY *key)
{
    const char *kty = EVP_PKEY_is_a(key, "RSA") ? "RSA" : EVP_PKEY_is_a(key, "EC") ? "EC" : "";
    size_t coordinate = *kty == 'E' ? (size_t)(EVP_PKEY_get_bits(key) + 7) / 8 : 0;
    for (size_t i = 0; i < RS_COUNT(algs); i++)
        if (rs_streq(algs[i].kty, kty) && algs[i].coordinate == coordinate && (!name || rs_streq(algs[i].name, name)))
            return &algs[i];
    return NULL;
}

char *rs_jwk_id(EVP_PKEY *key)
{
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(key, &der);
    rs_assert(n > 0);
    rs_digest d = rs_sha256(der, (size_t)n);
    OPENSSL_free(der);
    return rs_base64url(d.b, sizeof(d.b));
}

/* ---- signing ---- */

/* JOSE wants r and s side by side, OpenSSL gives DER. */
static int raw_of_der(unsigned char **sig, size_t *n, size_t coordinate, struct rs_err *e)
{
    const unsigned char *p = *sig;
    RS_AUTO(ECDSA_SIG) *s = d2i_ECDSA_SIG(NULL, &p, (long)*n);
    if (!s)
        return RS_FAIL_OPENSSL(e, RS_INTERNAL, "read signature");
    unsigned char *raw = rs_alloc(2 * coordinate);
    rs_assert(BN_bn2binpad(ECDSA_SIG_get0_r(s), raw, (int)coordinate) > 0);
    rs_assert(BN_bn2binpad(ECDSA_SIG_get0_s(s), raw + coordinate, (int)coordinate) > 0);
    free(*sig);
    *sig = raw;
    *n = 2 * coordinate;
    return 0;
}

static int sign_bytes(char **ret, EVP_PKEY *key, const struct alg *alg, const char *input, struct rs_err *e)
{
    ERR_clear_error();
    RS_AUTO(EVP_MD_CTX) *ctx = EVP_MD_CTX_new();
    size_t n = 0;
    if (!ctx || EVP_DigestSignInit(ctx, NULL, alg->md(), NULL, key) != 1 ||
        EVP_DigestSign(ctx, NULL, &n, (const unsigned char *)input, strlen(input)) != 1)
        return RS_FAIL_OPENSSL(e, RS_INTERNAL, "sign token");
    unsigned char *sig = rs_alloc(n);
    int r = EVP_DigestSign(ctx, sig, &n, (const unsigned char *)input, strlen(input)) == 1 ? 0 : RS_FAIL_OPENSSL(e, RS_INTERNAL, "sign token");
    if (r == 0 && alg->coordinate)
        r = raw_of_der(&sig, &n, alg->coordinate, e);
    if (r == 0)
        *ret = rs_base64url(sig, n);
    free(sig);
    return r;
}

int rs_jwt_sign(char **ret, EVP_PKEY *key, const json_t *claims, struct rs_err *e)
{
    const struct alg *alg = alg_for(NULL, key);
    if (!alg)
        return RS_FAIL(e, RS_INVALID, "this kind of key can't sign tokens");
    RS_AUTO(rs_chars) *kid = rs_jwk_id(key);
    RS_AUTO(json_t) *header = rs_json_pack("{s:s, s:s}", "alg", alg->name, "kid", kid);
    RS_AUTO(rs_chars) *header_text = rs_json_text(header), *claims_text = rs_json_text(claims);
    RS_AUTO(rs_chars) *h = rs_base64url(header_text, strlen(header_text)), *c = rs_base64url(claims_text, strlen(claims_text));
    RS_AUTO(rs_chars) *input = rs_printf("%s.%s", h, c), *sig = NULL;
    if (sign_bytes(&sig, key, alg, input, e) < 0)
        return -1;
    rs_assert(sig);
    *ret = rs_printf("%s.%s", input, sig);
    return 0;
}

static void set_number(json_t *o, const char *name, EVP_PKEY *key, const char *param, size_t width)
{
    RS_AUTO(BIGNUM) *bn = NULL;
    rs_assert(EVP_PKEY_get_bn_param(key, param, &bn) == 1);
    size_t n = width ? width : (size_t)BN_num_bytes(bn);
    RS_AUTO(rs_chars) *raw = rs_alloc(n);
    rs_assert(BN_bn2binpad(bn, (unsigned char *)raw, (int)n) > 0);
    RS_AUTO(rs_chars) *text = rs_base64url(raw, n);
    rs_json_set_str(o, name, text);
}

json_t *rs_jwks_of(EVP_PKEY *const *keys, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct alg *alg = alg_for(NULL, keys[i]);
        rs_assert(alg);
        RS_AUTO(rs_chars) *kid = rs_jwk_id(keys[i]);
        json_t *o = rs_json_pack("{s:s, s:s, s:s, s:s}", "use", "sig", "kty", alg->kty, "kid", kid, "alg", alg->name);
        if (alg->coordinate) {
            rs_json_set_str(o, "crv", alg->crv);
            set_number(o, "x", keys[i], OSSL_PKEY_PARAM_EC_PUB_X, alg->coordinate);
            set_number(o, "y", keys[i], OSSL_PKEY_PARAM_EC_PUB_Y, alg->coordinate);
        } else {
            set_number(o, "n", keys[i], OSSL_PKEY_PARAM_RSA_N, 0);
            set_number(o, "e", keys[i], OSSL_PKEY_PARAM_RSA_E, 0);
        }
        json_array_append_new(list, o);
    }
    return rs_json_pack("{s:o}", "keys", list);
}

/* ---- key sets ---- */

struct jwk { char *kid, *alg; EVP_PKEY *key; };
struct rs_jwks { size_t n; struct jwk v[KEYS_MAX]; };

static int member(const json_t *jwk, const char *name, unsigned char **ret, size_t *ret_n)
{
    const char *text = rs_json_str(jwk, name);
    if (!text || strlen(text) > 2048 || rs_unbase64(rs_str_of(text), true, ret, ret_n) < 0)
        return -1;
    return *ret_n ? 0 : -1;
}

static EVP_PKEY *key_of_params(const char *type, OSSL_PARAM_BLD *bld)
{
    EVP_PKEY *key = NULL;
    RS_AUTO(OSSL_PARAM) *params = OSSL_PARAM_BLD_to_param(bld);
    RS_AUTO(EVP_PKEY_CTX) *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        return NULL;
    return key;
}

static EVP_PKEY *read_rsa(const json_t *jwk)
{
    RS_AUTO(OSSL_PARAM_BLD) *bld = OSSL_PARAM_BLD_new();
    unsigned char *n = NULL, *x = NULL;
    size_t n_n, x_n;
    EVP_PKEY *key = NULL;
    if (member(jwk, "n", &n, &n_n) == 0 && member(jwk, "e", &x, &x_n) == 0 && x_n <= 8) {
        RS_AUTO(BIGNUM) *bn_n = BN_bin2bn(n, (int)n_n, NULL), *bn_e = BN_bin2bn(x, (int)x_n, NULL);
        rs_assert(bld && bn_n && bn_e);
        if (OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn_n) == 1 && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, bn_e) == 1)
            key = key_of_params("RSA", bld);
    }
    free(n);
    free(x);
    return key;
}

static EVP_PKEY *read_ec(const json_t *jwk)
{
    const char *crv = rs_json_str(jwk, "crv");
    size_t width = rs_streq(crv, "P-256") ? 32 : rs_streq(crv, "P-384") ? 48 : 0;
    unsigned char *x = NULL, *y = NULL, point[1 + 2 * 48] = { 4 };
    size_t x_n, y_n;
    EVP_PKEY *key = NULL;
    if (width && member(jwk, "x", &x, &x_n) == 0 && member(jwk, "y", &y, &y_n) == 0 && x_n == width && y_n == width) {
        memcpy(point + 1, x, width);
        memcpy(point + 1 + width, y, width);
        RS_AUTO(OSSL_PARAM_BLD) *bld = OSSL_PARAM_BLD_new();
        rs_assert(bld && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, crv, 0) == 1 &&
                  OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * width) == 1);
        key = key_of_params("EC", bld);
    }
    free(x);
    free(y);
    return key;
}

/* Keys of a kind or use that we do not know are passed over, as RFC 7517 wants it; a broken one is an error. */
static int add_jwk(rs_jwks *set, const json_t *jwk, struct rs_err *e)
{
    const char *kty = rs_json_str(jwk, "kty"), *use = rs_json_str(jwk, "use"), *kid = rs_json_str(jwk, "kid");
    const char *crv = rs_json_str(jwk, "crv");
    bool rsa = rs_streq(kty, "RSA"), ec = rs_streq(kty, "EC") && (rs_streq(crv, "P-256") || rs_streq(crv, "P-384"));
    if ((use && !rs_streq(use, "sig")) || (!rsa && !ec))
        return 0;
    if (set->n == KEYS_MAX)
        return RS_FAIL(e, RS_EXHAUSTED, "more than %d keys", KEYS_MAX);
    ERR_clear_error();
    RS_AUTO(EVP_PKEY) *key = rsa ? read_rsa(jwk) : read_ec(jwk);
    ERR_clear_error();
    if (!key)
        return RS_FAIL(e, RS_INVALID, "key %s can't be read", kid ? kid : "without kid");
    if (rs_key_policy(key, e) < 0)
        return rs_err_wrap(e, "key %s", kid ? kid : "without kid");
    set->v[set->n++] = (struct jwk){ rs_strdup(kid), rs_strdup(rs_json_str(jwk, "alg")), rs_take(key) };
    return 0;
}

int rs_jwks_parse(rs_jwks **ret, const json_t *jwks, struct rs_err *e)
{
    json_t *list = json_object_get(jwks, "keys");
    if (!json_is_array(list))
        return RS_FAIL(e, RS_INVALID, "not a JSON Web Key Set");
    RS_AUTO(rs_jwks) *set = rs_new(rs_jwks);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (add_jwk(set, json_array_get(list, i), e) < 0)
            return -1;
    *ret = rs_take(set);
    return 0;
}

void rs_jwks_free(rs_jwks *k)
{
    for (size_t i = 0; k && i < k->n; i++) {
        free(k->v[i].kid);
        free(k->v[i].alg);
        EVP_PKEY_free(k->v[i].key);
    }
    free(k);
}

/* ---- verifying ---- */

struct parts { rs_str header, claims, signature, signed_part; };

static int split(struct parts *ret, rs_str token, struct rs_err *e)
{
    token = rs_str_trim(token);
    const char *one = token.n && token.n <= TOKEN_MAX ? memchr(token.p, '.', token.n) : NULL;
    const char *end = token.p + token.n;
    const char *two = one ? memchr(one + 1, '.', (size_t)(end - one - 1)) : NULL;
    if (!two || memchr(two + 1, '.', (size_t)(end - two - 1)))
        return RS_FAIL(e, RS_UNAUTHENTICATED, "not a signed token");
    *ret = (struct parts){
        { token.p, (size_t)(one - token.p) }, { one + 1, (size_t)(two - one - 1) }, { two + 1, (size_t)(end - two - 1) },
        { token.p, (size_t)(two - token.p) },
    };
    return 0;
}

static int decode(json_t **ret, rs_str part, const char *what, struct rs_err *e)
{
    unsigned char *bytes = NULL;
    size_t n;
    if (rs_unbase64(part, true, &bytes, &n) < 0)
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token's %s is not base64url", what);
    json_t *o = NULL;
    int r = rs_json_parse(&o, (rs_str){ (const char *)bytes, n }, e);
    free(bytes);
    if (r < 0 || !json_is_object(o)) {
        json_decref(o);
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token's %s is not a JSON object", what);
    }
    *ret = o;
    return 0;
}

static const struct jwk *choose(const rs_jwks *keys, const char *kid)
{
    if (!kid)                                  /* without a name only an unambiguous set will do */
        return keys->n == 1 ? &keys->v[0] : NULL;
    for (size_t i = 0; i < keys->n; i++)
        if (rs_streq(keys->v[i].kid, kid))
            return &keys->v[i];
    return NULL;
}

static int der_of_raw(unsigned char **sig, size_t *n, size_t coordinate)
{
    if (*n != 2 * coordinate)
        return -1;
    RS_AUTO(ECDSA_SIG) *s = ECDSA_SIG_new();
    BIGNUM *r_part = BN_bin2bn(*sig, (int)coordinate, NULL), *s_part = BN_bin2bn(*sig + coordinate, (int)coordinate, NULL);
    rs_assert(s && r_part && s_part && ECDSA_SIG_set0(s, r_part, s_part) == 1);
    unsigned char *der = NULL;
    int len = i2d_ECDSA_SIG(s, &der);
    rs_assert(len > 0);
    *sig = rs_realloc(*sig, (size_t)len);
    memcpy(*sig, der, (size_t)len);
    *n = (size_t)len;
    OPENSSL_free(der);
    return 0;
}

static int check_signature(const struct parts *t, EVP_PKEY *key, const struct alg *alg, struct rs_err *e)
{
    unsigned char *sig = NULL;
    size_t n;
    if (rs_unbase64(t->signature, true, &sig, &n) < 0)
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token's signature is not base64url");
    RS_AUTO(EVP_MD_CTX) *ctx = EVP_MD_CTX_new();
    bool good = ctx && (!alg->coordinate || der_of_raw(&sig, &n, alg->coordinate) == 0) &&
                EVP_DigestVerifyInit(ctx, NULL, alg->md(), NULL, key) == 1 &&
                EVP_DigestVerify(ctx, sig, n, (const unsigned char *)t->signed_part.p, t->signed_part.n) == 1;
    free(sig);
    ERR_clear_error();
    return good ? 0 : RS_FAIL(e, RS_UNAUTHENTICATED, "the token's signature is wrong");
}

static bool has_audience(const json_t *aud, const struct rs_jwt_check *want)
{
    for (size_t w = 0; w < want->n_audiences; w++) {
        if (rs_streq(json_string_value(aud), want->audiences[w]))
            return true;
        for (size_t i = 0; i < json_array_size(aud); i++)
            if (rs_streq(json_string_value(json_array_get(aud, i)), want->audiences[w]))
                return true;
    }
    return want->n_audiences == 0;
}

/* Milliseconds of a NumericDate; false when it is no sensible number. */
static bool numeric_date(const json_t *o, int64_t *ret_ms)
{
    double seconds = json_number_value(o);
    if (!json_is_number(o) || !(seconds >= 0 && seconds < 1e12))
        return false;
    *ret_ms = (int64_t)(seconds * 1000);
    return true;
}

static int check_claims(const json_t *claims, const struct rs_jwt_check *want, struct rs_err *e)
{
    int64_t exp, nbf;
    const json_t *nbf_claim = json_object_get(claims, "nbf");
    if (!numeric_date(json_object_get(claims, "exp"), &exp))
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token has no expiry");
    if (exp + want->skew_ms <= want->now_ms)
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token has expired");
    if (nbf_claim && (!numeric_date(nbf_claim, &nbf) || nbf - want->skew_ms > want->now_ms))
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token is not valid yet");
    if (want->issuer && !rs_streq(rs_json_str(claims, "iss"), want->issuer))
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token comes from another issuer");
    if (!has_audience(json_object_get(claims, "aud"), want))
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token is for another audience");
    return 0;
}

int rs_jwt_verify(json_t **ret_claims, rs_str token, const rs_jwks *keys, const struct rs_jwt_check *want, struct rs_err *e)
{
    struct parts t;
    RS_AUTO(json_t) *header = NULL, *claims = NULL;
    if (split(&t, token, e) < 0 || decode(&header, t.header, "header", e) < 0)
        return -1;
    const char *name = rs_json_str(header, "alg"), *kid = rs_json_str(header, "kid");
    if (json_object_get(header, "crit"))
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token demands extensions that are unknown here");
    const struct jwk *jwk = choose(keys, kid);
    if (!jwk)
        return RS_FAIL(e, RS_NOT_FOUND, "the token's key %.64s is unknown", kid ? kid : "(without a name)");
    const struct alg *alg = name ? alg_for(name, jwk->key) : NULL;
    if (!alg || (jwk->alg && !rs_streq(jwk->alg, name)))
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token's algorithm %.16s is not that of its key", name ? name : "(none)");
    if (check_signature(&t, jwk->key, alg, e) < 0 || decode(&claims, t.claims, "body", e) < 0 || check_claims(claims, want, e) < 0)
        return -1;
    *ret_claims = rs_take(claims);
    return 0;
}

int rs_jwt_peek(json_t **ret_claims, rs_str token, struct rs_err *e)
{
    struct parts t;
    return split(&t, token, e) < 0 ? -1 : decode(ret_claims, t.claims, "body", e);
}
