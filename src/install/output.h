/* The output directory of one installation (facts C.5): what was installed, as files that kubectl can apply. */
#pragma once
#include "install/manifest.h"
#include "install/overlay.h"

struct rs_output_dir { const char *dir, *revision; enum rs_ca_kind ca; };

/* A directory that holds another revision's or another CA's installation is refused (RS_INVALID). Missing is fine. */
RS_MUST_USE int rs_output_check(const struct rs_output_dir *o, struct rs_err *e);
/* Makes it and writes everything. program: what `istioctl` shall be a link to. */
RS_MUST_USE int rs_output_write(const struct rs_output_dir *o, const struct rs_operator_inputs *in, const json_t *op, const struct rs_manifest *m,
                                const char *program, struct rs_err *e);
