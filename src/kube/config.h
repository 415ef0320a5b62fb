/* Where a cluster is and who we are: kubeconfig files and in-cluster credentials (facts kubernetes-api 6.3). */
#pragma once
#include "base/json.h"

struct rs_kube_config {
    char *server;                                        /* "https://127.0.0.1:40123", no slash at the end */
    char *ca_pem, *token, *token_file, *cert_pem, *key_pem;   /* NULL when absent; token_file is re-read */
    char *tls_server_name;                               /* name to verify instead of the server's host, or NULL */
    char *namespace;                                     /* default namespace, "default" when unset */
    char *context;                                       /* its name; NULL in a cluster */
    json_t *exec;                                        /* exec credential plugin, or NULL */
    bool insecure;
};
/* path NULL: $KUBECONFIG (list, merged), else ~/.kube/config; context NULL: current-context. Inside a pod without any
 * kubeconfig: the service account. RS_NOT_FOUND / RS_INVALID name file and key. */
RS_MUST_USE int rs_kube_config_load(struct rs_kube_config *ret, const char *path, const char *context, struct rs_err *e);
/* The service account whose token, ca.crt and namespace are in dir. */
RS_MUST_USE int rs_kube_config_in_cluster(struct rs_kube_config *ret, const char *host, const char *port, const char *dir, struct rs_err *e);
/* Deep copy. */
void rs_kube_config_copy(struct rs_kube_config *ret, const struct rs_kube_config *c);
void rs_kube_config_done(struct rs_kube_config *c);
#define RS_AUTO_KUBE_CONFIG __attribute__((cleanup(rs_kube_config_done))) struct rs_kube_config

/* What an exec plugin answered. expires_ms 0: no expiry told. */
struct rs_kube_credential { char *token, *cert_pem, *key_pem; int64_t expires_ms; };
/* Runs the plugin of c->exec to its end; blocking (a pool thread's work inside programs with a loop). */
RS_MUST_USE int rs_kube_exec_credential(struct rs_kube_credential *ret, const struct rs_kube_config *c, struct rs_err *e);
/* The pure half: an ExecCredential document as the plugin printed it. */
RS_MUST_USE int rs_kube_exec_parse(struct rs_kube_credential *ret, rs_str text, struct rs_err *e);
void rs_kube_credential_done(struct rs_kube_credential *c);
