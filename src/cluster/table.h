/* Tables: what `kubectl get` prints (facts kubernetes-api 2.4). Pure but for the age column. */
#pragma once
#include "cluster/resource.h"

/* An empty Table with this resource's columns. New reference. */
json_t *rs_table_new(const struct rs_resource *res, const char *version);
/* Appends the row of one document (storage version). */
void rs_table_add(json_t *table, const struct rs_resource *res, const char *version, const json_t *doc);
