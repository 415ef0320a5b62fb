/* Keeps nftables and the DNS server's hosts files true to Services and EndpointSlices: one `nft -f -` at a time, a few
 * milliseconds after a change. Loop thread only. */
#pragma once
#include "kube/informer.h"

typedef struct rs_services rs_services;
struct rs_services_config { const char *cidr, *domain, *hosts_dir; };  /* hosts_dir NULL: no DNS. Borrowed */
rs_services *rs_services_new(rs_kube *k, const struct rs_services_config *config);
void rs_services_free(rs_services *s);
