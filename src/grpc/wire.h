/* gRPC's texts and framing on the wire (PROTOCOL-HTTP2). Pure. */
#pragma once
#include "base/buf.h"
#include "base/err.h"

enum { RS_GRPC_PREFIX = 5 };       /* compressed flag and big-endian length before each message */

/* Appends prefix and message. */
void rs_grpc_frame_add(struct rs_buf *out, rs_str message);
/* Looks at the front of in: 1 and the message inside in (which takes RS_GRPC_PREFIX + message bytes), 0 when more bytes are
 * needed, -1 on a compressed (RS_UNIMPLEMENTED) or too long (RS_EXHAUSTED) message. */
int rs_grpc_frame_peek(rs_str in, size_t max, rs_str *ret, struct rs_err *e);

/* grpc-timeout ("1500m", "10S"): milliseconds, rounded up; false when malformed. */
bool rs_grpc_timeout_parse(const char *s, int64_t *ret_ms);
void rs_grpc_timeout_text(int64_t ms, char buf[16]);

/* grpc-message: percent-encoding of everything but printable ASCII. Decoding leaves broken escapes as they are. malloc'ed. */
char *rs_grpc_message_encode(const char *s);
char *rs_grpc_message_decode(const char *s);

/* Status of a call that ended without grpc-status. */
enum rs_code rs_grpc_code_of_http(int status);
enum rs_code rs_grpc_code_of_reset(uint32_t h2_error);
