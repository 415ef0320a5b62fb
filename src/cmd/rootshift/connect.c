#include "cmd/rootshift/connect.h"

int rs_connect(struct rs_connection *c, const char *kubeconfig, const char *context, struct rs_err *e)
{
    RS_AUTO_KUBE_CONFIG config = { 0 };
    if (rs_kube_config_load(&config, kubeconfig, context, e) < 0) {
        if (e->code == RS_NOT_FOUND)
            e->code = RS_INVALID;                        /* a wrong name is bad input, not a missing object */
        return -1;
    }
    c->loop = rs_loop_new();
    return rs_kube_new(&c->kube, c->loop, &config, e);
}

void rs_disconnect(struct rs_connection *c)
{
    rs_kube_free(c->kube);
    if (c->loop)
        rs_loop_free(c->loop);
    *c = (struct rs_connection){ 0 };
}
