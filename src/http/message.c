#include "http/message.h"

#include <ctype.h>
#include <strings.h>

const char *rs_http_headers_get(const struct rs_http_headers *h, const char *name)
{
    for (size_t i = 0; i < h->n; i++)
        if (rs_streq(h->v[i].name, name))
            return h->v[i].value;
    return NULL;
}

bool rs_http_headers_has_token(const struct rs_http_headers *h, const char *name, const char *token)
{
    size_t token_n = strlen(token);
    for (size_t i = 0; i < h->n; i++) {
        if (!rs_streq(h->v[i].name, name))
            continue;
        for (const char *p = h->v[i].value; p; ) {
            const char *comma = strchr(p, ',');
            rs_str part = rs_str_trim((rs_str){ p, comma ? (size_t)(comma - p) : strlen(p) });
            if (part.n == token_n && strncasecmp(part.p, token, token_n) == 0)
                return true;
            p = comma ? comma + 1 : NULL;
        }
    }
    return false;
}

void rs_http_headers_add(struct rs_http_headers *h, const char *name, const char *value)
{
    if ((h->n & (h->n - 1)) == 0)      /* full at each power of two */
        h->v = rs_realloc(h->v, (h->n ? h->n * 2 : 1) * sizeof(*h->v));
    char *lower = rs_strdup(name);
    for (char *p = lower; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    h->v[h->n++] = (struct rs_http_header){ lower, rs_strdup(value) };
}

void rs_http_headers_done(struct rs_http_headers *h)
{
    for (size_t i = 0; i < h->n; i++) {
        free(h->v[i].name);
        free(h->v[i].value);
    }
    free(h->v);
    *h = (struct rs_http_headers){ 0 };
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *unescape(const char *p, size_t n, bool plus_is_space)
{
    RS_AUTO(rs_chars) *out = rs_alloc(n + 1);
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (c == '%') {
            int hi = n - i > 2 ? hex_digit(p[i + 1]) : -1, lo = hi >= 0 ? hex_digit(p[i + 2]) : -1;
            if (lo < 0)
                return NULL;
            c = (char)(hi << 4 | lo);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == '\0')
            return NULL;
        out[m++] = c;
    }
    return rs_take(out);
}

char *rs_http_unescape(const char *p, size_t n)
{
    return unescape(p, n, false);
}

char *rs_http_query(const char *query, const char *name, size_t i)
{
    for (const char *p = query; p && *p; ) {
        size_t n = strcspn(p, "&");
        const char *equals = memchr(p, '=', n);
        size_t name_n = equals ? (size_t)(equals - p) : n;
        RS_AUTO(rs_chars) *key = unescape(p, name_n, true);
        if (rs_streq(key, name) && i-- == 0)
            return equals ? unescape(equals + 1, n - name_n - 1, true) : rs_strdup("");
        p += n;
        if (*p)
            p++;
    }
    return NULL;
}

char *rs_http_escape(const char *s)
{
    char *out = rs_alloc(strlen(s) * 3 + 1), *p = out;
    for (; *s; s++) {
        if (isalnum((unsigned char)*s) || strchr("-._~", *s))
            *p++ = *s;
        else
            p += sprintf(p, "%%%02X", (unsigned char)*s);
    }
    return out;
}

const char *rs_http_reason(int status)
{
    static const struct { int status; const char *reason; } reasons[] = {
        { 100, "Continue" }, { 101, "Switching Protocols" }, { 200, "OK" }, { 201, "Created" }, { 202, "Accepted" }, { 204, "No Content" },
        { 206, "Partial Content" }, { 301, "Moved Permanently" }, { 302, "Found" }, { 304, "Not Modified" }, { 307, "Temporary Redirect" },
        { 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" },
        { 406, "Not Acceptable" }, { 408, "Request Timeout" }, { 409, "Conflict" }, { 410, "Gone" }, { 411, "Length Required" },
        { 412, "Precondition Failed" }, { 413, "Content Too Large" }, { 414, "URI Too Long" }, { 415, "Unsupported Media Type" },
        { 417, "Expectation Failed" }, { 422, "Unprocessable Content" }, { 426, "Upgrade Required" }, { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" }, { 501, "Not Implemented" }, { 502, "Bad Gateway" },
        { 503, "Service Unavailable" }, { 504, "Gateway Timeout" }, { 505, "HTTP Version Not Supported" },
    };
    for (size_t i = 0; i < RS_COUNT(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}
