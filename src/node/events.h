/* Events about pods, as the kubelet reports them. The same event again raises the count of the first. Loop thread only. */
#pragma once
#include "kube/client.h"

typedef struct rs_events rs_events;
rs_events *rs_events_new(rs_kube *k, const char *node_name);
void rs_events_free(rs_events *v);
/* container may be NULL; type: "Normal" or "Warning". */
void rs_events_add(rs_events *v, const json_t *pod, const char *container, bool init, const char *type, const char *reason, const char *fmt, ...) RS_PRINTF(7, 8);
