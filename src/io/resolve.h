/* Host names to addresses by the system's resolver on a pool thread. Loop thread only. */
#pragma once
#include "io/loop.h"

/* fn gets "ip:port" (first IPv4 result) or NULL and the reason. host may be an address already. */
void rs_resolve(rs_loop *loop, const char *host, int port, void (*fn)(void *ctx, const char *address, const struct rs_err *why), void *ctx);
