/* The core of the endpoints controllers: a Service and the pods of its namespace in, its Endpoints and EndpointSlices out.
 * Pure. Pods that are not ready stand as such; those that end are in no Endpoints, and in slices as terminating. */
#pragma once
#include "cluster/controller_plan.h"

/* Label of Endpoints that were made for a Service and end with it. */
#define RS_ENDPOINTS_MANAGED_BY "endpoints.kubernetes.io/managed-by"

/* False when the Service's addresses are not ours to write (no selector, ExternalName). */
bool rs_endpoints_managed(const json_t *service);
/* The whole Endpoints object. New reference. */
json_t *rs_endpoints_of(const json_t *service, const json_t *const *pods, size_t n_pods);
/* Every EndpointSlice, one per set of port numbers (named target ports may differ from pod to pod), in an array. Names
 * depend on Service and ports only. New reference. */
json_t *rs_endpoint_slices_of(const json_t *service, const json_t *const *pods, size_t n_pods);
/* Calls that turn what is there (endpoints may be NULL, slices those of this Service) into what should be. */
json_t *rs_endpoints_plan(const json_t *service, const json_t *const *pods, size_t n_pods, const json_t *endpoints,
                          const json_t *const *slices, size_t n_slices);
