/* SHA-256 of DER bytes: the identity of a certificate everywhere in Rootshift (never a serial, a subject or PEM text). */
#pragma once
#include "base/str.h"

typedef struct rs_digest { unsigned char b[32]; } rs_digest;
enum { RS_DIGEST_TEXT = 65 };

rs_digest rs_sha256(const void *p, size_t n);
static inline bool rs_digest_eq(const rs_digest *a, const rs_digest *b) { return memcmp(a->b, b->b, 32) == 0; }
const char *rs_digest_text(const rs_digest *d, char buf[RS_DIGEST_TEXT]);     /* lower-case hex */
RS_MUST_USE int rs_digest_parse(const char *text, rs_digest *ret);            /* 0 or -1; colons and case ignored */
