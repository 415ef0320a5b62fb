/* Admission webhooks: which are called for a write, the AdmissionReview they get, what their answer does. */
#pragma once
#include "cluster/authn.h"
#include "cluster/resource.h"
#include "cluster/store.h"
#include "http/client.h"

/* What is about to be written. Documents are in storage version; object is replaced when a webhook changes it. */
struct rs_admission_request {
    const char *operation;         /* CREATE, UPDATE, DELETE */
    const struct rs_resource *res;
    const char *version, *sub;     /* requested version; subresource or NULL */
    const char *namespace, *name;  /* of the request's path; name NULL: the object's own, which may still be to be generated */
    const struct rs_user *user;
    json_t *object;                /* owned by the caller; NULL for DELETE */
    const json_t *old;             /* NULL for CREATE */
    bool dry_run;
    json_t *warnings;              /* out: array of texts, or NULL */
};

typedef struct rs_admission rs_admission;
rs_admission *rs_admission_new(rs_loop *loop, rs_store *store, const rs_registry *registry, rs_http_client *http);
void rs_admission_free(rs_admission *a);

/* Calls the mutating webhooks in order (or the validating ones) and then done, once: status NULL when the write may go on,
 * else a new reference. done is called before this returns when no webhook is concerned. r must live until then. */
void rs_admission_run(rs_admission *a, bool mutating, struct rs_admission_request *r,
                      void (*done)(void *ctx, json_t *status), void *ctx);

/* Pure: does this webhook (an element of `webhooks`) want the request? namespace_doc NULL: none. *ret_version is set to the
 * version of the resource that its rules name (matchPolicy). Broken selectors match, so that nothing slips through. */
bool rs_admission_matches(const json_t *hook, const struct rs_admission_request *r, const json_t *namespace_doc, const char **ret_version);
