/* What every pod gets from its ServiceAccount: the account's name, and the volume kube-api-access-… with token, CA and
 * namespace, mounted where client libraries look. Before webhooks see the pod. */
#pragma once
#include "cluster/store.h"

/* Completes a new pod. NULL, or Forbidden when the account does not exist. */
json_t *rs_pod_service_account(const rs_store *store, json_t *pod);
