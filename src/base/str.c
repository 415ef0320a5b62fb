#include "base/str.h"

#include <ctype.h>
#include <stdarg.h>

bool rs_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

char *rs_strdup(const char *s)
{
    return s ? rs_strndup(s, strlen(s)) : NULL;
}

char *rs_strndup(const char *p, size_t n)
{
    char *s = rs_alloc(n + 1);
    if (n)
        memcpy(s, p, n);
    return s;
}

char *rs_printf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = NULL;
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    rs_assert(n >= 0);
    return s;
}

char **rs_split(const char *s, char sep)
{
    size_t n = 1;
    for (const char *p = s; *p; p++)
        n += *p == sep;
    char **v = rs_new_array(char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *end = strchrnul(s, sep);
        v[i] = rs_strndup(s, (size_t)(end - s));
        s = end + 1;
    }
    return v;
}

void rs_strv_free(char **v)
{
    for (char **p = v; v && *p; p++)
        free(*p);
    free(v);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

rs_str rs_str_trim(rs_str s)
{
    while (s.n && blank(s.p[0]))
        s.p++, s.n--;
    while (s.n && blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

bool rs_str_u64(rs_str s, uint64_t *ret)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *ret = v;
    return true;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char alphabet_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static char *encode64(const unsigned char *p, size_t n, const char *abc, bool pad)
{
    char *out = rs_alloc((n + 2) / 3 * 4 + 1), *o = out;
    for (; n >= 3; p += 3, n -= 3) {
        *o++ = abc[p[0] >> 2];
        *o++ = abc[(p[0] & 3) << 4 | p[1] >> 4];
        *o++ = abc[(p[1] & 15) << 2 | p[2] >> 6];
        *o++ = abc[p[2] & 63];
    }
    if (n) {
        *o++ = abc[p[0] >> 2];
        *o++ = abc[(p[0] & 3) << 4 | (n == 2 ? p[1] >> 4 : 0)];
        if (n == 2)
            *o++ = abc[(p[1] & 15) << 2];
        for (size_t i = n; pad && i < 3; i++)
            *o++ = '=';
    }
    return out;
}

char *rs_base64(const void *p, size_t n) { return encode64(p, n, alphabet, true); }
char *rs_base64url(const void *p, size_t n) { return encode64(p, n, alphabet_url, false); }

static int value64(char c, bool url)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == (url ? '-' : '+')) return 62;
    if (c == (url ? '_' : '/')) return 63;
    return -1;
}

int rs_unbase64(rs_str in, bool url, unsigned char **ret, size_t *ret_n)
{
    RS_AUTO(rs_chars) *out = rs_alloc(in.n / 4 * 3 + 4);
    size_t n = 0, digits = 0, pads = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < in.n; i++) {
        if (!url && blank(in.p[i]))
            continue;
        if (in.p[i] == '=') {
            pads++;
            continue;
        }
        int v = value64(in.p[i], url);
        if (v < 0 || pads)
            return -1;
        bits = bits << 6 | (unsigned)v;
        if (++digits % 4 == 0) {
            out[n++] = (char)(bits >> 16);
            out[n++] = (char)(bits >> 8);
            out[n++] = (char)bits;
        }
    }
    size_t rest = digits % 4;
    if (rest == 1 || (pads && (rest == 0 || pads != 4 - rest)))
        return -1;
    if (rest == 2) {
        out[n++] = (char)(bits >> 4);
    } else if (rest == 3) {
        out[n++] = (char)(bits >> 10);
        out[n++] = (char)(bits >> 2);
    }
    out[n] = 0;
    *ret = (unsigned char *)rs_take(out);
    *ret_n = n;
    return 0;
}

char *rs_hex(const void *p, size_t n)
{
    const unsigned char *b = p;
    char *s = rs_alloc(2 * n + 1);
    for (size_t i = 0; i < n; i++) {
        s[2 * i] = "0123456789abcdef"[b[i] >> 4];
        s[2 * i + 1] = "0123456789abcdef"[b[i] & 15];
    }
    return s;
}

static bool label(const char *s, size_t n, bool dns1035)
{
    if (n == 0 || n > 63 || s[0] == '-' || s[n - 1] == '-')
        return false;
    if (dns1035 && !(s[0] >= 'a' && s[0] <= 'z'))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!(s[i] == '-' || (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'z')))
            return false;
    return true;
}

bool rs_dns_label(const char *s, bool dns1035)
{
    return s && label(s, strlen(s), dns1035);
}

bool rs_dns_subdomain(const char *s)
{
    if (!s || !*s || strlen(s) > 253)
        return false;
    for (;;) {
        const char *end = strchrnul(s, '.');
        if (!label(s, (size_t)(end - s), false))
            return false;
        if (!*end)
            return true;
        s = end + 1;
    }
}
