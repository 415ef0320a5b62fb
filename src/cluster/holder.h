/* The holder: one process per user (per state directory) in whose user and network namespace all of this user's clusters
 * lie, because namespaces that are siblings cannot be wired together and nested ones can. It does nothing but exist, and
 * ends by itself when nobody needs it: every cluster and every command that starts one holds the FIFO H/ground/life open
 * for writing; at its end of file the holder takes the lock, looks again, removes H/ground and exits.
 * Killed while clusters live, it is replaced by one that joins the namespaces they still hold. */
#pragma once
#include "cluster/ground_int.h"
#include "cluster/life.h"

/* Open namespaces of the holder and the descriptor that keeps it alive; CLOEXEC, net_ns is RS_HOLDER_NET_FD. */
struct rs_holder { int user_ns, net_ns, life; };
enum { RS_HOLDER_NET_FD = 100 };

/* Of the running holder, or of a new one. With the lock held. supervisors: processes of the clusters that may live, each
 * of which keeps net_ns and life open for as long as it does. */
RS_MUST_USE int rs_holder_get(struct rs_holder *ret, const struct rs_paths *p, const struct rs_life *supervisors, size_t n,
                              struct rs_err *e);
void rs_holder_done(struct rs_holder *h);

/* Waits until the holder is gone if nobody needs it any more, and removes what a killed one left. Without the lock. */
void rs_holder_settle(const struct rs_paths *p);

/* The holder's own program (`rootshift-cluster ground`); exit status. */
int rs_holder_main(void);
