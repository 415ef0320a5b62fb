/* A pod as the node runs it: a pure machine. What is observed (containers started and ended, probe verdicts, network up,
 * deletion) goes in with `now`; what is to be done next and the pod's status, as the kubelet writes it, come out.
 * One owner (node/worker.c). Times are wall-clock milliseconds. */
#pragma once
#include "base/json.h"
#include "node/probe.h"

enum rs_container_phase { RS_CONTAINER_WAITING, RS_CONTAINER_STARTING, RS_CONTAINER_RUNNING, RS_CONTAINER_EXITED };

struct rs_ended { bool set; int64_t started_at, finished_at; int exit_code; char *reason, *message, *id; };

struct rs_container {
    const json_t *spec;                /* borrowed from the pod */
    const char *name, *image;
    bool init;
    enum rs_container_phase phase;
    int attempt;                       /* restartCount of the current or next run */
    char *id;                          /* of the current run */
    int64_t started_at;
    struct rs_ended ended;             /* the run that ended when phase is EXITED or WAITING again */
    struct rs_ended last;              /* lastState while running */
    char *wait_reason, *wait_message;  /* why it does not run (RunContainerError, ...); NULL: ContainerCreating */
    int64_t not_before;                /* no start before this */
    int64_t backoff_ms;                /* pause before the next restart; 0: at once */
    bool stopping;                     /* RS_POD_STOP was given */
    bool hook_pending;                 /* postStart has not ended yet: not ready */
    struct rs_probe startup, readiness, liveness;
};

enum rs_pod_act {
    RS_POD_NOTHING,
    RS_POD_SETUP,                      /* make network and volumes; report with rs_pod_setup_done */
    RS_POD_START,                      /* start container i (its phase is STARTING already) */
    RS_POD_STOP,                       /* stop container i within grace_ms */
    RS_POD_TEARDOWN,                   /* remove network and volumes; every container has ended */
    RS_POD_GONE,                       /* report the final status, then remove the object if it is being deleted */
};
struct rs_pod_action { enum rs_pod_act act; size_t i; int64_t grace_ms; const char *why; };

typedef struct rs_pod rs_pod;
struct rs_pod {
    json_t *object;                    /* newest version from the API */
    json_t *reported;                  /* status last sent, or NULL; conditions keep their times from it */
    json_t *spec_object;               /* the version whose spec is run (containers borrow from it) */
    struct rs_container *c; size_t n, n_init;   /* init containers first */
    enum { RS_POD_BARE, RS_POD_SETTING_UP, RS_POD_UP, RS_POD_DOWN } ground;
    char *ip, *host_ip;
    int64_t start_time;
    int64_t setup_after;               /* no SETUP before this */
    bool deleting; int64_t kill_deadline;
    bool removed;                      /* the object vanished from the API */
    bool announced_stop;
};

rs_pod *rs_pod_new(const json_t *object, const char *host_ip, int64_t now);
void rs_pod_free(rs_pod *p);
RS_DEFINE_AUTO(rs_pod, rs_pod_free)
/* A newer version of the object (deletion, labels, annotations; the spec that runs does not change). */
void rs_pod_update(rs_pod *p, const json_t *object, int64_t now);
void rs_pod_vanished(rs_pod *p, int64_t now);          /* the object is gone: stop, tell nobody */

void rs_pod_setup_done(rs_pod *p, const char *ip);     /* network and volumes are there */
void rs_pod_setup_failed(rs_pod *p, int64_t again_at);
void rs_pod_started(rs_pod *p, size_t i, const char *id, int64_t at, int64_t now);
void rs_pod_start_failed(rs_pod *p, size_t i, const char *reason, const char *message, int64_t now);
void rs_pod_ended(rs_pod *p, size_t i, int exit_code, const char *reason, const char *message, int64_t started_at, int64_t at);
void rs_pod_probed(rs_pod *p, size_t i, struct rs_probe *probe, bool passed, int64_t now);

/* The next thing to do; call until RS_POD_NOTHING. *ret_wake: when to ask again though nothing was observed (INT64_MAX: never). */
struct rs_pod_action rs_pod_next(rs_pod *p, int64_t now, int64_t *ret_wake);
/* Status object; new reference. Conditions that are not the node's own are carried over from the object. */
json_t *rs_pod_status(const rs_pod *p, int64_t now);

bool rs_container_started(const struct rs_container *c);       /* running and its startup probe has passed */
bool rs_container_ready(const struct rs_container *c);
bool rs_pod_all_ended(const rs_pod *p);                        /* no container runs or starts */
int64_t rs_pod_grace_ms(const rs_pod *p);                      /* full grace period now in force */
int rs_pod_find(const rs_pod *p, const char *container);       /* index or -1 */
