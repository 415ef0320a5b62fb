/* Listening sockets. Loop thread only. */
#pragma once
#include "io/loop.h"

typedef struct rs_listener rs_listener;

/* Binds "127.0.0.1:0", "0.0.0.0:15012", "unix:/path" (an old socket file is replaced); returns a CLOEXEC fd, or -1. */
RS_MUST_USE int rs_listen(const char *address, struct rs_err *e);
int rs_listen_port(int fd);
/* Accepts from fd (owned from now on) and calls fn with each connection's fd, which fn owns. */
rs_listener *rs_listener_new(rs_loop *loop, int fd, void (*fn)(void *ctx, int fd), void *ctx);
void rs_listener_free(rs_listener *l);                 /* closes; NULL is a no-op */
