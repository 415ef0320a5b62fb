#include "io/stream.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/address.h"

enum {
    SCRATCH = 64 * 1024,               /* read at once, and between two looks at other streams */
    HANDSHAKE_MS = 10000,
    STUCK_MS = 10000,                  /* a closing stream waits so long for the peer to take anything */
    LINGER_MS = 2000,                  /* then reads on for so long: closing on unread bytes makes the kernel reset */
    KEEP_CAPACITY = 16 * 1024,         /* an empty buffer larger than this is given back */
};

/* Bytes are read here first and copied only when the owner leaves some. Reads never nest. */
static _Thread_local char scratch[SCRATCH];

struct bytes { char *p; size_t from, n, cap; };

struct rs_stream {
    rs_loop *loop;
    int fd;                            /* -1 once dead */
    SSL *ssl;
    enum { CONNECTING, HANDSHAKING, OPEN, DEAD } state;
    struct event rd, wr, kick;         /* kick: what must not happen inside the owner's own call */
    rs_timer *timer;
    const struct rs_stream_ops *ops;
    void *ctx;
    unsigned owners;                   /* counts rs_stream_set_ops */
    struct bytes in, out, back;        /* back: unread while in is being offered */
    bool offering;
    char peer[RS_ADDRESS_TEXT];
    int busy;                          /* callbacks under way */
    bool freed;
    bool paused, eof, offer, tell_eof;
    bool shut_wanted, shut_done, closing, lingering;
    bool read_wants_write, write_wants_read;
    bool doomed;
    struct rs_err doom;
};

/* Runs a callback during which the owner may free s. True when it did: s must not be touched then. */
#define CALLBACK(s, call) ({ (s)->busy++; call; callback_ended(s); })

static bool callback_ended(rs_stream *s)
{
    if (--s->busy > 0 || !s->freed)
        return s->freed;
    free(s->in.p);
    free(s->out.p);
    free(s->back.p);
    SSL_free(s->ssl);
    free(s);
    return true;
}

/* ---- buffers ---- */

static void bytes_add(struct bytes *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    if (b->from > 0 && b->from + b->n + n > b->cap) {
        memmove(b->p, b->p + b->from, b->n);
        b->from = 0;
    }
    if (b->n + n > b->cap) {
        size_t cap = b->cap ? b->cap : 1024;
        while (cap < b->n + n)
            cap *= 2;
        b->p = rs_realloc(b->p, cap);
        b->cap = cap;
    }
    memcpy(b->p + b->from + b->n, p, n);
    b->n += n;
}

static void bytes_drop(struct bytes *b, size_t n)
{
    b->n -= n;
    b->from += n;
    if (b->n > 0)
        return;
    b->from = 0;
    if (b->cap > KEEP_CAPACITY) {
        free(b->p);
        b->p = NULL;
        b->cap = 0;
    }
}

/* ---- end ---- */

static void say_close_notify(rs_stream *s)
{
    /* Not after a truncated output: that must not look complete. */
    if (!s->ssl || s->state != OPEN || s->shut_done || s->out.n > 0)
        return;
    ERR_clear_error();
    SSL_shutdown(s->ssl);
}

static void descriptor_done(rs_stream *s)
{
    s->state = DEAD;
    event_del(&s->rd);
    event_del(&s->wr);
    event_del(&s->kick);
    if (s->timer)
        rs_timer_cancel(s->timer);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

/* Ends the stream and tells the owner. s must not be touched afterwards. */
static void die(rs_stream *s, const struct rs_err *why)
{
    struct rs_err copy = *why;
    if (copy.code == RS_OK)
        say_close_notify(s);
    descriptor_done(s);
    bytes_drop(&s->out, s->out.n);
    CALLBACK(s, s->ops->on_close(s->ctx, s, &copy));
}

static void die_ok(rs_stream *s)
{
    die(s, &(struct rs_err){ .code = RS_OK });
}

static void kick(rs_stream *s)
{
    if (s->state != DEAD)
        event_active(&s->kick, EV_WRITE, 0);
}

static void fail_soon(rs_stream *s, const struct rs_err *why)
{
    if (s->state == DEAD || s->doomed)
        return;
    s->doomed = true;
    s->doom = *why;
    kick(s);
}

void rs_stream_free(rs_stream *s)
{
    if (!s || s->freed)
        return;
    say_close_notify(s);
    descriptor_done(s);
    rs_timer_free(rs_take(s->timer));
    s->freed = true;
    s->busy++;
    callback_ended(s);
}

/* ---- reading ---- */

static void put_back(rs_stream *s)
{
    struct bytes rest = s->in;
    if (s->back.n == 0)
        return;
    bytes_add(&s->back, rest.p + rest.from, rest.n);
    s->in = s->back;
    s->back = (struct bytes){ 0 };
    free(rest.p);
    s->offer = true;
    if (s->state == OPEN)
        event_active(&s->rd, EV_READ, 0);
}

/* Offers what is kept and n new bytes in scratch. False when the stream ended. */
static bool offer(rs_stream *s, size_t n)
{
    s->offer = false;
    unsigned owner;
    do {
        bool kept = s->in.n > 0;
        if (kept) {
            bytes_add(&s->in, scratch, n);
            n = 0;
        }
        rs_str data = kept ? (rs_str){ s->in.p + s->in.from, s->in.n } : (rs_str){ scratch, n };
        if (data.n == 0)
            return true;
        owner = s->owners;
        size_t used = 0;
        s->offering = true;
        if (CALLBACK(s, used = s->ops->on_data(s->ctx, s, data)))
            return false;
        s->offering = false;
        rs_assert(used <= data.n);
        if (kept)
            bytes_drop(&s->in, used);
        else
            bytes_add(&s->in, scratch + used, n - used);
        n = 0;
        put_back(s);
        if (s->state == DEAD)
            return false;
    } while (s->owners != owner && s->in.n > 0 && !s->paused && !s->closing);   /* handed over: the rest is the new owner's */
    if (s->in.n <= RS_STREAM_READ_MAX || s->closing)
        return true;
    struct rs_err e;
    (void)RS_FAIL(&e, RS_EXHAUSTED, "%s: more than %d bytes nobody can use", s->peer, RS_STREAM_READ_MAX);
    die(s, &e);
    return false;
}

static void eof_seen(rs_stream *s)
{
    s->eof = true;
    event_del(&s->rd);                 /* it would stay readable for ever */
    if (s->lingering)
        die_ok(s);
    else if (s->closing)
        return;
    else if (s->ops->on_eof)
        CALLBACK(s, s->ops->on_eof(s->ctx, s));
    else
        die_ok(s);
}

enum outcome { BYTES, NOTHING, END, BROKEN };

static enum outcome ssl_outcome(rs_stream *s, int rc, const char *what, struct rs_err *e)
{
    int saved = errno;
    switch (SSL_get_error(s->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return NOTHING;
    case SSL_ERROR_ZERO_RETURN:
        return END;
    case SSL_ERROR_SYSCALL:
        if (saved)
            (void)rs_err_set_errno(e, saved, __FILE__, __LINE__, "%s: %s", s->peer, what);
        else
            (void)RS_FAIL(e, RS_UNAVAILABLE, "%s: %s: connection closed", s->peer, what);
        return BROKEN;
    default:
        (void)RS_FAIL_OPENSSL(e, RS_UNAVAILABLE, "%s: %s", s->peer, what);
        return BROKEN;
    }
}

static enum outcome read_plain(rs_stream *s, size_t *n, struct rs_err *e)
{
    ssize_t got = recv(s->fd, scratch, SCRATCH, 0);
    if (got > 0) {
        *n = (size_t)got;
        return BYTES;
    }
    if (got == 0)
        return END;
    if (errno == EAGAIN || errno == EINTR)
        return NOTHING;
    (void)RS_FAIL_ERRNO(e, "%s: read", s->peer);
    return BROKEN;
}

static enum outcome read_tls(rs_stream *s, size_t *n, struct rs_err *e)
{
    while (*n < SCRATCH) {
        ERR_clear_error();
        errno = 0;
        size_t got;
        int rc = SSL_read_ex(s->ssl, scratch + *n, SCRATCH - *n, &got);
        if (rc != 1) {
            enum outcome o = ssl_outcome(s, rc, "read", e);
            if (o == NOTHING && SSL_want_write(s->ssl)) {
                s->read_wants_write = true;
                event_add(&s->wr, NULL);
            }
            return o;
        }
        *n += got;
    }
    event_active(&s->rd, EV_READ, 0);  /* decrypted bytes may wait inside OpenSSL, where epoll cannot see them */
    return BYTES;
}

/* False when the stream ended. */
static bool read_round(rs_stream *s, enum outcome *o, struct rs_err *e)
{
    size_t n = 0;
    *o = s->eof ? NOTHING : s->ssl ? read_tls(s, &n, e) : read_plain(s, &n, e);
    return n == 0 && !s->offer ? true : offer(s, n);
}

static void read_ready(rs_stream *s)
{
    struct rs_err e;
    enum outcome o;
    if (s->paused || !read_round(s, &o, &e) || s->paused)
        return;                        /* an end met while paused is met again after resume */
    if (o == END)
        eof_seen(s);
    else if (o == BROKEN)
        die(s, &e);
}

/* After close_after_flush whatever still comes is thrown away. */
static void discard(rs_stream *s)
{
    struct rs_err e;
    size_t n;
    enum outcome o = read_plain(s, &n, &e);
    if (o == END || o == BROKEN)
        eof_seen(s);
}

/* ---- writing ---- */

/* What the peer said before it closed explains more than the broken write: it is read first. */
static void write_failed(rs_stream *s, const struct rs_err *why)
{
    struct rs_err ignored;
    enum outcome o = BYTES;
    bytes_drop(&s->out, s->out.n);
    for (int i = 0; i < 16 && o == BYTES && !s->paused && !s->closing && !s->eof; i++)
        if (!read_round(s, &o, &ignored))
            return;
    die(s, why);
}

static enum outcome write_some(rs_stream *s, struct rs_err *e)
{
    const char *p = s->out.p + s->out.from;
    size_t done;
    if (!s->ssl) {
        ssize_t sent = send(s->fd, p, s->out.n, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            return NOTHING;
        if (sent < 0) {
            (void)RS_FAIL_ERRNO(e, "%s: write", s->peer);
            return BROKEN;
        }
        done = (size_t)sent;
    } else {
        ERR_clear_error();
        errno = 0;
        int rc = SSL_write_ex(s->ssl, p, s->out.n, &done);
        if (rc != 1) {
            enum outcome o = ssl_outcome(s, rc, "write", e);
            s->write_wants_read = o == NOTHING && SSL_want_read(s->ssl);
            if (o == END)
                (void)RS_FAIL(e, RS_UNAVAILABLE, "%s: write: connection closed", s->peer);
            return o == END ? BROKEN : o;
        }
    }
    bytes_drop(&s->out, done);
    if (s->closing)
        rs_timer_set(s->timer, STUCK_MS);
    return BYTES;
}

/* False when the socket cannot take the alert yet. */
static bool half_close(rs_stream *s)
{
    if (s->shut_done)
        return true;
    if (s->ssl) {
        ERR_clear_error();
        int rc = SSL_shutdown(s->ssl);
        if (rc < 0 && SSL_get_error(s->ssl, rc) == SSL_ERROR_WANT_WRITE) {
            event_add(&s->wr, NULL);
            return false;
        }
    }
    s->shut_done = true;
    shutdown(s->fd, SHUT_WR);
    return true;
}

static void flush(rs_stream *s)
{
    struct rs_err e;
    bool had = s->out.n > 0;
    while (s->out.n > 0) {
        enum outcome o = write_some(s, &e);
        if (o == BROKEN) {
            write_failed(s, &e);
            return;
        }
        if (o == NOTHING) {
            if (!s->write_wants_read)
                event_add(&s->wr, NULL);
            return;
        }
    }
    if (had && !s->closing && s->ops->on_drained && CALLBACK(s, s->ops->on_drained(s->ctx, s)))
        return;
    if (s->state == DEAD || s->out.n > 0 || !(s->shut_wanted || s->closing) || !half_close(s))
        return;
    if (s->closing && s->eof) {
        die_ok(s);
    } else if (s->closing && !s->lingering) {
        s->lingering = true;
        rs_timer_set(s->timer, LINGER_MS);
    }
}

/* ---- opening ---- */

static void opened(rs_stream *s)
{
    s->state = OPEN;
    rs_timer_cancel(s->timer);
    if (s->closing)
        rs_timer_set(s->timer, STUCK_MS);
    if (!s->paused || s->closing)
        event_add(&s->rd, NULL);
    if (s->ssl)
        event_active(&s->rd, EV_READ, 0);      /* data may have come in the handshake's last flight */
    if (s->ops->on_open && CALLBACK(s, s->ops->on_open(s->ctx, s)))
        return;
    if (s->state == OPEN)
        flush(s);
}

static void handshake(rs_stream *s)
{
    struct rs_err e;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_do_handshake(s->ssl);
    if (rc == 1) {
        event_del(&s->rd);
        event_del(&s->wr);
        opened(s);
        return;
    }
    if (ssl_outcome(s, rc, "TLS handshake", &e) == NOTHING) {
        if (SSL_want_write(s->ssl)) {
            event_del(&s->rd);         /* it could be readable meanwhile, again and again */
            event_add(&s->wr, NULL);
        } else {
            event_add(&s->rd, NULL);
        }
        return;
    }
    long verdict = SSL_get_verify_result(s->ssl);
    if (verdict != X509_V_OK)
        (void)RS_FAIL(&e, RS_UNAUTHENTICATED, "%s: TLS handshake: peer's certificate: %s", s->peer, X509_verify_cert_error_string(verdict));
    die(s, &e);
}

static void connected(rs_stream *s)
{
    if (!s->ssl) {
        opened(s);
        return;
    }
    s->state = HANDSHAKING;
    handshake(s);
}

static void connect_ready(rs_stream *s)
{
    int error = 0;
    socklen_t n = sizeof(error);
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
        error = errno;
    if (error == 0) {
        connected(s);
        return;
    }
    struct rs_err e;
    (void)rs_err_set_errno(&e, error, __FILE__, __LINE__, "connect to %s", s->peer);
    die(s, &e);
}

/* ---- events ---- */

static void readable(evutil_socket_t fd, short what, void *arg)
{
    rs_stream *s = arg;
    if (s->state == HANDSHAKING) {
        handshake(s);
    } else if (s->state == OPEN && s->closing) {
        discard(s);
    } else if (s->state == OPEN) {
        if (rs_take(s->write_wants_read))
            kick(s);
        read_ready(s);
    }
}

static void writable(evutil_socket_t fd, short what, void *arg)
{
    rs_stream *s = arg;
    if (s->state == CONNECTING) {
        connect_ready(s);
    } else if (s->state == HANDSHAKING) {
        handshake(s);
    } else if (s->state == OPEN) {
        if (s->read_wants_write && !s->closing) {
            s->read_wants_write = false;
            event_active(&s->rd, EV_READ, 0);
        }
        flush(s);
    }
}

static void kicked(evutil_socket_t fd, short what, void *arg)
{
    rs_stream *s = arg;
    if (s->doomed) {
        struct rs_err why = s->doom;
        die(s, &why);
    } else if (s->state == CONNECTING) {
        connect_ready(s);
    } else if (s->state == OPEN && s->tell_eof && !s->closing) {
        s->tell_eof = false;
        kick(s);
        eof_seen(s);
    } else if (s->state == OPEN) {
        flush(s);
    }
}

static void timed_out(void *arg)
{
    rs_stream *s = arg;
    struct rs_err e;
    if (s->lingering) {
        die_ok(s);
        return;
    }
    (void)RS_FAIL(&e, RS_DEADLINE, "%s: %s", s->peer, s->state == CONNECTING ? "connecting took too long"
                  : s->state == HANDSHAKING ? "TLS handshake took too long" : "peer does not take what is left to write");
    die(s, &e);
}

static rs_stream *stream_new(rs_loop *loop, int fd, SSL_CTX *tls, const struct rs_stream_ops *ops, void *ctx)
{
    struct event_base *base = rs_loop_base(loop);
    rs_stream *s = rs_new(rs_stream);
    s->loop = loop;
    s->fd = fd;
    s->ops = ops;
    s->ctx = ctx;
    s->timer = rs_timer_new(loop, timed_out, s);
    event_assign(&s->rd, base, fd, EV_READ | EV_PERSIST, readable, s);
    event_assign(&s->wr, base, fd, EV_WRITE, writable, s);
    event_assign(&s->kick, base, -1, 0, kicked, s);
    if (fd >= 0) {
        evutil_make_socket_nonblocking(fd);
        int one = 1, idle = 60, every = 15, count = 4;     /* fail harmlessly on Unix sockets */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    }
    if (tls && fd >= 0) {
        ERR_clear_error();
        s->ssl = SSL_new(tls);
        rs_assert(s->ssl && SSL_set_fd(s->ssl, fd) == 1);
        SSL_set_mode(s->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
        SSL_set_options(s->ssl, SSL_OP_NO_RENEGOTIATION);
    }
    return s;
}

rs_stream *rs_stream_accept(rs_loop *loop, int fd, SSL_CTX *tls, const struct rs_stream_ops *ops, void *ctx)
{
    rs_stream *s = stream_new(loop, fd, tls, ops, ctx);
    struct rs_address a = { .n = sizeof(a.sa) };
    if (getpeername(fd, (struct sockaddr *)&a.sa, &a.n) == 0)
        rs_address_text(&a, s->peer);
    else
        snprintf(s->peer, sizeof(s->peer), "?");
    if (s->ssl) {
        SSL_set_accept_state(s->ssl);
        rs_timer_set(s->timer, HANDSHAKE_MS);
    }
    kick(s);                           /* goes on as a connect that is done */
    return s;
}

static void expect_name(SSL *ssl, const char *name)
{
    struct rs_address a;
    struct rs_err e;
    SSL_set_connect_state(ssl);
    if (!name)
        return;
    RS_AUTO(rs_chars) *as_v4 = rs_printf("%s:0", name), *as_v6 = rs_printf("[%s]:0", name);
    if (rs_address_parse(&a, as_v4, &e) == 0 || rs_address_parse(&a, as_v6, &e) == 0) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name);
        return;
    }
    SSL_set_tlsext_host_name(ssl, name);
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    SSL_set1_host(ssl, name);
}

rs_stream *rs_stream_connect(rs_loop *loop, const char *address, SSL_CTX *tls, const char *server_name, int timeout_ms,
                             const struct rs_stream_ops *ops, void *ctx)
{
    struct rs_address a;
    struct rs_err e;
    int fd = -1;
    bool bad = rs_address_parse(&a, address, &e) < 0;
    if (!bad) {
        fd = socket(a.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        bad = fd < 0 || (connect(fd, (struct sockaddr *)&a.sa, a.n) < 0 && errno != EINPROGRESS);
        if (bad)
            (void)RS_FAIL_ERRNO(&e, "connect to %s", address);
    }
    rs_stream *s = stream_new(loop, fd, tls, ops, ctx);
    snprintf(s->peer, sizeof(s->peer), "%s", address);
    if (s->ssl)
        expect_name(s->ssl, server_name);
    if (timeout_ms > 0)
        rs_timer_set(s->timer, timeout_ms);
    if (bad)
        fail_soon(s, &e);
    else
        event_add(&s->wr, NULL);
    return s;
}

/* ---- the owner's calls ---- */

void rs_stream_set_ops(rs_stream *s, const struct rs_stream_ops *ops, void *ctx)
{
    s->ops = ops;
    s->ctx = ctx;
    s->owners++;
    if (s->state != OPEN)
        return;
    s->offer = true;
    event_active(&s->rd, EV_READ, 0);
    if (s->eof) {
        s->tell_eof = true;
        kick(s);
    }
}

void rs_stream_unread(rs_stream *s, const void *p, size_t n)
{
    bytes_add(&s->back, p, n);
    if (!s->offering)
        put_back(s);
}

void rs_stream_write(rs_stream *s, const void *p, size_t n)
{
    if (s->state == DEAD || s->doomed || s->closing || s->shut_wanted || n == 0)
        return;
    if (n > RS_STREAM_WRITE_MAX - s->out.n) {
        struct rs_err e;
        (void)RS_FAIL(&e, RS_EXHAUSTED, "%s: peer reads too slowly: more than %d bytes wait for it", s->peer, RS_STREAM_WRITE_MAX);
        fail_soon(s, &e);
        return;
    }
    bool first = s->out.n == 0;
    bytes_add(&s->out, p, n);
    if (first && s->state == OPEN)
        kick(s);                       /* later in this round: small writes travel together */
}

size_t rs_stream_pending(const rs_stream *s)
{
    return s->out.n;
}

void rs_stream_pause(rs_stream *s)
{
    s->paused = true;
    if (s->state == OPEN && !s->closing)
        event_del(&s->rd);
}

void rs_stream_resume(rs_stream *s)
{
    if (!s->paused)
        return;
    s->paused = false;
    if (s->state != OPEN)
        return;
    if (!s->eof)
        event_add(&s->rd, NULL);
    s->offer = true;
    event_active(&s->rd, EV_READ, 0);
}

void rs_stream_shutdown(rs_stream *s)
{
    if (s->state == DEAD || s->shut_wanted)
        return;
    s->shut_wanted = true;
    if (s->state == OPEN)
        kick(s);
}

void rs_stream_close_after_flush(rs_stream *s)
{
    if (s->state == DEAD || s->closing)
        return;
    s->closing = true;
    if (s->state != OPEN)
        return;
    if (!s->eof)
        event_add(&s->rd, NULL);
    rs_timer_set(s->timer, STUCK_MS);
    kick(s);
}

SSL *rs_stream_ssl(const rs_stream *s)
{
    return s->ssl;
}

const char *rs_stream_peer(const rs_stream *s)
{
    return s->peer;
}

const char *rs_stream_alpn(const rs_stream *s)
{
    const unsigned char *name = NULL;
    unsigned n = 0;
    static _Thread_local char text[256];
    if (s->ssl)
        SSL_get0_alpn_selected(s->ssl, &name, &n);
    snprintf(text, sizeof(text), "%.*s", (int)n, name ? (const char *)name : "");
    return text;
}

int rs_stream_fd(const rs_stream *s)
{
    return s->fd;
}
