/* Where a cluster is and who we are: kubeconfig files and in-cluster credentials (facts kubernetes-api 6.3). */
#pragma once
#include "base/json.h"

struct rs_kube_config {
    char *server;                                        /* "https://127.0.0.1:40123" */
    char *ca_pem, *token, *token_file, *cert_pem, *key_pem;   /* NULL when absent; token_file is re-read */
    char *namespace;                                     /* default namespace, "default" when unset */
    char *context;                                       /* its name; NULL in a cluster */
    json_t *exec;                                        /* exec credential plugin, or NULL */
    bool insecure;
};
/* path NULL: $KUBECONFIG (list, merged), else ~/.kube/config; context NULL: current-context. Inside a pod without any
 * kubeconfig: the service account. RS_NOT_FOUND / RS_INVALID name file and key. */
RS_MUST_USE int rs_kube_config_load(struct rs_kube_config *ret, const char *path, const char *context, struct rs_err *e);
void rs_kube_config_done(struct rs_kube_config *c);
