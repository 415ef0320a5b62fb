#include "node/probe.h"

static int64_t number(const json_t *spec, const char *key, int64_t fallback, int64_t least)
{
    const json_t *v = json_object_get(spec, key);
    int64_t n = json_is_integer(v) ? json_integer_value(v) : fallback;

    return n < least ? least : n;
}

void rs_probe_init(struct rs_probe *p, const json_t *spec)
{
    *p = (struct rs_probe){ .spec = spec, .next = INT64_MAX };
    if (!spec)
        return;
    p->initial_ms = number(spec, "initialDelaySeconds", 0, 0) * 1000;
    p->period_ms = number(spec, "periodSeconds", 10, 1) * 1000;
    p->timeout_ms = number(spec, "timeoutSeconds", 1, 1) * 1000;
    p->success = (int)number(spec, "successThreshold", 1, 1);
    p->failure = (int)number(spec, "failureThreshold", 3, 1);
}

void rs_probe_begin(struct rs_probe *p, int64_t now)
{
    p->streak = 0;
    p->verdict = RS_PROBE_UNKNOWN;
    p->next = p->spec ? now + p->initial_ms : INT64_MAX;
}

bool rs_probe_result(struct rs_probe *p, bool passed, int64_t now)
{
    enum rs_probe_verdict before = p->verdict;

    p->next = now + p->period_ms;
    if (passed) {
        p->streak = p->streak > 0 ? p->streak + 1 : 1;
        if (p->streak >= p->success)
            p->verdict = RS_PROBE_PASSED;
    } else {
        p->streak = p->streak < 0 ? p->streak - 1 : -1;
        if (-p->streak >= p->failure)
            p->verdict = RS_PROBE_FAILED;
    }
    return p->verdict != before;
}
