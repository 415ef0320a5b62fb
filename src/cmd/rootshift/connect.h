/* Loop and client of a verb that talks to one cluster. */
#pragma once
#include "kube/client.h"

struct rs_connection { rs_loop *loop; rs_kube *kube; };
/* kubeconfig, context: as given by the options, or NULL. */
RS_MUST_USE int rs_connect(struct rs_connection *c, const char *kubeconfig, const char *context, struct rs_err *e);
void rs_disconnect(struct rs_connection *c);
#define RS_AUTO_CONNECTION __attribute__((cleanup(rs_disconnect))) struct rs_connection
