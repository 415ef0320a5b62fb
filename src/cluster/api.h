/* The embedded cluster's Kubernetes API server: a subset of kube-apiserver's API that unmodified kubectl, istioctl, client
 * libraries, our control plane and our node work against. One event loop, one thread. */
#pragma once
#include "http/server.h"

typedef struct rs_api rs_api;

struct rs_api_config {
    const char *state;             /* directory: store in state/api/objects.db, keys in state/pki (pki.h) */
    const char *service_cidr;      /* IPv4 a.b.c.d/n; the first address is the API's, the tenth the DNS server's */
    const char *issuer;            /* of ServiceAccount tokens */
    int64_t event_ttl_ms;          /* Events older than this are removed */
};

/* Opens store and keys (made at the first start), creates the system namespaces and the Services of API and DNS. */
RS_MUST_USE int rs_api_new(rs_api **ret, rs_loop *loop, const struct rs_api_config *config, struct rs_err *e);
void rs_api_free(rs_api *api);     /* NULL is a no-op */
RS_DEFINE_AUTO(rs_api, rs_api_free)

/* Serves an accepted connection. */
void rs_api_add_connection(rs_api *api, int fd);
/* Ends watches, answers what is under way with Connection: close. */
void rs_api_drain(rs_api *api);
size_t rs_api_connections(const rs_api *api);
size_t rs_api_objects(const rs_api *api);
/* A kubeconfig with the administrator's credentials, mode 0600. */
RS_MUST_USE int rs_api_write_kubeconfig(const rs_api *api, const char *path, const char *name, const char *server, struct rs_err *e);
