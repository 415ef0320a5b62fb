/* The agent's pure parts: settings, answers of a CA, discovery messages, Envoy's statistics, redirection rules, renewal. */
#include "unit.h"

#include "agent/ads_wire.h"
#include "agent/ca_client.h"
#include "agent/config.h"
#include "agent/envoy_stats.h"
#include "agent/redirect.h"
#include "agent/renewal.h"
#include "base/file.h"
#include "base/proc.h"
#include "envoy_discovery.pb-c.h"
#include "mesh/planted.h"
#include "xds/encode.h"

/* ---- settings ---- */

#define WHO (char *)"POD_NAME=p-1", (char *)"POD_NAMESPACE=ns", (char *)"INSTANCE_IP=10.244.1.2"

static void settings(void **state)
{
    struct rs_err e;
    struct rs_agent_config c;
    char *const plain[] = { WHO, NULL };
    ASSERT_OK(rs_agent_config_load(&c, "sidecar", plain, &e));
    assert_string_equal(c.ca_address, "istiod.istio-system.svc:15012");
    assert_string_equal(c.discovery_name, "istiod.istio-system.svc");
    assert_int_equal(c.ca, RS_AGENT_ISTIO_CA);
    assert_int_equal(c.key_kind, RS_KEY_P256);
    assert_int_equal(c.ttl_ms, 86400000);
    assert_int_equal(c.status_port, 15020);
    assert_false(c.pcds);
    RS_AUTO(rs_chars) *id = rs_agent_node_id(&c), *uri = rs_agent_identity(&c);
    assert_string_equal(id, "sidecar~10.244.1.2~p-1.ns~ns.svc.cluster.local");
    assert_string_equal(uri, "spiffe://cluster.local/ns/ns/sa/default");
    rs_agent_config_done(&c);

    char *const full[] = { WHO, (char *)"SERVICE_ACCOUNT=sa", (char *)"TRUST_DOMAIN=fleet.svc.id.goog", (char *)"CA_PROVIDER=GoogleCA",
                           (char *)"CA_ADDR=mesh-ca.mesh-ca.svc:443", (char *)"ECC_SIGNATURE_ALGORITHM=RSA", (char *)"SECRET_TTL=1h",
                           (char *)"PROXY_CONFIG_XDS_AGENT=true", (char *)"PROXY_CONFIG={\"discoveryAddress\":\"istiod-r.istio-system.svc:15012\",\"concurrency\":3}",
                           (char *)"ISTIO_META_WORKLOAD_NAME=cart", (char *)"ISTIO_METAJSON_LABELS={\"app\":\"cart\"}", (char *)"MAXIMUM_DRAIN_DURATION=57s", NULL };
    ASSERT_OK(rs_agent_config_load(&c, "router", full, &e));
    assert_int_equal(c.ca, RS_AGENT_MESH_CA);
    assert_string_equal(c.ca_name, "mesh-ca.mesh-ca.svc");
    assert_string_equal(c.discovery_name, "istiod-r.istio-system.svc");
    assert_int_equal(c.key_kind, RS_KEY_RSA2048);
    assert_int_equal(c.concurrency, 3);
    assert_int_equal(c.drain_max_ms, 57000);
    assert_true(c.pcds);
    assert_string_equal(rs_json_str(c.metadata, "WORKLOAD_NAME"), "cart");
    RS_AUTO(rs_chars) *cluster = rs_agent_node_cluster(&c);
    assert_string_equal(cluster, "cart.ns");
    rs_agent_config_done(&c);
}

static void settings_refused(void **state)
{
    static const struct { const char *more, *why; } bad[] = {
        { "TRUST_DOMAIN=a b", "TRUST_DOMAIN" }, { "CA_PROVIDER=Vault", "CA_PROVIDER" }, { "CA_ADDR=nowhere", "CA_ADDR" }, { "SECRET_TTL=soon", "SECRET_TTL" },
        { "SECRET_GRACE_PERIOD_RATIO=2", "RATIO" }, { "PROXY_CONFIG=[1]", "PROXY_CONFIG" }, { "ISTIO_KUBE_APP_PROBERS={", "PROBERS" },
        { "ENVOY_STATUS_PORT=0", "ENVOY_STATUS_PORT" },
    };
    struct rs_err e;
    struct rs_agent_config c;
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        char *const environment[] = { WHO, (char *)(uintptr_t)bad[i].more, NULL };
        ASSERT_FAILS(RS_INVALID, bad[i].why, rs_agent_config_load(&c, "sidecar", environment, &e));
    }
    char *const nobody[] = { (char *)"POD_NAME=p", NULL };
    ASSERT_FAILS(RS_INVALID, "POD_NAMESPACE", rs_agent_config_load(&c, "sidecar", nobody, &e));
}

/* ---- answers ---- */

struct issued { EVP_PKEY *key; rs_cert *leaf, *middle; struct planted_ca root, middle_ca; };

static void issue(struct issued *s, const char *uri)
{
    struct rs_err e;
    const char *const sans[] = { uri, NULL };
    *s = (struct issued){ .root = planted_root(NULL, "root") };
    struct rs_issuer root = { s->root.cert, s->root.key };
    ASSERT_OK(rs_key_generate(&s->key, RS_KEY_P256, &e));
    ASSERT_OK(rs_key_generate(&s->middle_ca.key, RS_KEY_P256, &e));
    ASSERT_OK(rs_issue_intermediate(&s->middle_ca.cert, &root, s->middle_ca.key, "middle", NULL, 0, rs_now_ms(), 3600000, &e));
    struct rs_issuer middle = { s->middle_ca.cert, s->middle_ca.key };
    ASSERT_OK(rs_issue_leaf(&s->leaf, &middle, s->key, sans, rs_now_ms(), 1800000, &e));
}

static void issued_done(struct issued *s)
{
    EVP_PKEY_free(s->key);
    rs_cert_unref(s->leaf);
    planted_root_done(&s->root);
    planted_root_done(&s->middle_ca);
}

static void answers(void **state)
{
    struct issued s;
    struct rs_err e;
    struct rs_ca_answer a;
    static const char wanted[] = "spiffe://asked.for/ns/n/sa/s";
    issue(&s, "spiffe://another.domain/ns/n/sa/s");
    char *leaf = (char *)(uintptr_t)rs_cert_pem(s.leaf), *middle = (char *)(uintptr_t)rs_cert_pem(s.middle_ca.cert), *root = (char *)(uintptr_t)rs_cert_pem(s.root.cert);
    char *const good[] = { leaf, middle, root };
    ASSERT_OK(rs_ca_answer_read(&a, good, 3, s.key, wanted, rs_now_ms(), &e));
    RS_AUTO(rs_chars) *want = rs_printf("%s%s", leaf, middle);
    assert_string_equal(a.chain, want);                /* without the root */
    assert_string_equal(a.roots, root);
    rs_ca_answer_done(&a);
    /* The chain in one piece with the root in it once more, as Istio 1.15 can send it. */
    RS_AUTO(rs_chars) *both = rs_printf("%s%s", middle, root);
    char *const packed[] = { leaf, both, root };
    ASSERT_OK(rs_ca_answer_read(&a, packed, 3, s.key, wanted, rs_now_ms(), &e));
    assert_string_equal(a.chain, want);
    rs_ca_answer_done(&a);

    char *const no_middle[] = { leaf, root }, *const no_leaf[] = { middle, root }, *const junk[] = { leaf, (char *)"junk" };
    ASSERT_FAILS(RS_DATA_LOSS, "1 elements", rs_ca_answer_read(&a, good, 1, s.key, wanted, rs_now_ms(), &e));
    ASSERT_FAILS(RS_PRECONDITION, "chain", rs_ca_answer_read(&a, no_middle, 2, s.key, wanted, rs_now_ms(), &e));
    ASSERT_FAILS(RS_DATA_LOSS, "another key", rs_ca_answer_read(&a, no_leaf, 2, s.key, wanted, rs_now_ms(), &e));
    ASSERT_FAILS(RS_INVALID, "chain", rs_ca_answer_read(&a, junk, 2, s.key, wanted, rs_now_ms(), &e));
    ASSERT_FAILS(RS_PRECONDITION, "", rs_ca_answer_read(&a, good, 3, s.key, wanted, rs_now_ms() + 7200000, &e));
    ASSERT_FAILS(RS_DATA_LOSS, "asked for", rs_ca_answer_read(&a, good, 3, s.key, "spiffe://another.domain/ns/n/sa/other", rs_now_ms(), &e));
    issued_done(&s);
}

/* ---- discovery messages ---- */

static void type_urls(void **state)
{
    struct rs_err e;
    rs_str type;
    size_t n;
    RS_AUTO(rs_chars) *request = rs_ads_bundle_request("v1", "n1", "because", &n);
    ASSERT_OK(rs_ads_type_url((rs_str){ request, n }, &type, &e));
    assert_true(rs_str_is(type, RS_TYPE_PCDS));
    for (size_t cut = 1; cut < n; cut++)
        (void)!rs_ads_type_url((rs_str){ request, cut }, &type, &e);       /* never reads beyond */
    ASSERT_OK(rs_ads_type_url(RS_STR(""), &type, &e));
    assert_int_equal(type.n, 0);
    ASSERT_FAILS(RS_INVALID, "malformed", rs_ads_type_url(RS_STR("\x22\x7f" "abc"), &type, &e));
    ASSERT_FAILS(RS_INVALID, "malformed", rs_ads_type_url(RS_STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), &type, &e));
    Envoy__DiscoveryRequest *r = envoy__discovery_request__unpack(NULL, n, (const uint8_t *)request);
    assert_string_equal(r->response_nonce, "n1");
    assert_string_equal(r->error_detail->message, "because");
    envoy__discovery_request__free_unpacked(r, NULL);
}

static char *bundle_response(const json_t *config, size_t *n)
{
    struct rs_err e;
    RS_AUTO_BUF bytes;
    rs_buf_init(&bytes, 65536);
    Envoy__Any any = ENVOY__ANY__INIT, *list = &any;
    Envoy__DiscoveryResponse r = ENVOY__DISCOVERY_RESPONSE__INIT;
    if (config) {
        ASSERT_OK(rs_xds_encode(config, &bytes, &e));
        any.has_value = true;
        any.value = (ProtobufCBinaryData){ bytes.n, (uint8_t *)bytes.p };
        r.resources = &list;
        r.n_resources = 1;
    }
    r.nonce = (char *)"n";
    char *text = rs_alloc(envoy__discovery_response__get_packed_size(&r) + 1);
    *n = envoy__discovery_response__pack(&r, (uint8_t *)text);
    return text;
}

static void bundles(void **state)
{
    struct rs_err e;
    struct rs_ads_bundle b;
    size_t n;
    RS_AUTO(json_t) *config = rs_json_pack("{s:s, s:[s,s], s:{s:s}}", "@type", RS_TYPE_PCDS, "ca_certificates_pem", "one", "two", "proxy_metadata",
                                           "ROOTSHIFT_RETIRED_ROOTS", "aa,bb");
    RS_AUTO(rs_chars) *full = bundle_response(config, &n);
    ASSERT_OK(rs_ads_bundle_read(&b, (rs_str){ full, n }, &e));
    assert_string_equal(b.pem.p, "one\ntwo\n");
    assert_string_equal(b.retired, "aa,bb");
    assert_false(b.empty);
    rs_ads_bundle_done(&b);
    RS_AUTO(rs_chars) *empty = bundle_response(NULL, &n);
    ASSERT_OK(rs_ads_bundle_read(&b, (rs_str){ empty, n }, &e));
    assert_true(b.empty);
    rs_ads_bundle_done(&b);
    ASSERT_FAILS(RS_INVALID, "malformed", rs_ads_bundle_read(&b, RS_STR("\x12\x7f"), &e));
}

/* ---- statistics ---- */

static void readiness(void **state)
{
    char why[256];
    struct rs_readiness r = { 0 };
    assert_false(rs_readiness_look(&r, "cluster_manager.cds.update_success: 1\nserver.state: 0\n", why));
    assert_non_null(strstr(why, "lds updates: 0"));
    assert_false(rs_readiness_look(&r, "cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 2\nserver.state: 2\n"
                                       "listener_manager.workers_started: 1\n", why));
    assert_non_null(strstr(why, "not live"));
    /* Once configured, it stays so: the control plane may be away. */
    assert_true(rs_readiness_look(&r, "server.state: 0\nlistener_manager.workers_started: 1", why));
    assert_false(rs_readiness_look(&r, "", why));
}

static void drain(void **state)
{
    struct rs_active a;
    rs_active_look(&a, "listener.0.0.0.0_15006.downstream_cx_active: 2\nlistener.0.0.0.0_15006.worker_0.downstream_cx_active: 2\n"
                       "listener.admin.downstream_cx_active: 1\nlistener.0.0.0.0_15021.downstream_cx_active: 1\n"
                       "cluster.xds-grpc.upstream_rq_active: 1\ncluster.inbound|80||.upstream_rq_active: 3\n", 15021, 15090);
    assert_int_equal(a.connections, 2);
    assert_int_equal(a.requests, 3);
    struct rs_drain d = { .since_ms = 1000, .min_ms = 5000, .max_ms = 30000 };
    struct rs_active none = { 0, 0 }, idle = { 1, 0 };
    assert_false(rs_drain_over(&d, &none, 2000));      /* others have to learn of it first */
    assert_false(rs_drain_over(&d, &a, 7000));
    assert_true(rs_drain_over(&d, &none, 7000));
    assert_false(rs_drain_over(&d, &a, 8000));
    assert_false(rs_drain_over(&d, &idle, 17000));
    assert_true(rs_drain_over(&d, &idle, 18000));      /* connected, but silent for ten seconds */
    assert_false(rs_drain_over(&d, NULL, 19000));
    assert_true(rs_drain_over(&d, &a, 31000));
}

/* ---- redirection, renewal ---- */

static void redirection(void **state)
{
    struct rs_err e;
    struct rs_redirect r = { .exclude_inbound = "22, 8081", .exclude_outbound = "3306", .exclude_ranges = "10.96.0.1/32,192.168.0.0/16", .proxy_uid = 1337,
                             .proxy_gid = 1337, .inbound_to = 15006, .outbound_to = 15001 };
    RS_AUTO(rs_chars) *rules = NULL, *unshare = rs_program_find("unshare"), *nft = rs_program_find("nft");
    ASSERT_OK(rs_redirect_rules(&rules, &r, &e));
    assert_non_null(strstr(rules, "ip saddr 127.0.0.6 return"));
    static const char *const bad[] = { "x", "0", "65536", "80;flush ruleset", "1 } 2" };
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        struct rs_redirect wrong = r;
        RS_AUTO(rs_chars) *none = NULL;
        wrong.exclude_inbound = bad[i];
        ASSERT_FAILS(RS_INVALID, bad[i], rs_redirect_rules(&none, &wrong, &e));
    }
    const char *const allowed[] = { "unshare", "-rn", "true", NULL };
    if (!unshare || !nft || rs_proc_run(allowed, RS_STR(""), NULL, &e) < 0)
        skip();
    /* nft itself takes them, twice, in a network namespace of their own. */
    char path[] = "/tmp/rs-rules-XXXXXX";
    RS_AUTO_FD int fd = mkstemp(path);
    assert_true(fd >= 0);
    const char *const argv[] = { "unshare", "-rn", "sh", "-c", "nft -f \"$0\" && nft -f \"$0\" && nft list table ip rootshift", path, NULL };
    ASSERT_OK(rs_file_write(path, rs_str_of(rules), 0600, &e));
    RS_AUTO(rs_chars) *out = NULL;
    ASSERT_OK(rs_proc_run(argv, RS_STR(""), &out, &e));
    assert_non_null(strstr(out, "redirect to :15006"));
    assert_non_null(strstr(out, "tcp dport 3306 return"));
    ASSERT_OK(rs_remove_tree(path, &e));
}

static void renewal(void **state)
{
    const int64_t hour = 3600000;
    assert_int_equal(rs_renewal_delay(0, 24 * hour, 0, 0.5, 0, 0), 12 * hour);
    assert_int_equal(rs_renewal_delay(0, 24 * hour, 20 * hour, 0.5, 0, 0), 0);
    assert_true(rs_renewal_delay(0, 24 * hour, 0, 0.5, 0.01, 0) > rs_renewal_delay(0, 24 * hour, 0, 0.5, 0.01, 0.99));
    assert_int_equal(rs_retry_delay(0, 0.5), 100);
    assert_int_equal(rs_retry_delay(100, 0.5), 30000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings), cmocka_unit_test(settings_refused), cmocka_unit_test(answers), cmocka_unit_test(type_urls), cmocka_unit_test(bundles),
        cmocka_unit_test(readiness), cmocka_unit_test(drain), cmocka_unit_test(redirection), cmocka_unit_test(renewal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
