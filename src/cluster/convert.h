/* Conversion of documents between the served versions of one resource. Pure. */
#pragma once
#include "cluster/resource.h"

/* Rewrites doc, which is in version `from`, into version `to`, in place. */
void rs_convert(json_t *doc, const struct rs_resource *res, const char *from, const char *to);
