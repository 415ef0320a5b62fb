/* Kubernetes Events about a control plane's own Deployment: what an operator should see with kubectl. Loop thread only. */
#pragma once
#include "kube/client.h"

typedef struct rs_events rs_events;

/* about: the object (Deployment istiod-REV), copied; NULL: the namespace's events are about nothing and none are written. */
rs_events *rs_events_new(rs_kube *k, const json_t *about, const char *component);
/* Fire and forget: a lost event is logged. warning: type Warning, else Normal. The same reason and message again within ten
 * minutes is not written. */
void rs_events_post(rs_events *ev, bool warning, const char *reason, const char *message);
void rs_events_free(rs_events *ev);                      /* NULL is a no-op */
