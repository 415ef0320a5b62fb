/* Injection: a pod as it is created in, the JSON patch that makes it part of the mesh out. Pure. Which pods are asked about
 * is decided by the webhooks' selectors (facts istio-wire 5.1); here are the rules of the pod itself. */
#pragma once
#include "base/json.h"

typedef struct rs_injector rs_injector;                  /* configuration of one revision; immutable */

/* Texts of ConfigMap istio-sidecar-injector-REV (`config`: YAML, `values`: JSON) and of ConfigMap istio-REV (`mesh`: YAML).
 * RS_INVALID names the part that is wrong. */
RS_MUST_USE int rs_injector_new(rs_injector **ret, const char *revision, const char *config, const char *values, const char *mesh, struct rs_err *e);
void rs_injector_free(rs_injector *i);
RS_DEFINE_AUTO(rs_injector, rs_injector_free)

/* *ret_patch: RFC 6902 array, or NULL when the pod stays as it is; *ret_why (static text, may be NULL) then says why.
 * RS_INVALID: the pod's own annotations are wrong; the caller refuses the pod with this message. */
RS_MUST_USE int rs_inject(const rs_injector *i, const json_t *pod, const char *namespace, json_t **ret_patch, const char **ret_why, struct rs_err *e);
