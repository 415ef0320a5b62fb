/* Clocks and their texts. Wall time is milliseconds since 1970 UTC; waiting uses the monotonic clock. Pure cores get
 * `now` as an argument; only edges call rs_now_ms. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"

enum { RS_TIME_TEXT = 40 };

int64_t rs_now_ms(void);           /* wall clock */
int64_t rs_mono_ms(void);          /* monotonic */

/* RFC 3339 in UTC: "2026-01-02T03:04:05Z", the _ms form "2026-01-02T03:04:05.678Z". Return buf. */
const char *rs_time_text(int64_t ms, char buf[RS_TIME_TEXT]);
const char *rs_time_text_ms(int64_t ms, char buf[RS_TIME_TEXT]);
/* Reads RFC 3339 with any zone and fraction. */
bool rs_time_parse(const char *s, int64_t *ret_ms);

/* "90s", "24h", "1h30m", "150ms" (Go's duration texts) to milliseconds. */
bool rs_duration_parse(const char *s, int64_t *ret_ms);
/* Age as kubectl prints it: 2m5s, 36m, 3h2m, 7h, 2d3h, 9d. */
const char *rs_duration_age(int64_t ms, char buf[RS_TIME_TEXT]);
