#include <stdint.h>

#include "agent/ads_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the control plane says, before anybody has looked at it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rs_err e;
    rs_str type, in = { (const char *)data, size };
    struct rs_ads_bundle b;
    if (rs_ads_type_url(in, &type, &e) == 0)
        rs_assert(type.n == 0 || (type.p >= in.p && type.p + type.n <= in.p + in.n));
    if (rs_ads_bundle_read(&b, in, &e) < 0)
        return 0;
    size_t n;
    free(rs_ads_bundle_request(b.version, b.nonce, b.retired, &n));
    rs_ads_bundle_done(&b);
    return 0;
}
