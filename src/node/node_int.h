/* What the parts of the running node share. Inside src/node only. */
#pragma once
#include <uthash.h>
#include "kube/informer.h"
#include "node/events.h"
#include "node/files.h"
#include "node/node.h"
#include "node/objects.h"
#include "node/pod.h"
#include "node/prober.h"
#include "node/task.h"

typedef struct rs_worker rs_worker;

struct rs_node {
    const struct rs_node_args *args;
    rs_loop *loop;
    rs_kube *kube;
    rs_http_client *http;
    rs_informer *pods;
    rs_objects *objects;
    rs_events *events;
    char *host_ip;                     /* first address of the pod range: the gateway of every pod */
    char *bin_mount;                   /* directory bound at /opt/rootshift/bin */
    uint32_t net, mask, next_ip;       /* pod addresses, host order */
    rs_worker *workers;                /* by uid */
    rs_worker *queue;                  /* waiting for a slot to start in, oldest first */
    int starting;
};

/* One run of a container and what goes on around it. */
struct rs_run {
    rs_worker *w;
    size_t i;                          /* index in the pod */
    rs_task *task;
    char *dir, *id, *socket, *log;     /* of the newest attempt; NULL before the first */
    int64_t kill_at;                   /* while stopping: SIGKILL then */
    rs_timer *kill_timer;
    rs_prober *hook;                   /* preStop or postStart under way */
    bool adopted;                      /* found running; nothing was heard of it yet */
    struct rs_try { struct rs_run *run; struct rs_probe *probe; rs_prober *prober; } tries[3];
};

struct rs_volume { const json_t *spec; char *dir; struct rs_files files; bool written; };
struct rs_token {
    rs_worker *w;
    char *audience, *value;            /* audience NULL: the API's own */
    int64_t seconds, refresh_at;       /* wall clock */
    unsigned failures;
    rs_kube_call *call;
    struct rs_token *next;
};

struct rs_worker {
    rs_node *node;
    rs_pod *pod;
    char *uid, *ns, *name, *dir, *netns, *veth, *ip, *log_dir;
    bool host_network;
    struct rs_run *runs;
    struct rs_volume *volumes; size_t n_volumes;
    struct rs_token *tokens;
    json_t *held;                      /* ["Kind/name", ...] held in node->objects */
    rs_timer *timer, *token_timer;

    enum { RS_SLOT_NONE, RS_SLOT_QUEUED, RS_SLOT_HELD } slot;
    rs_worker *queue_prev, *queue_next;
    int64_t slot_until;
    bool linking, pumping, again;
    size_t adopting;                   /* runs of which nothing was heard yet: no status until then */

    json_t *sent;                      /* status last acknowledged or under way */
    rs_kube_call *status_call, *delete_call;
    rs_timer *retry;
    bool finished;                     /* RS_POD_GONE was given */
    bool dead;                         /* will be freed in the next round */
    char *hold_told;                   /* last FailedMount text */
    UT_hash_handle hh;
};

/* worker.c */
rs_worker *rs_worker_new(rs_node *n, const json_t *pod);
void rs_worker_update(rs_worker *w, const json_t *pod);
void rs_worker_vanished(rs_worker *w);
void rs_worker_object_changed(rs_worker *w, const char *kind, const char *name);
void rs_worker_pump(rs_worker *w);
void rs_worker_free(rs_worker *w);
rs_worker *rs_worker_find(rs_node *n, const char *ns, const char *pod);
/* worker_setup.c */
void rs_worker_prepare(rs_worker *w);                  /* volumes and references of the spec */
void rs_worker_setup(rs_worker *w);                    /* goes on with SETUP; harmless when nothing is to do */
void rs_worker_refresh_volumes(rs_worker *w);
void rs_worker_teardown(rs_worker *w);
void rs_worker_slot_done(rs_worker *w);
struct rs_source rs_worker_source(rs_worker *w);
char *rs_worker_take_ip(rs_node *n);
int rs_worker_save(rs_worker *w, struct rs_err *e);
void rs_worker_setup_free(rs_worker *w);
/* worker_run.c */
void rs_worker_start(rs_worker *w, size_t i);
void rs_worker_stop(rs_worker *w, size_t i, int64_t grace_ms, const char *why);
void rs_worker_hurry(rs_worker *w);                    /* the grace period became shorter */
int64_t rs_worker_probe(rs_worker *w, int64_t now);    /* starts tries that are due; returns when the next one is */
void rs_worker_run_free(struct rs_run *r);
void rs_worker_run_adopt(struct rs_run *r, const char *dir, const char *id);   /* r's container has the attempt of dir */
extern const struct rs_task_ops rs_worker_task_ops;
/* worker_status.c */
void rs_worker_report(rs_worker *w);
/* worker_adopt.c */
void rs_worker_adopt(rs_worker *w);                    /* takes over what an earlier node left for this pod, if anything */
void rs_worker_adopt_orphans(rs_node *n);              /* stops pods of earlier nodes whose objects are gone */
