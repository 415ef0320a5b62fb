#include "unit.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/proc.h"
#include "http/server.h"
#include "io/listen.h"
#include "io/tls_fixture.h"

struct world {
    rs_loop *loop;
    rs_listener *listener;
    rs_http_server *server;
    char address[64];
    rs_stream *client;
    struct rs_buf got;
    bool eof, closed;

    rs_http_exchange *held;            /* by /hold and /stream */
    int aborts, handled;
    rs_stream *upgraded;
    struct rs_buf after_upgrade;
    rs_str h2_first;
    bool h2;
};

/* ---- raw client ---- */

static size_t client_data(void *ctx, rs_stream *s, rs_str data)
{
    rs_buf_add(&((struct world *)ctx)->got, data.p, data.n);
    return data.n;
}

static void client_eof(void *ctx, rs_stream *s)
{
    ((struct world *)ctx)->eof = true;
}

static void client_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    struct world *w = ctx;
    w->closed = true;
    rs_stream_free(rs_take(w->client));
}

static const struct rs_stream_ops client_ops = { NULL, client_data, client_eof, NULL, client_close };

/* ---- handler ---- */

static size_t upgraded_data(void *ctx, rs_stream *s, rs_str data)
{
    rs_buf_add(&((struct world *)ctx)->after_upgrade, data.p, data.n);
    rs_stream_write(s, data.p, data.n);
    return data.n;
}

static void upgraded_close(void *ctx, rs_stream *s, const struct rs_err *why)
{
    rs_stream_free(rs_take(((struct world *)ctx)->upgraded));
}

static const struct rs_stream_ops upgraded_ops = { NULL, upgraded_data, NULL, NULL, upgraded_close };

static void upgrade(struct world *w, rs_http_exchange *x)
{
    char *rest;
    size_t n;
    rs_http_add_header(x, "X-Chosen", "v4\r\nEvil: yes");
    w->upgraded = rs_http_upgrade(x, "echo/1", &rest, &n);
    rs_stream_set_ops(w->upgraded, &upgraded_ops, w);
    free(rest);
}

static void aborted(void *ctx, rs_http_exchange *x)
{
    struct world *w = ctx;
    w->aborts++;
    w->held = NULL;
}

static void handle(void *ctx, rs_http_exchange *x)
{
    struct world *w = ctx;
    const char *path = rs_http_path(x);
    w->handled++;
    if (rs_streq(path, "/echo")) {
        rs_http_reply(x, 200, "application/octet-stream", rs_http_body(x));
    } else if (rs_streq(path, "/hold")) {
        w->held = x;
        rs_http_on_abort(x, aborted, w);
    } else if (rs_streq(path, "/hold-silently")) {
        w->held = x;
    } else if (rs_streq(path, "/stream")) {
        rs_http_stream_begin(x, 200, "text/plain");
        rs_http_stream_write(x, "one", 3);
        rs_http_on_abort(x, aborted, w);
        w->held = x;
    } else if (rs_streq(path, "/upgrade")) {
        upgrade(w, x);
    } else if (rs_streq(path, "/free-server")) {
        rs_http_server_free(rs_take(w->server));
        rs_http_reply(x, 200, "text/plain", RS_STR("into the void"));
    } else if (rs_streq(path, "/none")) {
        rs_http_reply(x, 204, NULL, RS_STR(""));
    } else {
        RS_AUTO(rs_chars) *text = rs_printf("%s %s|%s", rs_http_method(x), path, rs_http_query_raw(x));
        rs_http_reply(x, 200, "text/plain", rs_str_of(text));
    }
}

static void handle_h2(void *ctx, rs_stream *s, rs_str first)
{
    struct world *w = ctx;
    w->h2 = true;
    w->upgraded = s;
    rs_buf_add(&w->after_upgrade, first.p, first.n);
    rs_stream_set_ops(s, &upgraded_ops, w);
}

static void accepted(void *ctx, int fd)
{
    struct world *w = ctx;
    if (w->server)
        rs_http_server_add(w->server, fd);
    else
        close(fd);
}

static void connect_client(struct world *w, SSL_CTX *tls)
{
    rs_stream_free(w->client);
    rs_buf_clear(&w->got);
    w->eof = w->closed = false;
    w->client = rs_stream_connect(w->loop, w->address, tls, "localhost", 5000, &client_ops, w);
}

static void world_init(struct world *w, SSL_CTX *tls)
{
    struct rs_err e;
    *w = (struct world){ .loop = rs_loop_new() };
    rs_buf_init(&w->got, 64 << 20);
    rs_buf_init(&w->after_upgrade, 1 << 20);
    struct rs_http_server_config config = { .tls = tls, .body_max = 4 << 20, .handle = handle, .handle_h2 = handle_h2, .ctx = w };
    w->server = rs_http_server_new(w->loop, &config);
    int fd = rs_listen("127.0.0.1:0", &e);
    assert_true(fd >= 0);
    snprintf(w->address, sizeof(w->address), "127.0.0.1:%d", rs_listen_port(fd));
    w->listener = rs_listener_new(w->loop, fd, accepted, w);
}

static void world_done(struct world *w)
{
    rs_stream_free(w->client);
    rs_stream_free(w->upgraded);
    rs_listener_free(w->listener);
    rs_http_server_free(w->server);
    rs_buf_done(&w->got);
    rs_buf_done(&w->after_upgrade);
    rs_loop_free(w->loop);
}

#define WAIT(w, condition) do { \
        for (int unit_i_ = 0; !(condition); unit_i_++) { \
            bool never_ = false; \
            rs_loop_run_until((w)->loop, &never_, 2); \
            if (unit_i_ > 5000) fail_msg("timed out waiting for " #condition ": %s", rs_buf_str(&(w)->got).p); } } while (0)
#define SAY(w, text) rs_stream_write((w)->client, text, strlen(text))
#define GOT(w, text) WAIT(w, (w)->got.p && strstr((w)->got.p, text))

static size_t answers(const struct world *w)
{
    size_t n = 0;
    for (const char *p = w->got.p; p && (p = strstr(p, "HTTP/1.1 200 OK")); p++)
        n++;
    return n;
}

static void keep_alive_and_pipelining(void **state)
{
    struct world w;
    world_init(&w, NULL);
    connect_client(&w, NULL);
    SAY(&w, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    GOT(&w, "GET /a|");
    SAY(&w, "GET /b%2Fc?d HTTP/1.1\r\nHost: x\r\n\r\n");       /* second request, same connection */
    GOT(&w, "GET /b/c|d");
    rs_buf_clear(&w.got);
    SAY(&w, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET /last HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT(&w, w.held);
    bool never = false;
    rs_loop_run_until(w.loop, &never, 20);
    assert_int_equal(w.handled, 3);                /* the pipelined ones wait for their turn */
    rs_http_reply(rs_take(w.held), 200, "text/plain", RS_STR("first"));
    GOT(&w, "GET /last|");
    assert_int_equal(answers(&w), 3);
    assert_true(strstr(w.got.p, "first") < strstr(w.got.p, "hello") && strstr(w.got.p, "hello") < strstr(w.got.p, "/last"));
    assert_int_equal(rs_http_server_connections(w.server), 1);
    SAY(&w, "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    WAIT(&w, w.eof);
    assert_non_null(strstr(w.got.p, "Connection: close"));
    world_done(&w);
}

static void many_pipelined(void **state)
{
    struct world w;
    world_init(&w, NULL);
    connect_client(&w, NULL);
    for (int i = 0; i < 2000; i++)
        SAY(&w, "GET /p HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT(&w, answers(&w) == 2000);
    world_done(&w);
}

static void bodies(void **state)
{
    struct world w;
    world_init(&w, NULL);
    connect_client(&w, NULL);
    SAY(&w, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
    GOT(&w, "HTTP/1.1 100 Continue\r\n\r\n");
    SAY(&w, "5\r\nhel");
    SAY(&w, "lo\r\n0\r\n\r\n");
    GOT(&w, "Content-Length: 5\r\n\r\nhello");
    rs_buf_clear(&w.got);
    SAY(&w, "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\nGET /none HTTP/1.1\r\nHost: x\r\n\r\n");
    GOT(&w, "204 No Content");
    assert_null(strstr(w.got.p, "HEAD /a"));       /* length, but no body */
    assert_non_null(strstr(w.got.p, "Content-Length: 8\r\n"));
    SAY(&w, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4194305\r\n\r\n");
    GOT(&w, "413 Content Too Large");
    connect_client(&w, NULL);
    SAY(&w, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n500000\r\n");
    RS_AUTO(rs_chars) *zeros = rs_alloc(0x500000);
    rs_stream_write(w.client, zeros, 0x500000);
    GOT(&w, "413 Content Too Large");
    world_done(&w);
}

static void smuggling(void **state)
{
    static const char *const attempts[] = {
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 30\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabGET\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\nX: a\n\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    for (size_t i = 0; i < RS_COUNT(attempts); i++) {
        struct world w;
        world_init(&w, NULL);
        connect_client(&w, NULL);
        SAY(&w, attempts[i]);
        WAIT(&w, w.eof || w.closed);
        assert_int_equal(w.handled, 0);
        assert_non_null(strstr(w.got.p, "HTTP/1.1 400 Bad Request"));
        assert_non_null(strstr(w.got.p, "Connection: close"));
        world_done(&w);
    }
}

static void streaming(void **state)
{
    struct world w;
    world_init(&w, NULL);
    connect_client(&w, NULL);
    SAY(&w, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    GOT(&w, "\r\n\r\n3\r\none\r\n");
    rs_http_stream_write(w.held, "twotwo", 6);
    rs_http_stream_end(rs_take(w.held));
    GOT(&w, "6\r\ntwotwo\r\n0\r\n\r\n");
    SAY(&w, "GET /after HTTP/1.1\r\nHost: x\r\n\r\n");
    GOT(&w, "GET /after|");
    connect_client(&w, NULL);                      /* HTTP/1.0: the end of the connection ends it */
    SAY(&w, "GET /stream HTTP/1.0\r\n\r\n");
    GOT(&w, "\r\n\r\none");
    rs_http_stream_end(rs_take(w.held));
    WAIT(&w, w.eof);
    assert_null(strstr(w.got.p, "chunked"));
    world_done(&w);
}

static void client_goes_away(void **state)
{
    struct world w;
    world_init(&w, NULL);
    connect_client(&w, NULL);
    SAY(&w, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT(&w, w.held);
    rs_stream_free(rs_take(w.client));             /* FIN during a stream */
    WAIT(&w, w.aborts == 1);
    connect_client(&w, NULL);
    SAY(&w, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT(&w, w.held);
    struct linger reset = { .l_onoff = 1 };
    setsockopt(rs_stream_fd(w.client), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    rs_stream_free(rs_take(w.client));             /* RST */
    WAIT(&w, w.aborts == 2);
    connect_client(&w, NULL);
    SAY(&w, "GET /hold-silently HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT(&w, w.held);
    setsockopt(rs_stream_fd(w.client), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    rs_stream_free(rs_take(w.client));
    WAIT(&w, rs_http_server_connections(w.server) == 0);
    assert_null(rs_http_connection(w.held));
    rs_http_on_abort(w.held, aborted, &w);         /* too late, but told nevertheless */
    assert_int_equal(w.aborts, 2);
    WAIT(&w, w.aborts == 3);
    connect_client(&w, NULL);
    SAY(&w, "GET /hold-silently HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT(&w, w.held);
    rs_http_server_free(rs_take(w.server));
    rs_http_reply(rs_take(w.held), 200, "text/plain", RS_STR("nobody listens"));
    world_done(&w);
}

static void half_close_gets_answer(void **state)
{
    struct world w;
    world_init(&w, NULL);
    connect_client(&w, NULL);
    SAY(&w, "GET /hold-silently HTTP/1.1\r\nHost: x\r\n\r\n");
    rs_stream_shutdown(w.client);
    WAIT(&w, w.held);
    bool never = false;
    rs_loop_run_until(w.loop, &never, 10);
    rs_http_reply(rs_take(w.held), 200, "text/plain", RS_STR("still here"));
    GOT(&w, "still here");
    WAIT(&w, w.eof && rs_http_server_connections(w.server) == 0);
    world_done(&w);
}

static void upgrades(void **state)
{
    struct world w;
    world_init(&w, NULL);
    connect_client(&w, NULL);
    SAY(&w, "POST /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\nContent-Length: 0\r\n\r\nearly");
    GOT(&w, "early");
    assert_non_null(strstr(w.got.p, "HTTP/1.1 101 Switching Protocols\r\n"));
    assert_non_null(strstr(w.got.p, "Upgrade: echo/1\r\n"));
    assert_null(strstr(w.got.p, "\r\nEvil"));      /* a value cannot begin a line */
    SAY(&w, " late");
    GOT(&w, "early late");
    assert_int_equal(rs_http_server_connections(w.server), 0);
    rs_stream_free(rs_take(w.client));
    WAIT(&w, !w.upgraded);
    world_done(&w);
}

static void h2_preface(void **state)
{
    struct world w;
    world_init(&w, NULL);
    connect_client(&w, NULL);
    SAY(&w, "PRI * HTTP/2.0\r\n\r\n");
    bool never = false;
    rs_loop_run_until(w.loop, &never, 10);
    assert_false(w.h2);
    SAY(&w, "SM\r\n\r\n+frames");
    WAIT(&w, w.h2);
    assert_string_equal(w.after_upgrade.p, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n+frames");
    world_done(&w);

    struct tls_fixture f;
    tls_fixture_init(&f);
    RS_AUTO(SSL_CTX) *server = tls_fixture_ctx(&f, true, false), *client = tls_fixture_ctx(&f, false, false);
    SSL_CTX_set_alpn_protos(client, (const unsigned char *)"\x02h2", 3);
    world_init(&w, server);
    connect_client(&w, client);
    WAIT(&w, w.h2);
    world_done(&w);
    tls_fixture_done(&f);
}

static void drains(void **state)
{
    struct world w;
    world_init(&w, NULL);
    connect_client(&w, NULL);
    SAY(&w, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    GOT(&w, "GET /a|");
    rs_http_server_drain(w.server);
    WAIT(&w, w.eof);
    connect_client(&w, NULL);
    SAY(&w, "GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT(&w, w.eof);
    assert_non_null(strstr(w.got.p, "Connection: close"));
    assert_non_null(strstr(w.got.p, "GET /b|"));
    world_done(&w);
}

static void freed_by_its_handler(void **state)
{
    struct world w;
    world_init(&w, NULL);
    connect_client(&w, NULL);
    SAY(&w, "GET /free-server HTTP/1.1\r\nHost: x\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT(&w, w.eof || w.closed);
    assert_int_equal(w.handled, 1);
    world_done(&w);
}

/* ---- curl, the independent client ---- */

struct curl { bool done; int status; };

static void curl_ended(void *ctx, pid_t pid, int status)
{
    struct curl *c = ctx;
    c->done = true;
    c->status = status;
}

static void curl_over_tls(void **state)
{
    struct tls_fixture f;
    struct rs_err e;
    struct world w;
    char dir[] = "/tmp/rs-http-XXXXXX";
    RS_AUTO(rs_chars) *curl = rs_program_find("curl");
    if (!curl || !mkdtemp(dir)) {
        skip();
        return;
    }
    tls_fixture_init(&f);
    RS_AUTO(SSL_CTX) *server = tls_fixture_ctx(&f, true, true);
    RS_AUTO(rs_chars) *ca = rs_printf("%s/ca", dir), *cert = rs_printf("%s/cert", dir), *key = rs_printf("%s/key", dir), *body = rs_printf("%s/body", dir);
    RS_AUTO(rs_chars) *out = rs_printf("%s/out", dir), *ca_pem = tls_fixture_pem(f.ca, NULL), *cert_pem = tls_fixture_pem(f.leaf, NULL), *key_pem = tls_fixture_pem(NULL, f.key);
    RS_AUTO(rs_chars) *big = rs_alloc(3000000);
    for (size_t i = 0; i < 3000000; i++)
        big[i] = (char)('a' + i % 23);
    ASSERT_OK(rs_file_write(ca, rs_str_of(ca_pem), 0600, &e));
    ASSERT_OK(rs_file_write(cert, rs_str_of(cert_pem), 0600, &e));
    ASSERT_OK(rs_file_write(key, rs_str_of(key_pem), 0600, &e));
    ASSERT_OK(rs_file_write(body, (rs_str){ big, 3000000 }, 0600, &e));
    world_init(&w, server);
    RS_AUTO(rs_chars) *url = rs_printf("https://%s/echo", w.address), *data = rs_printf("@%s", body);
    const char *const chunked[] = { curl, "-sS", "--fail", "--max-time", "20", "--http1.1", "--cacert", ca, "--cert", cert, "--key", key, "-H",
                                    "Transfer-Encoding: chunked", "--data-binary", data, "-o", out, url, NULL };
    const char *const sized[] = { curl, "-sS", "--fail", "--max-time", "20", "--http1.1", "--cacert", ca, "--cert", cert, "--key", key, "--data-binary", data, "-o", out, url, NULL };
    const char *const *const runs[] = { chunked, sized };
    for (size_t i = 0; i < RS_COUNT(runs); i++) {
        struct rs_proc_spec spec = { .argv = runs[i], .fd_in = -1, .fd_out = 1, .fd_err = 2 };
        struct curl c = { 0 };
        pid_t pid;
        ASSERT_OK(rs_proc_start(&spec, &pid, &e));
        rs_loop_on_child(w.loop, pid, curl_ended, &c);
        assert_true(rs_loop_run_until(w.loop, &c.done, 30000));
        assert_int_equal(c.status, 0);
        RS_AUTO(rs_chars) *back = NULL;
        size_t n;
        ASSERT_OK(rs_file_read(out, RS_FILE_MAX, &back, &n, &e));
        assert_int_equal(n, 3000000);
        assert_memory_equal(back, big, n);
    }
    ASSERT_OK(rs_remove_tree(dir, &e));
    world_done(&w);
    tls_fixture_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keep_alive_and_pipelining), cmocka_unit_test(many_pipelined), cmocka_unit_test(bodies), cmocka_unit_test(smuggling),
        cmocka_unit_test(streaming), cmocka_unit_test(client_goes_away), cmocka_unit_test(half_close_gets_answer), cmocka_unit_test(upgrades),
        cmocka_unit_test(h2_preface), cmocka_unit_test(drains), cmocka_unit_test(freed_by_its_handler), cmocka_unit_test(curl_over_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
