/* ConfigMaps and Secrets that pods of this node use: one watch for each, held as long as a pod uses it. Loop thread only. */
#pragma once
#include "kube/informer.h"
#include "node/source.h"

typedef struct rs_objects rs_objects;
/* changed: an object appeared, changed or went, or is known to be missing now. */
rs_objects *rs_objects_new(rs_kube *k, void (*changed)(void *ctx, const char *kind, const char *ns, const char *name), void *ctx);
/* kind: "ConfigMap" or "Secret". Holds are counted. */
void rs_objects_hold(rs_objects *o, const char *kind, const char *ns, const char *name);
void rs_objects_release(rs_objects *o, const char *kind, const char *ns, const char *name);
enum rs_lookup_state rs_objects_get(rs_objects *o, const char *kind, const char *ns, const char *name, const json_t **ret);
void rs_objects_free(rs_objects *o);
