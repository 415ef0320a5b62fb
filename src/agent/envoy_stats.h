/* What Envoy's statistics say: is it ready to serve, and has it nothing left to do. Pure: texts of GET /stats in. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"

#define RS_READY_FILTER "^(cluster_manager%5C.cds%7Clistener_manager%5C.lds)%5C.(update_success%7Cupdate_rejected)%24%7C" \
                        "^(server%5C.state%7Clistener_manager%5C.workers_started)%24"

/* Ready as Istio's agent sees it: clusters and listeners were accepted once, Envoy is live and its workers run. */
struct rs_readiness { bool configured; };
bool rs_readiness_look(struct rs_readiness *r, const char *stats, char why[256]);

#define RS_ACTIVE_FILTER "^listener%5C..*downstream_cx_active%24%7C^cluster%5C..*upstream_rq_active%24"

/* Connections that Envoy serves, and requests under way through it; its own (admin, readiness, Prometheus, xDS) left out. */
struct rs_active { uint64_t connections, requests; };
void rs_active_look(struct rs_active *a, const char *stats, int ready_port, int prometheus_port);

/* A stop waits at least min_ms, for those who still send here to learn of it, then until nothing is connected; connections
 * that carry nothing for QUIET ms do not hold it up; max_ms ends it in any case. */
enum { RS_DRAIN_QUIET_MS = 10000 };
struct rs_drain { int64_t since_ms, min_ms, max_ms, busy_ms; };
/* a NULL: Envoy did not say. */
bool rs_drain_over(struct rs_drain *d, const struct rs_active *a, int64_t now_ms);
