/* HTTP/1.1 client calls on libcurl's multi interface. Loop thread only. */
#pragma once
#include "http/message.h"
#include "io/loop.h"

typedef struct rs_http_client rs_http_client;            /* connection pool */
typedef struct rs_http_call rs_http_call;                /* one call under way */

struct rs_http_request {
    const char *method, *url;
    const char *const *headers;                          /* "Name: value", NULL-terminated, or NULL */
    rs_str body;
    const char *unix_path;                               /* connect there instead; NULL: TCP */
    const char *connect_to;                              /* "ip:port" to connect to whatever the URL's host is; NULL: the URL's */
    const char *source_ip;                               /* connect from there; NULL: the system chooses */
    const char *ca_pem;                                  /* trust exactly these; NULL: system roots */
    const char *cert_pem, *key_pem;                      /* client certificate; NULL: none */
    bool insecure;                                       /* no verification of the server */
    int timeout_ms;                                      /* whole call; 0: none (watches) */
    int idle_timeout_ms;                                 /* fail after so long without a byte; 0: none */
    size_t max_body;                                     /* 0: 64 MiB; not applied with on_data */
    bool fresh_connection;                               /* never reuse one */
    /* Streaming answer: called with the status and bytes as they arrive; the body is then not collected. It may cancel the
     * call and start others. May be NULL. */
    void (*on_data)(void *ctx, int status, rs_str data);
};
struct rs_http_response { int status; struct rs_http_headers headers; rs_str body; };

rs_http_client *rs_http_client_new(rs_loop *loop);
void rs_http_client_free(rs_http_client *c);             /* cancels everything under way without callbacks */
/* Starts a call (everything in r is copied). done is called exactly once, never from inside start: r set, or why set. */
rs_http_call *rs_http_start(rs_http_client *c, const struct rs_http_request *r,
                            void (*done)(void *ctx, const struct rs_http_response *r, const struct rs_err *why), void *ctx);
void rs_http_cancel(rs_http_call *call);                 /* no callback follows; NULL is a no-op */

/* Connects (plain or TLS), sends an upgrade request and gives the open stream after 101, with bytes that followed it.
 * extra_headers as above (Host, Connection and Upgrade are added; a Host among them wins). Any other answer is an error
 * naming status and body. done is called exactly once, never from inside; it sets the stream's ops at once. The handle is
 * valid until then and serves to cancel. */
#include "io/stream.h"
typedef struct rs_http_dial rs_http_dial;
rs_http_dial *rs_http_dial_upgrade(rs_loop *loop, const char *address, SSL_CTX *tls, const char *server_name, const char *method,
                          const char *target, const char *const *extra_headers, const char *proto, int timeout_ms,
                          void (*done)(void *ctx, rs_stream *s, const struct rs_http_headers *h, rs_str rest, const struct rs_err *why), void *ctx);
void rs_http_dial_cancel(rs_http_dial *d);               /* no callback follows; NULL is a no-op */
