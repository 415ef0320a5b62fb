/* Everything one proxy shall have, by type and name. Built by one thread, then immutable and atomically reference-counted;
 * sessions compare two snapshots resource by resource, so equal content is never pushed again. */
#pragma once
#include "base/json.h"

typedef struct rs_xds_snapshot rs_xds_snapshot;

/* In the order in which they are pushed. */
enum rs_xds_type { RS_XDS_CLUSTER, RS_XDS_ENDPOINT, RS_XDS_LISTENER, RS_XDS_ROUTE, RS_XDS_SECRET, RS_XDS_PCDS, RS_XDS_TYPES };
const char *rs_xds_type_url(enum rs_xds_type t);
bool rs_xds_type_of(const char *url, enum rs_xds_type *ret);

struct rs_xds_resource { const char *name; rs_str bytes; uint64_t hash; };

rs_xds_snapshot *rs_xds_snapshot_new(void);
/* A resource as JSON (see xds/encode.h); "@type" tells which type, "name" or "cluster_name" its name ("default" for PCDS).
 * RS_EXISTS when there is one of that name. */
RS_MUST_USE int rs_xds_snapshot_add(rs_xds_snapshot *s, const json_t *resource, struct rs_err *e);
/* Every element of an array. */
RS_MUST_USE int rs_xds_snapshot_add_all(rs_xds_snapshot *s, const json_t *resources, struct rs_err *e);

size_t rs_xds_snapshot_count(const rs_xds_snapshot *s, enum rs_xds_type t);
const struct rs_xds_resource *rs_xds_snapshot_at(const rs_xds_snapshot *s, enum rs_xds_type t, size_t i);       /* in order of adding */
const struct rs_xds_resource *rs_xds_snapshot_find(const rs_xds_snapshot *s, enum rs_xds_type t, const char *name);
/* Hash over names and contents of a type; the version_info that proxies see is its hexadecimal text. */
uint64_t rs_xds_snapshot_hash(const rs_xds_snapshot *s, enum rs_xds_type t);

rs_xds_snapshot *rs_xds_snapshot_ref(rs_xds_snapshot *s);
void rs_xds_snapshot_unref(rs_xds_snapshot *s);          /* NULL is a no-op */
RS_DEFINE_AUTO(rs_xds_snapshot, rs_xds_snapshot_unref)
