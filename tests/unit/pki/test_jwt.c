#include "made.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "pki/jwt.h"

static char *token_of(EVP_PKEY *key, const char *claims)
{
    struct rs_err e;
    char *token = NULL;
    RS_AUTO(json_t) *o = unit_json(claims);
    ASSERT_OK(rs_jwt_sign(&token, key, o, &e));
    return token;
}

static rs_jwks *keys_of(EVP_PKEY *key)
{
    struct rs_err e;
    rs_jwks *keys = NULL;
    RS_AUTO(json_t) *o = rs_jwks_of(&key, 1);
    ASSERT_OK(rs_jwks_parse(&keys, o, &e));
    return keys;
}

static const char *const audiences[] = { "istio-ca", "other" };
static const struct rs_jwt_check want = { .issuer = "https://k", .audiences = audiences, .n_audiences = 2, .now_ms = 1000000, .skew_ms = 1000 };

static void every_kind_of_key(void **state)
{
    struct rs_err e;
    static const enum rs_key_kind kinds[] = { RS_KEY_P256, RS_KEY_P384, RS_KEY_RSA2048 };
    for (size_t i = 0; i < RS_COUNT(kinds); i++) {
        RS_AUTO(EVP_PKEY) *key = NULL, *other = made_key();
        ASSERT_OK(rs_key_generate(&key, kinds[i], &e));
        RS_AUTO(rs_chars) *token = token_of(key, "{'iss':'https://k','aud':['istio-ca'],'exp':2000,'sub':'x'}");
        RS_AUTO(rs_jwks) *keys = keys_of(key), *others = keys_of(other);
        RS_AUTO(json_t) *claims = NULL;
        ASSERT_OK(rs_jwt_verify(&claims, rs_str_of(token), keys, &want, &e));
        assert_string_equal(rs_json_str(claims, "sub"), "x");
        RS_AUTO(json_t) *none = NULL;
        ASSERT_FAILS(RS_NOT_FOUND, "unknown", rs_jwt_verify(&none, rs_str_of(token), others, &want, &e));
        /* Every byte of the signature counts. */
        char *last = token + strlen(token) - 5;
        *last = *last == 'A' ? 'B' : 'A';
        ASSERT_FAILS(RS_UNAUTHENTICATED, "signature", rs_jwt_verify(&none, rs_str_of(token), keys, &want, &e));
    }
}

static void claims_are_checked(void **state)
{
    static const char *const bad[][2] = {
        { "{'iss':'https://k','aud':['istio-ca'],'exp':999}", "expired" }, { "{'iss':'https://k','aud':['istio-ca']}", "no expiry" },
        { "{'iss':'https://k','aud':['istio-ca'],'exp':'2000'}", "no expiry" }, { "{'iss':'https://k','aud':['istio-ca'],'exp':-5}", "no expiry" },
        { "{'iss':'https://k','aud':['istio-ca'],'exp':2000,'nbf':1500}", "not valid yet" },
        { "{'iss':'https://x','aud':['istio-ca'],'exp':2000}", "another issuer" }, { "{'aud':['istio-ca'],'exp':2000}", "another issuer" },
        { "{'iss':'https://k','aud':['istio'],'exp':2000}", "another audience" }, { "{'iss':'https://k','exp':2000}", "another audience" },
        { "{'iss':'https://k','aud':{'istio-ca':1},'exp':2000}", "another audience" },
    };
    static const char *const good[] = {
        "{'iss':'https://k','aud':'other','exp':1000.5}", "{'iss':'https://k','aud':['x','istio-ca'],'exp':2000,'nbf':1000.9}",
    };
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = made_key();
    RS_AUTO(rs_jwks) *keys = keys_of(key);
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        RS_AUTO(rs_chars) *token = token_of(key, bad[i][0]);
        RS_AUTO(json_t) *claims = NULL;
        ASSERT_FAILS(RS_UNAUTHENTICATED, bad[i][1], rs_jwt_verify(&claims, rs_str_of(token), keys, &want, &e));
        ASSERT_OK(rs_jwt_peek(&claims, rs_str_of(token), &e));
    }
    for (size_t i = 0; i < RS_COUNT(good); i++) {
        RS_AUTO(rs_chars) *token = token_of(key, good[i]);
        RS_AUTO(json_t) *claims = NULL;
        ASSERT_OK(rs_jwt_verify(&claims, rs_str_of(token), keys, &want, &e));
    }
}

/* A token with this header, signed by HMAC over the public key: the classical confusion. */
static char *forged(EVP_PKEY *key, const char *header, bool hmac)
{
    static const char body[] = "{\"iss\":\"https://k\",\"aud\":[\"istio-ca\"],\"exp\":2000}";
    RS_AUTO(rs_chars) *h = rs_base64url(header, strlen(header)), *b = rs_base64url(body, strlen(body)), *input = rs_printf("%s.%s", h, b);
    if (!hmac)
        return rs_printf("%s.", input);
    RS_AUTO(json_t) *set = rs_jwks_of(&key, 1);
    RS_AUTO(rs_chars) *public = rs_json_text(set);
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    assert_non_null(HMAC(EVP_sha256(), public, (int)strlen(public), (const unsigned char *)input, strlen(input), mac, &n));
    RS_AUTO(rs_chars) *s = rs_base64url(mac, n);
    return rs_printf("%s.%s", input, s);
}

static void algorithm_confusion(void **state)
{
    static const char *const names[] = { "none", "None", "HS256", "RS256", "ES384", "PS256", "" };
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = made_key();
    RS_AUTO(rs_jwks) *keys = keys_of(key);
    RS_AUTO(rs_chars) *kid = rs_jwk_id(key);
    for (size_t i = 0; i < RS_COUNT(names); i++)
        for (int hmac = 0; hmac < 2; hmac++) {
            RS_AUTO(rs_chars) *header = rs_printf("{\"alg\":\"%s\",\"kid\":\"%s\"}", names[i], kid), *token = forged(key, header, hmac);
            RS_AUTO(json_t) *claims = NULL;
            ASSERT_FAILS(RS_UNAUTHENTICATED, "algorithm", rs_jwt_verify(&claims, rs_str_of(token), keys, &want, &e));
        }
    RS_AUTO(rs_chars) *no_alg = rs_printf("{\"kid\":\"%s\"}", kid), *a = forged(key, no_alg, true);
    RS_AUTO(rs_chars) *crit = rs_printf("{\"alg\":\"ES256\",\"kid\":\"%s\",\"crit\":[\"x\"]}", kid), *b = forged(key, crit, true);
    RS_AUTO(rs_chars) *empty = rs_printf("{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid), *c = forged(key, empty, false);
    RS_AUTO(json_t) *claims = NULL;
    ASSERT_FAILS(RS_UNAUTHENTICATED, "algorithm", rs_jwt_verify(&claims, rs_str_of(a), keys, &want, &e));
    ASSERT_FAILS(RS_UNAUTHENTICATED, "extensions", rs_jwt_verify(&claims, rs_str_of(b), keys, &want, &e));
    ASSERT_FAILS(RS_UNAUTHENTICATED, "signature", rs_jwt_verify(&claims, rs_str_of(c), keys, &want, &e));
}

static void malformed_tokens(void **state)
{
    static const char *const bad[] = { "", ".", "..", "...", "a.b", "a.b.c.d", "{}.{}.x", "e30.e30.", "!!.e30.AA", "W10.e30.AA" };
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = made_key();
    RS_AUTO(rs_jwks) *keys = keys_of(key);
    RS_AUTO(json_t) *claims = NULL;
    for (size_t i = 0; i < RS_COUNT(bad); i++)
        ASSERT_FAILS(RS_UNAUTHENTICATED, "", rs_jwt_verify(&claims, rs_str_of(bad[i]), keys, &want, &e));
    RS_AUTO(rs_chars) *big = rs_alloc(20001);
    memset(big, '.', 20000);
    ASSERT_FAILS(RS_UNAUTHENTICATED, "", rs_jwt_verify(&claims, rs_str_of(big), keys, &want, &e));
}

/* RFC 7515 A.2 and A.3. */
static void rfc_vectors(void **state)
{
    static const char rsa_n[] = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs"
        "D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV"
        "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    static const char rsa_token[] = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZ"
        "cAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-e"
        "OkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    static const char ec_token[] = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    struct rs_err e;
    const struct rs_jwt_check joe = { .issuer = "joe", .now_ms = 1300819379000 };
    RS_AUTO(json_t) *rsa = rs_json_pack("{s:[{s:s,s:s,s:s},{s:s,s:s}]}", "keys", "kty", "RSA", "n", rsa_n, "e", "AQAB", "kty", "oct", "k", "AAAA");
    RS_AUTO(json_t) *ec = rs_json_pack("{s:[{s:s,s:s,s:s,s:s}]}", "keys", "kty", "EC", "crv", "P-256", "x", "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                                       "y", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    RS_AUTO(rs_jwks) *rsa_keys = NULL, *ec_keys = NULL;
    RS_AUTO(json_t) *a = NULL, *b = NULL, *c = NULL;
    ASSERT_OK(rs_jwks_parse(&rsa_keys, rsa, &e));
    ASSERT_OK(rs_jwks_parse(&ec_keys, ec, &e));
    ASSERT_OK(rs_jwt_verify(&a, rs_str_of(rsa_token), rsa_keys, &joe, &e));
    ASSERT_OK(rs_jwt_verify(&b, rs_str_of(ec_token), ec_keys, &joe, &e));
    ASSERT_FAILS(RS_UNAUTHENTICATED, "algorithm", rs_jwt_verify(&c, rs_str_of(ec_token), rsa_keys, &joe, &e));
}

static void broken_key_sets(void **state)
{
    static const char *const bad[] = {
        "{}", "{'keys':{}}", "{'keys':[{'kty':'RSA','n':'AQAB','e':'AQAB'}]}", "{'keys':[{'kty':'RSA','n':'!','e':'AQAB'}]}", "{'keys':[{'kty':'RSA'}]}",
        "{'keys':[{'kty':'EC','crv':'P-256','x':'AAAA','y':'AAAA'}]}",
        "{'keys':[{'kty':'EC','crv':'P-256','x':'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU','y':'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU'}]}",
    };
    struct rs_err e;
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        RS_AUTO(json_t) *o = unit_json(bad[i]);
        RS_AUTO(rs_jwks) *keys = NULL;
        ASSERT_FAILS(RS_INVALID, "", rs_jwks_parse(&keys, o, &e));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_key), cmocka_unit_test(claims_are_checked), cmocka_unit_test(algorithm_confusion),
        cmocka_unit_test(malformed_tokens), cmocka_unit_test(rfc_vectors), cmocka_unit_test(broken_key_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
