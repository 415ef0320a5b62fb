/* Serving and webhook certificate of one control plane, signed by the serving CA (Secret istiod-serving-ca, ARCHITECTURE 6):
 * 24 hours, renewed at half life and when the Secret changed by then; a renewal that fails keeps the old one and is tried
 * again every minute. Loop thread only. */
#pragma once
#include "kube/client.h"
#include "pki/tls.h"

typedef struct rs_serving rs_serving;
struct rs_serving_config { const char *namespace, *revision; };        /* revision "default" or "": no suffix */

/* Reads the Secret and issues (sequential: not from callbacks). RS_NOT_FOUND / RS_INVALID name the Secret and what to do.
 * on_change is called after each renewal, not for the first certificate; may be NULL. */
RS_MUST_USE int rs_serving_new(rs_serving **ret, rs_kube *k, const struct rs_serving_config *config,
                               void (*on_change)(void *ctx), void *ctx, struct rs_err *e);
void rs_serving_free(rs_serving *s);                     /* NULL is a no-op */
/* A context with the present certificate; clients are not asked for one. New reference. */
RS_MUST_USE int rs_serving_context(const rs_serving *s, const char *alpn, SSL_CTX **ret, struct rs_err *e);
rs_bundle *rs_serving_root(const rs_serving *s);         /* for caBundle and istio-ca-root-cert; borrowed */
const rs_cert *rs_serving_leaf(const rs_serving *s);     /* borrowed until the next on_change */
/* Names in the certificate, NULL-terminated and malloc'ed (rs_strv_free). Pure. */
char **rs_serving_names(const char *namespace, const char *revision);
