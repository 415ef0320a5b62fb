/* When to renew a certificate, and when to ask again after a failure. Pure. */
#pragma once
#include <stdint.h>

/* Milliseconds until renewal: part of what is left when the certificate arrived (Istio: at half life, jittered by +-1 %).
 * ratio in [0,1] is the part of life left at renewal; random in [0,1). Never negative. */
int64_t rs_renewal_delay(int64_t received_ms, int64_t not_after_ms, int64_t now_ms, double ratio, double jitter, double random);
/* Back-off before attempt n (0, 1, ...): 100 ms doubling to 30 s, +-10 %. */
int64_t rs_retry_delay(unsigned attempt, double random);
