/* Subordinate ids: the range /etc/subuid or /etc/subgid grants an ordinary user, from which a user namespace gets its
 * ids above 0. */
#pragma once
#include <sys/types.h>
#include "base/err.h"
#include "base/str.h"

/* Envoy's uid in a pod is 1337 and nobody's is 65534; a range that ends below this is refused. */
enum { RS_SUBID_NEEDED = 65535 };

struct rs_subid { unsigned first, count; };

/* Looks for `user:first:count` or `uid:first:count` in the text of such a file; the first range that is large enough
 * wins. RS_NOT_FOUND when there is no line for the user, RS_INVALID when all their ranges are too small; what is the
 * file's name for the message. */
RS_MUST_USE int rs_subid_find(struct rs_subid *ret, rs_str text, const char *what, const char *user, uid_t uid,
                              struct rs_err *e);
