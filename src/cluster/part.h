/* One part of a cluster that the supervisor keeps running: its program, its life, its back-off. Loop thread only. */
#pragma once
#include <sys/types.h>
#include "cluster/backoff.h"
#include "io/loop.h"

enum { RS_PART_ARGS = 16 };
enum rs_part_state { RS_PART_OFF, RS_PART_STARTING, RS_PART_READY, RS_PART_WAITING };

struct rs_part_env {               /* what all parts of a cluster share; outlives them */
    rs_loop *loop;
    const char *log_dir;
    int host_proc;                 /* the host's /proc, to tell pids as the host sees them; -1 when unknown */
    void (*on_change)(void *ctx);  /* after every change of state, also to RS_PART_OFF */
    void *ctx;
};

typedef struct rs_part rs_part;

/* argv is NULL-terminated and copied; keep_fds -1-terminated (borrowed, may be NULL). tells_ready: the part gets
 * `--ready-fd N` and writes "ready"; others count as ready when started. */
rs_part *rs_part_new(const struct rs_part_env *env, const char *name, const char *const *argv, const int *keep_fds,
                     bool tells_ready);
void rs_part_free(rs_part *p);

void rs_part_start(rs_part *p);                /* now, and again whenever it ends; no-op when it is on already */
void rs_part_stop(rs_part *p, int signo);      /* sends the signal; it is not started again */
/* Tells a part that a child ended; true when it was its. */
bool rs_part_reaped(rs_part *p, pid_t pid, int status);

const char *rs_part_name(const rs_part *p);
enum rs_part_state rs_part_state(const rs_part *p);
bool rs_part_alive(const rs_part *p);          /* has a process */
bool rs_part_was_ready(const rs_part *p);      /* at any time */
unsigned rs_part_starts(const rs_part *p);
pid_t rs_part_host_pid(const rs_part *p);      /* 0: none or unknown */
const char *rs_part_end(const rs_part *p);     /* how it last ended, "exit status 1"; "" before that */
