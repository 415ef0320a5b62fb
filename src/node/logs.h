/* Reading container logs: the tail of what is there, and following. Loop thread only. */
#pragma once
#include "base/str.h"
#include "io/loop.h"

typedef struct rs_logs rs_logs;
struct rs_logs_options { bool follow, timestamps, raw; int64_t tail, since_ms, limit; };       /* -1: no limit; since 0: all */
struct rs_logs_ops {
    void (*on_text)(void *ctx, int stream, rs_str text);
    bool (*ended)(void *ctx);          /* following: nothing more will be written */
    void (*on_end)(void *ctx);         /* last; free the reader now or later */
};
/* path of a CRI log (its .1 is read too). Nothing is called from inside. */
rs_logs *rs_logs_start(rs_loop *loop, const char *path, const struct rs_logs_options *options, const struct rs_logs_ops *ops, void *ctx);
void rs_logs_free(rs_logs *l);         /* NULL is a no-op */
/* The part of n bytes of log that holds the last `tail` lines. */
size_t rs_logs_tail(const char *p, size_t n, int64_t tail);
