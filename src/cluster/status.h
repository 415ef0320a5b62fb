/* Kubernetes Status documents. Functions of the API server that can refuse a request return NULL when they do not, else
 * one of these (a new reference) whose `code` is the HTTP status. Texts are those of kube-apiserver, which clients match. */
#pragma once
#include "base/json.h"

json_t *rs_status(int code, const char *reason, const char *fmt, ...) RS_PRINTF(3, 4);
int rs_status_code(const json_t *status);

#define rs_status_bad_request(...) rs_status(400, "BadRequest", __VA_ARGS__)
#define rs_status_internal(...) rs_status(500, "InternalError", __VA_ARGS__)

/* The same about one object: group "" is the core; message as kube-apiserver writes it. */
json_t *rs_status_not_found(const char *group, const char *plural, const char *name);
json_t *rs_status_exists(const char *group, const char *plural, const char *name);
json_t *rs_status_conflict(const char *group, const char *plural, const char *name, const char *fmt, ...) RS_PRINTF(4, 5);
json_t *rs_status_modified(const char *group, const char *plural, const char *name);
json_t *rs_status_forbidden(const char *group, const char *plural, const char *name, const char *fmt, ...) RS_PRINTF(4, 5);
/* causes: array of {reason, message, field}; a new reference is taken over. */
json_t *rs_status_invalid(const char *group, const char *kind, const char *name, json_t *causes);
/* Appends one cause; reason is a FieldValueX name, its usual text ("Required value") precedes the detail. */
void rs_cause_add(json_t *causes, const char *reason, const char *field, const char *fmt, ...) RS_PRINTF(4, 5);

/* Success of a deletion that is complete. */
json_t *rs_status_deleted(const char *group, const char *plural, const char *name, const char *uid);
json_t *rs_status_success(void);
