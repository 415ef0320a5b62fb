/* rootshift-echo: the sample workload. One process serves HTTP and TCP and, told so, sends to every other workload in open
 * loop; `collect` gathers what all of them saw. Everything is on one event loop. */
#pragma once
#include "base/json.h"
#include "io/loop.h"

/* What this pod is: from the environment POD_NAME, POD_NAMESPACE, WORKLOAD, SERVICE_ACCOUNT. */
struct echo_self {
    const char *pod, *namespace, *workload, *service_account;
    char *identity;                  /* SPIFFE ID that our Envoy presents, as its /certs says; NULL outside the mesh */
};

/* ---- serve.c: HTTP answers {workload, pod, peer, by} where peer and by are the SPIFFE IDs that Envoy reports in
 * X-Forwarded-Client-Cert; TCP answers each line "ping N" with "pong N WORKLOAD IDENTITY" and marks the last one. */
typedef struct echo_server echo_server;
RS_MUST_USE int echo_server_new(echo_server **ret, rs_loop *loop, struct echo_self *self, const char *http, const char *tcp, struct rs_err *e);
/* Stops by itself once it is quiet: announces the last answer on TCP connections, goes on serving until nothing was asked
 * for a while (callers need a moment to learn that we are leaving), then calls done. */
void echo_server_drain(echo_server *s, void (*done)(void *ctx), void *ctx);

/* ---- probe.c: one request and its verdict. */
enum echo_protocol { ECHO_HTTP, ECHO_TCP };
struct echo_target {
    enum echo_protocol protocol;
    char *name;                      /* "orders/payment", or "gateway" */
    char *host;                      /* "payment.orders.svc.cluster.local" */
    char *http_host;                 /* Host header */
    int port;
    char *expect;                    /* workload that must answer; NULL: any (a gateway chooses) */
    char *expect_path;               /* "/ns/orders/sa/payment": what the server's SPIFFE ID must end in */
    char *address;                   /* resolved */
};
/* why NULL: answered rightly. peer and by: SPIFFE IDs of client and server as the answer tells them; may be NULL. */
typedef void (*echo_verdict)(void *ctx, const char *why, const char *peer, const char *by);
typedef struct echo_connection echo_connection;  /* a kept connection; NULL inside until first used */
echo_connection *echo_connection_new(rs_loop *loop, const struct echo_target *t, const struct echo_self *self);
void echo_connection_free(echo_connection *c);
/* Sends one request on the kept connection, or with fresh on one of its own; exactly one verdict within deadline_ms. */
void echo_ask(echo_connection *c, bool fresh, int deadline_ms, echo_verdict verdict, void *ctx);

/* ---- load.c */
typedef struct echo_load echo_load;
struct echo_load_options {
    const char *peers;               /* JSON list of {name, protocol, host, port, httpHost, expect, expectPath} */
    const char *collector;           /* "ip:port" */
    int interval_ms;                 /* between two requests to the same target */
};
RS_MUST_USE int echo_load_new(echo_load **ret, rs_loop *loop, struct echo_self *self, const struct echo_load_options *o, struct rs_err *e);
/* No new requests; done once all verdicts are in and were delivered to the collector. */
void echo_load_stop(echo_load *l, void (*done)(void *ctx), void *ctx);

/* ---- collect.c: POST /report (from loads; the answer says whether to run), GET /summary, POST /run?on=true|false. */
RS_MUST_USE int echo_collect(rs_loop *loop, const char *listen, struct rs_err *e);
