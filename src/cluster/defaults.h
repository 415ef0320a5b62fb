/* What the API server fills in (facts kubernetes-api 3.1) and what it refuses. Pure; documents are in storage version. */
#pragma once
#include "cluster/resource.h"

/* Sets the defaults that clients depend on. Idempotent. */
void rs_defaults(json_t *doc, const struct rs_resource *res);
/* On create: what a fresh object of a kind starts with (status, finalizers), and what a client may not bring along. */
void rs_defaults_new(json_t *doc, const struct rs_resource *res);
