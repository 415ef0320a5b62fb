/* Writes issuance records through the Kubernetes API. A record counts once the API server has acknowledged it: only then may
 * the certificate leave. Loop thread only. */
#pragma once
#include "kube/client.h"

typedef struct rs_records rs_records;

rs_records *rs_records_new(rs_kube *k);
void rs_records_free(rs_records *r);             /* pending writes end with RS_CANCELLED */
/* Creates the record (mesh/issuance.h: rs_issuance_record). Tried again for up to 5 s while the API server can't be
 * reached; a record that exists already under its name is this one, because the name is the leaf's hash. done exactly once, later. */
void rs_records_write(rs_records *r, const json_t *record, void (*done)(void *ctx, const struct rs_err *why), void *ctx);
