#include "grpc/wire.h"

#include <nghttp2/nghttp2.h>

void rs_grpc_frame_add(struct rs_buf *out, rs_str message)
{
    rs_assert(message.n <= UINT32_MAX);
    unsigned char prefix[RS_GRPC_PREFIX] = { 0, (unsigned char)(message.n >> 24), (unsigned char)(message.n >> 16),
                                             (unsigned char)(message.n >> 8), (unsigned char)message.n };
    /* Both or neither: half a message would shift everything after it. */
    if (message.n + RS_GRPC_PREFIX > out->max - out->n) {
        out->over = true;
        return;
    }
    rs_buf_add(out, prefix, sizeof prefix);
    rs_buf_add(out, message.p, message.n);
}

int rs_grpc_frame_peek(rs_str in, size_t max, rs_str *ret, struct rs_err *e)
{
    if (in.n < RS_GRPC_PREFIX)
        return 0;
    const unsigned char *p = (const unsigned char *)in.p;
    size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    if (p[0] != 0)
        return RS_FAIL(e, RS_UNIMPLEMENTED, "compressed gRPC message");
    if (n > max)
        return RS_FAIL(e, RS_EXHAUSTED, "gRPC message of %zu bytes, at most %zu are accepted", n, max);
    if (in.n - RS_GRPC_PREFIX < n)
        return 0;
    *ret = (rs_str){ in.p + RS_GRPC_PREFIX, n };
    return 1;
}

bool rs_grpc_timeout_parse(const char *s, int64_t *ret_ms)
{
    size_t digits = strspn(s, "0123456789");
    uint64_t v;
    if (digits == 0 || digits > 8 || strlen(s) != digits + 1 || !rs_str_u64((rs_str){ s, digits }, &v))
        return false;
    int64_t n = (int64_t)v;
    switch (s[digits]) {
    case 'H': *ret_ms = n * 3600 * 1000; return true;
    case 'M': *ret_ms = n * 60 * 1000; return true;
    case 'S': *ret_ms = n * 1000; return true;
    case 'm': *ret_ms = n; return true;
    case 'u': *ret_ms = (n + 999) / 1000; return true;
    case 'n': *ret_ms = (n + 999999) / 1000000; return true;
    default: return false;
    }
}

void rs_grpc_timeout_text(int64_t ms, char buf[16])
{
    if (ms < 100000000)
        snprintf(buf, 16, "%dm", (int)ms);
    else
        snprintf(buf, 16, "%dS", (int)(ms / 1000 < 99999999 ? ms / 1000 : 99999999));
}

char *rs_grpc_message_encode(const char *s)
{
    char *out = rs_alloc(strlen(s) * 3 + 1), *p = out;
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c >= 0x20 && c < 0x7f && c != '%')
            *p++ = (char)c;
        else
            p += sprintf(p, "%%%02X", c);
    }
    return out;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *rs_grpc_message_decode(const char *s)
{
    char *out = rs_alloc(strlen(s) + 1), *p = out;
    while (*s) {
        int hi = s[0] == '%' ? hex_digit(s[1]) : -1, lo = hi >= 0 ? hex_digit(s[2]) : -1;
        if (lo >= 0 && hi * 16 + lo != 0) {
            *p++ = (char)(hi * 16 + lo);
            s += 3;
        } else {
            *p++ = *s++;
        }
    }
    return out;
}

enum rs_code rs_grpc_code_of_http(int status)
{
    switch (status) {
    case 400: return RS_INTERNAL;
    case 401: return RS_UNAUTHENTICATED;
    case 403: return RS_FORBIDDEN;
    case 404: return RS_UNIMPLEMENTED;
    case 429: case 502: case 503: case 504: return RS_UNAVAILABLE;
    default: return RS_UNKNOWN;
    }
}

enum rs_code rs_grpc_code_of_reset(uint32_t h2_error)
{
    switch (h2_error) {
    case NGHTTP2_REFUSED_STREAM: return RS_UNAVAILABLE;
    case NGHTTP2_CANCEL: return RS_CANCELLED;
    case NGHTTP2_ENHANCE_YOUR_CALM: return RS_EXHAUSTED;
    case NGHTTP2_INADEQUATE_SECURITY: return RS_FORBIDDEN;
    default: return RS_INTERNAL;
    }
}
