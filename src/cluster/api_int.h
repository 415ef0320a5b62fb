/* Inside the API server: what one request carries, and the few functions every part of it uses. */
#pragma once
#include "cluster/admission.h"
#include "cluster/api.h"
#include "cluster/authn.h"
#include "cluster/convert.h"
#include "cluster/pki.h"
#include "cluster/resource.h"
#include "cluster/status.h"
#include "cluster/store.h"
#include "cluster/token.h"
#include "http/client.h"
#include "io/loop.h"

struct watch;
struct rs_api_call;

struct rs_api {
    rs_loop *loop;
    rs_store *store;
    rs_registry *registry;
    rs_tokens *tokens;
    rs_authn *authn;
    rs_admission *admission;
    rs_cluster_pki *pki;
    rs_http_client *http;          /* for webhooks */
    rs_http_server *server;
    SSL_CTX *tls;
    uint32_t service_net, service_mask;
    int64_t event_ttl_ms;
    rs_timer *sweep;
    unsigned sweeps;
    bool commit_posted, closing;
    struct rs_api_call *answered, **answered_end;  /* answers that wait for the commit */
    struct watch *watches;
};

enum rs_verb { RS_VERB_GET, RS_VERB_LIST, RS_VERB_WATCH, RS_VERB_CREATE, RS_VERB_UPDATE, RS_VERB_PATCH, RS_VERB_DELETE, RS_VERB_DELETE_ALL };
enum rs_shape { RS_SHAPE_PLAIN, RS_SHAPE_TABLE, RS_SHAPE_METADATA };

/* One request for a resource. Lives until rs_call_reply, which frees it. */
typedef struct rs_api_call {
    struct rs_api_call *next;
    rs_api *api;
    rs_http_exchange *x;           /* NULL: the client went away, or the server itself asks */
    struct rs_user *user;
    enum rs_verb verb;
    const struct rs_resource *res;
    char *version, *namespace;     /* namespace "" at cluster scope and for all namespaces */
    char *name, *sub, *rest;       /* NULL when absent; rest: what follows the subresource */
    bool all_namespaces, dry_run;
    enum rs_shape shape;
    char *query;
    /* Writes: the body, the state it is based on, and what is to be stored (storage version). */
    json_t *body, *old, *object;
    char *content_type;
    uint64_t old_rv;
    int attempts;
    struct rs_admission_request admission;
    /* Calls of the server itself get the answer here instead. */
    void (*done)(void *ctx, int code, const json_t *answer);
    void *ctx;
    int answer_code;               /* while waiting for the commit */
    json_t *answer_json;           /* only when done is set */
    char *answer;
} rs_api_call;

/* Answers (body: a new reference, taken over) once everything written so far is durable, and frees c. */
void rs_call_reply(rs_api_call *c, int code, json_t *body);
void rs_call_refuse(rs_api_call *c, json_t *status);
/* Answers with an object in storage version, converted to the version and shape asked for. doc is taken over. */
void rs_call_reply_object(rs_api_call *c, int code, json_t *doc);
void rs_call_reply_text(rs_api_call *c, int code, const char *content_type, rs_str text);
void rs_call_free(rs_api_call *c);
/* Boolean query parameter as Go's ParseBool reads it. */
bool rs_call_flag(const rs_api_call *c, const char *name);
char *rs_call_param(const rs_api_call *c, const char *name);      /* malloc'ed or NULL */
/* A call of the server itself on the same resource. */
rs_api_call *rs_call_child(const rs_api_call *parent, enum rs_verb verb, const char *namespace, const char *name);
/* Body of a write as an object; NULL and *status on refusal. */
json_t *rs_call_parse_body(rs_api_call *c, json_t **ret_status);

/* Writes to the store: schedules the commit. rs_api_put takes over doc. */
rs_record *rs_api_put(rs_api *api, const struct rs_resource *res, const char *namespace, const char *name, json_t *doc);
void rs_api_remove(rs_api *api, const struct rs_resource *res, const char *namespace, const char *name);
/* Commits now, for those who must see a durable state. */
void rs_api_flush(rs_api *api);
rs_record *rs_api_get(const rs_api *api, const char *key, const char *namespace, const char *name);

/* Document as a client of this version and shape gets it. New reference. */
json_t *rs_api_present(const struct rs_resource *res, const char *version, enum rs_shape shape, const json_t *doc);

/* The verbs. */
void rs_api_read(rs_api_call *c);              /* get, list */
/* Appends the documents that the call's path and selectors name to items. NULL or a refusal. */
json_t *rs_api_select(rs_api_call *c, json_t *items);
void rs_api_watch(rs_api_call *c);
void rs_api_watch_change(rs_api *api, const struct rs_change *change);
void rs_api_watch_end_all(rs_api *api);
void rs_api_create(rs_api_call *c);
void rs_api_update(rs_api_call *c);            /* update, patch, with status, scale, finalize */
void rs_api_delete(rs_api_call *c);
void rs_api_delete_all(rs_api_call *c);
void rs_api_review(rs_api_call *c);
void rs_api_subresource(rs_api_call *c);       /* token, binding, eviction, scale (GET) */
void rs_api_connect(rs_api_call *c);           /* log, exec, attach, portforward, proxy */
/* True when it answered: /version, discovery, OpenAPI, health, OpenID. */
bool rs_api_meta(rs_api *api, rs_http_exchange *x, const struct rs_user *user);

/* Steps that several verbs share. */
json_t *rs_api_check_namespace(const rs_api_call *c);             /* NULL: may be created in */
/* When nothing keeps a deleted object any more (grace, finalizers) it goes. */
bool rs_api_may_vanish(const json_t *doc);
json_t *rs_scale_of(const struct rs_resource *res, const char *version, const json_t *doc);
/* Sets the replicas of a Scale in doc. */
void rs_scale_into(const struct rs_resource *res, const char *version, json_t *doc, const json_t *scale);
/* Gives a Service its address; a Status when it can't have it. old NULL on create. */
json_t *rs_service_address(rs_api *api, json_t *doc, const json_t *old);
RS_MUST_USE int rs_api_bootstrap(rs_api *api, struct rs_err *e);
/* After a custom resource vanished: completes the deletion of its CRD when it was the last one. */
void rs_api_crd_settle(rs_api *api, const char *key);
