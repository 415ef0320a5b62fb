/* How long to wait before a part that ended is started again: at once after a long life, doubling after short ones.
 * Pure: time comes in as an argument. */
#pragma once
#include <stdint.h>

enum { RS_BACKOFF_FIRST_MS = 100, RS_BACKOFF_LAST_MS = 10 * 1000, RS_BACKOFF_STABLE_MS = 30 * 1000 };

struct rs_backoff { int64_t started_ms; unsigned short_lives; };

void rs_backoff_started(struct rs_backoff *b, int64_t now_ms);
/* Milliseconds to wait now that it ended. */
int64_t rs_backoff_ended(struct rs_backoff *b, int64_t now_ms);
