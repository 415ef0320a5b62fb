/* One run of one container, as the node sees it through the container's shim. Freeing a task lets go of the shim; the
 * container goes on. Loop thread only; callbacks never come from inside a call of these functions. */
#pragma once
#include "io/loop.h"

typedef struct rs_task rs_task;
struct rs_task_ops {
    void (*on_running)(void *ctx, int64_t started_at);
    void (*on_failed)(void *ctx, const char *message);         /* it never ran; last callback */
    /* lost: the shim was killed and nobody knows the exit code. Last callback. */
    void (*on_exited)(void *ctx, int code, int64_t started_at, int64_t finished_at, bool lost);
};
struct rs_task_place { const char *dir, *id, *socket, *log, *runc_root; };     /* copied where kept */

/* Starts a shim for the bundle in dir. */
RS_MUST_USE int rs_task_start(rs_task **ret, rs_loop *loop, const struct rs_task_place *at, const struct rs_task_ops *ops, void *ctx, struct rs_err *e);
/* Finds the shim of an earlier node, or what it recorded. */
rs_task *rs_task_adopt(rs_loop *loop, const struct rs_task_place *at, const struct rs_task_ops *ops, void *ctx);
void rs_task_kill(rs_task *t, int signo);
void rs_task_free(rs_task *t);                 /* NULL is a no-op */
