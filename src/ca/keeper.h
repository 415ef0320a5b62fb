/* The keeper marks the records of pods that have verifiably ended (status.endedAt, status.evidence) and deletes records one
 * hour after their leaf expired. Runs in every control plane at once: each act is idempotent, and a keeper that missed a
 * pod's end leaves the record to its expiry. Loop thread only. */
#pragma once
#include "kube/client.h"

typedef struct rs_keeper rs_keeper;

rs_keeper *rs_keeper_new(rs_kube *k);            /* informers of its own */
void rs_keeper_free(rs_keeper *k);
