/* Our entries in somebody's kubeconfig. A cluster owns one context, one cluster and one user entry, all three of the
 * same name; everything else in the file is kept. The two edits are pure; the file is replaced atomically with mode 0600
 * while kubectl's own lock (FILE.lock) is held. */
#pragma once
#include "base/json.h"

/* What we put under one name: "rootshift-demo", and the cluster and user objects (borrowed). */
struct rs_context { const char *name; json_t *cluster, *user; };

/* The first cluster and user of a kubeconfig of ours, under a name. RS_INVALID when it has none. */
RS_MUST_USE int rs_contexts_own(struct rs_context *ret, const char *name, const json_t *config, struct rs_err *e);
/* Puts or replaces the three entries and makes the context current. */
RS_MUST_USE int rs_contexts_put(json_t *config, const struct rs_context *c, struct rs_err *e);
/* Removes the three entries, unless the cluster entry points to another server (then it is somebody else's of the same
 * name). A current-context of that name becomes `previous` when that context exists, else it is emptied. True when
 * anything was changed. */
bool rs_contexts_drop(json_t *config, const char *name, const char *server, const char *previous);
/* A new kubeconfig without entries. */
json_t *rs_contexts_empty(void);

/* The file kubectl would write to: `given`, else of $KUBECONFIG's list the first that exists or else the last, else
 * ~/.kube/config. Absolute, links resolved; the caller frees. */
RS_MUST_USE int rs_contexts_path(char **ret, const char *given, struct rs_err *e);
/* Edits on a file. add creates it and its directory when missing and returns the context that was current before (NULL:
 * none, or ours). */
RS_MUST_USE int rs_contexts_add_to(const char *path, const struct rs_context *c, char **ret_previous, struct rs_err *e);
RS_MUST_USE int rs_contexts_drop_from(const char *path, const char *name, const char *server, const char *previous,
                                      struct rs_err *e);
