/* TLS contexts from PKI objects (TLS 1.2 at least, nothing deprecated). A context is reference-counted by OpenSSL and may
 * be shared by streams of one thread; reload = make a new one, use it for new connections. */
#pragma once
#include <openssl/ssl.h>
#include "pki/bundle.h"

RS_DEFINE_AUTO(SSL_CTX, SSL_CTX_free)

/* chain_pem: leaf first. alpn: e.g. "h2", "h2,http/1.1", "http/1.1" or NULL. client_roots NULL: clients are not asked;
 * else a client certificate is asked for, verified if given, and required when `require`. */
RS_MUST_USE int rs_tls_server(SSL_CTX **ret, rs_str chain_pem, rs_str key_pem, const rs_bundle *client_roots, bool require,
                              const char *alpn, struct rs_err *e);
/* roots NULL: the system's. chain/key empty: no client certificate. The name given to rs_stream_connect is verified. */
RS_MUST_USE int rs_tls_client(SSL_CTX **ret, const rs_bundle *roots, rs_str chain_pem, rs_str key_pem, const char *alpn, struct rs_err *e);
/* The same, accepting any server certificate (probes, and kubeconfigs that say so). */
RS_MUST_USE int rs_tls_client_insecure(SSL_CTX **ret, rs_str chain_pem, rs_str key_pem, const char *alpn, struct rs_err *e);
/* The verified peer's leaf, new reference, or NULL. */
rs_cert *rs_tls_peer(SSL *ssl);
