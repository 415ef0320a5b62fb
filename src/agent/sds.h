/* SDS for Envoy on a Unix socket: secrets `default` (key and chain) and `ROOTCA` (roots). Loop thread only. */
#pragma once
#include "agent/identity.h"

typedef struct rs_sds rs_sds;

/* Listens at once. refresh: the identity changed. */
RS_MUST_USE int rs_sds_new(rs_sds **ret, rs_loop *loop, const char *path, const rs_identity *identity, struct rs_err *e);
void rs_sds_refresh(rs_sds *s);
void rs_sds_free(rs_sds *s);                             /* NULL is a no-op */
