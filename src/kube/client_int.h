/* What the files of the client share: calls whose answers are bytes, and credentials. */
#pragma once
#include <openssl/ssl.h>
#include "kube/client.h"

struct rs_kube_raw {
    const char *method, *path, *content_type, *accept;   /* content_type NULL: no body; accept NULL: application/json */
    rs_str body;
    int timeout_ms;                                      /* 0: none */
    /* Streaming: bytes of a 2xx answer; other answers become `why` of done. May be NULL. */
    void (*on_data)(void *ctx, rs_str data);
    /* Once; not after a cancel. body is borrowed and empty when on_data is set; why NULL on a 2xx answer. */
    void (*done)(void *ctx, rs_str body, const struct rs_err *why);
    void *ctx;
};
rs_kube_call *rs_kube_start_raw(rs_kube *k, const struct rs_kube_raw *raw);

/* "Authorization: Bearer ..." as of now, malloc'ed (free with rs_free_cleansed), or NULL. */
char *rs_kube_authorization(rs_kube *k);
/* Client certificate in use (of the configuration or of the exec plugin); NULL when none. */
const char *rs_kube_cert_pem(const rs_kube *k);
const char *rs_kube_key_pem(const rs_kube *k);

/* Where the server is, for connections of our own; tls NULL: plain. All borrowed until the next credential. */
struct rs_kube_endpoint { const char *host, *server_name, *prefix; int port; SSL_CTX *tls; };
RS_MUST_USE int rs_kube_endpoint(rs_kube *k, struct rs_kube_endpoint *ret, struct rs_err *e);
bool rs_kube_credential_ready(const rs_kube *k);

/* What a server's Status (or any other body) with this HTTP status means. Pure. Returns -1. */
int rs_kube_status_error(struct rs_err *e, int status, rs_str body);
/* Gives kind and apiVersion, which servers leave out of list items, to every item; drops managedFields. Pure. */
void rs_kube_fill_items(json_t *list);
/* True when every member of part has the same value in whole (null: is missing); arrays are compared element by element. Pure. */
bool rs_json_contains(const json_t *whole, const json_t *part);
/* PATH?limit=500&labelSelector=...&fieldSelector=...&continue=..., escaped; selectors and next may be NULL. malloc'ed. */
char *rs_kube_list_path(const char *path, const char *label_selector, const char *field_selector, const char *next);
