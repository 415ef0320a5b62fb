/* Who this pod is and whom it trusts: keeps a leaf renewed and the roots merged. Asks the CA at once and until it answers;
 * what is held stays in use meanwhile. Changes of trust never cause a new leaf. Loop thread only. */
#pragma once
#include "agent/ca_client.h"
#include "agent/roots.h"

typedef struct rs_identity rs_identity;

struct rs_identity_ops {
    void (*on_leaf)(void *ctx);          /* a new key and chain */
    void (*on_roots)(void *ctx);         /* the set of roots changed */
};
rs_identity *rs_identity_new(rs_loop *loop, const struct rs_agent_config *config, const struct rs_identity_ops *ops, void *ctx);
void rs_identity_free(rs_identity *i);                   /* NULL is a no-op */

/* NULL before the first answer of the CA. Borrowed until the next change. */
const char *rs_identity_chain(const rs_identity *i);
const rs_secret *rs_identity_key(const rs_identity *i);
const rs_cert *rs_identity_leaf(const rs_identity *i);
const rs_bundle *rs_identity_roots(const rs_identity *i);        /* may be empty */

/* A distributed bundle (agent/roots.h). */
RS_MUST_USE int rs_identity_bundle(rs_identity *i, rs_str pem, const char *retired, struct rs_err *e);
json_t *rs_identity_status(const rs_identity *i);        /* for GET /trust; new reference */
