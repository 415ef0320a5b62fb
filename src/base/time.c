#include "base/time.h"

#include <ctype.h>
#include <time.h>

static int64_t clock_ms(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t rs_now_ms(void) { return clock_ms(CLOCK_REALTIME); }
int64_t rs_mono_ms(void) { return clock_ms(CLOCK_MONOTONIC); }

static void split_ms(int64_t ms, struct tm *tm, int *rest)
{
    time_t s = (time_t)(ms >= 0 ? ms / 1000 : (ms - 999) / 1000);
    *rest = (int)(ms - (int64_t)s * 1000);
    gmtime_r(&s, tm);
}

const char *rs_time_text(int64_t ms, char buf[RS_TIME_TEXT])
{
    struct tm tm;
    int rest;
    split_ms(ms, &tm, &rest);
    strftime(buf, RS_TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return buf;
}

const char *rs_time_text_ms(int64_t ms, char buf[RS_TIME_TEXT])
{
    struct tm tm;
    int rest;
    split_ms(ms, &tm, &rest);
    size_t n = strftime(buf, RS_TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf + n, RS_TIME_TEXT - n, ".%03dZ", rest);
    return buf;
}

bool rs_time_parse(const char *s, int64_t *ret_ms)
{
    struct tm tm = { 0 };
    const char *p = s ? strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    if (!p)
        return false;
    int64_t ms = 0;
    if (*p == '.') {
        int64_t scale = 100;
        for (p++; isdigit((unsigned char)*p); p++, scale /= 10)
            ms += (*p - '0') * scale;
    }
    int64_t zone = 0;
    if (*p == 'Z' || *p == 'z') {
        p++;
    } else if (*p == '+' || *p == '-') {
        int sign = *p == '+' ? 1 : -1, h, m, used = 0;
        if (sscanf(p + 1, "%2d:%2d%n", &h, &m, &used) != 2 || used != 5)
            return false;
        zone = sign * (h * 3600 + m * 60);
        p += 1 + used;
    } else {
        return false;
    }
    if (*p)
        return false;
    *ret_ms = ((int64_t)timegm(&tm) - zone) * 1000 + ms;
    return true;
}

bool rs_duration_parse(const char *s, int64_t *ret_ms)
{
    int64_t total = 0;
    if (!s || !*s)
        return false;
    while (*s) {
        char *end;
        double v = strtod(s, &end);
        if (end == s || v < 0 || v > 1e12)
            return false;
        double unit;
        if (rs_starts(end, "ms")) { unit = 1; end += 2; }
        else if (*end == 'h') { unit = 3600000; end++; }
        else if (*end == 'm') { unit = 60000; end++; }
        else if (*end == 's') { unit = 1000; end++; }
        else return false;
        total += (int64_t)(v * unit);
        s = end;
    }
    *ret_ms = total;
    return true;
}

const char *rs_duration_age(int64_t ms, char buf[RS_TIME_TEXT])
{
    long long s = ms / 1000, m = s / 60, h = m / 60, d = h / 24;
    if (s < 0)
        snprintf(buf, RS_TIME_TEXT, "0s");
    else if (s < 120)
        snprintf(buf, RS_TIME_TEXT, "%llds", s);
    else if (m < 10 && s % 60)
        snprintf(buf, RS_TIME_TEXT, "%lldm%llds", m, s % 60);
    else if (m < 180)
        snprintf(buf, RS_TIME_TEXT, "%lldm", m);
    else if (h < 8 && m % 60)
        snprintf(buf, RS_TIME_TEXT, "%lldh%lldm", h, m % 60);
    else if (h < 48)
        snprintf(buf, RS_TIME_TEXT, "%lldh", h);
    else if (d < 8 && h % 24)
        snprintf(buf, RS_TIME_TEXT, "%lldd%lldh", d, h % 24);
    else if (d < 730)
        snprintf(buf, RS_TIME_TEXT, "%lldd", d);
    else
        snprintf(buf, RS_TIME_TEXT, "%lldy", d / 365);
    return buf;
}
