/* What this machine must have before a cluster is made. Each failure is one line that says what to do. */
#pragma once
#include "base/err.h"

/* Adds /usr/sbin and /sbin to PATH when they are missing there (an ordinary user's PATH on Debian). */
void rs_needs_path(void);
/* runc, nft, ip, dnsmasq and our own programs; RS_UNIMPLEMENTED names the missing one and its package. */
RS_MUST_USE int rs_needs_programs(struct rs_err *e);
/* Room for a cluster's state below dir; RS_EXHAUSTED. */
RS_MUST_USE int rs_needs_room(const char *dir, struct rs_err *e);
/* A cluster's name: DNS label of at most 40 characters; RS_INVALID. */
RS_MUST_USE int rs_needs_name(const char *name, struct rs_err *e);
