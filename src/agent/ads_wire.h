/* What the ADS proxy needs to know of messages that it passes on as they are. Pure. */
#pragma once
#include "base/buf.h"
#include "base/err.h"

/* type_url of a DiscoveryRequest or DiscoveryResponse (field 4 in both), without unpacking the rest. Empty when absent;
 * RS_INVALID when the bytes are no message. */
RS_MUST_USE int rs_ads_type_url(rs_str message, rs_str *ret, struct rs_err *e);

/* A distributed trust bundle out of a DiscoveryResponse of type ProxyConfig. */
struct rs_ads_bundle {
    char *version, *nonce;
    struct rs_buf pem;                   /* all entries */
    char *retired;                       /* proxy_metadata["ROOTSHIFT_RETIRED_ROOTS"]; "" when absent */
    bool empty;                          /* no ProxyConfig, or one without certificates */
};
RS_MUST_USE int rs_ads_bundle_read(struct rs_ads_bundle *ret, rs_str message, struct rs_err *e);
void rs_ads_bundle_done(struct rs_ads_bundle *b);

/* A request for bundles: the first (version and nonce NULL), an ACK, or with error a NACK. malloc'ed. */
char *rs_ads_bundle_request(const char *version, const char *nonce, const char *error, size_t *ret_n);
