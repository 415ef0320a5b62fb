/* Reads every running proxy of a cluster at one time: one pod list, one config_dump per proxy through port-forward, bounded
 * concurrency, retries. What can't be read stays in the result as unknown, named with the reason. A pod that appeared or
 * restarted during the scan is read again; what still moves after three rounds is unknown. */
#pragma once
#include "kube/client.h"
#include "mesh/proxy.h"

struct rs_scan {
    struct rs_proxy **v;             /* by namespace, then pod */
    size_t n;
    int64_t started_ms, ended_ms;
};

struct rs_scan_options {
    const char *namespace;           /* NULL: all */
    bool secrets, clusters;          /* what to read */
    int timeout_ms;                  /* per read; 0: 5,000 */
    size_t at_once;                  /* 0: 16 */
    int tries;                       /* 0: 3 */
    /* Progress, for terminals; may be NULL. */
    void (*on_progress)(void *ctx, size_t done, size_t total);
    void *ctx;
};

/* Runs the client's loop until the scan is complete; not from callbacks. Fails only when the pods can't be listed. */
RS_MUST_USE int rs_scan_run(rs_kube *k, const struct rs_scan_options *o, struct rs_scan **ret, struct rs_err *e);
void rs_scan_free(struct rs_scan *s);
typedef struct rs_scan rs_scan;
RS_DEFINE_AUTO(rs_scan, rs_scan_free)
