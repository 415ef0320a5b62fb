/* Shared by validate*.c. */
#pragma once
#include "base/json.h"

bool valid_labels(const json_t *o, const char *where, struct rs_err *e);
int valid_array(const json_t *o, const char *where, struct rs_err *e);
bool valid_host(const char *host, bool wildcard);
void validate_unknown(const json_t *spec, const char *const *known, json_t *warnings);

/* validate_routing.c */
int validate_gateway(const json_t *spec, json_t *warnings, struct rs_err *e);
int validate_virtual_service(const json_t *spec, json_t *warnings, struct rs_err *e);
