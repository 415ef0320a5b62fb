/* State of one planning pass, shared by controller_rollout*.c. */
#pragma once
#include "cluster/controller_rollout.h"

struct set {
    const json_t *o;                     /* as in the cache; NULL when it is to be created */
    json_t *next;                        /* as it will be; owned */
    int64_t replicas;                    /* wanted, as of this pass */
    int64_t actual, ready, available;    /* of its status */
    int64_t revision, created_ms;
    bool create;
};
struct pass {
    const struct rs_rollout *in;
    const json_t *d;
    json_t *plan;
    json_t *status;                      /* of the Deployment, as it will be; owned */
    char *revision;                      /* annotation of the Deployment, as it will be; NULL: unchanged */
    struct set *v;                       /* every set, the current one included; one place is spare */
    size_t n;
    struct set *current;                 /* NULL while there is none */
    int64_t replicas, max_surge, max_unavailable;   /* resolved */
    bool recreate, has_deadline;
    int64_t again_ms;
};

#define REVISION "deployment.kubernetes.io/revision"
#define REVISION_HISTORY "deployment.kubernetes.io/revision-history"
#define DESIRED_REPLICAS "deployment.kubernetes.io/desired-replicas"
#define MAX_REPLICAS "deployment.kubernetes.io/max-replicas"

/* controller_rollout_scale.c: each returns true when it changed the size of a set. */
bool rs_pass_scale_to(struct pass *p, struct set *s, int64_t replicas);
bool rs_pass_scale_current(struct pass *p);
bool rs_pass_scale_old(struct pass *p);
bool rs_pass_old_to_zero(struct pass *p);
void rs_pass_scale_in_proportion(struct pass *p);
int64_t rs_pass_size_of_current(const struct pass *p, int64_t has);
int64_t rs_pass_sum(const struct pass *p, bool old_only);

/* controller_rollout_status.c */
json_t *rs_pass_condition(const struct pass *p, const char *type);
void rs_pass_set_condition(struct pass *p, const char *type, const char *status, const char *reason, const char *message);
void rs_pass_finish_status(struct pass *p, bool with_progress);
bool rs_pass_complete(const struct pass *p);
