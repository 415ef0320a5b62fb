/* Keeps the webhook configurations that call this control plane right: caBundle = root of the serving CA in every one that is
 * labelled with its revision, and failurePolicy Fail in validators, from the moment when a server-side dry run has shown
 * that wrong configuration is refused. Loop thread only. */
#pragma once
#include "kube/client.h"
#include "pki/bundle.h"

typedef struct rs_hooks rs_hooks;

rs_hooks *rs_hooks_new(rs_kube *k, const char *revision, const char *namespace, rs_bundle *serving_root);
void rs_hooks_set_serving(rs_hooks *h, rs_bundle *serving_root);
void rs_hooks_free(rs_hooks *h);                         /* NULL is a no-op */

/* JSON patch that puts this bundle (base64 of PEM) into every webhook and, with fail, failurePolicy Fail; NULL when nothing
 * differs. Its tests make it fail when the configuration changed in between. Pure. */
json_t *rs_hooks_patch(const json_t *config, const char *ca_bundle, bool fail);
