/* What the pure cores of the controllers hand out: an array of calls to the API, each an object
 *   {"method", "path", "type" (content type, may be missing), "body"}     a request
 *   {"event": {...}}                                                       an Event, folded with equal ones by the edge
 * carried out in order until one fails. Pure. */
#pragma once
#include "base/json.h"

/* body is taken over; it may be NULL. */
void rs_plan_call(json_t *plan, const char *method, const char *path, const char *type, json_t *body);
/* An Event about this object. type: "Normal" or "Warning". */
void rs_plan_event(json_t *plan, const json_t *about, const char *component, const char *type, const char *reason, const char *fmt, ...)
    RS_PRINTF(6, 7);

/* The ownerReference of a controller that owns what it makes. New reference. */
json_t *rs_owner_reference(const json_t *owner);
/* Text of 5 to 10 letters of Kubernetes' alphabet that depends on this document alone (key order does not matter). */
char *rs_content_hash(const json_t *o, int64_t salt);
/* {"uid", ...} for the body of a DELETE that must not hit a successor of the same name. New reference. */
json_t *rs_delete_options(const json_t *o);
/* True for a pod that has been Ready for this many seconds; *ret_in_ms (may be NULL): when it will be, 0 if not in sight. */
bool rs_pod_available(const json_t *pod, int64_t min_ready_seconds, int64_t now_ms, int64_t *ret_in_ms);
