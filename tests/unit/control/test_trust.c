/* The control plane's trust against the embedded API server: record before publishing, A.5, leaders, istio-ca-root-cert. */
#include "../ca/cluster.h"

#include "ca/istio_ca.h"
#include "control/root_cert.h"
#include "control/serving.h"
#include "control/trust.h"
#include "mesh/issuance.h"
#include "pki/issue.h"

#define CONFIGMAPS "/api/v1/namespaces/istio-system/configmaps"
#define RECORD CONFIGMAPS "/istio-trust-bundle-r2"
#define SECRETS "/api/v1/namespaces/istio-system/secrets"

struct watcher { struct cluster *c; rs_bundle *bundle; char *retired; size_t changes, kept, gone; };

static void on_change(void *ctx, rs_bundle *bundle, const char *const *retired)
{
    struct watcher *w = ctx;
    rs_bundle_unref(w->bundle);
    w->bundle = rs_bundle_ref(bundle);
    free(w->retired);
    w->retired = rs_strdup(retired[0]);
    w->changes++;
}

static void on_event(void *ctx, const char *reason, const char *message)
{
    struct watcher *w = ctx;
    w->kept += strcmp(reason, "RootKept") == 0;
    w->gone += strcmp(reason, "RootRetired") == 0;
}

static rs_trust *start(struct cluster *c, struct watcher *w, const struct rs_trust_config *config, const json_t *mesh)
{
    static const struct rs_trust_ops ops = { on_change, on_event };
    struct rs_err e;
    rs_trust *t = NULL;
    rs_bundle_unref(w->bundle);
    free(w->retired);
    *w = (struct watcher){ .c = c };
    ASSERT_OK(rs_trust_new(&t, c->kube, config, mesh, &ops, w, &e));
    WAIT(c, w->changes > 0);
    return t;
}

static rs_bundle *recorded(struct cluster *c)
{
    struct rs_err e;
    rs_bundle *b = NULL;
    RS_AUTO(json_t) *cm = ask(c, "GET", RECORD, NULL);
    ASSERT_OK(rs_bundle_parse(&b, rs_str_of(rs_configmap_value(cm, "roots.pem")), &e));
    return b;
}

static EVP_PKEY *a_key(void)
{
    struct rs_err e;
    EVP_PKEY *key = NULL;
    ASSERT_OK(rs_key_generate(&key, RS_KEY_P256, &e));
    return key;
}

static rs_cert *a_root(EVP_PKEY *key, const char *name)
{
    struct rs_err e;
    rs_cert *root = NULL;
    ASSERT_OK(rs_issue_root(&root, key, name, NULL, rs_now_ms(), 1000ll * 3600 * 1000, &e));
    return root;
}

static char *living_record(struct cluster *c, rs_cert *root, EVP_PKEY *key)
{
    struct rs_err e;
    RS_AUTO(rs_cert) *leaf = NULL;
    ASSERT_OK(rs_issue_leaf(&leaf, &(struct rs_issuer){ root, key }, key, (const char *const[]){ "spiffe://cluster.local/ns/shop/sa/web", NULL }, rs_now_ms(), 3600000, &e));
    json_t *record = rs_issuance_record(&(struct rs_issuance_of){ .ca = "istio-ca", .identity = rs_cert_uri(leaf), .namespace = "shop", .pod_name = "web-1",
        .pod_uid = "u1", .leaf = leaf, .issuer = root, .root = root, .issued_at_ms = rs_now_ms() });
    char *path = rs_printf("%s/%s", RS_RECORDS_PATH, rs_object_name(record));
    post(c, RS_RECORDS_PATH, record);
    return path;
}

static void put_secret(struct cluster *c, const char *name, rs_cert *root, EVP_PKEY *key)
{
    RS_AUTO(rs_secret) *pem = rs_key_to_pem(key);
    RS_AUTO(rs_chars) *cert_text = rs_base64(rs_cert_pem(root), strlen(rs_cert_pem(root))), *key_text = rs_base64(pem->p, pem->n);
    post(c, SECRETS, rs_json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s}}", "apiVersion", "v1", "kind", "Secret", "metadata", "name", name, "namespace", "istio-system",
                                  "data", "ca-cert.pem", cert_text, "ca-key.pem", key_text, "root-cert.pem", cert_text));
}

/* A control plane whose CA is off, before, at and after A.5. */
static void after_the_secrets_are_gone(void **state)
{
    struct cluster c;
    struct watcher w = { 0 };
    cluster_start(&c);
    cluster_prepare(&c);
    RS_AUTO(EVP_PKEY) *old_key = a_key(), *new_key = a_key();
    RS_AUTO(rs_cert) *old = a_root(old_key, "old"), *new = a_root(new_key, "new");
    RS_AUTO(rs_bundle) *old_b = rs_bundle_of(old), *new_b = rs_bundle_of(new), *both = NULL;
    struct rs_err e;
    ASSERT_OK(rs_bundle_union(&both, old_b, new_b, &e));
    put_secret(&c, "istio-ca-secret", old, old_key);
    RS_AUTO(rs_chars) *leaf = living_record(&c, old, old_key);
    RS_AUTO(json_t) *mesh = rs_json_pack("{s:[{s:s}]}", "caCertificates", "pem", rs_cert_pem(new));
    const struct rs_trust_config config = { .namespace = "istio-system", .revision = "r2", .multi_root = true };

    rs_trust *t = start(&c, &w, &config, mesh);
    RS_AUTO(rs_bundle) *first = recorded(&c);                      /* on record by the time it is published */
    assert_true(rs_bundle_eq(first, both) && rs_bundle_eq(w.bundle, both));
    assert_null(w.retired);
    do_it(&c, "DELETE", SECRETS "/istio-ca-secret", NULL);         /* A.5 while it runs changes nothing */
    run_for(&c, 200);
    assert_true(rs_bundle_eq(w.bundle, both) && w.changes == 1);

    rs_trust *t0 = t;                                              /* restarted, old and new replica side by side: a leaf under the old root may be alive */
    t = start(&c, &w, &config, mesh);
    WAIT(&c, rs_trust_kept(t)[0] && rs_trust_kept(t0)[0]);
    assert_true(w.kept >= 1);
    RS_AUTO(json_t) *one = ask(&c, "GET", RECORD, NULL);
    run_for(&c, 300);
    RS_AUTO(json_t) *two = ask(&c, "GET", RECORD, NULL);           /* they agree: nobody writes to and fro */
    assert_string_equal(rs_object_rv(one), rs_object_rv(two));
    rs_trust_free(t0);
    assert_true(rs_bundle_eq(w.bundle, both));
    assert_non_null(strstr(rs_trust_kept(t)[0], "web-1"));
    do_it(&c, "PATCH", leaf, "{'status':{'endedAt':'2026-01-01T00:00:00Z','evidence':'test'}}");
    WAIT(&c, w.gone == 1);
    assert_true(rs_bundle_eq(w.bundle, new_b));
    char text[RS_DIGEST_TEXT];
    assert_string_equal(w.retired, rs_digest_text(rs_cert_digest(old), text));
    assert_null(rs_trust_kept(t)[0]);
    rs_trust_free(t);

    t = start(&c, &w, &config, mesh);                              /* still retired, still named */
    assert_true(rs_bundle_eq(w.bundle, new_b));
    assert_string_equal(w.retired, text);
    do_it(&c, "DELETE", RECORD, NULL);                             /* a record that is deleted comes back as it was */
    WAIT(&c, ({ RS_AUTO(json_t) *l = ask(&c, "GET", CONFIGMAPS "?labelSelector=rootshift.dev/trust-bundle", NULL); json_array_size(json_object_get(l, "items")) == 1; }));
    RS_AUTO(json_t) *back = ask(&c, "GET", RECORD, NULL);
    assert_non_null(strstr(rs_configmap_value(back, "retired"), text));
    RS_AUTO(json_t) *broken = rs_json_pack("{s:[{s:s}]}", "caCertificates", "pem", "broken");
    rs_trust_set_mesh(t, broken);                                  /* a source that fails changes nothing */
    run_for(&c, 200);
    assert_true(rs_bundle_eq(w.bundle, new_b));
    rs_trust_free(t);

    t = start(&c, &w, &config, mesh);
    put_secret(&c, "istio-ca-secret", old, old_key);               /* restored from the backup; a new replica finds it */
    struct watcher w2 = { 0 };
    rs_trust *t2 = start(&c, &w2, &config, mesh);
    WAIT(&c, rs_bundle_eq(w.bundle, both) && rs_bundle_eq(w2.bundle, both));
    run_for(&c, 300);                                              /* and the old one agrees: nobody writes to and fro */
    assert_true(w.changes <= 3 && w2.changes <= 2 && rs_bundle_eq(w2.bundle, both));
    assert_null(w2.retired);
    rs_trust_free(t2);
    rs_trust_free(t);
    rs_bundle_unref(w2.bundle);
    rs_bundle_unref(w.bundle);
    cluster_stop(&c);
}

/* Nothing is known about a root that came with a CA's key and without records; nor may one go under which a CA signs. */
static void roots_that_must_stay(void **state)
{
    struct cluster c;
    struct watcher w = { 0 };
    cluster_start(&c);
    cluster_prepare(&c);
    RS_AUTO(EVP_PKEY) *key = a_key(), *other_key = a_key();
    RS_AUTO(rs_cert) *foreign = a_root(key, "foreign"), *signing = a_root(other_key, "signing");
    RS_AUTO(rs_bundle) *signing_b = rs_bundle_of(signing);
    const struct rs_trust_config config = { .namespace = "istio-system", .revision = "r2", .multi_root = true };
    const struct rs_trust_config signer = { .namespace = "istio-system", .revision = "r1", .own_roots = signing_b, .ca_enabled = true };
    RS_AUTO(json_t) *mesh = rs_json_pack("{s:[{s:s}]}", "caCertificates", "pem", rs_cert_pem(signing));
    put_secret(&c, "cacerts", foreign, key);
    rs_trust *t = start(&c, &w, &config, mesh);
    rs_trust_free(t);
    rs_trust *other = start(&c, &w, &signer, NULL);
    do_it(&c, "DELETE", SECRETS "/cacerts", NULL);
    t = start(&c, &w, &config, NULL);
    WAIT(&c, w.kept == 2);
    run_for(&c, 300);
    assert_int_equal(rs_bundle_count(w.bundle), 2);
    assert_int_equal(w.gone, 0);
    rs_trust_free(t);
    rs_trust_free(other);
    /* A CA that should sign and can't start: its root is not taken for gone. */
    const struct rs_trust_config failed = { .namespace = "istio-system", .revision = "r1", .ca_enabled = true };
    t = start(&c, &w, &failed, NULL);
    run_for(&c, 300);
    assert_true(rs_bundle_eq(w.bundle, signing_b));
    rs_trust_free(t);
    rs_bundle_unref(w.bundle);
    cluster_stop(&c);
}

static void on_leading(void *ctx, bool leading) { *(int *)ctx += leading ? 1 : -1; }
static void on_released(void *ctx) { *(bool *)ctx = true; }

static void one_leader(void **state)
{
    struct cluster c;
    int a_leads = 0, b_leads = 0;
    bool released = false;
    cluster_start(&c);
    cluster_prepare(&c);
    rs_leader *a = rs_leader_new(c.kube, "istio-system", "x", "a", on_leading, &a_leads);
    WAIT(&c, a_leads == 1);
    rs_leader *b = rs_leader_new(c.kube, "istio-system", "x", "b", on_leading, &b_leads);
    run_for(&c, 500);
    assert_true(rs_leader_is(a) && !rs_leader_is(b) && b_leads == 0);
    rs_leader_release(a, on_released, &released);
    WAIT(&c, released);
    assert_int_equal(a_leads, 0);
    WAIT(&c, b_leads == 1);
    rs_leader_free(a);
    rs_leader_free(b);
    cluster_stop(&c);
}

#define ROOT_CERT(ns) "/api/v1/namespaces/" ns "/configmaps/istio-ca-root-cert"
static bool has_roots(struct cluster *c, const char *path, size_t n)
{
    struct rs_err e;
    RS_AUTO(json_t) *cm = NULL;
    RS_AUTO(rs_bundle) *b = NULL;
    return rs_kube_get(c->kube, path, &cm, &e) == 0 && rs_bundle_parse(&b, rs_str_of(rs_configmap_value(cm, "root-cert.pem")), &e) == 0 && rs_bundle_count(b) == n;
}

static void serving_and_root_cert(void **state)
{
    struct cluster c;
    struct rs_err e;
    struct watcher w = { 0 };
    rs_serving *s = NULL;
    cluster_start(&c);
    cluster_prepare(&c);
    static const struct rs_serving_config config = { "istio-system", "r2" };
    ASSERT_FAILS(RS_NOT_FOUND, "rootshift install", rs_serving_new(&s, c.kube, &config, NULL, NULL, &e));
    RS_AUTO(EVP_PKEY) *key = a_key(), *old_key = a_key();
    RS_AUTO(rs_cert) *root = a_root(key, "serving"), *old = a_root(old_key, "old");
    put_secret(&c, "istiod-serving-ca", root, key);
    ASSERT_OK(rs_serving_new(&s, c.kube, &config, NULL, NULL, &e));
    RS_AUTO(SSL_CTX) *tls = NULL;
    ASSERT_OK(rs_serving_context(s, "h2", &tls, &e));
    assert_true(rs_cert_signed_by(rs_serving_leaf(s), root));
    rs_root_cert *r = rs_root_cert_new(c.kube, "istio-system", "me", rs_serving_root(s));
    WAIT(&c, has_roots(&c, ROOT_CERT("istio-system"), 1) && has_roots(&c, ROOT_CERT("default"), 1));
    put_secret(&c, "istio-ca-secret", old, old_key);
    rs_trust *t = start(&c, &w, &(struct rs_trust_config){ .namespace = "istio-system", .revision = "r2" }, NULL);
    WAIT(&c, has_roots(&c, ROOT_CERT("default"), 2));
    do_it(&c, "POST", "/api/v1/namespaces", "{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'new'}}");
    WAIT(&c, has_roots(&c, ROOT_CERT("new"), 2));
    do_it(&c, "PATCH", ROOT_CERT("new"), "{'data':{'root-cert.pem':'junk'}}");       /* put right again */
    WAIT(&c, has_roots(&c, ROOT_CERT("new"), 2));
    assert_false(has_roots(&c, ROOT_CERT("kube-system"), 2));
    rs_trust_free(t);
    rs_root_cert_free(r);
    rs_serving_free(s);
    rs_bundle_unref(w.bundle);
    cluster_stop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_the_secrets_are_gone), cmocka_unit_test(roots_that_must_stay), cmocka_unit_test(one_leader), cmocka_unit_test(serving_and_root_cert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
