#include "cluster/backoff.h"

void rs_backoff_started(struct rs_backoff *b, int64_t now_ms)
{
    b->started_ms = now_ms;
}

int64_t rs_backoff_ended(struct rs_backoff *b, int64_t now_ms)
{
    if (now_ms - b->started_ms >= RS_BACKOFF_STABLE_MS)
        b->short_lives = 0;
    unsigned doublings = b->short_lives++;
    int64_t wait = RS_BACKOFF_FIRST_MS;
    while (doublings-- > 0 && wait < RS_BACKOFF_LAST_MS)
        wait *= 2;
    return wait < RS_BACKOFF_LAST_MS ? wait : RS_BACKOFF_LAST_MS;
}
