/* Container logs in the CRI format: `2026-01-02T03:04:05.123456789Z stdout F text`. Lines longer than 16 KiB are cut into
 * P(artial) pieces. A file that reaches its size becomes PATH.1 (one is kept). Writing uses libc alone: the shim is tiny. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RS_CRILOG_LINE = 16 * 1024, RS_CRILOG_FILE = 10 * 1024 * 1024 };

struct rs_crilog {
    const char *path;                  /* borrowed */
    int fd;
    size_t size, max;
    struct { char p[RS_CRILOG_LINE]; size_t n; } part[2];      /* unfinished line of stdout, stderr */
};
int rs_crilog_open(struct rs_crilog *l, const char *path, size_t max);         /* 0, or -1 and errno */
/* stream: 1 stdout, 2 stderr. A full disk loses lines, never the container. */
void rs_crilog_write(struct rs_crilog *l, int stream, const char *p, size_t n);
void rs_crilog_close(struct rs_crilog *l);                     /* writes what is unfinished */

/* One line of such a file, without its end: pieces point into it. False when it is not one. */
struct rs_crilog_line { const char *time; size_t time_n; int stream; bool partial; const char *text; size_t text_n; };
bool rs_crilog_parse(const char *p, size_t n, struct rs_crilog_line *ret);
