/* The collector: adds up what all loads report, outside the mesh, so that pods may come and go. */
#include "base/log.h"
#include "base/time.h"
#include "cmd/rootshift-echo/echo.h"
#include "http/server.h"
#include "io/listen.h"

enum { SILENCE_MS = 3000, FAILURES_MAX = 1000, REPORT_MAX = 4 * 1024 * 1024 };

struct collector {
    rs_http_server *http;
    bool run;
    json_int_t requests, failed;
    json_t *pairs;                   /* "from > to": {sent, failed, lastOK} */
    json_t *failures, *issuers;
    json_t *pods;                    /* pod: {number, envoyRetries, running, at} */
};

static void add_failure(struct collector *c, json_t *failure)
{
    if (json_array_size(c->failures) < FAILURES_MAX)
        json_array_append(c->failures, failure);
}

static void silence(struct collector *c, const char *pair, int64_t since_ms, int64_t until_ms)
{
    char when[RS_TIME_TEXT];
    const char *to = strstr(pair, " > ");
    RS_AUTO(rs_chars) *from = rs_strndup(pair, (size_t)(to - pair)), *cause = rs_printf("no answer for the pair in %.1f s", (double)(until_ms - since_ms) / 1000);
    RS_AUTO(json_t) *f = rs_json_pack("{s:s, s:s, s:s, s:s}", "time", rs_time_text_ms(until_ms, when), "from", from, "to", to + 3, "cause", cause);
    c->failed++;
    add_failure(c, f);
}

static void add_pair(struct collector *c, const char *from, const char *to, const json_t *delta)
{
    RS_AUTO(rs_chars) *key = rs_printf("%s > %s", from, to);
    json_t *p = rs_json_need(c->pairs, key);
    json_int_t sent = rs_json_int(delta, 0, "sent"), failed = rs_json_int(delta, 0, "failed");
    json_int_t first = rs_json_int(delta, 0, "firstOK"), last = rs_json_int(delta, 0, "lastOK"), before = rs_json_int(p, 0, "lastOK");
    c->requests += sent;
    c->failed += failed;
    json_object_set_new(p, "sent", json_integer(rs_json_int(p, 0, "sent") + sent));
    json_object_set_new(p, "failed", json_integer(rs_json_int(p, 0, "failed") + failed));
    if (c->run && before && first - before > SILENCE_MS)
        silence(c, key, before, first);
    if (last > before)
        json_object_set_new(p, "lastOK", json_integer(last));
}

static void add_report(struct collector *c, const json_t *r)
{
    const char *from = rs_json_str(r, "from"), *pod = rs_json_str(r, "pod");
    json_t *known = pod ? rs_json_need(c->pods, pod) : NULL;
    if (!from || !pod || rs_json_int(r, 0, "number") <= rs_json_int(known, 0, "number"))
        return;                      /* sent again because our answer got lost */
    json_object_set_new(known, "number", json_integer(rs_json_int(r, 0, "number")));
    json_object_set_new(known, "envoyRetries", json_integer(rs_json_int(r, 0, "envoyRetries")));
    json_object_set_new(known, "running", json_boolean(rs_json_true(r, "running")));
    json_object_set_new(known, "at", json_integer(rs_now_ms()));
    const char *key;
    json_t *v;
    size_t i;
    json_object_foreach(rs_json_at(r, "pairs"), key, v)
        add_pair(c, from, key, v);
    json_object_foreach(rs_json_at(r, "issuers"), key, v)
        json_object_set_new(c->issuers, key, json_integer(rs_json_int(c->issuers, 0, key) + json_integer_value(v)));
    json_array_foreach(rs_json_at(r, "failures"), i, v) {
        rs_json_set_str(v, "from", from);
        add_failure(c, v);
    }
}

/* A pair that fell silent and stayed so shows only here. */
static json_t *silent_pairs(const struct collector *c)
{
    json_t *list = json_array();
    const char *key;
    json_t *p;
    json_object_foreach(c->pairs, key, p)
        if (c->run && rs_now_ms() - rs_json_int(p, 0, "lastOK") > SILENCE_MS)
            json_array_append_new(list, json_string(key));
    return list;
}

static json_t *summary(const struct collector *c)
{
    json_int_t retries = 0, running = 0;
    const char *key;
    json_t *p;
    json_object_foreach(c->pods, key, p) {
        retries += rs_json_int(p, 0, "envoyRetries");
        running += rs_json_true(p, "running") && rs_now_ms() - rs_json_int(p, 0, "at") < SILENCE_MS;
    }
    return rs_json_pack("{s:b, s:I, s:I, s:O, s:O, s:O, s:I, s:I, s:o}", "run", c->run, "requests", c->requests, "failed", c->failed,
                        "failures", c->failures, "issuers", c->issuers, "pairs", c->pairs, "envoyRetries", retries, "clients", running,
                        "silent", silent_pairs(c));
}

static void reply(rs_http_exchange *x, json_t *o)
{
    RS_AUTO(rs_chars) *text = rs_json_pretty(o);
    json_decref(o);
    rs_http_reply(x, 200, "application/json", rs_str_of(text));
}

static void handle(void *ctx, rs_http_exchange *x)
{
    struct collector *c = ctx;
    const char *path = rs_http_path(x);
    bool post = rs_streq(rs_http_method(x), "POST");
    struct rs_err e;
    RS_AUTO(json_t) *body = NULL;
    if (post && rs_streq(path, "/report")) {
        if (rs_json_parse(&body, rs_http_body(x), &e) < 0) {
            rs_http_reply(x, 400, "text/plain", rs_str_of(e.msg));
            return;
        }
        add_report(c, body);
        reply(x, rs_json_pack("{s:b}", "run", c->run));
    } else if (post && rs_streq(path, "/run")) {
        RS_AUTO(rs_chars) *on = rs_http_query(rs_http_query_raw(x), "on", 0);
        c->run = rs_streq(on, "true");
        reply(x, rs_json_pack("{s:b}", "run", c->run));
    } else if (rs_streq(path, "/ready")) {
        rs_http_reply(x, 200, "text/plain", RS_STR("ready\n"));
    } else if (rs_streq(path, "/summary")) {
        reply(x, summary(c));
    } else {
        rs_http_reply(x, 404, "text/plain", RS_STR("not found\n"));
    }
}

static void accepted(void *ctx, int fd) { rs_http_server_add(((struct collector *)ctx)->http, fd); }

int echo_collect(rs_loop *loop, const char *address, struct rs_err *e)
{
    int fd = rs_listen(address, e);
    if (fd < 0)
        return -1;
    struct collector *c = rs_new(struct collector);
    *c = (struct collector){ .pairs = json_object(), .failures = json_array(), .issuers = json_object(), .pods = json_object() };
    c->http = rs_http_server_new(loop, &(struct rs_http_server_config){ .body_max = REPORT_MAX, .handle = handle, .ctx = c });
    rs_listener_new(loop, fd, accepted, c);
    rs_log_info("collecting on port %d", rs_listen_port(fd));
    return 0;
}
