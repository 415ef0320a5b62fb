/* Names that follow from a revision (ARCHITECTURE 2). Pure. */
#pragma once
#include "base/err.h"
#include "base/str.h"

#define RS_REVISION_DEFAULT_NAME "asm-1157-23"           /* when no --revision_name is given (facts C.4) */
#define RS_ASM_VERSION "1.15.7-asm.23+config1"           /* what asmcli --version says */
enum { RS_REVISION_MAX = 56 };                           /* "istiod-REV" is the name of a Service: 63 at most */

/* RS_INVALID with what is wrong: a revision is a DNS-1035 label of at most 56 characters. */
RS_MUST_USE int rs_revision_check(const char *revision, struct rs_err *e);
/* "PREFIX-REV", or "PREFIX" for the revision "default". malloc'ed. */
char *rs_revision_name(const char *prefix, const char *revision);
bool rs_revision_is_default(const char *revision);       /* "default" or "" */
