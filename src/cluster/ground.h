/* The embedded clusters of one user on one machine: making, removing and listing them. Blocking, for commands; library
 * code, prints nothing. Safe against a kill at any instant: a cluster whose making was not completed goes away by itself,
 * and what a kill leaves on disk is recognised (life.h) and cleaned by the next create or delete of that name. */
#pragma once
#include "base/json.h"

struct rs_ground_cluster { char *name, *context, *server, *kubeconfig, *state; };
void rs_ground_cluster_done(struct rs_ground_cluster *c);

/* Makes a cluster, waits until its API answers, and merges its context `rootshift-NAME` into a kubeconfig (NULL: kubectl's
 * default). RS_EXISTS when it runs already; RS_INVALID bad name; RS_UNIMPLEMENTED or RS_FORBIDDEN what the machine lacks. */
RS_MUST_USE int rs_ground_create(struct rs_ground_cluster *ret, const char *name, const char *kubeconfig, struct rs_err *e);
/* Removes processes, namespaces, state and the entries in that kubeconfig; also what is left of a dead one.
 * RS_NOT_FOUND when there is nothing of that name. */
RS_MUST_USE int rs_ground_delete(const char *name, struct rs_err *e);
/* Array of {name, status: running|starting|dead, server, context, created, pid}; by name. New reference. */
RS_MUST_USE int rs_ground_list(json_t **ret, struct rs_err *e);
/* Text of the cluster's own kubeconfig. */
RS_MUST_USE int rs_ground_kubeconfig(const char *name, char **ret, struct rs_err *e);
