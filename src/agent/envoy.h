/* The Envoy process: started with the bootstrap that is written for it, asked over its admin port, ended. Loop thread only. */
#pragma once
#include "agent/config.h"
#include "http/client.h"

typedef struct rs_envoy rs_envoy;

/* on_exit: waitpid's status, once, whoever ended it. */
RS_MUST_USE int rs_envoy_start(rs_envoy **ret, rs_loop *loop, rs_http_client *http, const struct rs_agent_config *config,
                               void (*on_exit)(void *ctx, int status), void *ctx, struct rs_err *e);
/* Request to the admin port; answer as of rs_http_start. */
rs_http_call *rs_envoy_ask(rs_envoy *v, const char *method, const char *target,
                           void (*done)(void *ctx, const struct rs_http_response *r, const struct rs_err *why), void *ctx);
void rs_envoy_terminate(rs_envoy *v);                    /* SIGTERM, SIGKILL after 5 s; on_exit follows */
void rs_envoy_free(rs_envoy *v);                         /* kills it when it still runs, without callback; NULL is a no-op */
