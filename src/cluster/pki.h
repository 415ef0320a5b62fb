/* Keys and certificates of one cluster, in STATE/pki, made at the first start and kept: the cluster's CA (ca.crt, ca.key),
 * the API server's own certificate, client certificates of administrator and node, the key of ServiceAccount tokens
 * (sa.key), and tokens.csv with the administrator's token. */
#pragma once
#include "pki/cert.h"
#include "pki/tls.h"

typedef struct rs_cluster_pki rs_cluster_pki;
/* service_ip: the API's address inside the cluster. Certificates with less than a third of their life left are renewed. */
RS_MUST_USE int rs_cluster_pki_open(rs_cluster_pki **ret, const char *dir, const char *service_ip, struct rs_err *e);
void rs_cluster_pki_free(rs_cluster_pki *p);

const char *rs_cluster_pki_ca_pem(const rs_cluster_pki *p);
const char *rs_cluster_pki_token_file(const rs_cluster_pki *p);
/* Borrowed. A fresh RSA key takes a fifth of a second: it is made on a thread of its own, for which this waits. */
RS_MUST_USE int rs_cluster_pki_token_key(rs_cluster_pki *p, EVP_PKEY **ret, struct rs_err *e);
/* Server context: asks for client certificates of the CA, requires none. */
RS_MUST_USE int rs_cluster_pki_server_tls(SSL_CTX **ret, const rs_cluster_pki *p, struct rs_err *e);
/* The API server as a client of the node. */
RS_MUST_USE int rs_cluster_pki_node_tls(SSL_CTX **ret, const rs_cluster_pki *p, struct rs_err *e);
/* A kubeconfig for the administrator, credentials embedded, mode 0600. */
RS_MUST_USE int rs_cluster_pki_kubeconfig(const rs_cluster_pki *p, const char *path, const char *name, const char *server, struct rs_err *e);
