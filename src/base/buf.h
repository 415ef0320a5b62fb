/* A growable byte buffer with a hard maximum: there is no unbounded form. One owner, one thread. */
#pragma once
#include "base/str.h"

struct rs_buf {
    char *p;                       /* always NUL-terminated once anything was written; may be NULL while empty */
    size_t n, cap, max;
    bool over;                     /* sticky: something did not fit; what did fit stays */
};

void rs_buf_init(struct rs_buf *b, size_t max);
void rs_buf_done(struct rs_buf *b);
#define RS_AUTO_BUF __attribute__((cleanup(rs_buf_done))) struct rs_buf

/* Appending past max writes nothing and sets b->over; check it once at the end. */
void rs_buf_add(struct rs_buf *b, const void *p, size_t n);
void rs_buf_adds(struct rs_buf *b, const char *s);
void rs_buf_addf(struct rs_buf *b, const char *fmt, ...) RS_PRINTF(2, 3);
void rs_buf_drop(struct rs_buf *b, size_t n);          /* removes n bytes at the front */
void rs_buf_clear(struct rs_buf *b);                   /* empties, keeps memory */
static inline rs_str rs_buf_str(const struct rs_buf *b) { return (rs_str){ b->p ? b->p : "", b->n }; }
char *rs_buf_take(struct rs_buf *b);                   /* hands over the text (never NULL); b is empty again */
