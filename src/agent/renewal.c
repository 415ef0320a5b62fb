#include "agent/renewal.h"

int64_t rs_renewal_delay(int64_t received_ms, int64_t not_after_ms, int64_t now_ms, double ratio, double jitter, double random)
{
    double left = ratio + (random * 2 - 1) * jitter;
    left = left < 0 ? 0 : left > 1 ? 1 : left;
    double life = (double)(not_after_ms - received_ms);
    int64_t at = not_after_ms - (int64_t)(life * left);
    return at > now_ms ? at - now_ms : 0;
}

int64_t rs_retry_delay(unsigned attempt, double random)
{
    double ms = 100.0 * (double)(1u << (attempt > 9 ? 9 : attempt));
    ms = ms > 30000 ? 30000 : ms;
    return (int64_t)(ms * (0.9 + 0.2 * random));
}
