#include "ca/service.h"

#include <uthash.h>
#include <utlist.h>

#include "base/log.h"
#include "base/time.h"
#include "istio_ca.pb-c.h"
#include "mesh/issuance.h"
#include "mesh_ca.pb-c.h"

enum { ANSWERS_MAX = 2048, ANSWERS_KEEP_MS = 10 * 60 * 1000, UUID_LEN = 36 };

/* One request on its way: caller, signature, record, answer. Outlives its call when the client leaves. */
struct job {
    rs_ca_service *service;
    rs_grpc_call *call;            /* NULL: the client left, or was answered */
    bool mesh;
    char *csr, *request_id, *peer;
    int64_t ttl_ms;
    rs_callers_call *proof;
    struct rs_caller caller;
    rs_authority *authority;
    struct rs_issued issued;
    int64_t issued_at_ms;
    struct rs_err err;             /* of the pool's work */
    bool failed;
    bool holds_answer;             /* the answer of request_id is ours to give */
    struct job *prev, *next;
};

/* What a request_id was answered with; a transport's retry repeats the id and gets the same certificate. */
struct answer {
    char id[UUID_LEN + 1];
    rs_digest request;             /* CSR, lifetime, caller */
    char *bytes;                   /* NULL: still at work */
    size_t n;
    int64_t until_mono_ms;
    UT_hash_handle hh;
};

struct rs_ca_service {
    rs_loop *loop;
    rs_callers *callers;
    rs_records *records;
    rs_authority *authority;
    char *not_ready;
    struct job *jobs;
    size_t n_jobs;
    struct answer *answers;
    struct rs_ca_service_stats stats;
};

rs_ca_service *rs_ca_service_new(rs_loop *loop, rs_callers *callers, rs_records *records)
{
    rs_ca_service *s = rs_new(rs_ca_service);
    *s = (rs_ca_service){ .loop = loop, .callers = callers, .records = records, .not_ready = rs_strdup("it has not started yet") };
    return s;
}

void rs_ca_service_set_authority(rs_ca_service *s, rs_authority *a, const char *why)
{
    rs_authority_unref(s->authority);
    s->authority = a ? rs_authority_ref(a) : NULL;
    free(s->not_ready);
    s->not_ready = rs_strdup(why ? why : "it is switched off");
}

struct rs_ca_service_stats rs_ca_service_stats_of(const rs_ca_service *s) { return s->stats; }
size_t rs_ca_service_pending(const rs_ca_service *s) { return s->n_jobs; }

/* ---- answers by request_id ---- */

static void answer_forget(rs_ca_service *s, struct answer *a)
{
    HASH_DEL(s->answers, a);
    free(a->bytes);
    free(a);
}

static struct answer *answer_find(rs_ca_service *s, const char *id)
{
    struct answer *a = NULL, *tmp;
    HASH_ITER(hh, s->answers, a, tmp) {        /* oldest first: the expired ones stand in front */
        if (a->until_mono_ms > rs_mono_ms() && HASH_COUNT(s->answers) <= ANSWERS_MAX)
            break;
        if (a->bytes)
            answer_forget(s, a);
    }
    a = NULL;
    if (id)
        HASH_FIND_STR(s->answers, id, a);
    return a;
}

static rs_digest request_digest(const struct job *j)
{
    RS_AUTO(rs_chars) *text = rs_printf("%s\n%lld\n%s\n%s\n%s\n%s", j->csr, (long long)j->ttl_ms, j->caller.namespace, j->caller.service_account,
                                        j->caller.pod_uid, j->caller.cluster);
    return rs_sha256(text, strlen(text));
}

/* ---- ends of a job ---- */

static void job_free(struct job *j)
{
    struct answer *a = j->holds_answer ? answer_find(j->service, j->request_id) : NULL;
    if (a && !a->bytes)                        /* it failed: the id may be tried again */
        answer_forget(j->service, a);
    DL_DELETE(j->service->jobs, j);
    j->service->n_jobs--;
    rs_callers_cancel(j->proof);
    rs_caller_done(&j->caller);
    rs_authority_unref(j->authority);
    rs_issued_done(&j->issued);
    free(j->csr);
    free(j->request_id);
    free(j->peer);
    free(j);
}

/* Takes the call out of the job: finishing it calls rs_ca_service_closed. */
static rs_grpc_call *let_go(struct job *j)
{
    rs_grpc_call *call = rs_take(j->call);
    if (call)
        rs_grpc_set_user(call, NULL);
    return call;
}

static void refuse(struct job *j, enum rs_code code, const char *message, const char *why)
{
    if (code == RS_INTERNAL || code == RS_UNAVAILABLE) {
        j->service->stats.failed++;
        rs_log_warning("certificate for %s not issued: %s", j->peer, why);
    } else {
        j->service->stats.refused++;
        rs_log_info("certificate for %s refused: %s", j->peer, why);
    }
    rs_grpc_call *call = let_go(j);
    if (call)
        rs_grpc_finish(call, code, message);   /* before the job, whose error the text may be */
    job_free(j);
}

static size_t pack(const struct job *j, char **ret)
{
    size_t n = 0;
    while (j->issued.chain[n])
        n++;
    if (j->mesh) {
        Google__Security__Meshca__V1__MeshCertificateResponse r = GOOGLE__SECURITY__MESHCA__V1__MESH_CERTIFICATE_RESPONSE__INIT;
        r.n_cert_chain = n;
        r.cert_chain = j->issued.chain;
        *ret = rs_alloc(google__security__meshca__v1__mesh_certificate_response__get_packed_size(&r));
        return google__security__meshca__v1__mesh_certificate_response__pack(&r, (uint8_t *)*ret);
    }
    Istio__V1__Auth__IstioCertificateResponse r = ISTIO__V1__AUTH__ISTIO_CERTIFICATE_RESPONSE__INIT;
    r.n_cert_chain = n;
    r.cert_chain = j->issued.chain;
    *ret = rs_alloc(istio__v1__auth__istio_certificate_response__get_packed_size(&r));
    return istio__v1__auth__istio_certificate_response__pack(&r, (uint8_t *)*ret);
}

static void send_and_finish(rs_grpc_call *call, rs_str bytes)
{
    rs_grpc_send(call, bytes);
    rs_grpc_finish(call, RS_OK, NULL);
}

/* The record is on disk: the certificate may leave. */
static void on_recorded(void *ctx, const struct rs_err *why)
{
    struct job *j = ctx;
    if (why) {
        RS_AUTO(rs_chars) *text = rs_printf("the certificate could not be recorded, so it is not handed out: %s", why->msg);
        refuse(j, RS_UNAVAILABLE, text, text);
        return;
    }
    RS_AUTO(rs_chars) *bytes = NULL;
    size_t n = pack(j, &bytes);
    j->service->stats.issued++;
    rs_log_debug("issued %s for %s", rs_cert_serial(j->issued.leaf), j->issued.identity);
    struct answer *a = j->holds_answer ? answer_find(j->service, j->request_id) : NULL;
    if (a) {
        a->bytes = rs_alloc(n);
        memcpy(a->bytes, bytes, n);
        a->n = n;
        a->until_mono_ms = rs_mono_ms() + ANSWERS_KEEP_MS;
    }
    rs_grpc_call *call = let_go(j);
    job_free(j);
    if (call)
        send_and_finish(call, (rs_str){ bytes, n });
}

/* ---- the way ---- */

static void on_signed(void *ctx)
{
    struct job *j = ctx;
    if (j->failed) {
        refuse(j, j->err.code, j->err.msg, j->err.msg);
        return;
    }
    RS_AUTO(json_t) *record = rs_issuance_record(&(struct rs_issuance_of){
        .ca = rs_authority_name(j->authority), .identity = j->issued.identity, .cluster = j->caller.cluster,
        .namespace = j->caller.namespace, .service_account = j->caller.service_account, .pod_name = j->caller.pod_name,
        .pod_uid = j->caller.pod_uid, .request_id = j->request_id, .leaf = j->issued.leaf, .issuer = rs_authority_cert(j->authority),
        .root = rs_authority_root(j->authority), .issued_at_ms = j->issued_at_ms });
    rs_records_write(j->service->records, record, on_recorded, j);
}

static void sign(void *ctx)                    /* pool thread */
{
    struct job *j = ctx;
    j->failed = rs_authority_issue(j->authority, j->caller.namespace, j->caller.service_account, rs_str_of(j->csr), j->ttl_ms,
                                   j->issued_at_ms, &j->issued, &j->err) < 0;
}

/* A repeated request_id: the same answer again, never a second certificate. True when the job is done with. */
static bool answered_before(struct job *j)
{
    rs_ca_service *s = j->service;
    rs_digest d = request_digest(j);
    struct answer *a = answer_find(s, j->request_id);
    if (!a) {
        a = rs_new(struct answer);
        memcpy(a->id, j->request_id, UUID_LEN);
        a->request = d;
        a->until_mono_ms = rs_mono_ms() + ANSWERS_KEEP_MS;
        HASH_ADD_STR(s->answers, id, a);
        j->holds_answer = true;
        return false;
    }
    rs_grpc_call *call = let_go(j);
    bool same = rs_digest_eq(&a->request, &d);
    job_free(j);
    if (!call)
        return true;
    if (!same)
        rs_grpc_finish(call, RS_INVALID, "request_id was used for another request");
    else if (!a->bytes)
        rs_grpc_finish(call, RS_ABORTED, "a request with this request_id is being worked on");
    else
        send_and_finish(call, (rs_str){ a->bytes, a->n });
    return true;
}

static void on_caller(void *ctx, const struct rs_caller *caller, const struct rs_err *why)
{
    struct job *j = ctx;
    rs_ca_service *s = j->service;
    j->proof = NULL;
    if (why) {
        bool later = why->code == RS_UNAVAILABLE || why->code == RS_CANCELLED;
        refuse(j, later ? RS_UNAVAILABLE : RS_UNAUTHENTICATED, later ? why->msg : "request authenticate failure", why->msg);
        return;
    }
    rs_caller_copy(&j->caller, caller);
    if (!s->authority) {
        RS_AUTO(rs_chars) *text = rs_printf("CA is not ready: %s", s->not_ready);
        refuse(j, RS_INTERNAL, text, text);
        return;
    }
    if (j->mesh && answered_before(j))
        return;
    j->authority = rs_authority_ref(s->authority);
    j->issued_at_ms = rs_now_ms();
    rs_loop_work(s->loop, sign, on_signed, j);
}

static struct job *job_new(rs_ca_service *s, rs_grpc_call *call, const char *csr, int64_t ttl_ms)
{
    struct job *j = rs_new(struct job);
    *j = (struct job){ .service = s, .call = call, .csr = rs_strdup(csr ? csr : ""), .ttl_ms = ttl_ms, .peer = rs_strdup(rs_grpc_call_peer(call)) };
    DL_APPEND(s->jobs, j);
    s->n_jobs++;
    rs_grpc_set_user(call, j);
    return j;
}

static void start(struct job *j)
{
    rs_str token = rs_bearer_token(rs_grpc_metadata(j->call, "authorization"));
    rs_callers_call *proof = rs_callers_check(j->service->callers, token, on_caller, j);
    if (proof)                                 /* else it was answered at once, and the job may be gone */
        j->proof = proof;
}

/* Seconds as a client sends them; beyond any maximum they stay beyond it. */
static int64_t ttl_of(int64_t seconds)
{
    return seconds > INT64_MAX / 2000 ? INT64_MAX : seconds < 0 ? 0 : seconds * 1000;
}

static void refuse_call(rs_ca_service *s, rs_grpc_call *call, enum rs_code code, const char *message)
{
    s->stats.refused++;
    rs_log_info("certificate for %s refused: %s", rs_grpc_call_peer(call), message);
    rs_grpc_finish(call, code, message);
}

void rs_ca_service_istio(rs_ca_service *s, rs_grpc_call *call, rs_str request)
{
    static const char impersonation[] = "ImpersonatedIdentity";
    Istio__V1__Auth__IstioCertificateRequest *m = istio__v1__auth__istio_certificate_request__unpack(NULL, request.n, (const uint8_t *)request.p);
    s->stats.asked++;
    if (!m) {
        refuse_call(s, call, RS_INVALID, "not an IstioCertificateRequest");
        return;
    }
    /* No caller here may speak for another (istio-wire 3.6); to issue for the caller itself instead would mislead it. */
    bool for_another = m->has_metadata && memmem(m->metadata.data, m->metadata.len, impersonation, sizeof(impersonation) - 1);
    if (for_another)
        refuse_call(s, call, RS_UNAUTHENTICATED, "request impersonation authentication failure");
    else
        start(job_new(s, call, m->csr, ttl_of(m->validity_duration)));
    istio__v1__auth__istio_certificate_request__free_unpacked(m, NULL);
}

/* 8-4-4-4-12 hex digits, not all zero; lower case in ret. */
static bool read_uuid(const char *text, char ret[UUID_LEN + 1])
{
    if (!text || strlen(text) != UUID_LEN)
        return false;
    bool any = false;
    for (size_t i = 0; i < UUID_LEN; i++) {
        char c = text[i];
        if (c >= 'A' && c <= 'F')
            c += 'a' - 'A';
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        any |= c != '-' && c != '0';
        ret[i] = c;
    }
    ret[UUID_LEN] = 0;
    return any;
}

void rs_ca_service_mesh(rs_ca_service *s, rs_grpc_call *call, rs_str request)
{
    Google__Security__Meshca__V1__MeshCertificateRequest *m =
        google__security__meshca__v1__mesh_certificate_request__unpack(NULL, request.n, (const uint8_t *)request.p);
    char id[UUID_LEN + 1];
    s->stats.asked++;
    if (!m) {
        refuse_call(s, call, RS_INVALID, "not a MeshCertificateRequest");
        return;
    }
    const Google__Security__Meshca__V1__MeshCaDuration *d = m->validity;
    if (!read_uuid(m->request_id, id)) {
        refuse_call(s, call, RS_INVALID, "request_id must be a UUID that is not zero");
    } else if (d && (d->seconds < 0 || d->nanos < 0 || d->nanos > 999999999)) {
        refuse_call(s, call, RS_INVALID, "validity is not a positive duration");
    } else {
        struct job *j = job_new(s, call, m->csr, d ? ttl_of(d->seconds) : 0);
        j->mesh = true;
        j->request_id = rs_strdup(id);
        start(j);
    }
    google__security__meshca__v1__mesh_certificate_request__free_unpacked(m, NULL);
}

void rs_ca_service_closed(rs_ca_service *s, rs_grpc_call *call)
{
    struct job *j = rs_grpc_user(call);
    if (!j)
        return;
    j->call = NULL;                            /* what has begun is finished: it may be recorded already */
    if (j->proof)
        job_free(j);
}

void rs_ca_service_free(rs_ca_service *s)
{
    if (!s)
        return;
    struct job *j, *next;
    DL_FOREACH_SAFE(s->jobs, j, next) {
        let_go(j);
        job_free(j);
    }
    struct answer *a, *tmp;
    HASH_ITER(hh, s->answers, a, tmp)
        answer_forget(s, a);
    rs_authority_unref(s->authority);
    free(s->not_ready);
    free(s);
}
