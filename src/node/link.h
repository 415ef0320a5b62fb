/* The network of a pod: a namespace held by a bind mount, wired to the node's by a veth pair, point to point. Direct
 * rtnetlink, because a pod must cost a millisecond here and not two program starts. Blocking, a few milliseconds: run it on a
 * pool thread (it changes the namespace of the calling thread and back). */
#pragma once
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

struct rs_link {
    const char *netns;             /* path of the bind mount, made here */
    const char *host_name;         /* veth's name on the node's side, at most 15 characters */
    const char *ip, *gateway;      /* "10.244.1.2", "10.244.0.1" */
};
/* Leftovers of the same names are replaced. On failure nothing stays. */
RS_MUST_USE int rs_link_up(const struct rs_link *l, struct rs_err *e);
/* Removes the namespace (and with it the veth pair); missing things are fine. */
void rs_link_down(const char *netns, const char *host_name);
/* A non-blocking TCP socket inside the namespace (netns NULL: here), connecting to 127.0.0.1:port; -1 on failure.
 * Quick: may be called on the loop's thread. */
RS_MUST_USE int rs_link_connect(const char *netns, int port, struct rs_err *e);
