/* What the API server refuses. Pure; documents are in storage version. */
#pragma once
#include "cluster/resource.h"

/* NULL, or a Status Invalid with every reason. old NULL: a new object. */
json_t *rs_object_check(const json_t *doc, const json_t *old, const struct rs_resource *res);
