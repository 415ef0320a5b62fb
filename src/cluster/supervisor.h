/* The supervisor: pid 1 of a cluster. It makes the cluster's mounts and network, starts the parts, starts them again
 * (with back-off) when they end, and ends all of them in order when it is told to. It also keeps the two sockets on which
 * the API is served, so that a restart of the API server refuses nobody. One event loop.
 *
 * What a part finds (cwd /, stdin /dev/null, stdout and stderr in STATE/log/PART.log, PATH with our programs first):
 *   rootshift-cluster apiserver   --state STATE --listen-fd N --inside-fd N --ready-fd N
 *   rootshift-cluster controllers --kubeconfig STATE/kubeconfig.inside --ready-fd N
 *   rootshift-node  --kubeconfig STATE/kubeconfig.inside --state STATE/node --dns-dir STATE/dns --ready-fd N
 *   dnsmasq         serving STATE/dns (a directory of hosts files, watched) on 10.96.0.10:53
 * - listen-fd: a bound and listening TCP socket on the host's 127.0.0.1 (any port); inside-fd: the same on 10.96.0.1:443
 *   of the cluster. Before it is ready the API server has written STATE/kubeconfig (server https://127.0.0.1:PORT) and
 *   STATE/kubeconfig.inside (server https://10.96.0.1:443), mode 0600, credentials embedded as *-data. It keeps both, and
 *   all keys, over a restart.
 * - ready-fd: write "ready\n" and close, once requests are answered (node: once it is registered).
 * - SIGTERM: end orderly. Parts that are still there after RS_SUPERVISOR_GRACE_MS are killed.
 * The node ends first, so that its pods stop while the API still answers. controllers and node start when the API server
 * is ready; they are not restarted with it.
 *
 * What the cluster's namespaces look like: /run is a tmpfs of the cluster's own (/run/netns, /run/runc), /proc its own, /sys
 * read-only; lo carries 10.244.0.1/32, 10.96.0.1/32 and 10.96.0.10/32; 10.96.0.0/16 is routed to lo (for nftables' DNAT in
 * output); ip_forward is on. */
#pragma once
#include <stdint.h>

enum { RS_SUPERVISOR_GRACE_MS = 5000 };

/* The supervisor's own program (`rootshift-cluster supervise`); exit status. */
struct rs_supervisor_args {
    const char *name, *state;      /* cluster, its state directory */
    int64_t listen_fd;             /* the socket on the host's loopback */
};
int rs_supervisor_main(const struct rs_supervisor_args *args);
