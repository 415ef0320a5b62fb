#include <stdint.h>
#include <string.h>

#include "pki/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* First line: a key set; the rest: a token. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rs_err e;
    const uint8_t *nl = size ? memchr(data, '\n', size) : NULL;
    size_t head = nl ? (size_t)(nl - data) : size;
    rs_str token = nl ? (rs_str){ (const char *)nl + 1, size - head - 1 } : (rs_str){ "", 0 };
    RS_AUTO(json_t) *set = NULL, *claims = NULL, *seen = NULL;
    RS_AUTO(rs_jwks) *keys = NULL;
    (void)!rs_jwt_peek(&seen, token, &e);
    if (rs_json_parse(&set, (rs_str){ (const char *)data, head }, &e) == 0 && rs_jwks_parse(&keys, set, &e) == 0)
        (void)!rs_jwt_verify(&claims, token, keys, &(struct rs_jwt_check){ .issuer = "joe", .now_ms = 1300819379000 }, &e);
    return 0;
}
