/* HTTP/1.1 server: strict codec (what RFC 9112 calls ambiguous is refused), keep-alive, chunked bodies both ways, streaming
 * answers and upgrades. One connection is one rs_stream; requests on it are served one after another. Loop thread only.
 * Limits: request line and headers 64 KiB, body as configured, 30 s for the head, 60 s idle. */
#pragma once
#include "http/message.h"
#include "io/stream.h"

typedef struct rs_http_server rs_http_server;
typedef struct rs_http_exchange rs_http_exchange;        /* one request and its answer */

struct rs_http_server_config {
    SSL_CTX *tls;                                        /* NULL: plain */
    size_t body_max;                                     /* 413 beyond */
    /* Called once the whole body is there. Must lead, now or later, to exactly one of reply, stream_end, upgrade. */
    void (*handle)(void *ctx, rs_http_exchange *x);
    /* Optional: a connection whose ALPN is h2, or whose first bytes are the HTTP/2 preface, is handed over here. */
    void (*handle_h2)(void *ctx, rs_stream *s, rs_str first_bytes);
    void *ctx;
};
rs_http_server *rs_http_server_new(rs_loop *loop, const struct rs_http_server_config *config);
void rs_http_server_add(rs_http_server *s, int fd);      /* serves an accepted connection; matches rs_listener_new's fn through a thunk */
void rs_http_server_set_tls(rs_http_server *s, SSL_CTX *tls);    /* for new connections; takes a reference */
void rs_http_server_drain(rs_http_server *s);            /* Connection: close on every further answer; idle ones closed */
size_t rs_http_server_connections(const rs_http_server *s);
void rs_http_server_free(rs_http_server *s);             /* closes all; every pending exchange is aborted */

const char *rs_http_method(const rs_http_exchange *x);
const char *rs_http_path(const rs_http_exchange *x);     /* percent-decoded, without query */
const char *rs_http_target(const rs_http_exchange *x);   /* raw path?query */
const char *rs_http_query_raw(const rs_http_exchange *x);        /* "" when none */
const struct rs_http_headers *rs_http_request_headers(const rs_http_exchange *x);
const char *rs_http_header(const rs_http_exchange *x, const char *name);
rs_str rs_http_body(const rs_http_exchange *x);
rs_stream *rs_http_connection(const rs_http_exchange *x);        /* for the peer's address and certificate; NULL once it is gone */
/* fn is called at most once, on the loop, if the client goes away before the answer is complete; x is invalid after it
 * returns. Without fn, x stays valid: answers go nowhere, and the last one ends it as usual. A client that half-closes
 * counts as gone when fn is set or the answer is a streaming one; else it still gets its answer. */
void rs_http_on_abort(rs_http_exchange *x, void (*fn)(void *ctx, rs_http_exchange *x), void *ctx);

/* Extra response headers, before reply, stream_begin or upgrade. */
void rs_http_add_header(rs_http_exchange *x, const char *name, const char *value);
void rs_http_reply(rs_http_exchange *x, int status, const char *content_type, rs_str body);
/* Chunked answer (watch, logs). Headers are flushed at once. */
void rs_http_stream_begin(rs_http_exchange *x, int status, const char *content_type);
void rs_http_stream_write(rs_http_exchange *x, const void *p, size_t n);
size_t rs_http_stream_pending(const rs_http_exchange *x);
void rs_http_stream_end(rs_http_exchange *x);
/* Answers 101 with Upgrade: proto (and the headers added before) and hands over the connection; x is gone afterwards. The
 * caller owns the stream and sets its ops at once. Bytes that came after the request are offered to those ops by the stream;
 * *ret_rest (malloc'ed, to be processed first) is empty at present. NULL when the client is gone. */
rs_stream *rs_http_upgrade(rs_http_exchange *x, const char *proto, char **ret_rest, size_t *ret_rest_n);
/* The same without writing any answer: the caller speaks for itself (tunnels). */
rs_stream *rs_http_take_over(rs_http_exchange *x, char **ret_rest, size_t *ret_rest_n);
