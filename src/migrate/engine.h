/* Runs a migration step by step: intent is recorded before an act and outcome after it; the next step is computed from the
 * record alone (migrate/record.h), and every act looks at the cluster before it changes anything. One thread. */
#pragma once
#include "migrate/record.h"
#include "migrate/world.h"

struct rs_engine {
    const struct rs_world *world;
    json_t *record;                          /* owned; saved through the world */
    const char *actor;                       /* who: user@host */
    int gate_wait_ms;                        /* how long a shut gate is asked again before the step fails; 0: once */
};

/* Fresh record for a plan (id, start time, plan). New reference. */
json_t *rs_record_new(const json_t *plan, int64_t now_ms, const char *actor);

/* Acts until the phase is done. RS_PRECONDITION with the gate's reasons when a gate stays shut. Progress goes to world->say. */
RS_MUST_USE int rs_engine_forward(struct rs_engine *g, enum rs_phase until, struct rs_err *e);
/* Undoes the last phase that has anything to undo. */
RS_MUST_USE int rs_engine_back(struct rs_engine *g, enum rs_phase *ret_phase, struct rs_err *e);

/* The two gates over the live mesh, asked once (for status, check and install). */
RS_MUST_USE int rs_engine_ask_switch(struct rs_engine *g, struct rs_gate *ret, struct rs_err *e);
RS_MUST_USE int rs_engine_ask_removal(struct rs_engine *g, const rs_digest *root, struct rs_gate *ret, struct rs_err *e);
