/* HTTP/1.1 codec (RFC 9112): a pure core, bytes in, heads and body bytes out. Strict: bare CR or LF, folded lines, blanks
 * before a colon, a body whose length could be read in two ways, and the like are refused, never repaired. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "http/message.h"

enum { RS_H1_HEAD_MAX = 64 * 1024, RS_H1_HEADERS_MAX = 256, RS_H1_TRAILER_MAX = 8 * 1024, RS_H1_EXTENSION_MAX = 1024 };

struct rs_h1_head {
    char *method, *target;             /* request */
    int status;                        /* response */
    int minor;                         /* HTTP/1.minor */
    struct rs_http_headers headers;
    bool keep_alive, expect_continue;
    enum { RS_H1_BODY_NONE, RS_H1_BODY_LENGTH, RS_H1_BODY_CHUNKED, RS_H1_BODY_TO_END } body;
    uint64_t length;                   /* RS_H1_BODY_LENGTH */
};
void rs_h1_head_done(struct rs_h1_head *h);

/* Reads a head at the start of in: 1 when it is whole (*used bytes), 0 when more is needed, -1 when it is refused; then
 * *ret_status is what to answer (400, 414, 417, 431, 501, 505). h must be zeroed; nothing to free unless 1 is returned. */
RS_MUST_USE int rs_h1_request(struct rs_h1_head *h, rs_str in, size_t *used, int *ret_status, struct rs_err *e);
/* Heads of answers; those to HEAD and CONNECT are not told apart here. 1xx and 101 are returned as they come. */
RS_MUST_USE int rs_h1_response(struct rs_h1_head *h, rs_str in, size_t *used, struct rs_err *e);

struct rs_h1_body { int kind, state, digits; uint64_t left; size_t extension, trailer; };
void rs_h1_body_init(struct rs_h1_body *b, const struct rs_h1_head *h);
/* Appends body bytes to out: 1 at the body's end (*used bytes of in belong to it), 0 when more is needed, -1 RS_INVALID
 * or, when out is full, RS_EXHAUSTED. */
RS_MUST_USE int rs_h1_body_feed(struct rs_h1_body *b, rs_str in, size_t *used, struct rs_buf *out, struct rs_err *e);
