/* Processes that start in other namespaces. A start has two halves, so that no process outlives a parent that was killed
 * before it had written down whom it started: first the process exists and waits, then the parent records it and lets it
 * go. Closing the control socket before that ends it. Blocking; for commands, not for event loops. */
#pragma once
#include "cluster/idmap.h"
#include "cluster/life.h"

/* Where a process starts: in a new user and network namespace (user_ns < 0), or in the given ones. */
struct rs_ns_place {
    const struct rs_idmap *ids;    /* of the new user namespace */
    int user_ns, net_ns;           /* of an existing place; -1 otherwise */
    bool cluster;                  /* and below that new net, mount, pid, ipc and uts namespaces, as their pid 1 */
};

struct rs_ns_proc { struct rs_life life; int control; };

/* The number under which the process finds its end of the control socket. */
enum { RS_NS_CONTROL_FD = 3 };

/* Forks; the process waits for rs_ns_release and then executes argv[0] (a full path) with stdin /dev/null, stdout and
 * stderr = log_fd, and keep_fds (-1-terminated, all above 3) under their numbers. RS_FORBIDDEN when namespaces are
 * disabled. */
RS_MUST_USE int rs_ns_start(struct rs_ns_proc *ret, const struct rs_ns_place *place, const char *const *argv, int log_fd,
                            const int *keep_fds, struct rs_err *e);
/* Lets it execute. */
RS_MUST_USE int rs_ns_release(struct rs_ns_proc *p, struct rs_err *e);
/* Reads one line (without newline) that the process writes on its control socket. RS_DEADLINE after ms; RS_ABORTED
 * when the process ended first. */
RS_MUST_USE int rs_ns_line(struct rs_ns_proc *p, int ms, char **ret, struct rs_err *e);
/* Kills it and closes, unless control is -1 (the caller has closed it and lets the process be). */
void rs_ns_abandon(struct rs_ns_proc *p);
