#include "unit.h"

#include "envoy_discovery.pb-c.h"
#include "grpc/struct.h"
#include "xds/encode.h"
#include "xds/session.h"

/* A session and what a proxy would remember of it. */
struct proxy {
    rs_xds_session *s;
    Envoy__DiscoveryResponse *last;          /* answer taken last */
};

static int setup(void **state)
{
    struct proxy *p = rs_new(struct proxy);
    p->s = rs_xds_session_new();
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct proxy *p = *state;
    rs_xds_session_free(p->s);
    if (p->last)
        envoy__discovery_response__free_unpacked(p->last, NULL);
    free(p);
    return 0;
}

/* names: separated by spaces; nonce NULL: none; error NULL: ACK. */
static void request(struct proxy *p, const char *url, const char *names, const char *nonce, const char *error)
{
    struct rs_err e;
    Envoy__DiscoveryRequest r = ENVOY__DISCOVERY_REQUEST__INIT;
    Envoy__Node node = ENVOY__NODE__INIT;
    Envoy__Status status = ENVOY__STATUS__INIT;
    RS_AUTO(json_t) *metadata = unit_json("{'NAMESPACE':'shop'}");
    RS_AUTO_BUF bytes;
    rs_buf_init(&bytes, 4096);
    rs_struct_encode(&bytes, metadata);
    node.id = (char *)"sidecar~1.2.3.4~web.shop~x";
    node.has_metadata = true;
    node.metadata = (ProtobufCBinaryData){ bytes.n, (uint8_t *)bytes.p };
    if (!rs_xds_session_node_id(p->s))
        r.node = &node;
    r.type_url = (char *)url;
    char **list = *names ? rs_split(names, ' ') : NULL;
    r.resource_names = list;
    while (list && list[r.n_resource_names])
        r.n_resource_names++;
    r.response_nonce = (char *)nonce;
    status.message = (char *)error;
    if (error)
        r.error_detail = &status;
    uint8_t out[4096];
    size_t n = envoy__discovery_request__pack(&r, out);
    ASSERT_OK(rs_xds_session_request(p->s, (rs_str){ (char *)out, n }, &e));
    if (list)
        rs_strv_free(list);
}

static bool take(struct proxy *p)
{
    RS_AUTO_BUF out;
    rs_buf_init(&out, 1 << 20);
    if (!rs_xds_session_next(p->s, &out))
        return false;
    if (p->last)
        envoy__discovery_response__free_unpacked(p->last, NULL);
    p->last = envoy__discovery_response__unpack(NULL, out.n, (uint8_t *)out.p);
    assert_non_null(p->last);
    return true;
}

static void expect(struct proxy *p, const char *url, size_t n)
{
    if (!take(p))
        fail_msg("no answer, %s wanted", url);
    assert_string_equal(p->last->type_url, url);
    assert_int_equal(p->last->n_resources, n);
}

static void expect_nothing(struct proxy *p)
{
    if (take(p))
        fail_msg("unexpected answer %s", p->last->type_url);
}

static void ack(struct proxy *p, const char *names)
{
    RS_AUTO(rs_chars) *url = rs_strdup(p->last->type_url), *nonce = rs_strdup(p->last->nonce);
    request(p, url, names, nonce, NULL);
}

/* Words: "c:NAME" cluster, "e:NAME" endpoints, "l:NAME" listener, "r:NAME" route; "=X" appended changes the content. */
static rs_xds_snapshot *snapshot(const char *words)
{
    struct rs_err e;
    rs_xds_snapshot *s = rs_xds_snapshot_new();
    char **v = rs_split(words, ' ');
    for (char **w = v; *w; w++) {
        char *change = strchr(*w, '=');
        if (change)
            *change++ = 0;
        const char *name = *w + 2;
        RS_AUTO(json_t) *o = NULL;
        if (**w == 'c')
            o = rs_json_pack("{ss ss ss*}", "@type", RS_TYPE_CLUSTER, "name", name, "alt_stat_name", change);
        else if (**w == 'e')
            o = rs_json_pack("{ss ss s[{s{ss*}}]}", "@type", RS_TYPE_ENDPOINT, "cluster_name", name, "endpoints", "locality", "zone", change);
        else if (**w == 'l')
            o = rs_json_pack("{ss ss ss*}", "@type", RS_TYPE_LISTENER, "name", name, "stat_prefix", change);
        else
            o = rs_json_pack("{ss ss s[{ss*}]}", "@type", RS_TYPE_ROUTE, "name", name, "virtual_hosts", "name", change);
        ASSERT_OK(rs_xds_snapshot_add(s, o, &e));
    }
    rs_strv_free(v);
    return s;
}

static void set(struct proxy *p, const char *words)
{
    RS_AUTO(rs_xds_snapshot) *s = snapshot(words);
    rs_xds_session_set(p->s, s);
}

/* A proxy that starts: CDS, EDS, LDS, RDS, all acknowledged. */
static void start(struct proxy *p)
{
    set(p, "c:a c:b e:a e:b l:l r:80");
    request(p, RS_TYPE_CLUSTER, "", NULL, NULL);
    expect(p, RS_TYPE_CLUSTER, 2);
    ack(p, "");
    request(p, RS_TYPE_ENDPOINT, "a b", NULL, NULL);
    expect(p, RS_TYPE_ENDPOINT, 2);
    ack(p, "a b");
    request(p, RS_TYPE_LISTENER, "", NULL, NULL);
    expect(p, RS_TYPE_LISTENER, 1);
    ack(p, "");
    request(p, RS_TYPE_ROUTE, "80", NULL, NULL);
    expect(p, RS_TYPE_ROUTE, 1);
    ack(p, "80");
    expect_nothing(p);
    assert_true(rs_xds_session_settled(p->s));
}

static void test_start(void **state)
{
    struct proxy *p = *state;
    start(p);
    assert_string_equal(rs_xds_session_node_id(p->s), "sidecar~1.2.3.4~web.shop~x");
    assert_string_equal(rs_json_str(rs_xds_session_node_metadata(p->s), "NAMESPACE"), "shop");
    struct rs_xds_state st;
    rs_xds_session_state(p->s, RS_XDS_CLUSTER, &st);
    assert_true(st.subscribed && !st.rejected);
    assert_string_equal(st.sent, st.acked);
}

static void test_nothing_changed(void **state)
{
    struct proxy *p = *state;
    start(p);
    set(p, "c:a c:b e:a e:b l:l r:80");
    expect_nothing(p);
    request(p, "type.googleapis.com/istio.networking.nds.v1.NameTable", "", NULL, NULL);
    expect_nothing(p);
}

static void test_only_changed_endpoints(void **state)
{
    struct proxy *p = *state;
    start(p);
    set(p, "c:a c:b e:a=1 e:b l:l r:80");
    expect(p, RS_TYPE_ENDPOINT, 1);
    set(p, "c:a c:b e:a=2 e:b l:l r:80");
    expect_nothing(p);                       /* the last one is not acknowledged yet */
    ack(p, "a b");
    expect(p, RS_TYPE_ENDPOINT, 1);
    ack(p, "a b");
    expect_nothing(p);
    assert_true(rs_xds_session_settled(p->s));
}

static void test_make_before_break(void **state)
{
    struct proxy *p = *state;
    start(p);
    set(p, "c:a c:c e:a e:c l:l=2 r:80=2");
    expect(p, RS_TYPE_CLUSTER, 3);           /* b is still there */
    RS_AUTO(rs_chars) *cds = rs_strdup(p->last->nonce);
    expect(p, RS_TYPE_ENDPOINT, 2);          /* warming clusters get them again */
    RS_AUTO(rs_chars) *eds = rs_strdup(p->last->nonce);
    expect(p, RS_TYPE_LISTENER, 1);
    RS_AUTO(rs_chars) *lds = rs_strdup(p->last->nonce);
    expect(p, RS_TYPE_ROUTE, 1);
    RS_AUTO(rs_chars) *rds = rs_strdup(p->last->nonce);
    expect_nothing(p);
    request(p, RS_TYPE_CLUSTER, "", cds, NULL);
    request(p, RS_TYPE_ENDPOINT, "a b c", eds, NULL);
    expect(p, RS_TYPE_ENDPOINT, 1);
    ack(p, "a b c");
    expect_nothing(p);
    request(p, RS_TYPE_LISTENER, "", lds, NULL);
    expect_nothing(p);                       /* routes may still name b */
    assert_false(rs_xds_session_settled(p->s));
    request(p, RS_TYPE_ROUTE, "80", rds, NULL);
    expect(p, RS_TYPE_CLUSTER, 2);
    ack(p, "");
    expect(p, RS_TYPE_ENDPOINT, 3);
    ack(p, "a c");
    expect_nothing(p);
    assert_true(rs_xds_session_settled(p->s));
}

/* Envoy acknowledges clusters only when they have warmed, and they warm by endpoints: these must not wait for that. */
static void test_endpoints_while_clusters_warm(void **state)
{
    struct proxy *p = *state;
    start(p);
    set(p, "c:a c:b c:c e:a e:b e:c l:l r:80");
    expect(p, RS_TYPE_CLUSTER, 3);
    RS_AUTO(rs_chars) *cds = rs_strdup(p->last->nonce);
    expect(p, RS_TYPE_ENDPOINT, 2);
    set(p, "c:a c:b c:c c:d e:a e:b e:c e:d l:l=2 r:80");      /* more clusters, while the last are not acknowledged */
    ack(p, "a b c");
    expect(p, RS_TYPE_ENDPOINT, 1);
    ack(p, "a b c");
    expect_nothing(p);                       /* the listener waits for the clusters that it may name */
    request(p, RS_TYPE_CLUSTER, "", cds, NULL);
    expect(p, RS_TYPE_CLUSTER, 4);
    ack(p, "");
    expect(p, RS_TYPE_ENDPOINT, 3);
    ack(p, "a b c d");
    expect(p, RS_TYPE_ENDPOINT, 1);
}

static void test_nack(void **state)
{
    struct proxy *p = *state;
    start(p);
    set(p, "c:a c:b e:a e:b l:l=bad r:80");
    expect(p, RS_TYPE_LISTENER, 1);
    RS_AUTO(rs_chars) *nonce = rs_strdup(p->last->nonce);
    expect(p, RS_TYPE_ROUTE, 1);
    ack(p, "80");
    request(p, RS_TYPE_LISTENER, "", nonce, "no such filter");
    expect_nothing(p);                       /* the same again would be refused again */
    struct rs_xds_state st;
    rs_xds_session_state(p->s, RS_XDS_LISTENER, &st);
    assert_true(st.rejected);
    assert_int_equal(st.nacks, 1);
    assert_string_equal(st.error, "no such filter");
    assert_string_not_equal(st.sent, st.acked);
    assert_false(rs_xds_session_settled(p->s));
    set(p, "c:a c:b e:a e:b l:l=good r:80");
    expect(p, RS_TYPE_LISTENER, 1);
    ack(p, "");
    rs_xds_session_state(p->s, RS_XDS_LISTENER, &st);
    assert_false(st.rejected);
}

static void test_names_come_and_go(void **state)
{
    struct proxy *p = *state;
    start(p);
    RS_AUTO(rs_chars) *nonce = rs_strdup(p->last->nonce);
    request(p, RS_TYPE_ROUTE, "80 81", nonce, NULL);
    expect_nothing(p);                       /* there is no 81 */
    set(p, "c:a c:b e:a e:b l:l r:80 r:81");
    expect(p, RS_TYPE_ROUTE, 1);
    ack(p, "81");
    set(p, "c:a c:b e:a e:b l:l r:80=2 r:81");
    expect_nothing(p);                       /* 80 is not wanted any more */
    ack(p, "81");                            /* said twice: a new watch */
    expect(p, RS_TYPE_ROUTE, 1);
    request(p, RS_TYPE_ROUTE, "80", "1", NULL);
    expect_nothing(p);                       /* an old nonce */
}

static void test_unknown_endpoints_are_empty(void **state)
{
    struct proxy *p = *state;
    set(p, "c:a");
    char name[301] = { 0 };
    memset(name, 'x', 300);
    request(p, RS_TYPE_ENDPOINT, name, NULL, NULL);
    expect(p, RS_TYPE_ENDPOINT, 1);
    const ProtobufCBinaryData *v = &p->last->resources[0]->value;
    assert_int_equal(v->len, 303);
    assert_memory_equal(v->data, "\x0a\xac\x02", 3);
    assert_memory_equal(v->data + 3, name, 300);
    ack(p, name);
    set(p, "c:a c:b");
    expect_nothing(p);
}

static void test_trust_bundle(void **state)
{
    struct rs_err e;
    struct proxy *p = *state;
    RS_AUTO(rs_xds_snapshot) *s = rs_xds_snapshot_new();
    RS_AUTO(json_t) *o = rs_json_pack("{ss s[ss] s{ss}}", "@type", RS_TYPE_PCDS, "ca_certificates_pem", "A", "B", "proxy_metadata", "K", "V");
    ASSERT_OK(rs_xds_snapshot_add(s, o, &e));
    rs_xds_session_set(p->s, s);
    request(p, RS_TYPE_PCDS, "", NULL, NULL);
    expect(p, RS_TYPE_PCDS, 1);
    Envoy__ProxyConfig *c = envoy__proxy_config__unpack(NULL, p->last->resources[0]->value.len, p->last->resources[0]->value.data);
    assert_int_equal(c->n_ca_certificates_pem, 2);
    assert_string_equal(c->ca_certificates_pem[1], "B");
    assert_string_equal(c->proxy_metadata[0]->value, "V");
    envoy__proxy_config__free_unpacked(c, NULL);
    expect_nothing(p);
}

static void test_bad_requests(void **state)
{
    struct rs_err e;
    struct proxy *p = *state;
    ASSERT_FAILS(RS_INVALID, "malformed", rs_xds_session_request(p->s, RS_STR("\xff\xff"), &e));
    ASSERT_FAILS(RS_INVALID, "no node", rs_xds_session_request(p->s, RS_STR(""), &e));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_start), T(test_nothing_changed), T(test_only_changed_endpoints), T(test_make_before_break),
        T(test_endpoints_while_clusters_warm), T(test_nack),
        T(test_names_come_and_go), T(test_unknown_endpoints_are_empty), T(test_trust_bundle), T(test_bad_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
