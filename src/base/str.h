/* Text: borrowed slices and allocated strings. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/auto.h"

/* A borrowed run of bytes; not terminated. */
typedef struct rs_str { const char *p; size_t n; } rs_str;

#define RS_STR(literal) ((rs_str){ (literal), sizeof(literal) - 1 })
static inline rs_str rs_str_of(const char *s) { return (rs_str){ s ? s : "", s ? strlen(s) : 0 }; }
static inline bool rs_str_eq(rs_str a, rs_str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool rs_str_is(rs_str a, const char *s) { return rs_str_eq(a, rs_str_of(s)); }
/* True when both are NULL or equal text. */
static inline bool rs_streq(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }
static inline bool rs_starts(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }
bool rs_ends(const char *s, const char *suffix);

/* Allocated copies; abort when memory runs out; the caller frees. */
char *rs_strdup(const char *s);                        /* NULL gives NULL */
char *rs_strndup(const char *p, size_t n);
char *rs_printf(const char *fmt, ...) RS_PRINTF(1, 2);
/* Splits at each sep; returns a NULL-terminated array to be freed with rs_strv_free. */
char **rs_split(const char *s, char sep);
void   rs_strv_free(char **v);
typedef char *rs_strv;

rs_str rs_str_trim(rs_str s);                          /* spaces, tabs, CR, LF at both ends */
bool   rs_str_u64(rs_str s, uint64_t *ret);            /* whole decimal number, no sign */

/* base64 of n bytes (standard alphabet with padding, or url alphabet without), and back. The decoder refuses
 * anything but that alphabet (padding optional; standard form also skips whitespace); *ret is malloc'ed, one NUL more. */
char *rs_base64(const void *p, size_t n);
char *rs_base64url(const void *p, size_t n);
RS_MUST_USE int rs_unbase64(rs_str in, bool url, unsigned char **ret, size_t *ret_n);   /* 0 or -1 */
char *rs_hex(const void *p, size_t n);                 /* lower case */

/* True when s is an RFC 1123 label (lower case alphanumerics and '-', <= 63); dns1035 also wants a letter first. */
bool rs_dns_label(const char *s, bool dns1035);
/* True when s is an RFC 1123 subdomain (labels joined by dots, <= 253). */
bool rs_dns_subdomain(const char *s);
