/* Randomness from OpenSSL's generator. Aborts when the system has none. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { RS_UUID_TEXT = 37 };

void rs_random(void *p, size_t n);
uint64_t rs_random_below(uint64_t n);                    /* uniform in [0, n); n > 0 */
const char *rs_uuid4(char buf[RS_UUID_TEXT]);
/* n letters of Kubernetes' alphabet for generated names (bcdf...2456789) and a NUL; buf has n + 1 bytes. */
const char *rs_random_name(char *buf, size_t n);
