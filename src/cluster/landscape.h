/* What pid 1 of a cluster does to its fresh namespaces before anything runs in them: mounts and network as supervisor.h
 * describes them. Blocking, a few milliseconds. */
#pragma once
#include "base/err.h"

#define RS_CLUSTER_GATEWAY "10.244.0.1"
#define RS_CLUSTER_API "10.96.0.1"
#define RS_CLUSTER_DNS "10.96.0.10"

/* state stays visible even when it lies below /run. */
RS_MUST_USE int rs_landscape_mounts(const char *hostname, const char *state, struct rs_err *e);
RS_MUST_USE int rs_landscape_network(struct rs_err *e);
