/* What HTTP/1.1 requests and responses have in common. */
#pragma once
#include "base/str.h"

struct rs_http_header { char *name, *value; };          /* name in lower case */
struct rs_http_headers { struct rs_http_header *v; size_t n; };

/* First value, or NULL. name in lower case. */
const char *rs_http_headers_get(const struct rs_http_headers *h, const char *name);
/* True when a comma-separated header such as Connection or Upgrade holds the token (case-insensitive). */
bool rs_http_headers_has_token(const struct rs_http_headers *h, const char *name, const char *token);
void rs_http_headers_add(struct rs_http_headers *h, const char *name, const char *value);
void rs_http_headers_done(struct rs_http_headers *h);

/* Value of a query parameter, percent-decoded and malloc'ed, or NULL; i-th occurrence. */
char *rs_http_query(const char *query, const char *name, size_t i);
/* Percent-decodes n bytes; NULL on a broken escape or a NUL. */
char *rs_http_unescape(const char *p, size_t n);
char *rs_http_escape(const char *s);                     /* everything but unreserved characters */
const char *rs_http_reason(int status);
