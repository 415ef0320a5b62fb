/* YAML documents that are part of the program (src/install/data, embedded at build time by tools/embed) and the filling in
 * of their ${NAME} places. Pure. */
#pragma once
#include "base/json.h"

struct rs_data_file { const char *name, *text; };
extern const struct rs_data_file rs_data_files[];        /* ends with {NULL, NULL} */

/* Text of "options/ca-migration-citadel.yaml"; NULL when there is no such file. */
const char *rs_data_text(const char *name);
/* All documents of a file as an array, unfilled. The file must exist. New reference. */
json_t *rs_data_documents(const char *name);

/* A copy of doc in which ${NAME} in every text is replaced by member NAME of vars. A text that is nothing but ${NAME}
 * becomes that member itself, whatever its type; elsewhere it must be a string. RS_INVALID names an unknown place. */
RS_MUST_USE int rs_data_fill(json_t **ret, const json_t *doc, const json_t *vars, struct rs_err *e);
