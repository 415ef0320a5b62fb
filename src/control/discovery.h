/* Aggregated discovery for the agents of a mesh: who asks (by token), what it shall have (model and trust bundle), and that
 * it gets it. Loop thread only. */
#pragma once
#include "ca/callers.h"
#include "control/model.h"
#include "grpc/server.h"
#include "pki/bundle.h"

typedef struct rs_discovery rs_discovery;

rs_discovery *rs_discovery_new(rs_loop *loop, rs_callers *callers);      /* callers is borrowed and outlives it */
struct rs_grpc_method rs_discovery_method(rs_discovery *d);
void rs_discovery_free(rs_discovery *d);                 /* after the grpc server; NULL is a no-op */

/* What proxies shall have from now on; both take references. Pushes go out at once. */
void rs_discovery_set_model(rs_discovery *d, rs_model *m);
/* Trust bundle for PCDS and the SHA-256 texts of roots that agents may drop; bundle NULL: none is distributed. */
void rs_discovery_set_trust(rs_discovery *d, rs_bundle *bundle, const char *const *retired);

struct rs_discovery_stats { size_t clients; uint64_t refused, snapshots, nacks; };
struct rs_discovery_stats rs_discovery_stats_of(const rs_discovery *d);
/* [{proxy, settled, types: {cluster: {sent, acked, error}}}] of every stream: GET :15014/debug/syncz. New reference. */
json_t *rs_discovery_status(rs_discovery *d);

/* The PCDS resource (xds/encode.h). Pure. */
json_t *rs_discovery_trust_resource(const rs_bundle *bundle, const char *const *retired);
