/* Command-line options as one table per program or verb: parsing, --help, man fragment and completion come from it.
 * --name value, --name=value, -x value, bundled flags; "--" ends options; no abbreviations. A single-value option given
 * twice and an unknown option are errors that name the option. */
#pragma once
#include "base/err.h"
#include "base/str.h"

enum rs_opt_kind {
    RS_OPT_FLAG,                   /* value: bool */
    RS_OPT_TEXT,                   /* value: const char * (points into argv) */
    RS_OPT_LIST,                   /* value: struct rs_opt_list; may repeat */
    RS_OPT_INT,                    /* value: int64_t, checked against min and max */
    RS_OPT_DURATION,               /* value: int64_t milliseconds, from "90s", "24h" */
};

enum { RS_OPT_LIST_MAX = 64 };
struct rs_opt_list { const char *v[RS_OPT_LIST_MAX]; size_t n; };

struct rs_opt {
    const char *name;              /* long name without dashes */
    const char *aliases;           /* further long names separated by spaces, or NULL */
    char letter;                   /* or 0 */
    enum rs_opt_kind kind;
    void *value;                   /* where it goes; holds the default beforehand */
    const char *arg;               /* placeholder in help, "FILE" */
    const char *help;
    const char *env;               /* environment variable that sets it when the option is absent, or NULL */
    int64_t min, max;              /* RS_OPT_INT */
    bool seen;                     /* out */
};

/* Parses argv[1..]; positional arguments are compacted to the front of argv[1..] and counted in *ret_positional.
 * --help/-h is recognised here: returns 1 then (nothing else parsed). */
RS_MUST_USE int rs_opt_parse(struct rs_opt *table, size_t n, int argc, char **argv, int *ret_positional, struct rs_err *e);
/* Aligned list of options for --help. */
void rs_opt_help(FILE *out, const struct rs_opt *table, size_t n);
