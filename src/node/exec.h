/* A command run in a container by `runc exec`: for exec, for probes and for hooks. Loop thread only. */
#pragma once
#include "base/json.h"
#include "io/loop.h"

typedef struct rs_exec rs_exec;
struct rs_exec_ops {
    void (*on_output)(void *ctx, int stream, rs_str bytes);    /* 1 stdout, 2 stderr (with a terminal all is 1) */
    void (*on_drained)(void *ctx);                             /* what was written has been read; may be NULL */
    void (*on_exit)(void *ctx, int code);                      /* last; after all output; free the exec now or later */
};
struct rs_exec_spec {
    const char *id, *runc_root;
    const json_t *command;                                     /* array of text */
    bool stdin_wanted, tty;
};
RS_MUST_USE int rs_exec_start(rs_exec **ret, rs_loop *loop, const struct rs_exec_spec *spec, const struct rs_exec_ops *ops, void *ctx, struct rs_err *e);
void rs_exec_write(rs_exec *x, rs_str bytes);                  /* to stdin; queued */
size_t rs_exec_pending(const rs_exec *x);
void rs_exec_close_stdin(rs_exec *x);
void rs_exec_resize(rs_exec *x, int columns, int rows);
void rs_exec_pause(rs_exec *x, bool paused);                   /* back-pressure on output */
void rs_exec_free(rs_exec *x);                                 /* kills what still runs; NULL is a no-op */
