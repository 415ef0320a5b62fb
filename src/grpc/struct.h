/* google.protobuf.Struct on the wire to JSON and back, with a limit on depth (it contains itself, and any client can send
 * one: Node.metadata, IstioCertificateRequest.metadata). Pure. */
#pragma once
#include "base/buf.h"
#include "base/json.h"

enum { RS_STRUCT_DEPTH_MAX = 32, RS_STRUCT_VALUES_MAX = 100000 };

/* New reference; an object. RS_INVALID when malformed, too deep or too large. */
RS_MUST_USE int rs_struct_decode(json_t **ret, rs_str bytes, struct rs_err *e);
/* Appends the bytes of an object; numbers become doubles as in JSON. Deeper than the limit is an assertion: it is our own. */
void rs_struct_encode(struct rs_buf *out, const json_t *object);
