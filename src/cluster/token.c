#include "cluster/token.h"

#include "base/random.h"
#include "kube/object.h"

struct rs_tokens {
    EVP_PKEY *key;                 /* NULL until it is needed */
    rs_jwks *keys;
    json_t *jwks;
    char *issuer;
    rs_store *store;
    int (*make)(void *ctx, EVP_PKEY **ret, struct rs_err *e);
    void *ctx;
};

rs_tokens *rs_tokens_new(int (*key)(void *ctx, EVP_PKEY **ret, struct rs_err *e), void *ctx, const char *issuer, rs_store *store)
{
    rs_tokens *t = rs_new(rs_tokens);
    t->make = key;
    t->ctx = ctx;
    t->issuer = rs_strdup(issuer);
    t->store = store;
    return t;
}

static int need_key(rs_tokens *t, struct rs_err *e)
{
    EVP_PKEY *key;
    if (t->key)
        return 0;
    if (t->make(t->ctx, &key, e) < 0)
        return -1;
    json_t *jwks = rs_jwks_of(&key, 1);
    if (rs_jwks_parse(&t->keys, jwks, e) < 0) {
        json_decref(jwks);
        return -1;
    }
    EVP_PKEY_up_ref(key);
    t->key = key;
    t->jwks = jwks;
    return 0;
}

void rs_tokens_free(rs_tokens *t)
{
    if (!t)
        return;
    EVP_PKEY_free(t->key);
    rs_jwks_free(t->keys);
    json_decref(t->jwks);
    free(t->issuer);
    free(t);
}

const char *rs_tokens_issuer(const rs_tokens *t)
{
    return t->issuer;
}

int rs_tokens_jwks(json_t **ret, rs_tokens *t, struct rs_err *e)
{
    if (need_key(t, e) < 0)
        return -1;
    *ret = json_incref(t->jwks);
    return 0;
}

int rs_tokens_issue(char **ret, rs_tokens *t, const json_t *account, const json_t *pod, const json_t *audiences,
                    int64_t now_ms, int64_t ttl_ms, struct rs_err *e)
{
    char id[RS_UUID_TEXT];
    json_int_t now = now_ms / 1000;
    RS_AUTO(rs_chars) *sub = rs_printf("system:serviceaccount:%s:%s", rs_object_namespace(account), rs_object_name(account));
    RS_AUTO(json_t) *bound = rs_json_pack("{s:s, s:{s:s, s:s}}", "namespace", rs_object_namespace(account),
                                          "serviceaccount", "name", rs_object_name(account), "uid", rs_object_uid(account));
    if (pod) {
        const char *node = rs_json_str(pod, "spec", "nodeName");
        json_object_set_new(bound, "pod", rs_json_pack("{s:s, s:s}", "name", rs_object_name(pod), "uid", rs_object_uid(pod)));
        if (node && *node)
            json_object_set_new(bound, "node", rs_json_pack("{s:s}", "name", node));
    }
    RS_AUTO(json_t) *aud = json_array_size(audiences) ? json_deep_copy(audiences) : rs_json_pack("[s]", t->issuer);
    RS_AUTO(json_t) *claims = rs_json_pack("{s:O, s:I, s:I, s:s, s:s, s:O, s:I, s:s}", "aud", aud, "exp", now + (json_int_t)(ttl_ms / 1000), "iat", now,
                                           "iss", t->issuer, "jti", rs_uuid4(id), "kubernetes.io", bound, "nbf", now, "sub", sub);
    return need_key(t, e) < 0 ? -1 : rs_jwt_sign(ret, t->key, claims, e);
}

/* Audiences that are both in the token and asked for. */
static json_t *common_audiences(const rs_tokens *t, const json_t *have, const json_t *wanted)
{
    json_t *out = json_array(), *want, *got;
    size_t i, k;
    RS_AUTO(json_t) *own = rs_json_pack("[s]", t->issuer);
    RS_AUTO(json_t) *list = json_is_string(have) ? rs_json_pack("[O]", have) : json_incref((json_t *)have);
    const json_t *asked = json_array_size(wanted) ? wanted : own;
    json_array_foreach((json_t *)asked, i, want)
        json_array_foreach(list, k, got)
            if (json_equal(want, got)) {
                json_array_append(out, want);
                break;
            }
    return out;
}

static char *list_text(const json_t *list)
{
    char *s = rs_strdup("");
    size_t i;
    json_t *item;
    if (json_is_string(list)) {
        free(s);
        return rs_strdup(json_string_value(list));
    }
    json_array_foreach((json_t *)list, i, item) {
        char *more = rs_printf("%s%s%s", s, *s ? " " : "", json_is_string(item) ? json_string_value(item) : "");
        free(s);
        s = more;
    }
    return s;
}

/* The object must still be the very one that the token names. */
static int check_alive(const rs_tokens *t, const char *resource, const char *kind, const char *namespace, const json_t *ref, struct rs_err *e)
{
    const char *name = rs_json_str(ref, "name"), *uid = rs_json_str(ref, "uid");
    rs_record *r = name ? rs_store_get(t->store, resource, namespace, name) : NULL;
    if (!r)
        return RS_FAIL(e, RS_UNAUTHENTICATED, "%s %s/%s has been deleted", kind, namespace, name ? name : "");
    if (!uid || strcmp(uid, rs_object_uid(rs_record_doc(r))))
        return RS_FAIL(e, RS_UNAUTHENTICATED, "%s UID (%s) does not match claim (%s)", kind, rs_object_uid(rs_record_doc(r)), uid ? uid : "");
    return 0;
}

int rs_tokens_check(struct rs_token_subject *ret, json_t **ret_audiences, rs_tokens *t, rs_str token,
                    const json_t *audiences, int64_t now_ms, struct rs_err *e)
{
    RS_AUTO(json_t) *claims = NULL;
    struct rs_jwt_check want = { .issuer = t->issuer, .now_ms = now_ms };
    if (need_key(t, e) < 0 || rs_jwt_verify(&claims, token, t->keys, &want, e) < 0) {
        e->code = RS_UNAUTHENTICATED;
        return -1;
    }
    RS_AUTO(json_t) *common = common_audiences(t, json_object_get(claims, "aud"), audiences);
    if (!json_array_size(common)) {
        RS_AUTO(rs_chars) *have = list_text(json_object_get(claims, "aud"));
        RS_AUTO(rs_chars) *asked = json_array_size(audiences) ? list_text(audiences) : rs_strdup(t->issuer);
        return RS_FAIL(e, RS_UNAUTHENTICATED, "[invalid bearer token, token audiences [%s] is invalid for the target audiences [%s]]", have, asked);
    }
    const json_t *bound = json_object_get(claims, "kubernetes.io"), *pod = json_object_get(bound, "pod");
    const char *ns = rs_json_str(bound, "namespace");
    if (!ns)
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token is not of a ServiceAccount");
    if (check_alive(t, "serviceaccounts", "ServiceAccount", ns, json_object_get(bound, "serviceaccount"), e) < 0 ||
        (pod && check_alive(t, "pods", "pod", ns, pod, e) < 0))
        return -1;
    *ret = (struct rs_token_subject){ .namespace = rs_strdup(ns), .account = rs_strdup(rs_json_str(bound, "serviceaccount", "name")),
        .account_uid = rs_strdup(rs_json_str(bound, "serviceaccount", "uid")), .pod = rs_strdup(rs_json_str(pod, "name")),
        .pod_uid = rs_strdup(rs_json_str(pod, "uid")) };
    if (ret_audiences)
        *ret_audiences = rs_take(common);
    return 0;
}

void rs_token_subject_done(struct rs_token_subject *s)
{
    free(s->namespace);
    free(s->account);
    free(s->account_uid);
    free(s->pod);
    free(s->pod_uid);
    *s = (struct rs_token_subject){ 0 };
}
