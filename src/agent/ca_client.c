#include "agent/ca_client.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/random.h"
#include "base/time.h"
#include "grpc/client.h"
#include "istio_ca.pb-c.h"
#include "mesh_ca.pb-c.h"
#include "pki/chain.h"
#include "pki/csr.h"
#include "pki/spiffe.h"

#define ISTIO_PATH "/istio.v1.auth.IstioCertificateService/CreateCertificate"
#define MESH_PATH "/google.security.meshca.v1.MeshCertificateService/CreateCertificate"

enum { CALL_MS = 10000, TOKEN_MAX = 64 * 1024, ROOTS_MAX = 1024 * 1024 };

struct rs_ca_request {
    rs_loop *loop;
    const struct rs_agent_config *config;
    EVP_PKEY *key;
    char *uri, *csr;
    bool made;                           /* key and CSR, on the pool */
    bool cancelled;                      /* while they are being made */
    rs_grpc_channel *channel;
    rs_grpc_stream *call;
    struct rs_err e;
    void (*done)(void *ctx, struct rs_ca_answer *a, const struct rs_err *why);
    void *ctx;
};

/* ---- answer ---- */

void rs_ca_answer_done(struct rs_ca_answer *a)
{
    rs_secret_free(a->key);
    free(a->chain);
    free(a->roots);
    rs_cert_unref(a->leaf);
    free(a->issuer_root);
    *a = (struct rs_ca_answer){ 0 };
}

/* The CA decides the trust domain; whose certificate it is must be as asked. */
static int check_identity(const rs_cert *leaf, const char *wanted_uri, struct rs_err *e)
{
    struct rs_spiffe wanted = { 0 }, got = { 0 };
    const char *uri = rs_cert_uri(leaf);
    int rc = rs_spiffe_parse(&wanted, wanted_uri, e);
    if (rc == 0)
        rc = uri ? rs_spiffe_parse(&got, uri, e) : RS_FAIL(e, RS_DATA_LOSS, "the leaf names nobody");
    if (rc == 0 && (!rs_streq(wanted.namespace, got.namespace) || !rs_streq(wanted.service_account, got.service_account)))
        rc = RS_FAIL(e, RS_DATA_LOSS, "asked for %s, got %s", wanted_uri, uri);
    rs_spiffe_done(&wanted);
    rs_spiffe_done(&got);
    return rc;
}

/* Every certificate once and no self-signed root: peers have those, and a handshake is not the place to offer one. */
static char *chain_text(const rs_certs *all)
{
    struct rs_buf out;
    rs_buf_init(&out, 4 * 1024 * 1024);
    for (size_t i = 0; i < all->n; i++) {
        bool again = i > 0 && rs_cert_self_signed(all->v[i]);
        for (size_t k = 0; k < i && !again; k++)
            again = rs_digest_eq(rs_cert_digest(all->v[i]), rs_cert_digest(all->v[k]));
        if (!again)
            rs_buf_adds(&out, rs_cert_pem(all->v[i]));
    }
    return rs_buf_take(&out);
}

int rs_ca_answer_read(struct rs_ca_answer *ret, char *const *elements, size_t n, EVP_PKEY *key, const char *wanted_uri, int64_t now_ms, struct rs_err *e)
{
    RS_AUTO_CERTS all = { 0 };
    RS_AUTO_BUF text;
    RS_AUTO(rs_bundle) *roots = NULL;
    RS_AUTO(rs_cert) *root = NULL;
    char digest[RS_DIGEST_TEXT];
    rs_buf_init(&text, 4 * 1024 * 1024);
    if (n < 2)
        return RS_FAIL(e, RS_DATA_LOSS, "the CA's chain has %zu elements", n);
    for (size_t i = 0; i < n; i++)
        rs_buf_addf(&text, "%s\n", elements[i]);
    if (text.over || rs_certs_parse(&all, rs_buf_str(&text), e) < 0 || rs_bundle_parse(&roots, rs_str_of(elements[n - 1]), e) < 0)
        return text.over ? RS_FAIL(e, RS_EXHAUSTED, "the CA's chain is too long") : rs_err_wrap(e, "the CA's chain");
    if (!rs_key_same(rs_cert_key(all.v[0]), key))
        return RS_FAIL(e, RS_DATA_LOSS, "the CA certified another key");
    if (check_identity(all.v[0], wanted_uri, e) < 0 || rs_chain_verify(&all, roots, now_ms, &root, e) < 0)
        return rs_err_wrap(e, "the CA's chain");
    *ret = (struct rs_ca_answer){
        .key = rs_key_to_pem(key), .chain = chain_text(&all), .roots = rs_strdup(rs_bundle_pem(roots)), .leaf = rs_cert_ref(all.v[0]),
        .issuer_root = rs_strdup(rs_digest_text(rs_cert_digest(root), digest)),
    };
    return 0;
}

/* ---- call ---- */

int rs_agent_tls(SSL_CTX **ret, const char *root_path, struct rs_err *e)
{
    RS_AUTO(rs_chars) *pem = NULL;
    RS_AUTO(rs_bundle) *roots = NULL;
    if (!rs_streq(root_path, "SYSTEM") &&
        (rs_file_read(root_path, ROOTS_MAX, &pem, NULL, e) < 0 || rs_bundle_parse(&roots, rs_str_of(pem), e) < 0))
        return rs_err_wrap(e, "roots in %s", root_path);
    return rs_tls_client(ret, roots, RS_STR(""), RS_STR(""), "h2", e);
}

char *rs_agent_bearer(const char *token_path)
{
    RS_AUTO(rs_chars) *text = NULL;
    struct rs_err ignored;
    if (rs_file_read(token_path, TOKEN_MAX, &text, NULL, &ignored) < 0)
        return NULL;
    rs_str token = rs_str_trim(rs_str_of(text));
    return token.n ? rs_printf("Bearer %.*s", (int)token.n, token.p) : NULL;
}

static void request_free(rs_ca_request *r)
{
    if (r->call)
        rs_grpc_stream_cancel(rs_take(r->call));
    rs_grpc_channel_free(r->channel);
    EVP_PKEY_free(r->key);
    free(r->uri);
    free(r->csr);
    free(r);
}

static void fail(rs_ca_request *r, const struct rs_err *why)
{
    struct rs_err e = *why;
    r->done(r->ctx, NULL, &e);
    request_free(r);
}

/* Elements of either service's answer; *ret_free frees the message. */
static char **unpack(const rs_ca_request *r, rs_str m, size_t *n, ProtobufCMessage **ret_message)
{
    if (r->config->ca == RS_AGENT_MESH_CA) {
        Google__Security__Meshca__V1__MeshCertificateResponse *a =
            google__security__meshca__v1__mesh_certificate_response__unpack(NULL, m.n, (const uint8_t *)m.p);
        *ret_message = a ? &a->base : NULL;
        *n = a ? a->n_cert_chain : 0;
        return a ? a->cert_chain : NULL;
    }
    Istio__V1__Auth__IstioCertificateResponse *a = istio__v1__auth__istio_certificate_response__unpack(NULL, m.n, (const uint8_t *)m.p);
    *ret_message = a ? &a->base : NULL;
    *n = a ? a->n_cert_chain : 0;
    return a ? a->cert_chain : NULL;
}

static void answered(void *ctx, rs_str message, const struct rs_err *status)
{
    rs_ca_request *r = ctx;
    struct rs_ca_answer a = { 0 };
    struct rs_err e;
    ProtobufCMessage *m = NULL;
    size_t n;
    r->call = NULL;
    if (status->code != RS_OK) {
        e = *status;
        rs_err_wrap(&e, "CA %s", r->config->ca_address);
        fail(r, &e);
        return;
    }
    char **elements = unpack(r, message, &n, &m);
    int rc = m ? rs_ca_answer_read(&a, elements, n, r->key, r->uri, rs_now_ms(), &e) : RS_FAIL(&e, RS_DATA_LOSS, "malformed answer");
    if (m)
        protobuf_c_message_free_unpacked(m, NULL);
    if (rc < 0) {
        rs_err_wrap(&e, "CA %s", r->config->ca_address);
        fail(r, &e);
        return;
    }
    r->done(r->ctx, &a, NULL);
    rs_ca_answer_done(&a);
    request_free(r);
}

static char *pack(const rs_ca_request *r, size_t *n)
{
    char id[RS_UUID_TEXT];
    Google__Security__Meshca__V1__MeshCaDuration validity = GOOGLE__SECURITY__MESHCA__V1__MESH_CA_DURATION__INIT;
    Google__Security__Meshca__V1__MeshCertificateRequest mesh = GOOGLE__SECURITY__MESHCA__V1__MESH_CERTIFICATE_REQUEST__INIT;
    Istio__V1__Auth__IstioCertificateRequest istio = ISTIO__V1__AUTH__ISTIO_CERTIFICATE_REQUEST__INIT;
    ProtobufCMessage *m = &istio.base;
    istio.csr = mesh.csr = r->csr;
    istio.has_validity_duration = validity.has_seconds = true;
    istio.validity_duration = validity.seconds = r->config->ttl_ms / 1000;
    if (r->config->ca == RS_AGENT_MESH_CA) {
        mesh.request_id = (char *)(uintptr_t)rs_uuid4(id);
        mesh.validity = &validity;
        m = &mesh.base;
    }
    char *bytes = rs_alloc(protobuf_c_message_get_packed_size(m) + 1);
    *n = protobuf_c_message_pack(m, (uint8_t *)bytes);
    return bytes;
}

static void call(rs_ca_request *r)
{
    RS_AUTO(SSL_CTX) *tls = NULL;
    bool plain = rs_ends(r->config->ca_address, ":15010");
    if (!plain && rs_agent_tls(&tls, r->config->ca_root, &r->e) < 0) {
        fail(r, &r->e);
        return;
    }
    size_t n, k = 0;
    RS_AUTO(rs_chars) *bearer = rs_agent_bearer(r->config->token_path), *bytes = pack(r, &n);
    const char *metadata[5] = { NULL };
    if (bearer) {
        metadata[k++] = "authorization";
        metadata[k++] = bearer;
    }
    if (r->config->ca == RS_AGENT_ISTIO_CA) {
        metadata[k++] = "clusterid";
        metadata[k++] = r->config->cluster_id;
    }
    r->channel = rs_grpc_channel_new(r->loop, r->config->ca_address, tls, r->config->ca_name);
    r->call = rs_grpc_unary(r->channel, r->config->ca == RS_AGENT_MESH_CA ? MESH_PATH : ISTIO_PATH, metadata, (rs_str){ bytes, n }, CALL_MS, answered, r);
}

static void make_csr(void *ctx)
{
    rs_ca_request *r = ctx;
    r->made = rs_key_generate(&r->key, r->config->key_kind, &r->e) == 0 && rs_csr_make(&r->csr, r->key, r->uri, &r->e) == 0;
}

static void csr_made(void *ctx)
{
    rs_ca_request *r = ctx;
    if (r->cancelled)
        request_free(r);
    else if (!r->made)
        fail(r, &r->e);
    else
        call(r);
}

rs_ca_request *rs_ca_ask(rs_loop *loop, const struct rs_agent_config *config,
                         void (*done)(void *ctx, struct rs_ca_answer *a, const struct rs_err *why), void *ctx)
{
    rs_ca_request *r = rs_new(rs_ca_request);
    r->loop = loop;
    r->config = config;
    r->done = done;
    r->ctx = ctx;
    r->uri = rs_agent_identity(config);
    rs_loop_work(loop, make_csr, csr_made, r);
    return r;
}

void rs_ca_cancel(rs_ca_request *r)
{
    if (!r)
        return;
    if (r->channel)
        request_free(r);
    else
        r->cancelled = true;
}
