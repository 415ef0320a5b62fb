/* A byte stream: TCP, Unix socket or TLS over either, non-blocking, with bounded buffers and one owner. OpenSSL is driven
 * directly on the descriptor. Loop thread only. The owner gets callbacks and must free the stream itself; it may do so
 * inside any callback. */
#pragma once
#include <openssl/ssl.h>
#include "base/err.h"
#include "base/str.h"
#include "io/loop.h"

typedef struct rs_stream rs_stream;

struct rs_stream_ops {
    void (*on_open)(void *ctx, rs_stream *s);    /* connected and, with TLS, handshaken; may be NULL */
    /* Bytes arrived. Returns how many were used; the rest is offered again together with what comes next.
     * More than RS_STREAM_READ_MAX unused bytes close the stream with RS_EXHAUSTED. */
    size_t (*on_data)(void *ctx, rs_stream *s, rs_str data);
    void (*on_eof)(void *ctx, rs_stream *s);     /* peer half-closed; NULL: treated as on_close with RS_OK */
    void (*on_drained)(void *ctx, rs_stream *s); /* the write buffer became empty; may be NULL */
    void (*on_close)(void *ctx, rs_stream *s, const struct rs_err *why);   /* dead; why->code RS_OK for a clean end */
};

enum { RS_STREAM_READ_MAX = 1024 * 1024, RS_STREAM_WRITE_MAX = 64 * 1024 * 1024 };

/* Takes over an accepted or connected fd. With a context the TLS handshake is run as server (10 s limit). */
rs_stream *rs_stream_accept(rs_loop *loop, int fd, SSL_CTX *tls, const struct rs_stream_ops *ops, void *ctx);
/* Connects. address: "127.0.0.1:80", "[::1]:80" or "unix:/path" (no DNS names: io/resolve.h). With a context, TLS as
 * client with server_name for SNI and verification. Failure is reported by on_close. timeout_ms covers connect and handshake. */
rs_stream *rs_stream_connect(rs_loop *loop, const char *address, SSL_CTX *tls, const char *server_name, int timeout_ms,
                             const struct rs_stream_ops *ops, void *ctx);
void rs_stream_set_ops(rs_stream *s, const struct rs_stream_ops *ops, void *ctx);   /* hand-over, e.g. after an upgrade */
/* Puts bytes back in front of what is to be read: the (new) owner is offered them soon. */
void rs_stream_unread(rs_stream *s, const void *p, size_t n);
/* Queues bytes (copied). Past RS_STREAM_WRITE_MAX the stream is closed with RS_EXHAUSTED. */
void rs_stream_write(rs_stream *s, const void *p, size_t n);
size_t rs_stream_pending(const rs_stream *s);          /* bytes not yet handed to the kernel */
void rs_stream_pause(rs_stream *s);                    /* stop reading: back-pressure */
void rs_stream_resume(rs_stream *s);                   /* also offers bytes kept so far */
void rs_stream_shutdown(rs_stream *s);                 /* half-close after what is queued */
void rs_stream_close_after_flush(rs_stream *s);        /* on_close follows with RS_OK */
void rs_stream_free(rs_stream *s);                     /* closes at once, no callback; NULL is a no-op */
SSL *rs_stream_ssl(const rs_stream *s);                /* NULL without TLS */
const char *rs_stream_peer(const rs_stream *s);        /* "10.244.0.7:51234", for logs */
const char *rs_stream_alpn(const rs_stream *s);        /* "" when none */
int rs_stream_fd(const rs_stream *s);
