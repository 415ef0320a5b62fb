/* What a migration will do, found out from the cluster before anything is touched. */
#pragma once
#include "cmd/rootshift/world_kube.h"

struct rs_plan_options {
    const char *fleet_id, *output_dir;
    const char *revision_1, *revision_2;         /* NULL: the guide's names */
    const char *const *overlays; size_t n_overlays;
};

/* The plan document of migrate/record.h: from, to, fleetID, revisions, oldRoot, newRoot, namespaces and gateways with the
 * revision that each has now, outputDir, overlays. Refuses what can't be migrated: both injection labels on a namespace, no
 * proxy, proxies under several roots, a revision name in use or not a DNS-1035 label, no Mesh CA. New reference. */
RS_MUST_USE int rs_plan_make(struct rs_world_kube *w, const struct rs_plan_options *o, json_t **ret, struct rs_err *e);
