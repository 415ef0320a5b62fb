/* Everything a control plane watches, as one mesh model: informers, a debounce of 50 ms, a new model. Also the injector of
 * the revision's ConfigMaps. Loop thread only. */
#pragma once
#include "control/inject.h"
#include "control/model.h"
#include "kube/client.h"

typedef struct rs_watch rs_watch;

struct rs_watch_config { const char *revision, *namespace; };       /* "default" or REV; "istio-system" */
struct rs_watch_ops {
    /* First when everything was listed once, then after each change that matters. Borrowed. */
    void (*on_model)(void *ctx, rs_model *m);
    /* MeshConfig of ConfigMap istio[-REV] changed (also the first time). */
    void (*on_mesh_config)(void *ctx, const json_t *mesh);
};
rs_watch *rs_watch_new(rs_kube *k, const struct rs_watch_config *config, const struct rs_watch_ops *ops, void *ctx);
void rs_watch_free(rs_watch *w);                         /* NULL is a no-op */
rs_model *rs_watch_model(const rs_watch *w);             /* NULL before the first one; borrowed */
const rs_injector *rs_watch_injector(const rs_watch *w); /* NULL before its ConfigMaps were read; borrowed */
/* What is still missing before the control plane can serve, or NULL. Static text. */
const char *rs_watch_missing(const rs_watch *w);
