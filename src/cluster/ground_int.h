/* What the files of the ground share: where its state lies and who may change it. */
#pragma once
#include "base/json.h"

/* H = $ROOTSHIFT_HOME or ~/.rootshift:
 *   H/lock               held (flock) while a command changes anything below
 *   H/ground/            the holder: holder.json (who it is), life (FIFO, see holder.h), log
 *   H/clusters/NAME/     one cluster: cluster.json (ground.c), the rest belongs to its supervisor */
struct rs_paths { char *home, *lock, *ground, *clusters; };

RS_MUST_USE int rs_paths_init(struct rs_paths *p, struct rs_err *e);       /* makes the directories, mode 0700 */
void rs_paths_done(struct rs_paths *p);
#define RS_AUTO_PATHS __attribute__((cleanup(rs_paths_done))) struct rs_paths

/* The lock, as a descriptor to be closed. */
RS_MUST_USE int rs_ground_lock(const struct rs_paths *p, int *ret_fd, struct rs_err *e);

/* A JSON file of ours; *ret is NULL without error when it is missing or damaged (then nothing is known). */
RS_MUST_USE int rs_state_read(json_t **ret, const char *path, struct rs_err *e);
RS_MUST_USE int rs_state_write(const char *path, const json_t *o, struct rs_err *e);

/* The same descriptor above the numbers that standard streams and RS_NS_CONTROL_FD take; closes the old one. */
RS_MUST_USE int rs_high_fd(int *fd, struct rs_err *e);

/* The last line of a log that says something (at most 300 characters), malloc'ed; "" when there is none. */
char *rs_last_line(const char *path);
