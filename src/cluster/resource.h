/* Which resources the API server knows: a fixed table of built-in ones, and one per CustomResourceDefinition. */
#pragma once
#include "base/json.h"

enum rs_resource_flags {
    RS_RES_NAMESPACED = 1,
    RS_RES_STATUS = 2,             /* has /status; the main resource ignores status */
    RS_RES_SCALE = 4,              /* has /scale */
    RS_RES_GENERATION = 8,         /* metadata.generation counts changes of spec */
    RS_RES_CUSTOM = 16,            /* of a CRD: no strategic patches, no defaults */
    RS_RES_REVIEW = 32,            /* only create, nothing is stored */
};
enum { RS_RES_VERSIONS = 8, RS_RES_NAMES = 8 };

struct rs_resource {
    const char *group;             /* "" for the core */
    const char *versions[RS_RES_VERSIONS + 1];     /* served, preferred first, NULL-terminated */
    const char *storage;           /* the version documents are kept in */
    const char *plural, *singular, *kind, *list_kind;
    const char *short_names[RS_RES_NAMES + 1], *categories[RS_RES_NAMES + 1];
    unsigned flags;
    const char *key;               /* in the store: "pods", "apps/deployments" */
    json_t *crd;                   /* its definition, or NULL */
};

typedef struct rs_registry rs_registry;
rs_registry *rs_registry_new(void);
void rs_registry_free(rs_registry *r);         /* NULL is a no-op */

/* Served resource, or NULL. Resources stay valid as long as the registry, also after their CRD went away. */
const struct rs_resource *rs_registry_find(const rs_registry *r, const char *group, const char *version, const char *plural);
const struct rs_resource *rs_registry_find_kind(const rs_registry *r, const char *group, const char *kind);
const struct rs_resource *rs_registry_find_key(const rs_registry *r, const char *key);
bool rs_resource_serves(const struct rs_resource *res, const char *version);
/* i-th live resource, or NULL past the end. */
const struct rs_resource *rs_registry_at(const rs_registry *r, size_t i);
bool rs_registry_has_group_version(const rs_registry *r, const char *group, const char *version);

/* Serves (again) what a CRD document describes; dropping one stops it. */
void rs_registry_set_crd(rs_registry *r, const json_t *crd);
void rs_registry_drop_crd(rs_registry *r, const char *name);

/* "v1" or "apps/v1"; malloc'ed. */
char *rs_group_version(const char *group, const char *version);
/* Fills in what a CRD may leave out (names, conversion) and its status, as established. Changes crd. */
void rs_crd_complete(json_t *crd, int64_t now_ms);
/* Definition of one version of a CRD, or NULL. */
const json_t *rs_crd_version(const json_t *crd, const char *version);
