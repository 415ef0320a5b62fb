/* The webhook server's core: an AdmissionReview in, the answered AdmissionReview out (v1 and v1beta1). Pure. */
#pragma once
#include "base/json.h"
#include "control/inject.h"

enum rs_webhook { RS_WEBHOOK_INJECT, RS_WEBHOOK_VALIDATE };
/* "/inject", "/inject/...", "/validate"; false: none of them. */
bool rs_webhook_of_path(const char *path, enum rs_webhook *ret);

struct rs_webhook_result { bool allowed, patched; const char *why; };    /* why: static text or NULL */
/* injector may be NULL only for RS_WEBHOOK_VALIDATE. RS_INVALID: no AdmissionReview (the server answers 400). What the review
 * itself makes wrong (a pod's annotations, bad configuration) is an answer with allowed false and the message. */
RS_MUST_USE int rs_webhook_answer(enum rs_webhook which, const rs_injector *injector, rs_str body, json_t **ret, struct rs_webhook_result *ret_result,
                                  struct rs_err *e);
