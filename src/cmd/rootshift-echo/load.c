/* The load client: every target is asked at fixed times whether or not earlier answers came (open loop), alternately on a
 * kept connection and on a new one. What was not sent at its time, or not answered within a second of it, has failed. */
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/time.h"
#include "cmd/rootshift-echo/echo.h"
#include "http/client.h"
#include "io/resolve.h"

enum { DEADLINE_MS = 1000, REPORT_MS = 500, RESOLVE_AGAIN_MS = 200, FAILURES_MAX = 200 };

struct peer {
    echo_load *load;
    struct echo_target t;
    echo_connection *connection;
    rs_timer *tick, *resolve;
    int64_t due_ms;                  /* monotonic time of the next request */
    unsigned long sent, failed;      /* since the last report */
    int64_t first_ok_ms, last_ok_ms; /* wall clock, since the last report; 0: none */
    unsigned long count;
};

struct echo_load {
    rs_loop *loop;
    struct echo_self *self;
    struct peer *peers;
    size_t n;
    int interval_ms;
    size_t in_flight;
    json_t *failures, *issuers;      /* since the last report */
    long long retries;               /* Envoy's own, since it started */
    json_t *unacknowledged;          /* report that is under way or has to be sent again */
    unsigned long report_number;
    char *collector;
    rs_http_client *http;
    rs_timer *report;
    bool running, stopping, posting;
    void (*done)(void *ctx);
    void *done_ctx;
};

static void finish_if_over(echo_load *l);

/* Istio CA and Mesh CA sign for different trust domains, so the identity tells the issuer. */
static const char *issuer_of(const char *identity, char buf[128])
{
    if (!identity || !rs_starts(identity, "spiffe://"))
        return "none";
    const char *host = identity + strlen("spiffe://");
    snprintf(buf, 128, "%.*s", (int)strcspn(host, "/"), host);
    return buf;
}

static void count_issuers(echo_load *l, const char *peer, const char *by)
{
    char client[128], server[128], key[300];
    snprintf(key, sizeof(key), "%s -> %s", issuer_of(peer, client), issuer_of(by, server));
    json_object_set_new(l->issuers, key, json_integer(rs_json_int(l->issuers, 0, key) + 1));
}

static void count_failure(struct peer *p, const char *why)
{
    char when[RS_TIME_TEXT];
    p->failed++;
    if (json_array_size(p->load->failures) < FAILURES_MAX)
        json_array_append_new(p->load->failures, rs_json_pack("{s:s, s:s, s:s, s:s}", "time", rs_time_text_ms(rs_now_ms(), when), "to", p->t.name,
                                                              "cause", why, "pod", p->load->self->pod));
}

static void verdict(void *ctx, const char *why, const char *peer, const char *by)
{
    struct peer *p = ctx;
    echo_load *l = p->load;
    l->in_flight--;
    if (why) {
        count_failure(p, why);
    } else {
        p->last_ok_ms = rs_now_ms();
        if (!p->first_ok_ms)
            p->first_ok_ms = p->last_ok_ms;
        count_issuers(l, peer, by);
    }
    finish_if_over(l);
}

static void tick(void *ctx)
{
    struct peer *p = ctx;
    echo_load *l = p->load;
    int64_t now = rs_mono_ms();
    for (; now - p->due_ms >= DEADLINE_MS; p->due_ms += l->interval_ms) {
        p->sent++;
        count_failure(p, "never sent: the client was held up for longer than the deadline");
    }
    if (p->due_ms <= now) {
        p->sent++;
        l->in_flight++;
        echo_ask(p->connection, p->count++ % 2 == 1, (int)(DEADLINE_MS - (now - p->due_ms)), verdict, p);
        p->due_ms += l->interval_ms;
    }
    rs_timer_set(p->tick, p->due_ms - now > 0 ? p->due_ms - now : 0);
}

static void start(echo_load *l)
{
    l->running = true;
    for (size_t i = 0; i < l->n; i++) {
        l->peers[i].due_ms = rs_mono_ms() + (int64_t)rs_random_below((uint64_t)l->interval_ms);
        tick(&l->peers[i]);
    }
}

static void pause_load(echo_load *l)
{
    l->running = false;
    for (size_t i = 0; i < l->n; i++)
        rs_timer_cancel(l->peers[i].tick);
}

static json_t *take_report(echo_load *l)
{
    json_t *pairs = json_object();
    for (size_t i = 0; i < l->n; i++) {
        struct peer *p = &l->peers[i];
        json_object_set_new(pairs, p->t.name, rs_json_pack("{s:I, s:I, s:I, s:I}", "sent", (json_int_t)p->sent, "failed", (json_int_t)p->failed,
                                                           "firstOK", (json_int_t)p->first_ok_ms, "lastOK", (json_int_t)p->last_ok_ms));
        p->sent = p->failed = 0;
        p->first_ok_ms = p->last_ok_ms = 0;
    }
    RS_AUTO(rs_chars) *from = rs_printf("%s/%s", l->self->namespace, l->self->workload);
    json_t *o = rs_json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:I, s:b}", "from", from, "pod", l->self->pod, "number", (json_int_t)++l->report_number,
                             "pairs", pairs, "failures", l->failures, "issuers", l->issuers, "envoyRetries", (json_int_t)l->retries, "running", l->running);
    l->failures = json_array();
    l->issuers = json_object();
    return o;
}

static void post(void *ctx);

static void posted(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    echo_load *l = ctx;
    struct rs_err e;
    RS_AUTO(json_t) *answer = NULL;
    l->posting = false;
    bool ok = r && r->status == 200 && rs_json_parse(&answer, r->body, &e) == 0;
    if (ok) {
        json_decref(rs_take(l->unacknowledged));
        bool run = rs_json_true(answer, "run") && !l->stopping;
        if (run && !l->running)
            start(l);
        else if (!run && l->running)
            pause_load(l);
    } else {
        rs_log_warning("collector %s: %s", l->collector, why ? why->msg : "unexpected answer");
    }
    rs_timer_set(l->report, l->stopping ? (ok ? 0 : 100) : REPORT_MS);
    if (ok)
        finish_if_over(l);
}

static void post(void *ctx)
{
    echo_load *l = ctx;
    if (l->posting)
        return;
    if (!l->unacknowledged)
        l->unacknowledged = take_report(l);
    RS_AUTO(rs_chars) *body = rs_json_text(l->unacknowledged), *url = rs_printf("http://%s/report", l->collector);
    l->posting = true;
    rs_http_start(l->http, &(struct rs_http_request){ .method = "POST", .url = url, .body = rs_str_of(body), .timeout_ms = 3000 }, posted, l);
}

/* Envoy's own retries of what this pod sends, from its admin port. */
static void got_retries(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    echo_load *l = ctx;
    long long total = 0;
    if (!r || r->status != 200)
        return;
    RS_AUTO(rs_chars) *text = rs_strndup(r->body.p, r->body.n);
    for (char *line = text; line && *line; ) {
        char *end = strchr(line, '\n'), *colon = strstr(line, ": ");
        if (colon && (!end || colon < end))
            total += atoll(colon + 2);
        line = end ? end + 1 : NULL;
    }
    l->retries = total;
}

static void ask_retries(echo_load *l)
{
    rs_http_start(l->http, &(struct rs_http_request){ .method = "GET", .timeout_ms = 1000,
        .url = "http://127.0.0.1:15000/stats?usedonly&filter=^cluster\\.outbound.*upstream_rq_retry$" }, got_retries, l);
}

static void on_report_timer(void *ctx)
{
    echo_load *l = ctx;
    if (l->report_number % 4 == 0)
        ask_retries(l);
    post(l);
}

static void resolve(void *ctx);

static void resolved(void *ctx, const char *address, const struct rs_err *why)
{
    struct peer *p = ctx;
    if (address) {
        p->t.address = rs_strdup(address);
        return;
    }
    rs_log_warning("%s", why->msg);
    rs_timer_set(p->resolve, RESOLVE_AGAIN_MS);
}

static void resolve(void *ctx)
{
    struct peer *p = ctx;
    rs_resolve(p->load->loop, p->t.host, p->t.port, resolved, p);
}

/* The sidecar must be there before anything is sent; a pod outside the mesh (no identity expected) starts at once. */
static void sidecar_ready(void *ctx, const struct rs_http_response *r, const struct rs_err *why);
static void ask_sidecar(void *ctx)
{
    echo_load *l = ctx;
    rs_http_start(l->http, &(struct rs_http_request){ .method = "GET", .url = "http://127.0.0.1:15000/certs", .timeout_ms = 1000 }, sidecar_ready, l);
}

static char *own_identity(rs_str certs)
{
    struct rs_err e;
    RS_AUTO(json_t) *o = NULL;
    if (rs_json_parse(&o, certs, &e) < 0)
        return NULL;
    size_t i, k, m;
    json_t *c, *d, *san;
    json_array_foreach(rs_json_at(o, "certificates"), i, c)
        json_array_foreach(rs_json_at(c, "cert_chain"), k, d)
            json_array_foreach(rs_json_at(d, "subject_alt_names"), m, san)
                if (rs_json_str(san, "uri"))
                    return rs_strdup(rs_json_str(san, "uri"));
    return NULL;
}

static void sidecar_live(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    echo_load *l = ctx;
    bool all = true;
    for (size_t i = 0; i < l->n; i++)
        all = all && l->peers[i].t.address;
    if (!r || r->status != 200 || !all) {
        l->report = l->report ? l->report : rs_timer_new(l->loop, ask_sidecar, l);
        rs_timer_set(l->report, 100);
        return;
    }
    rs_timer_free(l->report);
    l->report = rs_timer_new(l->loop, on_report_timer, l);
    rs_timer_set(l->report, 0);
}

static void sidecar_ready(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    echo_load *l = ctx;
    char *identity = r && r->status == 200 ? own_identity(r->body) : NULL;
    if (!identity) {
        l->report = l->report ? l->report : rs_timer_new(l->loop, ask_sidecar, l);
        rs_timer_set(l->report, 100);
        return;
    }
    free(l->self->identity);
    l->self->identity = identity;
    rs_http_start(l->http, &(struct rs_http_request){ .method = "GET", .url = "http://127.0.0.1:15021/healthz/ready", .timeout_ms = 1000 }, sidecar_live, l);
}

static int read_peers(echo_load *l, const char *text, struct rs_err *e)
{
    RS_AUTO(json_t) *list = NULL;
    RS_AUTO(rs_chars) *own = rs_printf("%s/%s", l->self->namespace, l->self->workload);
    if (rs_json_parse(&list, rs_str_of(text), e) < 0)
        return rs_err_wrap(e, "list of peers");
    l->peers = rs_new_array(struct peer, json_array_size(list));
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o) {
        const char *name = rs_json_str(o, "name"), *host = rs_json_str(o, "host"), *http_host = rs_json_str(o, "httpHost");
        if (!name || !host)
            return RS_FAIL(e, RS_INVALID, "peer %zu has no name or no host", i);
        if (rs_streq(name, own))
            continue;
        struct peer *p = &l->peers[l->n++];
        p->load = l;
        p->t = (struct echo_target){
            .protocol = rs_streq(rs_json_str(o, "protocol"), "tcp") ? ECHO_TCP : ECHO_HTTP, .name = rs_strdup(name), .host = rs_strdup(host),
            .http_host = rs_strdup(http_host ? http_host : host), .port = (int)rs_json_int(o, 80, "port"),
            .expect = rs_strdup(rs_json_str(o, "expect")), .expect_path = rs_strdup(rs_json_str(o, "expectPath")) };
        p->connection = echo_connection_new(l->loop, &p->t, l->self);
        p->tick = rs_timer_new(l->loop, tick, p);
        p->resolve = rs_timer_new(l->loop, resolve, p);
        resolve(p);
    }
    return 0;
}

int echo_load_new(echo_load **ret, rs_loop *loop, struct echo_self *self, const struct echo_load_options *o, struct rs_err *e)
{
    echo_load *l = rs_new(echo_load);
    l->loop = loop;
    l->self = self;
    l->interval_ms = o->interval_ms;
    l->collector = rs_strdup(o->collector);
    l->failures = json_array();
    l->issuers = json_object();
    l->http = rs_http_client_new(loop);
    if (read_peers(l, o->peers, e) < 0)
        return -1;
    ask_sidecar(l);
    *ret = l;
    return 0;
}

/* Over when every verdict is in and the report that holds the last of them was acknowledged. */
static void finish_if_over(echo_load *l)
{
    if (!l->stopping || l->in_flight || l->posting || !l->done)
        return;
    bool reported = !l->unacknowledged && json_array_size(l->failures) == 0 && json_object_size(l->issuers) == 0;
    for (size_t i = 0; i < l->n; i++)
        reported = reported && l->peers[i].sent == 0;
    if (!reported) {
        post(l);
        return;
    }
    void (*done)(void *) = l->done;
    l->done = NULL;
    done(l->done_ctx);
}

void echo_load_stop(echo_load *l, void (*done)(void *ctx), void *ctx)
{
    pause_load(l);
    l->stopping = true;
    l->done = done;
    l->done_ctx = ctx;
    finish_if_over(l);
}
