/* Service addresses as nftables text, and names as hosts files. Pure: Services and EndpointSlices in, text out.
 * A service port leads to a ready endpoint chosen at random for each connection. A port without one is refused at once.
 * Loading the text replaces the table in one transaction; established connections live in conntrack and go on. */
#pragma once
#include "base/json.h"

/* services and slices: arrays of objects. cidr: where service addresses are ("10.96.0.0/16"). malloc'ed text for `nft -f -`. */
char *rs_rules_text(const json_t *services, const json_t *slices, const char *cidr);
/* {"NS.NAME": "ADDRESS NAME.NS.svc.DOMAIN\n..."}: content of one hosts file per service. New reference. */
json_t *rs_rules_hosts(const json_t *services, const json_t *slices, const char *domain);
