/* The Node object and its heartbeat Lease. Loop thread only. */
#pragma once
#include "kube/client.h"

typedef struct rs_register rs_register;
struct rs_register_config { const char *name, *address, *pod_cidr; int port; };        /* borrowed */
/* registered is called once, when the Node is there with a Ready status. */
rs_register *rs_register_new(rs_kube *k, const struct rs_register_config *config, void (*registered)(void *ctx), void *ctx);
void rs_register_free(rs_register *r);
