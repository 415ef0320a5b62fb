/* Errors are values: code, cause and context in one struct on the caller's stack, so failing needs no memory.
 * A function that can fail returns 0 or -1, takes `struct rs_err *e` last (never NULL) and sets it exactly when it
 * returns -1. Library code returns errors; programs and RPC edges print them once. */
#pragma once
#include <errno.h>
#include "base/auto.h"

/* Numbered as gRPC's status codes. */
enum rs_code {
    RS_OK = 0, RS_CANCELLED = 1, RS_UNKNOWN = 2, RS_INVALID = 3, RS_DEADLINE = 4, RS_NOT_FOUND = 5, RS_EXISTS = 6,
    RS_FORBIDDEN = 7, RS_EXHAUSTED = 8, RS_PRECONDITION = 9, RS_ABORTED = 10, RS_RANGE = 11, RS_UNIMPLEMENTED = 12,
    RS_INTERNAL = 13, RS_UNAVAILABLE = 14, RS_DATA_LOSS = 15, RS_UNAUTHENTICATED = 16,
};

struct rs_err {
    enum rs_code code;
    int sys;                       /* errno at the origin, or 0 */
    const char *file;              /* origin */
    int line;
    char msg[768];
};

/* Sets e and evaluates to -1: return RS_FAIL(e, RS_INVALID, "certificate %zu is not a CA", n); */
#define RS_FAIL(e, code, ...) rs_err_set((e), (code), 0, __FILE__, __LINE__, __VA_ARGS__)
/* The same from errno, whose text is appended and which chooses the code (ENOENT -> RS_NOT_FOUND, ...). */
#define RS_FAIL_ERRNO(e, ...) rs_err_set_errno((e), errno, __FILE__, __LINE__, __VA_ARGS__)
/* The same from OpenSSL's error queue, which is drained into the message. */
#define RS_FAIL_OPENSSL(e, code, ...) rs_err_set_openssl((e), (code), __FILE__, __LINE__, __VA_ARGS__)

int rs_err_set(struct rs_err *e, enum rs_code code, int sys, const char *file, int line, const char *fmt, ...) RS_PRINTF(6, 7);
int rs_err_set_errno(struct rs_err *e, int sys, const char *file, int line, const char *fmt, ...) RS_PRINTF(5, 6);
int rs_err_set_openssl(struct rs_err *e, enum rs_code code, const char *file, int line, const char *fmt, ...) RS_PRINTF(5, 6);

/* Prefixes "context: ", keeps code and origin, returns -1. When the text is too long, context is dropped first. */
int rs_err_wrap(struct rs_err *e, const char *fmt, ...) RS_PRINTF(2, 3);

/* "INVALID_ARGUMENT" and the like. */
const char *rs_code_name(enum rs_code code);

/* Exit status of a program that ends with this error: 2 bad input, 3 unreachable or forbidden, 4 gate closed
 * (RS_PRECONDITION), else 1 (design 9). */
int rs_code_exit(enum rs_code code);
