/* Leader election by a Lease: 15 s, renewed every 5 s, released on stop. Expiry is judged by our own clock since the lease was
 * last seen to change, never by the other's clock. Loop thread only. */
#pragma once
#include "kube/client.h"

typedef struct rs_leader rs_leader;

/* on_change: true when we became the leader, false when we no longer are. */
rs_leader *rs_leader_new(rs_kube *k, const char *namespace, const char *name, const char *identity,
                         void (*on_change)(void *ctx, bool leading), void *ctx);
bool rs_leader_is(const rs_leader *l);
/* Gives the lease back, so that another takes over at once; done when the API server has answered or 1 s has passed. */
void rs_leader_release(rs_leader *l, void (*done)(void *ctx), void *ctx);
void rs_leader_free(rs_leader *l);                       /* NULL is a no-op */
