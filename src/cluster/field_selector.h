/* Field selectors: "metadata.name=x,status.phase!=Running". Pure. */
#pragma once
#include "cluster/resource.h"

typedef struct rs_field_selector rs_field_selector;

/* RS_INVALID with kube-apiserver's text when a field is not one of the resource's. text NULL or "": everything. */
RS_MUST_USE int rs_field_selector_parse(rs_field_selector **ret, const char *text, const struct rs_resource *res, struct rs_err *e);
bool rs_field_selector_matches(const rs_field_selector *s, const json_t *doc);
/* The only name (namespace) that can match, or NULL. */
const char *rs_field_selector_name(const rs_field_selector *s);
bool rs_field_selector_empty(const rs_field_selector *s);
void rs_field_selector_free(rs_field_selector *s);     /* NULL is a no-op */
RS_DEFINE_AUTO(rs_field_selector, rs_field_selector_free)
