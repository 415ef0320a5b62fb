/* One event loop per thread, on libevent. Everything that takes a loop is used from that loop's thread only, except
 * rs_loop_post. Callbacks may free the object that called them. */
#pragma once
#include <sys/types.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

struct event_base;
typedef struct rs_loop rs_loop;
typedef struct rs_timer rs_timer;
typedef struct rs_fd_watch rs_fd_watch;

rs_loop *rs_loop_new(void);                  /* also ignores SIGPIPE */
void rs_loop_free(rs_loop *loop);
struct event_base *rs_loop_base(rs_loop *loop);
void rs_loop_run(rs_loop *loop);             /* until rs_loop_stop */
/* Runs until *done is true or timeout_ms passed (< 0: for ever); returns *done. For sequential programs: must not be
 * called from inside a callback. */
bool rs_loop_run_until(rs_loop *loop, const bool *done, int64_t timeout_ms);
void rs_loop_stop(rs_loop *loop);

/* Runs fn(ctx) on the loop's thread soon. Any thread. */
void rs_loop_post(rs_loop *loop, void (*fn)(void *ctx), void *ctx);

/* One-shot timer. set() (re)arms it, ms from now on the monotonic clock; cancel() and free() disarm. */
rs_timer *rs_timer_new(rs_loop *loop, void (*fn)(void *ctx), void *ctx);
void rs_timer_set(rs_timer *t, int64_t ms);
void rs_timer_cancel(rs_timer *t);
void rs_timer_free(rs_timer *t);             /* NULL is a no-op */
RS_DEFINE_AUTO(rs_timer, rs_timer_free)

/* Calls fn whenever fd is readable / writable, until freed. Does not own fd. */
rs_fd_watch *rs_fd_watch_new(rs_loop *loop, int fd, bool readable, bool writable, void (*fn)(void *ctx, bool readable, bool writable), void *ctx);
void rs_fd_watch_free(rs_fd_watch *w);

/* Calls fn on each delivery of the signal, on the loop. */
void rs_loop_on_signal(rs_loop *loop, int signo, void (*fn)(void *ctx, int signo), void *ctx);
/* Reaps this child and calls fn once with waitpid's status. */
void rs_loop_on_child(rs_loop *loop, pid_t pid, void (*fn)(void *ctx, pid_t pid, int status), void *ctx);

/* Runs work(ctx) on a small pool thread, then done(ctx) on the loop (RSA, SQLite, files). */
void rs_loop_work(rs_loop *loop, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx);
