/* Asks a CA for a leaf: new key, CSR, one call, and the answer checked before anybody sees it. Roots of the server and token
 * are read anew for each call. Loop thread only. */
#pragma once
#include "agent/config.h"
#include "io/loop.h"
#include "pki/tls.h"

struct rs_ca_answer {
    rs_secret *key;                      /* PEM */
    char *chain;                         /* leaf first, then what stands between it and the root */
    char *roots;                         /* last element of the answer: one root or more */
    rs_cert *leaf;
    char *issuer_root;                   /* SHA-256 (hex) of the root that the leaf verifies to */
};
void rs_ca_answer_done(struct rs_ca_answer *a);

typedef struct rs_ca_request rs_ca_request;

/* done exactly once, never from inside; what it wants to keep of the answer it takes (rs_take on the members). */
rs_ca_request *rs_ca_ask(rs_loop *loop, const struct rs_agent_config *config,
                         void (*done)(void *ctx, struct rs_ca_answer *a, const struct rs_err *why), void *ctx);
void rs_ca_cancel(rs_ca_request *r);                     /* no callback follows; NULL is a no-op */

/* The check. At least two elements; the leaf bears this key, names the wanted namespace and service account in whatever
 * trust domain the CA has, is valid now and verifies to the last element. Pure. */
RS_MUST_USE int rs_ca_answer_read(struct rs_ca_answer *ret, char *const *elements, size_t n, EVP_PKEY *key, const char *wanted_uri,
                                  int64_t now_ms, struct rs_err *e);
/* Trust for calls to servers of the mesh: the file's roots, or the system's for "SYSTEM". */
RS_MUST_USE int rs_agent_tls(SSL_CTX **ret, const char *root_path, struct rs_err *e);
/* "Bearer TOKEN", or NULL when there is no token file or it is empty. malloc'ed. */
char *rs_agent_bearer(const char *token_path);
