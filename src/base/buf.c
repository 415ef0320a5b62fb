#include "base/buf.h"

#include <stdarg.h>

void rs_buf_init(struct rs_buf *b, size_t max)
{
    *b = (struct rs_buf){ .max = max };
}

void rs_buf_done(struct rs_buf *b)
{
    free(b->p);
    b->p = NULL;
    b->n = b->cap = 0;
}

static bool reserve(struct rs_buf *b, size_t n)
{
    if (n > b->max || b->n > b->max - n) {
        b->over = true;
        return false;
    }
    if (b->n + n + 1 > b->cap) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < b->n + n + 1)
            cap *= 2;
        b->p = rs_realloc(b->p, cap);
        b->cap = cap;
    }
    return true;
}

void rs_buf_add(struct rs_buf *b, const void *p, size_t n)
{
    if (!reserve(b, n))
        return;
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void rs_buf_adds(struct rs_buf *b, const char *s)
{
    rs_buf_add(b, s, strlen(s));
}

void rs_buf_addf(struct rs_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    rs_assert(n >= 0);
    if (reserve(b, (size_t)n)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void rs_buf_drop(struct rs_buf *b, size_t n)
{
    rs_assert(n <= b->n);
    if (n == 0)
        return;
    memmove(b->p, b->p + n, b->n - n + 1);
    b->n -= n;
}

void rs_buf_clear(struct rs_buf *b)
{
    b->n = 0;
    b->over = false;
    if (b->p)
        b->p[0] = 0;
}

char *rs_buf_take(struct rs_buf *b)
{
    if (!b->p)
        return rs_strdup("");
    char *p = b->p;
    b->p = NULL;
    b->n = b->cap = 0;
    return p;
}
