/* The gates: from what was read to open or shut, with one reason per named object. Pure. Unknown is never ready (design
 * rule 3); nothing here looks at specs, labels or clocks to believe that a root was loaded. */
#pragma once
#include "mesh/scan.h"

struct rs_gate_reason { char *object, *reason; };
struct rs_gate {
    bool open;
    size_t ready, total;                     /* proxies */
    struct rs_gate_reason *v;
    size_t n;
};
void rs_gate_done(struct rs_gate *g);
#define RS_AUTO_GATE __attribute__((cleanup(rs_gate_done))) struct rs_gate
/* "storefront/web-x: lacks root ab12…; …and 3 more": one line for a user. malloc'ed. */
char *rs_gate_text(const struct rs_gate *g);
json_t *rs_gate_json(const struct rs_gate *g);

/* What a revision's control plane says it distributes: every root of it has to be in the proxies of that revision. */
struct rs_required { const char *revision; const rs_bundle *roots; };

/* Trust before sign (rule 1): every running proxy was read after decided_ms, holds both roots and all that its revision
 * distributes, in force and not only warming, and presents a chain that verifies under what it trusts itself. A terminating
 * proxy still talks, so it counts like any other until it is gone. */
struct rs_gate rs_gate_switch(const struct rs_scan *scan, const rs_digest *old_root, const rs_digest *new_root,
                              const struct rs_required *required, size_t n_required, int64_t decided_ms);

/* A leaf that may still be presented, from the issuance records. */
struct rs_living_leaf { const char *identity, *pod; int64_t not_after_ms; };

/* Nothing alive before removal (rule 2): no living leaf under the root in the records, and no proxy presents a chain
 * under it. records_why: why the records can't be read, or NULL; unreadable records shut the gate. */
struct rs_gate rs_gate_removal(const struct rs_scan *scan, const rs_digest *root, const struct rs_living_leaf *living, size_t n_living,
                               const char *records_why, int64_t decided_ms);

/* After a wave: every proxy of the namespace (NULL: all) runs under the revision, holds `holds` and, when `issued_under` is
 * set, presents a chain under that root. Pods on their way out are left to the two gates above, which count them. */
struct rs_gate rs_gate_wave(const struct rs_scan *scan, const char *namespace, const char *revision, const rs_digest *holds,
                            size_t n_holds, const rs_digest *issued_under, int64_t decided_ms);

/* The root is gone from every proxy. */
struct rs_gate rs_gate_gone(const struct rs_scan *scan, const rs_digest *root, int64_t decided_ms);
