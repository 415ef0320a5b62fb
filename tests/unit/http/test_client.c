#include "unit.h"

#include <unistd.h>

#include "base/buf.h"
#include "http/client.h"
#include "http/server.h"
#include "io/listen.h"
#include "io/tls_fixture.h"

struct world {
    rs_loop *loop;
    rs_listener *listener;
    rs_http_server *server;
    rs_http_client *client;
    char base[64], address[64];
    rs_http_exchange *held;
    int connections, aborts;

    int status;                        /* of the last call */
    struct rs_buf body;
    char header[64];
    struct rs_err why;
    int done, data_calls;
    rs_http_call *call;
    bool cancel_on_data, free_on_data, free_on_done, start_on_data;

    rs_stream *dialled, *upgraded;
    struct rs_buf dialled_got;
};

static size_t echo_data(void *ctx, rs_stream *s, rs_str data)
{
    rs_stream_write(s, data.p, data.n);
    return data.n;
}

static void echo_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    rs_stream_free(rs_take(((struct world *)ctx)->upgraded));
}

static const struct rs_stream_ops echo_ops = { .on_data = echo_data, .on_close = echo_close };

static void aborted(void *ctx, rs_http_exchange *x)
{
    struct world *w = ctx;
    w->aborts++;
    w->held = NULL;
}

static void upgrade(struct world *w, rs_http_exchange *x)
{
    char *rest;
    size_t n;
    rs_http_add_header(x, "X-Chosen", "v4");
    w->upgraded = rs_http_upgrade(x, "echo/1", &rest, &n);
    rs_stream_write(w->upgraded, "welcome ", 8);
    rs_stream_set_ops(w->upgraded, &echo_ops, w);
    free(rest);
}

static void handle(void *ctx, rs_http_exchange *x)
{
    struct world *w = ctx;
    const char *path = rs_http_path(x);
    if (rs_streq(path, "/hold")) {
        w->held = x;
        rs_http_on_abort(x, aborted, w);
    } else if (rs_streq(path, "/stream")) {
        rs_http_stream_begin(x, 200, "text/plain");
        rs_http_stream_write(x, "one", 3);
        w->held = x;
        rs_http_on_abort(x, aborted, w);
    } else if (rs_streq(path, "/upgrade")) {
        upgrade(w, x);
    } else if (rs_streq(path, "/forbidden")) {
        rs_http_reply(x, 403, "text/plain", RS_STR("you may not\n"));
    } else {
        const char *type = rs_http_header(x, "content-type");
        RS_AUTO(rs_chars) *text = rs_printf("%s %s %s %s %.*s", rs_http_method(x), rs_http_target(x), rs_http_header(x, "host"), type ? type : "-",
                                            (int)rs_http_body(x).n, rs_http_body(x).p);
        rs_http_add_header(x, "X-Two", "a: b ");
        rs_http_reply(x, 201, "text/plain", rs_str_of(text));
    }
}

static void accepted(void *ctx, int fd)
{
    struct world *w = ctx;
    w->connections++;
    rs_http_server_add(w->server, fd);
}

static void world_init_at(struct world *w, SSL_CTX *tls, const char *where)
{
    struct rs_err e;
    *w = (struct world){ .loop = rs_loop_new() };
    rs_buf_init(&w->body, 1 << 20);
    rs_buf_init(&w->dialled_got, 1 << 20);
    struct rs_http_server_config config = { .tls = tls, .body_max = 4 << 20, .handle = handle, .ctx = w };
    w->server = rs_http_server_new(w->loop, &config);
    int fd = rs_listen(where, &e);
    assert_true(fd >= 0);
    snprintf(w->address, sizeof(w->address), "127.0.0.1:%d", rs_listen_port(fd));
    snprintf(w->base, sizeof(w->base), "%s://localhost:%d", tls ? "https" : "http", rs_listen_port(fd));
    w->listener = rs_listener_new(w->loop, fd, accepted, w);
    w->client = rs_http_client_new(w->loop);
}

static void world_init(struct world *w, SSL_CTX *tls)
{
    world_init_at(w, tls, "127.0.0.1:0");
}

static void world_done(struct world *w)
{
    rs_http_client_free(w->client);
    rs_listener_free(w->listener);
    rs_stream_free(w->dialled);
    rs_stream_free(w->upgraded);
    rs_http_server_free(w->server);
    rs_buf_done(&w->body);
    rs_buf_done(&w->dialled_got);
    rs_loop_free(w->loop);
}

#define WAIT(w, condition) do { \
        for (int unit_i_ = 0; !(condition); unit_i_++) { \
            bool never_ = false; \
            rs_loop_run_until((w)->loop, &never_, 2); \
            if (unit_i_ > 5000) fail_msg("timed out waiting for " #condition); } } while (0)

static void done(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    struct world *w = ctx;
    w->done++;
    w->call = NULL;
    w->why = why ? *why : (struct rs_err){ 0 };
    w->status = r ? r->status : 0;
    if (r) {
        rs_buf_add(&w->body, r->body.p, r->body.n);
        const char *two = rs_http_headers_get(&r->headers, "x-two");
        snprintf(w->header, sizeof(w->header), "%s", two ? two : "");
    }
    if (w->free_on_done)
        rs_http_client_free(rs_take(w->client));
}

static void on_data(void *ctx, int status, rs_str data)
{
    struct world *w = ctx;
    w->data_calls++;
    w->status = status;
    rs_buf_add(&w->body, data.p, data.n);
    if (w->start_on_data) {
        w->start_on_data = false;
        RS_AUTO(rs_chars) *url = rs_printf("%s/from-inside", w->base);
        struct rs_http_request r = { .method = "GET", .url = url };
        rs_http_start(w->client, &r, done, w);
    }
    if (w->cancel_on_data)
        rs_http_cancel(rs_take(w->call));
    if (w->free_on_data)
        rs_http_client_free(rs_take(w->client));
}

static void start(struct world *w, struct rs_http_request r, const char *path)
{
    RS_AUTO(rs_chars) *url = rs_printf("%s%s", w->base, path);
    r.url = url;
    rs_buf_clear(&w->body);
    int before = w->done;
    w->call = rs_http_start(w->client, &r, done, w);
    assert_int_equal(w->done, before);
}

#define CALL(w, path, ...) do { int unit_n_ = (w)->done; start((w), (struct rs_http_request){ __VA_ARGS__ }, (path)); \
        WAIT((w), (w)->done > unit_n_); } while (0)

static void plain(void **state)
{
    struct world w;
    world_init(&w, NULL);
    CALL(&w, "/a%20b?c=d", .method = "GET");
    RS_AUTO(rs_chars) *host = rs_strdup(w.base + 7);
    RS_AUTO(rs_chars) *want = rs_printf("GET /a%%20b?c=d %s - ", host);
    assert_int_equal(w.status, 201);
    assert_string_equal(w.body.p, want);
    assert_string_equal(w.header, "a: b");
    const char *const json[] = { "Content-Type: application/json", "Authorization: Bearer x\n", NULL };
    CALL(&w, "/p", .method = "PATCH", .body = RS_STR("{}"), .headers = json);
    assert_non_null(strstr(w.body.p, "PATCH /p"));
    assert_non_null(strstr(w.body.p, "application/json {}"));
    CALL(&w, "/p", .method = "POST");
    assert_non_null(strstr(w.body.p, "POST /p"));
    CALL(&w, "/p", .method = "DELETE", .body = RS_STR("x"));
    assert_non_null(strstr(w.body.p, "DELETE /p"));
    CALL(&w, "/p", .method = "HEAD");
    assert_int_equal(w.body.n, 0);
    CALL(&w, "/../x", .method = "GET");
    assert_non_null(strstr(w.body.p, "GET /../x"));
    assert_int_equal(w.connections, 1);            /* kept alive throughout */
    CALL(&w, "/p", .method = "GET", .fresh_connection = true);
    assert_int_equal(w.connections, 2);
    const char *const evil[] = { "X: a\r\nY: b", NULL };
    CALL(&w, "/p", .method = "GET", .headers = evil);
    assert_int_equal(w.why.code, RS_INVALID);
    CALL(&w, "/p", .method = "GET", .max_body = 5);
    assert_int_equal(w.why.code, RS_EXHAUSTED);
    snprintf(w.base, sizeof(w.base), "http://example.invalid");
    CALL(&w, "/q", .method = "GET", .connect_to = w.address);
    assert_non_null(strstr(w.body.p, "GET /q example.invalid"));
    snprintf(w.base, sizeof(w.base), "ftp://example.invalid");
    CALL(&w, "/q", .method = "GET");
    assert_int_equal(w.why.code, RS_INVALID);
    snprintf(w.base, sizeof(w.base), "http://127.0.0.1:1");
    CALL(&w, "/q", .method = "GET");
    assert_int_equal(w.why.code, RS_UNAVAILABLE);
    world_done(&w);
}

static void unix_socket(void **state)
{
    struct world w;
    char dir[] = "/tmp/rs-client-XXXXXX";
    assert_non_null(mkdtemp(dir));
    RS_AUTO(rs_chars) *path = rs_printf("%s/s", dir), *where = rs_printf("unix:%s", path);
    world_init_at(&w, NULL, where);
    CALL(&w, "/u", .method = "GET", .unix_path = path);
    assert_int_equal(w.status, 201);
    world_done(&w);
    unlink(path);
    rmdir(dir);
}

static void tls(void **state)
{
    struct world w;
    struct tls_fixture f, other;
    tls_fixture_init(&f);
    tls_fixture_init(&other);
    RS_AUTO(SSL_CTX) *server = tls_fixture_ctx(&f, true, true);
    RS_AUTO(rs_chars) *ca = tls_fixture_pem(f.ca, NULL), *cert = tls_fixture_pem(f.leaf, NULL), *key = tls_fixture_pem(NULL, f.key);
    RS_AUTO(rs_chars) *other_ca = tls_fixture_pem(other.ca, NULL);
    world_init(&w, server);
    CALL(&w, "/t", .method = "GET", .ca_pem = ca, .cert_pem = cert, .key_pem = key);
    assert_int_equal(w.status, 201);
    CALL(&w, "/t", .method = "GET", .cert_pem = cert, .key_pem = key, .insecure = true);
    assert_int_equal(w.status, 201);
    CALL(&w, "/t", .method = "GET", .ca_pem = other_ca, .cert_pem = cert, .key_pem = key);
    assert_int_equal(w.why.code, RS_UNAUTHENTICATED);
    CALL(&w, "/t", .method = "GET", .cert_pem = cert, .key_pem = key);     /* system roots */
    assert_int_equal(w.why.code, RS_UNAUTHENTICATED);
    CALL(&w, "/t", .method = "GET", .ca_pem = ca);                         /* no client certificate */
    assert_int_not_equal(w.why.code, RS_OK);
    CALL(&w, "/t", .method = "GET", .ca_pem = "garbage");
    assert_int_not_equal(w.why.code, RS_OK);
    world_done(&w);
    tls_fixture_done(&f);
    tls_fixture_done(&other);
}

static void streaming(void **state)
{
    struct world w;
    world_init(&w, NULL);
    start(&w, (struct rs_http_request){ .method = "GET", .on_data = on_data }, "/stream");
    WAIT(&w, w.body.n == 3);
    assert_int_equal(w.status, 200);
    rs_http_stream_write(w.held, "two", 3);
    WAIT(&w, w.body.n == 6);
    rs_http_stream_end(rs_take(w.held));
    WAIT(&w, w.done == 1);
    assert_int_equal(w.body.n, 6);

    w.cancel_on_data = true;
    start(&w, (struct rs_http_request){ .method = "GET", .on_data = on_data }, "/stream");
    WAIT(&w, w.aborts == 1);
    assert_int_equal(w.done, 1);
    w.cancel_on_data = false;

    w.start_on_data = true;
    start(&w, (struct rs_http_request){ .method = "GET", .on_data = on_data }, "/stream");
    WAIT(&w, w.done == 2);
    assert_non_null(strstr(w.body.p, "/from-inside"));
    rs_http_cancel(NULL);

    w.free_on_data = true;
    start(&w, (struct rs_http_request){ .method = "GET", .on_data = on_data }, "/stream");
    WAIT(&w, !w.client && w.aborts == 3);          /* also ends the one before */
    assert_int_equal(w.done, 2);
    world_done(&w);
}

static void endings(void **state)
{
    struct world w;
    world_init(&w, NULL);
    CALL(&w, "/hold", .method = "GET", .timeout_ms = 30);
    assert_int_equal(w.why.code, RS_DEADLINE);
    WAIT(&w, w.aborts == 1);
    CALL(&w, "/stream", .method = "GET", .idle_timeout_ms = 30, .on_data = on_data);
    assert_int_equal(w.why.code, RS_DEADLINE);
    WAIT(&w, w.aborts == 2);
    start(&w, (struct rs_http_request){ .method = "GET" }, "/hold");
    rs_http_cancel(rs_take(w.call));               /* before curl has it */
    start(&w, (struct rs_http_request){ .method = "GET" }, "/hold");
    WAIT(&w, w.held);
    rs_http_cancel(rs_take(w.call));
    WAIT(&w, w.aborts == 3);
    assert_int_equal(w.done, 2);
    w.free_on_done = true;
    start(&w, (struct rs_http_request){ .method = "GET" }, "/hold");
    start(&w, (struct rs_http_request){ .method = "GET" }, "/x");
    WAIT(&w, !w.client);
    assert_int_equal(w.done, 3);
    world_done(&w);
}

/* ---- dial ---- */

static size_t dialled_data(void *ctx, rs_stream *s, rs_str data)
{
    rs_buf_add(&((struct world *)ctx)->dialled_got, data.p, data.n);
    return data.n;
}

static void dialled_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    rs_stream_free(rs_take(((struct world *)ctx)->dialled));
}

static const struct rs_stream_ops dialled_ops = { .on_data = dialled_data, .on_close = dialled_close };

static void dialled(void *ctx, rs_stream *s, const struct rs_http_headers *h, rs_str rest, const struct rs_err *why)
{
    struct world *w = ctx;
    w->done++;
    w->dialled = s;
    w->why = why ? *why : (struct rs_err){ 0 };
    if (!s)
        return;
    assert_string_equal(rs_http_headers_get(h, "x-chosen"), "v4");
    rs_buf_add(&w->dialled_got, rest.p, rest.n);
    rs_stream_set_ops(s, &dialled_ops, w);
}

static void dial(void **state)
{
    struct tls_fixture f;
    struct world w;
    tls_fixture_init(&f);
    RS_AUTO(SSL_CTX) *server = tls_fixture_ctx(&f, true, false), *client = tls_fixture_ctx(&f, false, false);
    world_init(&w, server);
    rs_http_dial_upgrade(w.loop, w.address, client, "localhost", "POST", "/upgrade", NULL, "echo/1", 5000, dialled, &w);
    WAIT(&w, w.done == 1);
    assert_non_null(w.dialled);
    rs_stream_write(w.dialled, "ping", 4);
    WAIT(&w, w.dialled_got.n == 12);
    assert_string_equal(w.dialled_got.p, "welcome ping");
    rs_stream_free(rs_take(w.dialled));
    WAIT(&w, !w.upgraded);

    rs_http_dial_upgrade(w.loop, w.address, client, "localhost", "GET", "/forbidden", NULL, "echo/1", 5000, dialled, &w);
    WAIT(&w, w.done == 2);
    assert_int_equal(w.why.code, RS_FORBIDDEN);
    assert_non_null(strstr(w.why.msg, "you may not"));
    rs_http_dial_upgrade(w.loop, w.address, client, "localhost", "GET", "/upgrade", NULL, "other/2", 5000, dialled, &w);
    WAIT(&w, w.done == 3);
    assert_null(w.dialled);
    WAIT(&w, !w.upgraded);
    rs_http_dial_upgrade(w.loop, w.address, client, "localhost", "GET", "/hold", NULL, "echo/1", 50, dialled, &w);
    WAIT(&w, w.done == 4);
    assert_int_equal(w.why.code, RS_DEADLINE);
    rs_http_dial_upgrade(w.loop, "127.0.0.1:1", NULL, NULL, "GET", "/", NULL, "echo/1", 5000, dialled, &w);
    WAIT(&w, w.done == 5);
    assert_int_equal(w.why.code, RS_UNAVAILABLE);
    rs_http_dial_cancel(rs_http_dial_upgrade(w.loop, w.address, client, "localhost", "GET", "/", NULL, "echo/1", 5000, dialled, &w));
    bool never = false;
    rs_loop_run_until(w.loop, &never, 20);
    assert_int_equal(w.done, 5);
    world_done(&w);
    tls_fixture_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain), cmocka_unit_test(unix_socket), cmocka_unit_test(tls), cmocka_unit_test(streaming), cmocka_unit_test(endings),
        cmocka_unit_test(dial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
