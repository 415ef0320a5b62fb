#include "../pki/made.h"

#include "ca/authority.h"
#include "ca/caller.h"
#include "mesh/issuance.h"
#include "pki/csr.h"

struct kit { EVP_PKEY *root_key, *mid_key; rs_cert *root, *mid; };

static rs_authority *authority(const struct kit *k, const char *ca, EVP_PKEY *key, const char *chain, const char *root)
{
    struct rs_err e;
    rs_authority *a = NULL;
    RS_AUTO(rs_secret) *pem = rs_key_to_pem(key);
    ASSERT_OK(rs_authority_new(&a, &(struct rs_authority_config){ .name = "istio-ca", .trust_domain = "cluster.local", .ca_cert = rs_str_of(ca),
              .ca_key = { pem->p, pem->n }, .cert_chain = rs_str_of(chain), .root_cert = rs_str_of(root) }, NOW, &e));
    return a;
}

/* Self-signed: [leaf, root]. Plugged in: [leaf, chain..., all roots as one text], never a root twice. */
static void chains(void **state)
{
    struct rs_err e;
    struct kit k = { .root_key = made_key(), .mid_key = made_key() };
    k.root = made_root(k.root_key, "root");
    k.mid = made_intermediate(k.root, k.root_key, k.mid_key, "mid", 0);
    RS_AUTO(EVP_PKEY) *other_key = made_key(), *key = made_key();
    RS_AUTO(rs_cert) *other = made_root(other_key, "other");
    RS_AUTO(rs_chars) *both = rs_printf("%s%s%s", rs_cert_pem(other), rs_cert_pem(k.root), rs_cert_pem(other));
    RS_AUTO(rs_chars) *both_once = rs_printf("%s%s", rs_cert_pem(other), rs_cert_pem(k.root));
    RS_AUTO(rs_chars) *with_root = rs_printf("%s%s", rs_cert_pem(k.mid), rs_cert_pem(k.root)), *csr = NULL;
    ASSERT_OK(rs_csr_make(&csr, key, "spiffe://x/ns/a/sa/b", &e));
    const struct { const char *ca; EVP_PKEY *key; const char *chain, *root, *last; size_t n; } cases[] = {
        { rs_cert_pem(k.root), k.root_key, "", rs_cert_pem(k.root), rs_cert_pem(k.root), 2 },
        { rs_cert_pem(k.root), k.root_key, rs_cert_pem(k.root), rs_cert_pem(k.root), rs_cert_pem(k.root), 2 },
        { rs_cert_pem(k.mid), k.mid_key, rs_cert_pem(k.mid), rs_cert_pem(k.root), rs_cert_pem(k.root), 3 },
        { rs_cert_pem(k.mid), k.mid_key, "", rs_cert_pem(k.root), rs_cert_pem(k.root), 3 },
        { rs_cert_pem(k.mid), k.mid_key, with_root, both, both_once, 3 },
    };
    for (size_t i = 0; i < RS_COUNT(cases); i++) {
        RS_AUTO(rs_authority) *a = authority(&k, cases[i].ca, cases[i].key, cases[i].chain, cases[i].root);
        struct rs_issued out;
        ASSERT_OK(rs_authority_issue(a, "shop", "web", rs_str_of(csr), 0, NOW, &out, &e));
        size_t n = 0;
        while (out.chain[n])
            n++;
        assert_int_equal(n, cases[i].n);
        assert_string_equal(out.chain[n - 1], cases[i].last);
        assert_string_equal(out.chain[0], rs_cert_pem(out.leaf));
        assert_string_equal(out.identity, "spiffe://cluster.local/ns/shop/sa/web");
        assert_string_equal(rs_cert_uri(out.leaf), out.identity);
        assert_true(rs_digest_eq(rs_cert_digest(rs_authority_root(a)), rs_cert_digest(k.root)));
        rs_issued_done(&out);
    }
    RS_AUTO(rs_authority) *a = authority(&k, rs_cert_pem(k.mid), k.mid_key, "", rs_cert_pem(k.root));
    struct rs_issued out = { 0 };
    ASSERT_FAILS(RS_INVALID, "CSR signing error", rs_authority_issue(a, "shop", "web", RS_STR("x"), 0, NOW, &out, &e));
    ASSERT_FAILS(RS_INVALID, "greater than the maximum", rs_authority_issue(a, "shop", "web", rs_str_of(csr), 91 * 24 * HOUR_MS, NOW, &out, &e));
    ASSERT_FAILS(RS_INTERNAL, "expired", rs_authority_issue(a, "shop", "web", rs_str_of(csr), 0, NOW + YEAR_MS, &out, &e));
    EVP_PKEY_free(k.root_key);
    EVP_PKEY_free(k.mid_key);
    rs_cert_unref(k.root);
    rs_cert_unref(k.mid);
}

static void reviews(void **state)
{
    static const char *const want[] = { "istio-ca", "fleet.svc.id.goog" };
    static const char good[] = "{'status':{'authenticated':true,'audiences':['istio-ca'],'user':{'username':'system:serviceaccount:shop:web','groups':['system:serviceaccounts','x'],"
                               "'extra':{'authentication.kubernetes.io/pod-name':['web-1'],'authentication.kubernetes.io/pod-uid':['u1']}}}}";
    static const char *const bad[] = {
        "{}", "{'status':{'authenticated':false,'error':'no'}}",
        "{'status':{'authenticated':true,'audiences':['istio'],'user':{'username':'system:serviceaccount:shop:web','groups':['system:serviceaccounts']}}}",
        "{'status':{'authenticated':true,'user':{'username':'system:serviceaccount:shop:web','groups':['system:serviceaccounts']}}}",
        "{'status':{'authenticated':true,'audiences':['istio-ca'],'user':{'username':'system:serviceaccount:shop:web','groups':['x']}}}",
        "{'status':{'authenticated':true,'audiences':['istio-ca'],'user':{'username':'admin','groups':['system:serviceaccounts']}}}",
        "{'status':{'authenticated':true,'audiences':['istio-ca'],'user':{'username':'system:serviceaccount:shop','groups':['system:serviceaccounts']}}}",
        "{'status':{'authenticated':true,'audiences':['istio-ca'],'user':{'username':'system:serviceaccount:a/b:web','groups':['system:serviceaccounts']}}}",
    };
    struct rs_err e;
    struct rs_caller c = { 0 };
    RS_AUTO(json_t) *o = unit_json(good);
    ASSERT_OK(rs_caller_from_review(&c, o, want, 2, "Kubernetes", &e));
    assert_string_equal(c.namespace, "shop");
    assert_string_equal(c.service_account, "web");
    assert_string_equal(c.pod_name, "web-1");
    assert_string_equal(c.pod_uid, "u1");
    rs_caller_done(&c);
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        RS_AUTO(json_t) *b = unit_json(bad[i]);
        ASSERT_FAILS(RS_UNAUTHENTICATED, "", rs_caller_from_review(&c, b, want, 2, "Kubernetes", &e));
    }
    assert_true(rs_str_is(rs_bearer_token("bearer  abc "), "abc"));
    assert_int_equal(rs_bearer_token("Basic abc").n, 0);
    assert_int_equal(rs_bearer_token(NULL).n, 0);
}

static void records_read_back(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *root_key = made_key(), *key = made_key();
    RS_AUTO(rs_cert) *root = made_root(root_key, "r"), *twin = made_root(root_key, "r"), *leaf = made_leaf(root, root_key, key, "spiffe://td/ns/a/sa/b");
    RS_AUTO(json_t) *record = rs_issuance_record(&(struct rs_issuance_of){ .ca = "istio-ca", .identity = rs_cert_uri(leaf), .namespace = "a", .service_account = "b",
        .pod_name = "p", .pod_uid = "u", .leaf = leaf, .issuer = root, .root = root, .issued_at_ms = NOW });
    RS_AUTO(json_t) *list = rs_json_pack("[O]", record);
    struct rs_issuance_list living;
    const int64_t end = NOW + 24 * HOUR_MS;
    ASSERT_OK(rs_issuance_living(&living, list, rs_cert_digest(root), end + 60 * 1000, &e));        /* within the skew */
    assert_int_equal(living.n, 1);
    assert_string_equal(living.v[0].pod_uid, "u");
    rs_issuance_list_done(&living);
    ASSERT_OK(rs_issuance_living(&living, list, rs_cert_digest(root), end + 10 * 60 * 1000, &e));
    assert_int_equal(living.n, 0);
    rs_issuance_list_done(&living);
    ASSERT_OK(rs_issuance_living(&living, list, rs_cert_digest(twin), NOW, &e));                      /* same subject and key, another root */
    assert_int_equal(living.n, 0);
    rs_issuance_list_done(&living);
    json_object_set_new(record, "status", unit_json("{'endedAt':'2027-01-15T08:00:00Z'}"));
    ASSERT_OK(rs_issuance_living(&living, list, rs_cert_digest(root), NOW, &e));
    assert_int_equal(living.n, 0);
    rs_issuance_list_done(&living);
    rs_json_set_str(json_object_get(record, "spec"), "podUID", "");                                   /* nobody's end can end it */
    ASSERT_OK(rs_issuance_living(&living, list, rs_cert_digest(root), NOW, &e));
    assert_int_equal(living.n, 1);
    rs_issuance_list_done(&living);
    rs_json_set_str(json_object_get(record, "spec"), "notAfter", "soon");
    ASSERT_FAILS(RS_DATA_LOSS, "unreadable", rs_issuance_living(&living, list, rs_cert_digest(root), NOW, &e));
}

static void ends_of_pods(void **state)
{
    static const struct { const char *pod; bool graceful, ended; } cases[] = {
        { "{'metadata':{'deletionGracePeriodSeconds':30},'spec':{'containers':[{},{}]},'status':{'containerStatuses':[{'state':{'terminated':{}}},{'state':{'terminated':{}}}]}}", false, true },
        { "{'metadata':{'deletionGracePeriodSeconds':0},'spec':{'containers':[{}]},'status':{'containerStatuses':[{'state':{'terminated':{}}}]}}", true, true },
        { "{'metadata':{'deletionGracePeriodSeconds':0},'spec':{'containers':[{}]},'status':{'containerStatuses':[{'state':{'terminated':{}}}]}}", false, false },
        { "{'metadata':{'deletionGracePeriodSeconds':30},'spec':{'containers':[{},{}]},'status':{'containerStatuses':[{'state':{'terminated':{}}},{'state':{'running':{}}}]}}", false, false },
        { "{'metadata':{'deletionGracePeriodSeconds':30},'spec':{'containers':[{},{}]},'status':{'containerStatuses':[{'state':{'terminated':{}}}]}}", false, false },
        { "{'metadata':{'deletionGracePeriodSeconds':30},'spec':{'containers':[{}]},'status':{'containerStatuses':[{'state':{'waiting':{}}}]}}", false, false },
        { "{'metadata':{'deletionGracePeriodSeconds':30},'spec':{'containers':[{}]}}", false, false },
        { "{'metadata':{'deletionGracePeriodSeconds':30},'spec':{'containers':[]}}", true, false },
        { "{'metadata':{},'spec':{'containers':[{}]},'status':{'phase':'Failed','containerStatuses':[{'state':{'terminated':{}}}]}}", false, true },
        { "{'metadata':{'deletionGracePeriodSeconds':30},'spec':{'containers':[{}],'initContainers':[{}]},'status':{'containerStatuses':[{'state':{'terminated':{}}}],"
          "'initContainerStatuses':[{'state':{'running':{}}}]}}", false, false },
    };
    for (size_t i = 0; i < RS_COUNT(cases); i++) {
        RS_AUTO(json_t) *pod = unit_json(cases[i].pod);
        if (rs_pod_verifiably_ended(pod, cases[i].graceful) != cases[i].ended)
            fail_msg("case %zu", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(chains), cmocka_unit_test(reviews), cmocka_unit_test(records_read_back), cmocka_unit_test(ends_of_pods) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
