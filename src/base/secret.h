/* Key bytes and tokens: cleansed when freed; there is no way to print one. */
#pragma once
#include "base/str.h"

typedef struct rs_secret { char *p; size_t n; } rs_secret;     /* p is NUL-terminated */

rs_secret *rs_secret_new(const void *p, size_t n);
void rs_secret_free(rs_secret *s);                             /* NULL is a no-op */
RS_DEFINE_AUTO(rs_secret, rs_secret_free)
/* Cleanses a malloc'ed text that held secret bytes, then frees it. */
void rs_free_cleansed(void *p, size_t n);
