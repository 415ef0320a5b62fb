/* The parts of the CA that speak to a cluster, against the embedded API server. */
#include "cluster.h"

#include "ca/callers.h"
#include "ca/istio_ca.h"
#include "ca/keeper.h"
#include "ca/records.h"
#include "mesh/issuance.h"
#include "pki/issue.h"

#define POD(name) "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'" name "','namespace':'default'},'spec':{'nodeName':'n','serviceAccountName':'default','containers':[{'name':'c','image':'i'}]}}"
#define PODS "/api/v1/namespaces/default/pods"

struct proof { bool done, ok; struct rs_caller caller; struct rs_err why; };

static void on_proof(void *ctx, const struct rs_caller *caller, const struct rs_err *why)
{
    struct proof *p = ctx;
    p->done = true;
    p->ok = !why;
    if (caller)
        rs_caller_copy(&p->caller, caller);
    else
        p->why = *why;
}

static void check(struct cluster *c, rs_callers *a, const char *token, const char *pod_uid)
{
    struct proof p = { 0 };
    rs_callers_check(a, rs_str_of(token), on_proof, &p);
    WAIT(c, p.done);
    if (!pod_uid) {
        assert_false(p.ok);
        assert_int_equal(p.why.code, RS_UNAUTHENTICATED);
        return;
    }
    if (!p.ok)
        fail_msg("%s", p.why.msg);
    assert_string_equal(p.caller.namespace, "default");
    assert_string_equal(p.caller.service_account, "default");
    assert_string_equal(p.caller.pod_name, "caller");
    assert_string_equal(p.caller.pod_uid, pod_uid);
    rs_caller_done(&p.caller);
}

static void callers(void **state)
{
    struct rs_err e;
    struct cluster c;
    static const char *const audiences[] = { "istio-ca", NULL }, *const others[] = { "other", NULL };
    cluster_start(&c);
    json_t *account = NULL;                      /* made by a controller in a whole cluster */
    if (rs_kube_get(c.kube, "/api/v1/namespaces/default/serviceaccounts/default", &account, &e) < 0)
        do_it(&c, "POST", "/api/v1/namespaces/default/serviceaccounts", "{'apiVersion':'v1','kind':'ServiceAccount','metadata':{'name':'default','namespace':'default'}}");
    json_decref(account);
    RS_AUTO(json_t) *pod = ask(&c, "POST", PODS, POD("caller"));
    RS_AUTO(rs_chars) *body = rs_printf("{'apiVersion':'authentication.k8s.io/v1','kind':'TokenRequest','spec':{'audiences':['istio-ca'],'expirationSeconds':3600,"
                                        "'boundObjectRef':{'apiVersion':'v1','kind':'Pod','name':'caller','uid':'%s'}}}", rs_object_uid(pod));
    RS_AUTO(json_t) *answer = ask(&c, "POST", "/api/v1/namespaces/default/serviceaccounts/default/token", body);
    const char *token = rs_json_str(answer, "status", "token");
    assert_non_null(token);
    rs_callers *by_review = rs_callers_by_review(c.kube, audiences, "Kubernetes"), *other = rs_callers_by_review(c.kube, others, "Kubernetes");
    rs_callers *by_keys = rs_callers_by_keys(c.loop, audiences), *other_keys = rs_callers_by_keys(c.loop, others);
    ASSERT_OK(rs_callers_add_cluster(by_keys, "Kubernetes", NULL, NULL, c.kube, &e));
    ASSERT_OK(rs_callers_add_cluster(other_keys, "Kubernetes", NULL, NULL, c.kube, &e));
    check(&c, by_review, token, rs_object_uid(pod));
    check(&c, by_review, token, rs_object_uid(pod));         /* from memory */
    check(&c, by_keys, token, rs_object_uid(pod));
    check(&c, by_keys, token, rs_object_uid(pod));
    check(&c, other, token, NULL);
    check(&c, other_keys, token, NULL);
    check(&c, by_review, "x.y.z", NULL);
    check(&c, by_keys, "x.y.z", NULL);
    rs_callers_free(by_review);
    rs_callers_free(other);
    rs_callers_free(by_keys);
    rs_callers_free(other_keys);
    cluster_stop(&c);
}

/* ---- records and the keeper ---- */

struct written { bool done; struct rs_err why; };
static void on_written(void *ctx, const struct rs_err *why)
{
    struct written *w = ctx;
    w->done = true;
    w->why = why ? *why : (struct rs_err){ .code = RS_OK };
}

static rs_cert *made(rs_cert **ret_root)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *key = NULL;
    rs_cert *leaf = NULL;
    ASSERT_OK(rs_key_generate(&key, RS_KEY_P256, &e));
    ASSERT_OK(rs_issue_root(ret_root, key, "r", NULL, rs_now_ms(), 1000ll * 3600 * 1000, &e));
    ASSERT_OK(rs_issue_leaf(&leaf, &(struct rs_issuer){ *ret_root, key }, key, (const char *const[]){ "spiffe://td/ns/default/sa/default", NULL }, rs_now_ms(), 3600 * 1000, &e));
    return leaf;
}

static char *write_record(struct cluster *c, rs_records *r, const char *pod_uid)
{
    RS_AUTO(rs_cert) *root = NULL;
    RS_AUTO(rs_cert) *leaf = made(&root);
    RS_AUTO(json_t) *record = rs_issuance_record(&(struct rs_issuance_of){ .ca = "istio-ca", .identity = rs_cert_uri(leaf), .namespace = "default", .pod_name = "p",
        .pod_uid = pod_uid, .leaf = leaf, .issuer = root, .root = root, .issued_at_ms = rs_now_ms() });
    for (int i = 0; i < 2; i++) {                /* again: it exists, and that is fine */
        struct written w = { 0 };
        rs_records_write(r, record, on_written, &w);
        WAIT(c, w.done);
        assert_int_equal(w.why.code, RS_OK);
    }
    return rs_printf("%s/%s", RS_RECORDS_PATH, rs_object_name(record));
}

static bool ended(struct cluster *c, const char *path)
{
    RS_AUTO(json_t) *o = ask(c, "GET", path, NULL);
    return rs_issuance_ended(o);
}

static void set_state(struct cluster *c, const char *path, const char *state)
{
    RS_AUTO(rs_chars) *status = rs_printf("%s/status", path);
    RS_AUTO(rs_chars) *body = rs_printf("{'status':{'phase':'Running','containerStatuses':[{'name':'c','image':'i','imageID':'','ready':false,'restartCount':0,'state':%s}]}}", state);
    do_it(c, "PATCH", status, body);
}

static void remove_pod(struct cluster *c, const char *path, int grace)
{
    RS_AUTO(rs_chars) *body = rs_printf("{'apiVersion':'v1','kind':'DeleteOptions','gracePeriodSeconds':%d}", grace);
    do_it(c, "DELETE", path, body);
}

static void keeper(void **state)
{
    struct rs_err e;
    struct cluster c;
    cluster_start(&c);
    cluster_prepare(&c);
    json_t *account = NULL;
    if (rs_kube_get(c.kube, "/api/v1/namespaces/default/serviceaccounts/default", &account, &e) < 0)
        do_it(&c, "POST", "/api/v1/namespaces/default/serviceaccounts", "{'apiVersion':'v1','kind':'ServiceAccount','metadata':{'name':'default','namespace':'default'}}");
    json_decref(account);
    rs_records *records = rs_records_new(c.kube);
    rs_keeper *k = rs_keeper_new(c.kube);
    RS_AUTO(json_t) *good = ask(&c, "POST", PODS, POD("good")), *forced = ask(&c, "POST", PODS, POD("forced")), *running = ask(&c, "POST", PODS, POD("running"));
    RS_AUTO(rs_chars) *r_good = write_record(&c, records, rs_object_uid(good)), *r_forced = write_record(&c, records, rs_object_uid(forced));
    RS_AUTO(rs_chars) *r_running = write_record(&c, records, rs_object_uid(running)), *r_nobody = write_record(&c, records, NULL);
    set_state(&c, PODS "/good", "{'running':{'startedAt':'2026-01-01T00:00:00Z'}}");
    set_state(&c, PODS "/forced", "{'running':{'startedAt':'2026-01-01T00:00:00Z'}}");
    set_state(&c, PODS "/running", "{'running':{'startedAt':'2026-01-01T00:00:00Z'}}");
    run_for(&c, 100);
    remove_pod(&c, PODS "/forced", 0);           /* kubectl delete --force: nobody saw it stop */
    remove_pod(&c, PODS "/running", 30);         /* asked to stop, then forced while it ran */
    remove_pod(&c, PODS "/running", 0);
    remove_pod(&c, PODS "/good", 30);
    set_state(&c, PODS "/good", "{'running':null,'terminated':{'exitCode':0,'finishedAt':'2026-01-01T00:00:00Z'}}");
    assert_false(ended(&c, r_good));
    remove_pod(&c, PODS "/good", 0);
    WAIT(&c, ended(&c, r_good));
    RS_AUTO(rs_chars) *late = write_record(&c, records, rs_object_uid(good));        /* was on its way when the pod ended */
    WAIT(&c, ended(&c, late));
    assert_false(ended(&c, r_forced) || ended(&c, r_running) || ended(&c, r_nobody));
    rs_keeper_free(k);
    rs_records_free(records);
    cluster_stop(&c);
}

static void records_fail(void **state)
{
    struct cluster c;
    cluster_start(&c);                           /* no such resource here */
    rs_records *records = rs_records_new(c.kube);
    struct written w = { 0 }, cancelled = { 0 };
    RS_AUTO(json_t) *o = unit_json("{'apiVersion':'rootshift.dev/v1','kind':'IssuanceRecord','metadata':{'name':'x','namespace':'istio-system'}}");
    rs_records_write(records, o, on_written, &w);
    WAIT(&c, w.done);
    assert_int_equal(w.why.code, RS_NOT_FOUND);
    rs_records_write(records, o, on_written, &cancelled);
    rs_records_free(records);
    assert_true(cancelled.done && cancelled.why.code == RS_CANCELLED);
    cluster_stop(&c);
}

/* ---- where Istio CA's key comes from ---- */

static json_t *secret(const char *name, const char *const *pairs)
{
    json_t *o = rs_json_pack("{s:s, s:s, s:{s:s, s:s}, s:{}}", "apiVersion", "v1", "kind", "Secret", "metadata", "name", name, "namespace", "istio-system", "data");
    for (; pairs[0]; pairs += 2) {
        RS_AUTO(rs_chars) *text = rs_base64(pairs[1], strlen(pairs[1]));
        rs_json_set_str(json_object_get(o, "data"), pairs[0], text);
    }
    return o;
}

#define SECRETS "/api/v1/namespaces/istio-system/secrets"
#define CONFIGMAPS "/api/v1/namespaces/istio-system/configmaps"

static void istio_ca(void **state)
{
    static const struct rs_istio_ca_config config = { "istio-system", "cluster.local" };
    struct rs_err e;
    struct cluster c;
    struct rs_ca_material a, b;
    const char *name;
    RS_AUTO(rs_bundle) *roots = NULL, *gone = NULL, *plugged = NULL;
    cluster_start(&c);
    cluster_prepare(&c);
    ASSERT_OK(rs_istio_ca_roots(&gone, &name, c.kube, "istio-system", &e));
    assert_null(gone);
    ASSERT_OK(rs_istio_ca_load(&a, c.kube, &config, rs_now_ms(), &e));
    ASSERT_OK(rs_istio_ca_load(&b, c.kube, &config, rs_now_ms(), &e));
    assert_true(a.minted && !b.minted);
    assert_string_equal(a.secret, "istio-ca-secret");
    assert_string_equal(a.ca_cert, b.ca_cert);
    assert_string_equal(a.root_cert, a.ca_cert);
    ASSERT_OK(rs_istio_ca_roots(&roots, &name, c.kube, "istio-system", &e));
    assert_string_equal(name, "istio-ca-secret");
    assert_string_equal(rs_bundle_pem(roots), a.root_cert);

    /* Plugged in wins; half of it is an error, never a reason to make or take another. */
    post(&c, SECRETS, secret("cacerts", (const char *const[]){ "ca-cert.pem", a.ca_cert, "ca-key.pem", a.key->p, "root-cert.pem", a.root_cert, "cert-chain.pem", a.ca_cert, NULL }));
    rs_ca_material_done(&b);
    ASSERT_OK(rs_istio_ca_load(&b, c.kube, &config, rs_now_ms(), &e));
    assert_string_equal(b.secret, "cacerts");
    do_it(&c, "PATCH", SECRETS "/cacerts", "{'data':{'ca-key.pem':null}}");
    struct rs_ca_material none;
    ASSERT_FAILS(RS_INVALID, "cacerts lacks ca-key.pem", rs_istio_ca_load(&none, c.kube, &config, rs_now_ms(), &e));
    ASSERT_OK(rs_istio_ca_roots(&plugged, &name, c.kube, "istio-system", &e));
    assert_string_equal(name, "cacerts");
    do_it(&c, "DELETE", SECRETS "/cacerts", NULL);
    post(&c, SECRETS, secret("cacerts", (const char *const[]){ "tls.crt", a.ca_cert, "tls.key", a.key->p, "ca.crt", a.root_cert, NULL }));
    rs_ca_material_done(&b);
    ASSERT_OK(rs_istio_ca_load(&b, c.kube, &config, rs_now_ms(), &e));
    assert_string_equal(b.root_cert, a.root_cert);

    /* No second root while the mesh has one on record. */
    do_it(&c, "DELETE", SECRETS "/cacerts", NULL);
    do_it(&c, "DELETE", SECRETS "/istio-ca-secret", NULL);
    do_it(&c, "POST", CONFIGMAPS, "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'rootshift-migration','namespace':'istio-system'}}");
    ASSERT_FAILS(RS_PRECONDITION, "during a migration", rs_istio_ca_load(&none, c.kube, &config, rs_now_ms(), &e));
    do_it(&c, "DELETE", CONFIGMAPS "/rootshift-migration", NULL);
    do_it(&c, "POST", CONFIGMAPS, "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'istio-trust-bundle-x','namespace':'istio-system','labels':{'rootshift.dev/trust-bundle':'true'}}}");
    ASSERT_FAILS(RS_PRECONDITION, "istio-trust-bundle-x", rs_istio_ca_load(&none, c.kube, &config, rs_now_ms(), &e));
    RS_AUTO(json_t) *all = ask(&c, "GET", SECRETS, NULL);
    for (size_t i = 0; i < json_array_size(json_object_get(all, "items")); i++)
        assert_string_not_equal(rs_object_name(json_array_get(json_object_get(all, "items"), i)), "istio-ca-secret");
    rs_ca_material_done(&a);
    rs_ca_material_done(&b);
    cluster_stop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(callers), cmocka_unit_test(keeper), cmocka_unit_test(records_fail), cmocka_unit_test(istio_ca) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
