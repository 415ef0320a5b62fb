/* The record of a migration: the plan and what was intended and done, as one JSON document that lives in the cluster
 * (ConfigMap rootshift-migration), so that any terminal can go on. Pure. */
#pragma once
#include "base/json.h"

enum rs_phase { RS_PHASE_DISTRIBUTE, RS_PHASE_COMPLETE_DISTRIBUTE, RS_PHASE_SWITCH, RS_PHASE_COMPLETE_SWITCH, RS_PHASE_RETIRE, RS_PHASES };
const char *rs_phase_name(enum rs_phase p);

enum rs_step_state { RS_STEP_OPEN, RS_STEP_INTENDED, RS_STEP_DONE, RS_STEP_UNDOING };

/* One step of the plan: kind "distribute", argument "storefront" for name "distribute/storefront". */
struct rs_step { enum rs_phase phase; const char *kind; char *name, *arg; enum rs_step_state state; };
struct rs_steps { struct rs_step *v; size_t n; };

/* All steps of the record's plan in order, with their states. Free with rs_steps_done. */
struct rs_steps rs_record_steps(const json_t *record);
void rs_steps_done(struct rs_steps *s);
#define RS_AUTO_STEPS __attribute__((cleanup(rs_steps_done))) struct rs_steps

/* Notes a state with its time; the history keeps every note (at most the last 400). */
void rs_record_note(json_t *record, const char *step, enum rs_step_state state, int64_t now_ms, const char *actor);

/* The next thing to do. */
enum rs_next_kind { RS_NEXT_NOTHING, RS_NEXT_ACT, RS_NEXT_UNDO };
struct rs_next { enum rs_next_kind kind; size_t step; };

/* Towards the end of `until`: the first step of the phases up to it that is not done. complete-distribute is skipped on the
 * way to switch (both orders are safe) and done with complete-switch at the latest. RS_PRECONDITION when an undo is under
 * way, or when a phase before has to be done first. */
RS_MUST_USE int rs_next_forward(const struct rs_steps *s, enum rs_phase until, struct rs_next *ret, struct rs_err *e);
/* Undoing the last phase that has anything to undo: its last step that is not open. RS_PRECONDITION when a completed phase
 * stands in the way. *ret_phase says which phase. */
RS_MUST_USE int rs_next_back(const struct rs_steps *s, struct rs_next *ret, enum rs_phase *ret_phase, struct rs_err *e);
/* All is done, or everything was undone: a new migration may begin. */
bool rs_record_is_over(const json_t *record);
bool rs_phase_is_done(const struct rs_steps *s, enum rs_phase p);
bool rs_phase_is_open(const struct rs_steps *s, enum rs_phase p);     /* nothing done or intended in it */
