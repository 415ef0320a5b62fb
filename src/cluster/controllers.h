/* The controllers of an embedded cluster, in one process: Kubernetes clients with informers like any other, so they work
 * against any API server. `rootshift-cluster controllers`. */
#pragma once
#include "kube/client.h"

typedef struct rs_controllers rs_controllers;

/* on_ready (may be NULL): every cache is filled and work has begun. */
rs_controllers *rs_controllers_new(rs_kube *k, void (*on_ready)(void *ctx), void *ctx);
void rs_controllers_free(rs_controllers *c);
