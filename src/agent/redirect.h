/* The nftables rules that send a pod's traffic through its proxy, as Istio's init container does. Pure text. */
#pragma once
#include "base/err.h"

struct rs_redirect {
    const char *inbound_ports;           /* "*" (default) or comma list */
    const char *exclude_inbound, *exclude_outbound;      /* comma lists of ports, may be NULL */
    const char *include_ranges;          /* "*" (default) or comma list of CIDRs */
    const char *exclude_ranges;          /* comma list of CIDRs, may be NULL */
    unsigned proxy_uid, proxy_gid;
    int inbound_to, outbound_to;         /* 15006, 15001 */
};
/* Script for `nft -f -`; replaces table `ip rootshift` as a whole, so that loading it twice is harmless. RS_INVALID names a
 * port or range that is none. malloc'ed. */
RS_MUST_USE int rs_redirect_rules(char **ret, const struct rs_redirect *r, struct rs_err *e);
