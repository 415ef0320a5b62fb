/* PEM armour, read tolerantly: text around the blocks, CRLF, indentation and any line width are fine. Pure. */
#pragma once
#include "base/err.h"
#include "base/str.h"

struct rs_pem_block {
    rs_str label;                  /* "CERTIFICATE"; points into the text */
    rs_str body;                   /* between the armour lines, still encoded; points into the text */
};

/* Takes the next block off the front of *text: 1 with a block, 0 when there is none left, -1 (RS_INVALID) when a BEGIN
 * line has no matching END. */
RS_MUST_USE int rs_pem_next(rs_str *text, struct rs_pem_block *ret, struct rs_err *e);
/* The block's bytes; malloc'ed, cleansed by the caller when they are a key. */
RS_MUST_USE int rs_pem_bytes(const struct rs_pem_block *b, unsigned char **ret, size_t *ret_n, struct rs_err *e);
/* DER as armoured text, 64 columns, newline at the end. The caller frees. */
char *rs_pem_text(const char *label, const void *der, size_t n);
