/* The steps: each act with its undo beside it. Shared by engine.c and step_*.c. */
#pragma once
#include "migrate/engine.h"

struct rs_step_ops {
    const char *kind;
    int (*act)(struct rs_engine *g, const char *arg, struct rs_err *e);
    int (*undo)(struct rs_engine *g, const char *arg, struct rs_err *e);      /* NULL: nothing to undo */
    /* Asked before the intent is recorded: a step without undo that is refused here was never begun. NULL: none. */
    int (*gate)(struct rs_engine *g, const char *arg, struct rs_err *e);
};
extern const struct rs_step_ops rs_steps_distribute[], rs_steps_switch[], rs_steps_complete[];   /* end at kind NULL */

const json_t *rs_plan(const struct rs_engine *g);
const char *rs_plan_revision(const struct rs_engine *g, int second);
rs_digest rs_plan_root(const struct rs_engine *g, bool new_root);
/* Revision that a namespace or gateway of the plan had before ("" = istio-injection=enabled). */
const char *rs_plan_old_revision(const struct rs_engine *g, const char *list, const char *name);
/* Token for restarts: one per step and run, so that an act repeated after a crash restarts nothing twice. */
char *rs_step_token(const struct rs_engine *g, const char *kind, const char *arg, bool undo);

/* Asks until open or gate_wait_ms passed; says once what it waits for. RS_PRECONDITION with the reasons. */
RS_MUST_USE int rs_wait_switch_gate(struct rs_engine *g, struct rs_err *e);
RS_MUST_USE int rs_wait_removal_gate(struct rs_engine *g, bool new_root, struct rs_err *e);
RS_MUST_USE int rs_wait_wave(struct rs_engine *g, const char *namespace, const char *revision, bool both_roots, int issued_under /* -1 any, 0 old, 1 new */, struct rs_err *e);
RS_MUST_USE int rs_wait_gone(struct rs_engine *g, bool new_root, struct rs_err *e);
