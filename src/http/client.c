#include "http/client.h"

#include <curl/curl.h>
#include <event2/event.h>
#include <pthread.h>
#include <strings.h>
#include <utlist.h>

#include "base/buf.h"

enum { CONNECT_MS = 10000, CACHED_CONNECTIONS = 64, BODY_MAX = 64 * 1024 * 1024, HEADERS_MAX = 256 };

struct rs_http_client {
    rs_loop *loop;
    CURLM *multi;
    rs_timer *timer;                   /* curl's own */
    rs_timer *soon;                    /* adds what was started meanwhile, looks for what has ended */
    rs_http_call *calls, *fresh;       /* under way; started but not yet given to curl */
    int busy;                          /* inside curl or a callback */
    bool freed;
};

struct rs_http_call {
    rs_http_client *client;
    CURL *easy;
    bool listed, added, cancelled, over;   /* listed: in calls, no longer in fresh; added: curl has it */
    struct curl_slist *headers, *connect_to;
    struct rs_http_response answer;
    struct rs_buf body;
    rs_timer *idle;
    int idle_ms;
    bool idled, bad_header;
    void (*on_data)(void *ctx, int status, rs_str data);
    void (*done)(void *ctx, const struct rs_http_response *r, const struct rs_err *why);
    void *ctx;
    char error[CURL_ERROR_SIZE];
    struct rs_http_call *prev, *next;
};

static void service(rs_http_client *c);

static void curl_init(void)
{
    rs_assert(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

/* ---- life ---- */

static void call_free(rs_http_call *k)
{
    if (k->added)
        curl_multi_remove_handle(k->client->multi, k->easy);
    curl_easy_cleanup(k->easy);
    curl_slist_free_all(k->headers);
    curl_slist_free_all(k->connect_to);
    rs_http_headers_done(&k->answer.headers);
    rs_buf_done(&k->body);
    rs_timer_free(k->idle);
    free(k);
}

static void client_destroy(rs_http_client *c)
{
    rs_http_call *k, *next;
    DL_FOREACH_SAFE(c->calls, k, next)
        call_free(k);
    DL_FOREACH_SAFE(c->fresh, k, next)
        call_free(k);
    curl_multi_cleanup(c->multi);      /* ends the sockets through on_socket */
    rs_timer_free(c->timer);
    rs_timer_free(c->soon);
    free(c);
}

static void client_enter(rs_http_client *c)
{
    c->busy++;
}

static void client_leave(rs_http_client *c)
{
    if (--c->busy == 0 && c->freed)
        client_destroy(c);
}

void rs_http_client_free(rs_http_client *c)
{
    if (!c || c->freed)
        return;
    c->freed = true;
    client_enter(c);
    client_leave(c);
}

/* ---- curl's sockets and timer on our loop ---- */

static void socket_ready(evutil_socket_t fd, short what, void *arg)
{
    rs_http_client *c = arg;
    int running, mask = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
    client_enter(c);
    curl_multi_socket_action(c->multi, fd, mask, &running);
    service(c);
    client_leave(c);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    rs_http_client *c = ctx;
    struct event *event = socket_ctx;
    if (event)
        event_free(event);
    event = NULL;
    if (what != CURL_POLL_REMOVE) {
        short flags = (short)(EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
        event = event_new(rs_loop_base(c->loop), fd, flags, socket_ready, c);
        rs_assert(event && event_add(event, NULL) == 0);
    }
    curl_multi_assign(c->multi, fd, event);
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *ctx)
{
    rs_http_client *c = ctx;
    if (ms < 0)
        rs_timer_cancel(c->timer);
    else
        rs_timer_set(c->timer, ms);
    return 0;
}

static void timer_fired(void *ctx)
{
    rs_http_client *c = ctx;
    int running;
    client_enter(c);
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    service(c);
    client_leave(c);
}

rs_http_client *rs_http_client_new(rs_loop *loop)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, curl_init);
    rs_http_client *c = rs_new(rs_http_client);
    c->loop = loop;
    c->multi = curl_multi_init();
    rs_assert(c->multi);
    c->timer = rs_timer_new(loop, timer_fired, c);
    c->soon = rs_timer_new(loop, timer_fired, c);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)CACHED_CONNECTIONS);
    return c;
}

/* ---- the answer ---- */

static void touch(rs_http_call *k)
{
    if (k->idle)
        rs_timer_set(k->idle, k->idle_ms);
}

static void went_idle(void *ctx)
{
    rs_http_call *k = ctx;
    k->idled = true;
    rs_timer_set(k->client->soon, 0);
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
    rs_http_call *k = ctx;
    rs_str line = rs_str_trim((rs_str){ p, n });
    touch(k);
    if (line.n >= 5 && memcmp(line.p, "HTTP/", 5) == 0) {
        rs_http_headers_done(&k->answer.headers);      /* those before were of a 1xx answer */
        return n;
    }
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon)
        return n;
    if (k->answer.headers.n >= HEADERS_MAX)
        return 0;
    rs_str value = rs_str_trim((rs_str){ colon + 1, line.n - (size_t)(colon + 1 - line.p) });
    RS_AUTO(rs_chars) *name = rs_strndup(line.p, (size_t)(colon - line.p)), *text = rs_strndup(value.p, value.n);
    rs_http_headers_add(&k->answer.headers, name, text);
    return n;
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    rs_http_call *k = ctx;
    touch(k);
    if (k->cancelled || k->client->freed)
        return CURL_WRITEFUNC_ERROR;
    if (!k->on_data) {
        rs_buf_add(&k->body, p, n);
        return k->body.over ? CURL_WRITEFUNC_ERROR : n;
    }
    long status = 0;
    curl_easy_getinfo(k->easy, CURLINFO_RESPONSE_CODE, &status);
    k->on_data(k->ctx, (int)status, (rs_str){ p, n });
    return k->cancelled || k->client->freed ? CURL_WRITEFUNC_ERROR : n;
}

static enum rs_code code_of(CURLcode rc)
{
    switch (rc) {
    case CURLE_OPERATION_TIMEDOUT:
        return RS_DEADLINE;
    case CURLE_PEER_FAILED_VERIFICATION:
        return RS_UNAUTHENTICATED;
    case CURLE_URL_MALFORMAT: case CURLE_UNSUPPORTED_PROTOCOL: case CURLE_SSL_CERTPROBLEM: case CURLE_SSL_CACERT_BADFILE:
        return RS_INVALID;
    default:
        return RS_UNAVAILABLE;
    }
}

static void finish(rs_http_call *k, CURLcode rc)
{
    struct rs_err e;
    const char *url = "?";
    long status = 0;
    curl_easy_getinfo(k->easy, CURLINFO_EFFECTIVE_URL, &url);
    curl_easy_getinfo(k->easy, CURLINFO_RESPONSE_CODE, &status);
    k->answer.status = (int)status;
    k->answer.body = rs_buf_str(&k->body);
    if (k->bad_header)
        (void)RS_FAIL(&e, RS_INVALID, "%s: a request header holds a line break", url);
    else if (k->idled)
        (void)RS_FAIL(&e, RS_DEADLINE, "%s: no byte for %d ms", url, k->idle_ms);
    else if (k->body.over)
        (void)RS_FAIL(&e, RS_EXHAUSTED, "%s: answer of more than %zu bytes", url, k->body.max);
    else if (rc != CURLE_OK)
        (void)RS_FAIL(&e, code_of(rc), "%s: %s", url, k->error[0] ? k->error : curl_easy_strerror(rc));
    bool ok = rc == CURLE_OK && !k->idled && !k->body.over && !k->bad_header;
    if (!k->cancelled && !k->client->freed)
        k->done(k->ctx, ok ? &k->answer : NULL, ok ? NULL : &e);
    call_free(k);
}

/* One call that ended, taken off the list, with how. */
static rs_http_call *next_ended(rs_http_client *c, CURLcode *rc)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(c->multi, &left)); ) {
        if (m->msg != CURLMSG_DONE)
            continue;
        rs_http_call *k;
        *rc = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&k);
        return k;
    }
    rs_http_call *k;
    DL_FOREACH(c->calls, k)
        if (k->idled || k->cancelled || k->bad_header) {
            *rc = CURLE_OPERATION_TIMEDOUT;
            return k;
        }
    return NULL;
}

/* Curl must not be entered from its own callbacks, so what they asked for is done here, after it returned. */
static void service(rs_http_client *c)
{
    if (c->busy > 1)
        return;
    CURLcode rc = CURLE_OK;
    for (rs_http_call *k; !c->freed && (k = next_ended(c, &rc)); ) {
        DL_DELETE(c->calls, k);
        k->over = true;
        finish(k, rc);
    }
    while (!c->freed && c->fresh) {
        rs_http_call *k = c->fresh;
        DL_DELETE(c->fresh, k);
        if (k->cancelled) {
            call_free(k);
            continue;
        }
        DL_APPEND(c->calls, k);
        k->listed = true;
        if (k->bad_header) {
            rs_timer_set(c->soon, 0);
            continue;
        }
        k->added = true;
        rs_assert(curl_multi_add_handle(c->multi, k->easy) == CURLM_OK);
    }
}

void rs_http_cancel(rs_http_call *k)
{
    if (!k || k->over)
        return;                        /* over: from inside its own done */
    rs_http_client *c = k->client;
    k->cancelled = true;
    if (c->busy) {
        rs_timer_set(c->soon, 0);
        return;
    }
    if (k->listed)
        DL_DELETE(c->calls, k);
    else
        DL_DELETE(c->fresh, k);
    client_enter(c);
    call_free(k);
    client_leave(c);
}

/* ---- the request ---- */

static void set_blob(CURL *easy, CURLoption option, const char *pem)
{
    struct curl_blob blob = { .data = (void *)(uintptr_t)pem, .len = strlen(pem), .flags = CURL_BLOB_COPY };
    curl_easy_setopt(easy, option, &blob);
}

static void set_tls(rs_http_call *k, const struct rs_http_request *r)
{
    if (r->ca_pem) {
        set_blob(k->easy, CURLOPT_CAINFO_BLOB, r->ca_pem);
        curl_easy_setopt(k->easy, CURLOPT_CAPATH, NULL);       /* exactly these: not the system's beside them */
    }
    if (r->cert_pem && r->key_pem) {
        set_blob(k->easy, CURLOPT_SSLCERT_BLOB, r->cert_pem);
        set_blob(k->easy, CURLOPT_SSLKEY_BLOB, r->key_pem);
    }
    curl_easy_setopt(k->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(k->easy, CURLOPT_SSL_VERIFYPEER, r->insecure ? 0L : 1L);
    curl_easy_setopt(k->easy, CURLOPT_SSL_VERIFYHOST, r->insecure ? 0L : 2L);
}

static void set_headers(rs_http_call *k, const struct rs_http_request *r)
{
    bool has_type = false;
    for (const char *const *h = r->headers; h && *h; h++) {
        rs_str line = rs_str_trim(rs_str_of(*h));      /* tokens read from files end with a line break */
        RS_AUTO(rs_chars) *text = rs_strndup(line.p, line.n);
        k->bad_header |= strpbrk(text, "\r\n") != NULL;
        k->headers = curl_slist_append(k->headers, text);
        has_type |= strncasecmp(*h, "content-type:", 13) == 0;
    }
    k->headers = curl_slist_append(k->headers, "Expect:");     /* neither of curl's own ideas */
    if (!has_type)
        k->headers = curl_slist_append(k->headers, "Content-Type:");
    curl_easy_setopt(k->easy, CURLOPT_HTTPHEADER, k->headers);
}

static void set_method(rs_http_call *k, const struct rs_http_request *r)
{
    bool body = r->body.n > 0 || rs_streq(r->method, "POST") || rs_streq(r->method, "PUT") || rs_streq(r->method, "PATCH");
    if (rs_streq(r->method, "HEAD")) {
        curl_easy_setopt(k->easy, CURLOPT_NOBODY, 1L);
        return;
    }
    if (body) {
        curl_easy_setopt(k->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.n);
        curl_easy_setopt(k->easy, CURLOPT_COPYPOSTFIELDS, r->body.n ? r->body.p : "");
    }
    if (r->method && (body || !rs_streq(r->method, "GET")))
        curl_easy_setopt(k->easy, CURLOPT_CUSTOMREQUEST, r->method);
}

static void set_connection(rs_http_call *k, const struct rs_http_request *r)
{
    curl_easy_setopt(k->easy, CURLOPT_URL, r->url);
    curl_easy_setopt(k->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(k->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(k->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(k->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(k->easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(k->easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(k->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    if (r->timeout_ms > 0)
        curl_easy_setopt(k->easy, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    if (r->unix_path)
        curl_easy_setopt(k->easy, CURLOPT_UNIX_SOCKET_PATH, r->unix_path);
    if (r->source_ip) {
        RS_AUTO(rs_chars) *from = rs_printf("host!%s", r->source_ip);
        curl_easy_setopt(k->easy, CURLOPT_INTERFACE, from);
    }
    if (r->connect_to) {
        RS_AUTO(rs_chars) *to = rs_printf("::%s", r->connect_to);
        k->connect_to = curl_slist_append(NULL, to);
        curl_easy_setopt(k->easy, CURLOPT_CONNECT_TO, k->connect_to);
    }
    if (r->fresh_connection) {
        curl_easy_setopt(k->easy, CURLOPT_FRESH_CONNECT, 1L);
        curl_easy_setopt(k->easy, CURLOPT_FORBID_REUSE, 1L);
    }
}

rs_http_call *rs_http_start(rs_http_client *c, const struct rs_http_request *r,
                            void (*done)(void *ctx, const struct rs_http_response *r, const struct rs_err *why), void *ctx)
{
    rs_http_call *k = rs_new(rs_http_call);
    k->client = c;
    k->done = done;
    k->ctx = ctx;
    k->on_data = r->on_data;
    k->easy = curl_easy_init();
    rs_assert(k->easy);
    rs_buf_init(&k->body, r->max_body ? r->max_body : BODY_MAX);
    curl_easy_setopt(k->easy, CURLOPT_PRIVATE, k);
    curl_easy_setopt(k->easy, CURLOPT_ERRORBUFFER, k->error);
    curl_easy_setopt(k->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(k->easy, CURLOPT_HEADERDATA, k);
    curl_easy_setopt(k->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(k->easy, CURLOPT_WRITEDATA, k);
    set_connection(k, r);
    set_tls(k, r);
    set_method(k, r);
    set_headers(k, r);
    if (r->idle_timeout_ms > 0) {
        k->idle_ms = r->idle_timeout_ms;
        k->idle = rs_timer_new(c->loop, went_idle, k);
        touch(k);
    }
    DL_APPEND(c->fresh, k);
    rs_timer_set(c->soon, 0);
    return k;
}
