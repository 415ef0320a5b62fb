/* What the validating webhook refuses: Istio configuration that is plainly wrong, or that this control plane would not act
 * on where acting on half of it would be unsafe (a policy condition that is not evaluated). Pure. */
#pragma once
#include "base/json.h"

/* object: a whole resource. RS_INVALID: `spec.rules[0].from[1].source.principals[0]: ...`, for people. Warnings (unknown
 * fields at the top of spec, parts that are stored but not acted on) are appended to the array of texts. */
RS_MUST_USE int rs_validate(const json_t *object, json_t *warnings, struct rs_err *e);
