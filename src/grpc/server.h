/* gRPC server over HTTP/2 (nghttp2): unary and bidirectional streaming methods. Loop thread only; callbacks may do
 * anything, freeing the server included. A call's deadline (grpc-timeout) ends it with DEADLINE_EXCEEDED.
 * Limits: message as configured, headers 64 KiB, 1,000 streams a connection, rapid resets bounded by nghttp2; no compression.
 * To share a port with plain HTTP/1.1, listen with rs_http_server and point its handle_h2 at rs_grpc_server_adopt. */
#pragma once
#include "base/err.h"
#include "io/stream.h"

typedef struct rs_grpc_server rs_grpc_server;
typedef struct rs_grpc_call rs_grpc_call;                /* one call on the server */

struct rs_grpc_method {
    const char *path;                                    /* "/istio.v1.auth.IstioCertificateService/CreateCertificate" */
    /* Unary (streaming false): called once with the request. Answer now or later with send + finish, or finish alone.
     * Streaming: called for each message. */
    void (*on_message)(void *ctx, rs_grpc_call *call, rs_str message);
    bool streaming;
    void (*on_open)(void *ctx, rs_grpc_call *call);      /* streaming only; may be NULL; may finish the call */
    void (*on_half_close)(void *ctx, rs_grpc_call *call);/* streaming only: client sent its last message; NULL: finish OK */
    void (*on_close)(void *ctx, rs_grpc_call *call);     /* always last, also after finish; call is gone after it; may be NULL */
    void *ctx;                                           /* of this method; NULL: the server's */
};
struct rs_grpc_server_config {
    SSL_CTX *tls;                                        /* NULL: plain (Unix sockets, h2c) */
    const struct rs_grpc_method *methods; size_t n_methods;
    size_t message_max;                                  /* of requests; 0: 4 MiB */
    void *ctx;
};
rs_grpc_server *rs_grpc_server_new(rs_loop *loop, const struct rs_grpc_server_config *config);
void rs_grpc_server_add(rs_grpc_server *s, int fd);      /* an accepted connection */
void rs_grpc_server_adopt(rs_grpc_server *s, rs_stream *stream, rs_str first_bytes);   /* from rs_http_server's handle_h2 */
void rs_grpc_server_set_tls(rs_grpc_server *s, SSL_CTX *tls);                          /* for new connections; takes a reference */
/* GOAWAY everywhere: running calls go on, no request in flight is lost (the peer is told first, and only what it sent after
 * that is refused). A connection closes after its last call; one that is added later is told with its first call. */
void rs_grpc_server_drain(rs_grpc_server *s);
size_t rs_grpc_server_calls(const rs_grpc_server *s);
size_t rs_grpc_server_connections(const rs_grpc_server *s);
void rs_grpc_server_free(rs_grpc_server *s);             /* closes all connections; every call gets its on_close before this returns */

const char *rs_grpc_metadata(const rs_grpc_call *call, const char *name);      /* request metadata, lower case; NULL when absent */
SSL *rs_grpc_call_ssl(const rs_grpc_call *call);         /* NULL on plain connections */
const char *rs_grpc_call_peer(const rs_grpc_call *call);
void rs_grpc_set_user(rs_grpc_call *call, void *user);
void *rs_grpc_user(const rs_grpc_call *call);
void rs_grpc_send(rs_grpc_call *call, rs_str message);
size_t rs_grpc_pending(const rs_grpc_call *call);        /* bytes queued and not yet sent */
void rs_grpc_finish(rs_grpc_call *call, enum rs_code code, const char *message);       /* trailers; on_close follows */
