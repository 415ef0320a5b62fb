/* Parts of injection that work on the pod alone. Only inject*.c. */
#pragma once
#include "base/json.h"

/* "web" and "kubernetes://apis/apps/v1/namespaces/shop/deployments/web"; both malloc'ed. */
void inject_workload(const json_t *pod, const char *namespace, char **ret_name, char **ret_owner);
char *inject_pod_ports(const json_t *pod);               /* JSON array of the application's container ports */
char *inject_app_containers(const json_t *pod);          /* names joined by commas */
/* Puts a filled template into the pod. Labels and annotations that are there stay; lists grow by name; a container that is
 * there is laid over the template's, without its image when that is "auto". */
void inject_merge(json_t *pod, const json_t *template);
/* Moves HTTP probes of application containers to port 15020; what they were goes into probers (Istio's
 * ISTIO_KUBE_APP_PROBERS). */
void inject_rewrite_probes(json_t *pod, json_t *probers);
