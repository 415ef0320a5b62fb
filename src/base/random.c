#include "base/random.h"

#include <stdio.h>

#include <openssl/rand.h>

#include "base/auto.h"

void rs_random(void *p, size_t n)
{
    rs_assert(RAND_bytes(p, (int)n) == 1);
}

uint64_t rs_random_below(uint64_t n)
{
    rs_assert(n > 0);
    uint64_t v, limit = UINT64_MAX - UINT64_MAX % n;
    do
        rs_random(&v, sizeof(v));
    while (v >= limit);
    return v % n;
}

const char *rs_uuid4(char buf[RS_UUID_TEXT])
{
    unsigned char b[16];
    rs_random(b, sizeof(b));
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(buf, RS_UUID_TEXT, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    return buf;
}

const char *rs_random_name(char *buf, size_t n)
{
    static const char abc[] = "bcdfghjklmnpqrstvwxz2456789";
    for (size_t i = 0; i < n; i++)
        buf[i] = abc[rs_random_below(sizeof(abc) - 1)];
    buf[n] = 0;
    return buf;
}
