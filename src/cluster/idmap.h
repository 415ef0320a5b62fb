/* The ids of the user namespace around all of a user's clusters. There is always one, so that root and an ordinary user
 * take the same path: root maps 0-65535 onto themselves; an ordinary user becomes 0 inside and gets the ids above from
 * /etc/subuid and /etc/subgid through newuidmap and newgidmap. Inside, the uids of pods (Envoy's 1337) exist, and nobody
 * has a capability over anything of the host. */
#pragma once
#include "cluster/subid.h"

struct rs_idmap { bool identity; uid_t uid; gid_t gid; struct rs_subid uids, gids; };

/* What this caller may have. RS_UNIMPLEMENTED: newuidmap is missing; RS_FORBIDDEN: no range is granted. */
RS_MUST_USE int rs_idmap_of_caller(struct rs_idmap *ret, struct rs_err *e);
/* Gives the map to a process that has just made its user namespace. From outside of it. */
RS_MUST_USE int rs_idmap_give(const struct rs_idmap *m, pid_t pid, struct rs_err *e);
