/* Discovery documents (the legacy form, which every client falls back to) and the constant endpoints. Pure. */
#pragma once
#include "cluster/resource.h"

json_t *rs_discovery_core(void);                                       /* /api */
json_t *rs_discovery_groups(const rs_registry *r);                     /* /apis */
json_t *rs_discovery_group(const rs_registry *r, const char *group);   /* /apis/G; NULL when unknown */
json_t *rs_discovery_resources(const rs_registry *r, const char *group, const char *version);    /* NULL when unknown */
json_t *rs_discovery_version(void);
