/* The node: registers itself, runs the pods that are bound to it, serves logs, exec and port-forward. A Kubernetes client
 * like any other. */
#pragma once
#include <stdint.h>
#include "base/err.h"

typedef struct rs_node rs_node;

struct rs_node_args {
    const char *kubeconfig, *name;
    const char *state;                 /* logs; kept over restarts */
    const char *run;                   /* what dies with the machine: roots, volumes, sockets, records of ends; a tmpfs */
    const char *runc_root;
    const char *bin_dir;               /* our programs and envoy */
    const char *dns_dir;               /* hosts files for the cluster's DNS server */
    const char *pod_cidr, *service_cidr, *cluster_dns, *cluster_domain;
    const char *listen;                /* kubelet port, "0.0.0.0:10250"; port 0: any */
    const char *tls_cert, *tls_key, *client_ca;    /* files; NULL: self-signed, and the CA of the kubeconfig */
    int64_t ready_fd;                  /* -1: none */
};
/* Runs until SIGTERM or SIGINT; pods go on. Exit status. */
int rs_node_main(const struct rs_node_args *args);
