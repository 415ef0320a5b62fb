#include "kube/client.h"

#include <utlist.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/time.h"
#include "kube/client_int.h"
#include "kube/object.h"
#include "pki/tls.h"

enum {
    CALL_TIMEOUT_MS = 30000,
    ERROR_BODY_MAX = 65536,
    TOKEN_FILE_AGE_MS = 10000,           /* a token file is read again after so long */
    EXPIRY_MARGIN_MS = 30000,            /* an exec credential is renewed so long before its end */
};

struct rs_kube_call {
    rs_kube *k;
    rs_http_call *http;                  /* NULL while waiting for a credential */
    char *method, *path, *content_type, *accept, *body;
    size_t body_n;
    int timeout_ms;
    bool retried;
    struct rs_buf error;                 /* body of an answer that is not 2xx, in streaming calls */
    int error_status;
    void (*on_data)(void *ctx, rs_str data);
    void (*done)(void *ctx, rs_str body, const struct rs_err *why);
    void *ctx;
    void (*json_done)(void *ctx, json_t *answer, const struct rs_err *why);   /* rs_kube_start: instead of done */
    struct credential_job *waits_for;    /* while it has no http call */
    rs_kube_call *prev, *next;
};

/* One run of the exec plugin on a pool thread; outlives the client if it must. */
struct credential_job { rs_kube *k; struct rs_kube_config config; struct rs_kube_credential got; int rc; struct rs_err e; };

struct rs_kube {
    rs_loop *loop;
    struct rs_kube_config config;
    rs_http_client *http;
    char *host, *prefix;                 /* of the server's URL */
    int port;
    char *url_base, *connect_to;         /* connect_to only with tls-server-name */
    SSL_CTX *tls;                        /* for tunnels; made when first needed */
    char *file_token;
    int64_t file_token_at;               /* monotonic; 0: read it at the next call */
    struct rs_kube_credential credential;
    struct credential_job *job;          /* running */
    struct credential_job *ended;        /* its result is being handed to the calls that waited */
    rs_kube_call *calls;
};

/* ---- the client ---- */

static int split_url(rs_kube *k, struct rs_err *e)
{
    bool tls = rs_starts(k->config.server, "https://");
    const char *authority = strstr(k->config.server, "://") + 3;
    size_t n = strcspn(authority, "/");
    bool bracketed = *authority == '[';
    const char *host = authority + bracketed, *end = authority + n;
    const char *host_end = bracketed ? memchr(host, ']', n - 1) : memchr(host, ':', n);
    uint64_t port = tls ? 443 : 80;
    if (!host_end)
        host_end = end;
    const char *after = bracketed && host_end < end ? host_end + 1 : host_end;
    bool good = host_end > host && (after == end || (*after == ':' && rs_str_u64((rs_str){ after + 1, (size_t)(end - after - 1) }, &port)));
    if (!good || port == 0 || port > 65535)
        return RS_FAIL(e, RS_INVALID, "\"%s\" is no URL of an API server", k->config.server);
    k->host = rs_strndup(host, (size_t)(host_end - host));
    k->port = (int)port;
    k->prefix = rs_strdup(end);
    const char *name = k->config.tls_server_name;
    k->url_base = name ? rs_printf("https://%s:%d%s", name, k->port, k->prefix) : rs_strdup(k->config.server);
    if (name)
        k->connect_to = rs_printf(bracketed ? "[%s]:%d" : "%s:%d", k->host, k->port);
    return 0;
}

int rs_kube_new(rs_kube **ret, rs_loop *loop, const struct rs_kube_config *config, struct rs_err *e)
{
    if (!config->server || !(rs_starts(config->server, "https://") || rs_starts(config->server, "http://")))
        return RS_FAIL(e, RS_INVALID, "\"%s\" is no URL of an API server", config->server ? config->server : "");
    RS_AUTO(rs_kube) *k = rs_new(rs_kube);
    k->loop = loop;
    rs_kube_config_copy(&k->config, config);
    k->http = rs_http_client_new(loop);
    if (split_url(k, e) < 0)
        return -1;
    *ret = rs_take(k);
    return 0;
}

static void call_free(rs_kube_call *call)
{
    DL_DELETE(call->k->calls, call);
    rs_http_cancel(call->http);
    free(call->method);
    free(call->path);
    free(call->content_type);
    free(call->accept);
    if (call->body)
        rs_free_cleansed(call->body, call->body_n);
    rs_buf_done(&call->error);
    free(call);
}

void rs_kube_free(rs_kube *k)
{
    if (!k)
        return;
    while (k->calls)
        call_free(k->calls);
    rs_http_client_free(k->http);
    if (k->job)
        k->job->k = NULL;
    if (k->ended)
        k->ended->k = NULL;
    rs_kube_credential_done(&k->credential);
    rs_kube_config_done(&k->config);
    if (k->file_token)
        rs_free_cleansed(k->file_token, strlen(k->file_token));
    SSL_CTX_free(k->tls);
    free(k->host);
    free(k->prefix);
    free(k->url_base);
    free(k->connect_to);
    free(k);
}

rs_loop *rs_kube_loop(rs_kube *k) { return k->loop; }
const struct rs_kube_config *rs_kube_config_of(const rs_kube *k) { return &k->config; }

/* ---- credentials ---- */

static void read_token_file(rs_kube *k)
{
    char *text = NULL;
    struct rs_err e;
    if (k->file_token_at && rs_mono_ms() - k->file_token_at < TOKEN_FILE_AGE_MS)
        return;
    if (rs_file_read(k->config.token_file, 65536, &text, NULL, &e) < 0) {
        rs_log_debug("keep the last token: %s", e.msg);      /* a projected volume is being swapped */
        return;
    }
    rs_str s = rs_str_trim(rs_str_of(text));
    if (k->file_token)
        rs_free_cleansed(k->file_token, strlen(k->file_token));
    k->file_token = rs_strndup(s.p, s.n);
    k->file_token_at = rs_mono_ms();
    rs_free_cleansed(text, strlen(text));
}

char *rs_kube_authorization(rs_kube *k)
{
    const char *token = k->config.token;
    if (k->config.exec) {
        token = k->credential.token;
    } else if (k->config.token_file) {
        read_token_file(k);
        token = k->file_token ? k->file_token : token;
    }
    return token ? rs_printf("Authorization: Bearer %s", token) : NULL;
}

const char *rs_kube_cert_pem(const rs_kube *k) { return k->credential.cert_pem ? k->credential.cert_pem : k->config.cert_pem; }
const char *rs_kube_key_pem(const rs_kube *k) { return k->credential.cert_pem ? k->credential.key_pem : k->config.key_pem; }

bool rs_kube_credential_ready(const rs_kube *k)
{
    const struct rs_kube_credential *c = &k->credential;
    if (!k->config.exec)
        return true;
    return (c->token || c->cert_pem) && (c->expires_ms == 0 || rs_now_ms() + EXPIRY_MARGIN_MS < c->expires_ms);
}

static void call_send(rs_kube_call *call);

/* Frees the call first: its callback may free the client. */
static void call_finish(rs_kube_call *call, rs_str body, const struct rs_err *why)
{
    __typeof__(call->done) done = call->done;
    __typeof__(call->json_done) json_done = call->json_done;
    void *ctx = call->ctx;
    struct rs_err e;
    RS_AUTO(json_t) *answer = NULL;
    if (json_done && !why && rs_json_parse(&answer, body, &e) < 0) {
        rs_err_wrap(&e, "%s %s: answer", call->method, call->path);
        e.code = RS_UNAVAILABLE;
        why = &e;
    }
    call_free(call);
    if (json_done)
        json_done(ctx, why ? NULL : answer, why);
    else
        done(ctx, body, why);
}

static void credential_work(void *ctx)
{
    struct credential_job *job = ctx;
    job->rc = rs_kube_exec_credential(&job->got, &job->config, &job->e);
}

static rs_kube_call *next_waiting(const struct credential_job *job)
{
    rs_kube_call *call;
    DL_FOREACH(job->k->calls, call)
        if (call->waits_for == job)
            return call;
    return NULL;
}

/* Every call that waited goes on with what the plugin said. A callback may free the client: job->k is NULL then. */
static void credential_done(void *ctx)
{
    struct credential_job *job = ctx;
    rs_kube_call *call;
    if (job->k) {
        job->k->job = NULL;
        job->k->ended = job;
    }
    if (job->k && job->rc == 0) {
        rs_kube_credential_done(&job->k->credential);
        SSL_CTX_free(rs_take(job->k->tls));
        job->k->credential = job->got;
        job->got = (struct rs_kube_credential){ 0 };
    }
    while (job->k && (call = next_waiting(job))) {
        call->waits_for = NULL;
        if (job->rc == 0)
            call_send(call);
        else
            call_finish(call, RS_STR(""), &job->e);
    }
    if (job->k)
        job->k->ended = NULL;
    rs_kube_credential_done(&job->got);
    rs_kube_config_done(&job->config);
    free(job);
}

static void wait_for_credential(rs_kube_call *call)
{
    rs_kube *k = call->k;
    if (!k->job) {
        k->job = rs_new(struct credential_job);
        k->job->k = k;
        rs_kube_config_copy(&k->job->config, &k->config);
        rs_loop_work(k->loop, credential_work, credential_done, k->job);
    }
    call->waits_for = k->job;
}

static void call_begin(rs_kube_call *call)
{
    if (rs_kube_credential_ready(call->k))
        call_send(call);
    else
        wait_for_credential(call);
}

/* A refused credential is renewed once per call, if there is a way to. */
static bool retry_unauthorized(rs_kube_call *call, int status)
{
    rs_kube *k = call->k;
    if (status != 401 || call->retried || !(k->config.exec || k->config.token_file))
        return false;
    call->retried = true;
    call->http = NULL;
    call->error_status = 0;
    rs_buf_clear(&call->error);
    k->file_token_at = 0;
    rs_kube_credential_done(&k->credential);
    call_begin(call);
    return true;
}

int rs_kube_endpoint(rs_kube *k, struct rs_kube_endpoint *ret, struct rs_err *e)
{
    RS_AUTO(rs_bundle) *roots = NULL;
    rs_str cert = rs_str_of(rs_kube_cert_pem(k)), key = rs_str_of(rs_kube_key_pem(k));
    *ret = (struct rs_kube_endpoint){ .host = k->host, .port = k->port, .prefix = k->prefix,
                                      .server_name = k->config.tls_server_name ? k->config.tls_server_name : k->host };
    if (!rs_starts(k->config.server, "https://"))
        return 0;
    if (!k->tls && k->config.ca_pem && rs_bundle_parse(&roots, rs_str_of(k->config.ca_pem), e) < 0)
        return rs_err_wrap(e, "certificate authority of %s", k->config.server);
    if (!k->tls && k->config.insecure && rs_tls_client_insecure(&k->tls, cert, key, "http/1.1", e) < 0)
        return -1;
    if (!k->tls && rs_tls_client(&k->tls, roots, cert, key, "http/1.1", e) < 0)
        return -1;
    ret->tls = k->tls;
    return 0;
}

/* ---- calls ---- */

static void http_data(void *ctx, int status, rs_str data)
{
    rs_kube_call *call = ctx;
    if (status >= 200 && status < 300) {
        call->on_data(call->ctx, data);
        return;
    }
    call->error_status = status;
    rs_buf_add(&call->error, data.p, data.n);
}

static void http_done(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    rs_kube_call *call = ctx;
    struct rs_err e;
    call->http = NULL;
    if (why) {
        e = *why;
        rs_err_wrap(&e, "%s", call->k->config.server);
        if (e.code != RS_DEADLINE && e.code != RS_EXHAUSTED && e.code != RS_CANCELLED)
            e.code = RS_UNAVAILABLE;
        call_finish(call, RS_STR(""), &e);
    } else if (r->status < 200 || r->status >= 300) {
        if (retry_unauthorized(call, r->status))
            return;
        rs_kube_status_error(&e, r->status, call->on_data ? rs_buf_str(&call->error) : r->body);
        call_finish(call, RS_STR(""), &e);
    } else {
        call_finish(call, call->on_data ? RS_STR("") : r->body, NULL);
    }
}

static void call_send(rs_kube_call *call)
{
    rs_kube *k = call->k;
    const char *headers[5];
    size_t n = 0;
    RS_AUTO(rs_chars) *url = rs_printf("%s%s", k->url_base, call->path), *type = NULL;
    char *auth = rs_kube_authorization(k);
    headers[n++] = "User-Agent: rootshift/" RS_VERSION;
    headers[n++] = call->accept;
    if (auth)
        headers[n++] = auth;
    if (call->content_type)
        headers[n++] = type = rs_printf("Content-Type: %s", call->content_type);
    headers[n] = NULL;
    struct rs_http_request r = {
        .method = call->method, .url = url, .headers = headers, .body = { call->body ? call->body : "", call->body_n },
        .connect_to = k->connect_to, .ca_pem = k->config.ca_pem, .cert_pem = rs_kube_cert_pem(k), .key_pem = rs_kube_key_pem(k),
        .insecure = k->config.insecure, .timeout_ms = call->timeout_ms, .on_data = call->on_data ? http_data : NULL };
    call->http = rs_http_start(k->http, &r, http_done, call);
    if (auth)
        rs_free_cleansed(auth, strlen(auth));
}

static rs_kube_call *call_new(rs_kube *k, const struct rs_kube_raw *raw)
{
    rs_kube_call *call = rs_new(rs_kube_call);
    call->k = k;
    call->method = rs_strdup(raw->method);
    call->path = rs_strdup(raw->path);
    call->accept = rs_printf("Accept: %s", raw->accept ? raw->accept : "application/json");
    call->timeout_ms = raw->timeout_ms;
    call->on_data = raw->on_data;
    call->done = raw->done;
    call->ctx = raw->ctx;
    rs_buf_init(&call->error, ERROR_BODY_MAX);
    if (raw->content_type) {
        call->content_type = rs_strdup(raw->content_type);
        call->body = rs_strndup(raw->body.p, raw->body.n);
        call->body_n = raw->body.n;
    }
    DL_APPEND(k->calls, call);
    return call;
}

rs_kube_call *rs_kube_start_raw(rs_kube *k, const struct rs_kube_raw *raw)
{
    rs_kube_call *call = call_new(k, raw);
    call_begin(call);
    return call;
}

rs_kube_call *rs_kube_start(rs_kube *k, const char *method, const char *path, const char *content_type, const json_t *body,
                            void (*done)(void *ctx, json_t *answer, const struct rs_err *why), void *ctx)
{
    RS_AUTO(rs_chars) *text = body ? rs_json_text(body) : NULL;
    rs_kube_call *call = call_new(k, &(struct rs_kube_raw){
        .method = method, .path = path, .body = rs_str_of(text), .timeout_ms = CALL_TIMEOUT_MS, .ctx = ctx,
        .content_type = text ? content_type ? content_type : "application/json" : NULL });
    call->json_done = done;
    call_begin(call);
    return call;
}

void rs_kube_cancel(rs_kube_call *call)
{
    if (call)
        call_free(call);
}
