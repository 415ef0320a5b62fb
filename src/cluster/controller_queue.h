/* A work queue of keys ("namespace/name"), as Kubernetes' controllers have: a key that is added many times is worked on once,
 * never twice at the same time; what fails comes again with back-off. Work is asynchronous: a plan's calls. Loop thread only. */
#pragma once
#include "kube/client.h"

typedef struct rs_queue rs_queue;
typedef struct rs_queue_item rs_queue_item;

struct rs_queue_ops {
    /* Works on one key. Must lead to exactly one of rs_queue_run, rs_queue_done, at once or later. */
    void (*sync)(void *ctx, rs_queue_item *item, const char *key);
    /* Told of every answer of a plan's calls (why NULL on success); may be NULL. Returning true forgives the failure. */
    bool (*answered)(void *ctx, const char *key, const json_t *call, const json_t *answer, const struct rs_err *why);
    /* A sync is over; may add the key anew. May be NULL. */
    void (*finished)(void *ctx, const char *key, bool ok);
};
rs_queue *rs_queue_new(rs_kube *k, const char *name, const struct rs_queue_ops *ops, void *ctx);
void rs_queue_free(rs_queue *q);         /* NULL is a no-op */

void rs_queue_add(rs_queue *q, const char *namespace, const char *name);        /* on the next turn of the loop */
void rs_queue_add_key(rs_queue *q, const char *key);
void rs_queue_add_after(rs_queue *q, const char *key, int64_t ms);

/* Carries out a plan (taken over; NULL or empty: nothing). In order, ending at the first failure, or all at once; then the key
 * is done, or comes again with back-off when a call failed. */
void rs_queue_run(rs_queue_item *item, json_t *plan, bool at_once);
/* Done without calls. */
void rs_queue_done(rs_queue_item *item, bool ok);

/* Writes Events; equal ones (object, reason, message) are counted up instead of repeated. */
typedef struct rs_recorder rs_recorder;
rs_recorder *rs_recorder_new(rs_kube *k);
void rs_recorder_free(rs_recorder *r);
void rs_recorder_add(rs_recorder *r, const json_t *event);
void rs_queue_set_recorder(rs_queue *q, rs_recorder *r);
