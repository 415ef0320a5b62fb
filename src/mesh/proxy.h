/* What one running proxy was seen to hold: read from its Envoy, never from a spec. Pure; owned by one thread. */
#pragma once
#include "base/json.h"
#include "pki/bundle.h"

enum rs_proxy_kind { RS_PROXY_SIDECAR, RS_PROXY_GATEWAY };

struct rs_proxy {
    char *namespace, *pod, *uid, *revision, *container;
    char *workload;                  /* owning Deployment's name, else the pod's */
    enum rs_proxy_kind kind;
    int restarts;                    /* of the proxy container, when it was read */
    bool terminating;                /* has a deletionTimestamp but still runs */

    bool known;                      /* its secrets were read; false: `why` says why not and what to do */
    char *why;
    int64_t read_at_ms;              /* when the answer arrived */

    rs_bundle *roots;                /* ROOTCA in force (active, not only warming) */
    bool warming;                    /* a newer default or ROOTCA waits to be taken over */
    rs_certs chain;                  /* certificate_chain of `default` in force, leaf first */
    rs_cert *issuing_root;           /* the root under which the chain verifies: from its own roots; NULL when none */
    char *identity;                  /* SPIFFE ID of the leaf */

    char **trust_domains;            /* trust domains in the SAN matchers of its clusters (NULL-terminated), when asked for */
};

/* A pod's proxy with nothing read yet, or NULL when the pod carries none (no container whose name holds "istio-proxy",
 * also among initContainers) or has ended (Succeeded, Failed). A pod that is not Running is there but unknown. */
struct rs_proxy *rs_proxy_of_pod(const json_t *pod);
void rs_proxy_free(struct rs_proxy *p);

/* Fills in from Envoy's config_dump (mask=dynamic_active_secrets,dynamic_warming_secrets): secrets by name, all PEM blocks.
 * Whatever is missing or garbled makes the proxy unknown with the reason. */
void rs_proxy_read_secrets(struct rs_proxy *p, rs_str config_dump, int64_t now_ms);
/* Trust domains from a dump with mask=dynamic_active_clusters: hosts of the spiffe:// matchers of outbound clusters. */
void rs_proxy_read_clusters(struct rs_proxy *p, rs_str config_dump);
void rs_proxy_unknown(struct rs_proxy *p, const char *fmt, ...) RS_PRINTF(2, 3);
