/* One probe of a container as a pure machine: results and `now` in, verdict and time of the next try out.
 * Timings and thresholds are Kubernetes' (initialDelaySeconds, periodSeconds, timeoutSeconds, successThreshold,
 * failureThreshold). The first try comes right after the initial delay. */
#pragma once
#include "base/json.h"

enum rs_probe_verdict { RS_PROBE_UNKNOWN, RS_PROBE_PASSED, RS_PROBE_FAILED };

struct rs_probe {
    const json_t *spec;                /* borrowed; NULL: there is no such probe */
    int64_t initial_ms, period_ms, timeout_ms;
    int success, failure;              /* thresholds */
    int streak;                        /* > 0: passes in a row, < 0: failures in a row */
    enum rs_probe_verdict verdict;
    int64_t next;                      /* when to try again (ms); INT64_MAX: never */
};

void rs_probe_init(struct rs_probe *p, const json_t *spec);    /* spec NULL: none */
void rs_probe_begin(struct rs_probe *p, int64_t now);          /* the container started: forget all results */
/* Takes one result; true when the verdict changed. The next try is one period after `now`. */
bool rs_probe_result(struct rs_probe *p, bool passed, int64_t now);
