/* Which process a pid in a file means: pid, start time and boot together name one process for ever, so that a pid used
 * again after a crash or a reboot is never taken for ours. A zombie, and one that was sent SIGKILL, count as dead. Any thread. */
#pragma once
#include <sys/types.h>
#include "base/json.h"

struct rs_life { pid_t pid; unsigned long long start; char boot[40]; };

/* Of a process that lives now; RS_NOT_FOUND when it does not. */
RS_MUST_USE int rs_life_of(struct rs_life *ret, pid_t pid, struct rs_err *e);
/* False does not mean that its threads and children are gone already: rs_life_end waits for that. */
bool rs_life_alive(const struct rs_life *l);

/* {pid, start, boot}; new reference. from_json is false when something is missing: then nothing is known to live. */
json_t *rs_life_json(const struct rs_life *l);
bool rs_life_from_json(struct rs_life *ret, const json_t *o);

/* Sends the signal and waits for the end. 0: dead (or was already), -1 with RS_DEADLINE: still there after wait_ms. */
RS_MUST_USE int rs_life_end(const struct rs_life *l, int signo, int wait_ms, struct rs_err *e);
/* Waits for the end without a signal; true when it is dead. */
bool rs_life_wait(const struct rs_life *l, int wait_ms);
