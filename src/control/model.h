/* The mesh as the control plane of one revision sees it: plain data built from Kubernetes objects, whole and anew after a
 * (debounced) change. Immutable once built and reference-counted: a snapshot may outlive the next model. Pure: no I/O, no
 * clock. All texts and arrays belong to the model; arrays are sorted (services by host, pods by namespace and name,
 * policies by creation time, then name), so that equal objects give equal Envoy configuration. */
#pragma once
#include "base/json.h"

/* How a port is treated: by appProtocol, else the name's prefix before '-' (Istio's list), else TCP. UDP ports are left out. */
enum rs_protocol { RS_PROTO_TCP, RS_PROTO_HTTP, RS_PROTO_HTTP2, RS_PROTO_TLS };     /* HTTP2: also grpc; TLS: https, tls */

enum rs_mtls { RS_MTLS_PERMISSIVE, RS_MTLS_STRICT, RS_MTLS_DISABLE };              /* PeerAuthentication; PERMISSIVE is the default */

struct rs_texts { char **v; size_t n; };                 /* a list of texts */

struct rs_model_pod {
    char *name, *namespace, *uid, *ip;                   /* ip NULL before it has one */
    char *service_account, *node;
    const json_t *labels;                                /* object, never NULL; borrowed from the model */
    bool mesh;                                           /* injected: label security.istio.io/tlsMode=istio */
    bool ready, terminating;
    char *canonical_name, *canonical_revision, *workload;/* "" unknown */
    const json_t *containers;                            /* spec.containers */
};

/* One ready address of a service port. */
struct rs_model_endpoint {
    char *address;                                       /* "10.244.0.7" */
    int port;                                            /* target port on that address */
    bool mesh;                                           /* can take Istio mTLS: its pod is injected and its effective mode for the port isn't DISABLE */
    const struct rs_model_pod *pod;                      /* NULL: address without a pod */
};

struct rs_model_port {
    char *name;                                          /* "" when unnamed */
    int number;
    enum rs_protocol protocol;
    struct rs_model_endpoint *endpoints; size_t n_endpoints;     /* ready ones, by address and port */
};

struct rs_model_service {
    char *name, *namespace, *host;                       /* host: NAME.NS.svc.cluster.local */
    char *address;                                       /* first cluster IP; NULL when headless */
    bool external_name;                                  /* ExternalName services have no ports here and can be skipped */
    const json_t *selector;                              /* NULL: none */
    struct rs_model_port *ports; size_t n_ports;
    /* "NS/SA" of everything that may answer for it: pods that the selector or an endpoint names, ready or not (so that SAN
     * matchers do not flap during a roll-out). Sorted, unique. */
    struct rs_texts accounts;
};

/* PeerAuthentication is folded into rs_model_mtls(); nothing else needs it. */

struct rs_model_source { struct rs_texts principals, not_principals, namespaces, not_namespaces; };
struct rs_model_rule {
    struct rs_model_source *from; size_t n_from;         /* any of them; none: every caller */
    /* The rule has conditions that we don't evaluate (to, when, ipBlocks, requestPrincipals): fail closed; an ALLOW rule
     * never matches, a DENY rule matches on `from` alone. The validating webhook refuses such rules. */
    bool unsupported;
};
struct rs_model_authz {
    char *name, *namespace;                              /* namespace == root namespace: the whole mesh */
    bool deny;                                           /* else ALLOW (AUDIT and CUSTOM are left out) */
    const json_t *selector;                              /* matchLabels object; NULL: all pods of the namespace */
    struct rs_model_rule *rules; size_t n_rules;         /* none: ALLOW nothing / DENY nothing */
};

struct rs_model_server { int port; char *port_name; enum rs_protocol protocol; struct rs_texts hosts; const json_t *tls; };
struct rs_model_gateway {
    char *name, *namespace;
    const json_t *selector;                              /* labels of gateway pods; NULL: every gateway */
    struct rs_model_server *servers; size_t n_servers;
};

struct rs_model_destination { char *host; int port; int weight; };     /* host resolved to an FQDN; port 0: the service's only port */
struct rs_model_uri { enum { RS_URI_PREFIX, RS_URI_EXACT, RS_URI_REGEX } kind; char *value; };
struct rs_model_route {
    struct rs_model_uri *uris; size_t n_uris;            /* any of them; none: every request */
    struct rs_model_destination *to; size_t n_to;
    char *rewrite_uri;                                   /* NULL: none */
    int64_t timeout_ms;                                  /* 0: none, as Istio's default */
    int retries;                                         /* attempts; -1: Istio's default (2) */
};
struct rs_model_virtual_service {
    char *name, *namespace;
    struct rs_texts hosts;                               /* FQDNs or DNS patterns; short names resolved in its namespace unless it is bound to gateways only */
    struct rs_texts gateways;                            /* "NS/NAME", or "mesh"; never empty */
    struct rs_model_route *http; size_t n_http;          /* in order; first match wins */
};

typedef struct rs_model {
    char *revision, *root_namespace, *cluster_domain;    /* "asm-1157-23" or "default"; "istio-system"; "cluster.local" */
    char *trust_domain;
    struct rs_texts trust_domains;                       /* trust_domain first, then its aliases, without duplicates */
    const json_t *mesh_config;                           /* whole MeshConfig */
    struct rs_model_service *services; size_t n_services;
    struct rs_model_pod *pods; size_t n_pods;
    struct rs_model_authz *authz; size_t n_authz;
    struct rs_model_gateway *gateways; size_t n_gateways;
    struct rs_model_virtual_service *virtual_services; size_t n_virtual_services;
} rs_model;

/* Arrays of whole objects as the API gives them (any may be NULL: none). The model takes references of its own. */
struct rs_model_input {
    const char *revision, *root_namespace;
    const json_t *mesh_config;                           /* MeshConfig of ConfigMap istio-REV; NULL: all defaults */
    const json_t *services, *endpoint_slices, *pods, *peer_authentications, *authorization_policies, *gateways, *virtual_services;
};
rs_model *rs_model_build(const struct rs_model_input *in);
rs_model *rs_model_ref(rs_model *m);
void rs_model_unref(rs_model *m);                        /* NULL is a no-op */
RS_DEFINE_AUTO(rs_model, rs_model_unref)

const struct rs_model_service *rs_model_service_by_host(const rs_model *m, const char *host);
const struct rs_model_pod *rs_model_pod_by_ip(const rs_model *m, const char *ip);
const struct rs_model_pod *rs_model_pod_by_name(const rs_model *m, const char *namespace, const char *name);
/* Numeric target of a service port on this pod (named target ports are looked up in its containers); 0: none. */
int rs_model_target_port(const rs_model *m, const struct rs_model_service *s, const struct rs_model_port *p, const struct rs_model_pod *pod);
/* True when the service's selector picks a pod with these labels in this namespace. */
bool rs_model_selects(const struct rs_model_service *s, const char *namespace, const json_t *labels);
/* Effective mode for a port (0: the workload as a whole): port level, workload, namespace, mesh, then PERMISSIVE. */
enum rs_mtls rs_model_mtls(const rs_model *m, const char *namespace, const json_t *labels, int port);
/* Calls fn for every policy that applies to a workload with these labels, DENY before ALLOW. */
void rs_model_each_authz(const rs_model *m, const char *namespace, const json_t *labels, void (*fn)(void *ctx, const struct rs_model_authz *a), void *ctx);
/* Principals as Istio expands them (facts istio-wire 4.6): TD/ns/NS/sa/SA whose TD is ours, an alias or cluster.local
 * becomes one per trust domain; others stay. Appends to ret (texts malloc'ed; free with rs_texts_done). */
void rs_model_expand_principal(const rs_model *m, const char *principal, struct rs_texts *ret);
/* SANs a client must see for "NS/SA" accounts: spiffe://TD/ns/NS/sa/SA for every trust domain, sorted. */
void rs_model_sans(const rs_model *m, const struct rs_texts *accounts, struct rs_texts *ret);

void rs_texts_add(struct rs_texts *t, const char *s);
void rs_texts_sort_unique(struct rs_texts *t);
void rs_texts_done(struct rs_texts *t);

/* Who asks: an Envoy behind an agent, from the node it names in its first discovery request. */
typedef struct rs_envoy {
    bool router;                                         /* else sidecar */
    char *id;                                            /* "sidecar~10.244.0.7~web-0.shop~shop.svc.cluster.local" */
    char *ip, *pod, *namespace, *dns_domain;             /* from the id */
    char *service_account;                               /* metadata SERVICE_ACCOUNT; "" unknown */
    char *revision;                                      /* metadata ISTIO_REVISION; "" unknown */
    json_t *metadata;                                    /* whole node metadata */
    json_t *labels;                                      /* metadata LABELS; {} when missing; the model's pod, when known, is fresher */
} rs_envoy;
/* RS_INVALID when the id is not Istio's. metadata may be NULL. */
RS_MUST_USE int rs_envoy_new(rs_envoy **ret, const char *node_id, const json_t *metadata, struct rs_err *e);
void rs_envoy_free(rs_envoy *p);
RS_DEFINE_AUTO(rs_envoy, rs_envoy_free)
