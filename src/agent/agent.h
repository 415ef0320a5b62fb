/* The agent beside Envoy, whole: identity, SDS, ADS, status port, and Envoy's life from start to a stop that drops nothing.
 * Loop thread only. */
#pragma once
#include "agent/config.h"
#include "io/loop.h"

typedef struct rs_agent rs_agent;

/* Starts everything. on_end once, when Envoy has ended: ok after a stop, else Envoy ended by itself. config is borrowed and
 * outlives the loop. */
RS_MUST_USE int rs_agent_new(rs_agent **ret, rs_loop *loop, const struct rs_agent_config *config, void (*on_end)(void *ctx, bool ok), void *ctx,
                             struct rs_err *e);
/* Not ready from now on; Envoy tells its peers to go, serves until they have, then ends. A second call ends it at once. */
void rs_agent_stop(rs_agent *a);
void rs_agent_free(rs_agent *a);                         /* NULL is a no-op */
