/* One try of a probe or one lifecycle hook: httpGet, tcpSocket or exec. Loop thread only. */
#pragma once
#include "base/json.h"
#include "http/client.h"

typedef struct rs_prober rs_prober;
struct rs_prober_target {
    rs_loop *loop; rs_http_client *http;
    const char *ip;                    /* the pod's */
    const json_t *container;           /* for named ports */
    const char *id, *runc_root;        /* for exec */
};
/* handler: object with httpGet, tcpSocket, exec or sleep. done comes exactly once, never from inside this call. */
rs_prober *rs_prober_start(const struct rs_prober_target *t, const json_t *handler, int64_t timeout_ms,
                           void (*done)(void *ctx, bool passed, const char *message), void *ctx);
void rs_prober_free(rs_prober *p);     /* no callback follows; NULL is a no-op; also to be called after done */
/* A port given as number or as name of one of the container's; 0 when unknown. */
int rs_prober_port(const json_t *port, const json_t *container);
