#include "base/err.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>

void rs_auto_fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void out_of_memory(size_t n)
{
    fprintf(stderr, "out of memory asking for %zu bytes\n", n);
    abort();
}

void *rs_alloc(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p)
        out_of_memory(n);
    return p;
}

void *rs_alloc_array(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p)
        out_of_memory(n);
    return p;
}

void *rs_realloc(void *old, size_t n)
{
    void *p = realloc(old, n ? n : 1);
    if (!p)
        out_of_memory(n);
    return p;
}

void rs_assert_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, what);
    abort();
}

static void set_origin(struct rs_err *e, enum rs_code code, int sys, const char *file, int line)
{
    e->code = code;
    e->sys = sys;
    e->file = file;
    e->line = line;
}

int rs_err_set(struct rs_err *e, enum rs_code code, int sys, const char *file, int line, const char *fmt, ...)
{
    char msg[sizeof(e->msg)];                 /* arguments may point into e->msg */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    memcpy(e->msg, msg, sizeof(msg));
    set_origin(e, code, sys, file, line);
    return -1;
}

static enum rs_code code_of_errno(int sys)
{
    switch (sys) {
    case ENOENT: case ESRCH: return RS_NOT_FOUND;
    case EEXIST: return RS_EXISTS;
    case EACCES: case EPERM: case EROFS: return RS_FORBIDDEN;
    case ENOSPC: case EDQUOT: case EMFILE: case ENFILE: case ENOMEM: return RS_EXHAUSTED;
    case ETIMEDOUT: return RS_DEADLINE;
    case EINVAL: case ENAMETOOLONG: case ENOTDIR: case EISDIR: return RS_INVALID;
    case ECONNREFUSED: case ECONNRESET: case EPIPE: case EHOSTUNREACH: case ENETUNREACH: return RS_UNAVAILABLE;
    default: return RS_INTERNAL;
    }
}

int rs_err_set_errno(struct rs_err *e, int sys, const char *file, int line, const char *fmt, ...)
{
    char msg[sizeof(e->msg)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    size_t n = strlen(msg);
    snprintf(msg + n, sizeof(msg) - n, ": %s", strerror(sys));
    memcpy(e->msg, msg, sizeof(msg));
    set_origin(e, code_of_errno(sys), sys, file, line);
    return -1;
}

int rs_err_set_openssl(struct rs_err *e, enum rs_code code, const char *file, int line, const char *fmt, ...)
{
    char msg[sizeof(e->msg)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    unsigned long err;
    for (size_t n = strlen(msg); n + 4 < sizeof(msg) && (err = ERR_get_error()); n = strlen(msg)) {
        const char *reason = ERR_reason_error_string(err);
        snprintf(msg + n, sizeof(msg) - n, ": %s", reason ? reason : "unknown OpenSSL error");
    }
    ERR_clear_error();
    memcpy(e->msg, msg, sizeof(msg));
    set_origin(e, code, 0, file, line);
    return -1;
}

int rs_err_wrap(struct rs_err *e, const char *fmt, ...)
{
    char context[sizeof(e->msg)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(context, sizeof(context), fmt, ap);
    va_end(ap);
    size_t c = strlen(context), m = strlen(e->msg);
    if (c + 2 + m + 1 <= sizeof(e->msg)) {
        memmove(e->msg + c + 2, e->msg, m + 1);
        memcpy(e->msg, context, c);
        memcpy(e->msg + c, ": ", 2);
    }
    return -1;
}

static const char *const code_names[] = {
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
};

const char *rs_code_name(enum rs_code code)
{
    return (size_t)code < RS_COUNT(code_names) ? code_names[code] : "UNKNOWN";
}

int rs_code_exit(enum rs_code code)
{
    switch (code) {
    case RS_OK: return 0;
    case RS_INVALID: case RS_RANGE: return 2;
    case RS_UNAVAILABLE: case RS_DEADLINE: case RS_FORBIDDEN: case RS_UNAUTHENTICATED: return 3;
    case RS_PRECONDITION: return 4;
    default: return 1;
    }
}
