/* The parts of one rootshift-control process and what ties them. Globals of the program live here and in main.c alone. */
#pragma once
#include "ca/istio_ca.h"
#include "ca/keeper.h"
#include "ca/service.h"
#include "control/discovery.h"
#include "control/event.h"
#include "control/hooks.h"
#include "control/root_cert.h"
#include "control/serving.h"
#include "control/trust.h"
#include "control/watch.h"
#include "http/server.h"
#include "io/listen.h"

/* From environment and options. */
struct settings {
    const char *revision, *namespace, *cluster, *pod;
    bool ca_enabled, multi_root;
    char **audiences;                                    /* NULL-terminated */
    int64_t ttl_ms, max_ttl_ms, drain_ms;
    const char *grpc, *webhook, *monitoring, *status;    /* addresses */
    const char *kubeconfig, *context;
};

struct app {
    const struct settings *set;
    rs_loop *loop;
    rs_kube *kube;
    json_t *deployment;                                  /* Deployment istiod[-REV], or NULL outside of a cluster */
    rs_serving *serving;
    rs_callers *callers;
    rs_records *records;
    rs_ca_service *ca;
    rs_authority *authority;
    char *ca_why;                                        /* why the CA is not there although it should be */
    rs_trust *trust;
    bool trust_known;
    rs_root_cert *root_cert;
    rs_keeper *keeper;
    rs_discovery *discovery;
    rs_watch *watch;
    rs_hooks *hooks;
    rs_events *events;
    rs_grpc_server *grpc;
    rs_http_server *web, *monitor, *ready;
    rs_listener *listeners[4];
    rs_timer *drain;
    bool draining, told, released;
    int64_t drain_until_ms;
    struct { uint64_t injected, left, refused, valid, invalid, broken; } hooks_seen;
};

/* start.c: everything that must be there before serving. Sequential. */
RS_MUST_USE int app_start(struct app *a, struct rs_err *e);
void app_free(struct app *a);
/* serve.c: servers and what they answer. */
RS_MUST_USE int app_serve(struct app *a, struct rs_err *e);
const char *app_not_ready(const struct app *a);          /* NULL: ready; else why not */
void app_stop(struct app *a);                            /* graceful; ends the loop when done */
void app_serving_changed(void *ctx);                     /* a new serving certificate */
