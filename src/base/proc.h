/* Starting a child process. The caller reaps it (io/loop.h: rs_loop_on_child, or waitpid). */
#pragma once
#include <sys/types.h>
#include "base/err.h"
#include "base/str.h"

struct rs_proc_spec {
    const char *const *argv;       /* argv[0] is looked up in PATH unless it holds a slash */
    const char *const *env;        /* NULL: ours; else the whole environment, NULL-terminated */
    const char *cwd;               /* NULL: ours */
    int fd_in, fd_out, fd_err;     /* -1: /dev/null; else duplicated onto 0, 1, 2 (STDOUT_FILENO keeps ours) */
    const int *keep_fds;           /* -1-terminated list that stays open with the same numbers; NULL: none */
    bool new_session;              /* setsid */
    bool die_with_parent;          /* PR_SET_PDEATHSIG SIGKILL */
    void (*in_child)(void *ctx);   /* run after fork, before exec; async-signal-safe; may be NULL */
    void *ctx;
};

/* Forks and executes; a failed exec is reported here, not by exit status. */
RS_MUST_USE int rs_proc_start(const struct rs_proc_spec *spec, pid_t *ret, struct rs_err *e);

/* Runs to its end (blocking); RS_INTERNAL with the last lines of its output when the status is not 0.
 * ret_out (may be NULL) receives stdout, at most 1 MiB; stderr goes into the error. Not for event-loop threads. */
RS_MUST_USE int rs_proc_run(const char *const *argv, rs_str input, char **ret_out, struct rs_err *e);

/* Start time of a process in clock ticks since boot (/proc/PID/stat), 0 when there is none: tells a live process from a
 * reused pid. */
unsigned long long rs_proc_start_time(pid_t pid);
