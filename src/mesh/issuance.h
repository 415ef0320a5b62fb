/* Issuance records (custom resources IssuanceRecord, ARCHITECTURE 8) as the gates read them. Pure, over json_t. */
#pragma once
#include "base/json.h"
#include "pki/digest.h"

enum { RS_CLOCK_SKEW_MS = 5 * 60 * 1000 };       /* margin for clocks that differ */

struct rs_issuance {
    char *identity, *namespace, *pod, *pod_uid, *ca;
    rs_digest leaf, root;
    int64_t not_after_ms;
};
struct rs_issuance_list { struct rs_issuance *v; size_t n; };

/* Records of leaves under root that may be alive at now: not expired (plus skew), and without a verified end of their pod.
 * A record that can't be read fails RS_DATA_LOSS naming it: what is unknown is not dead. */
RS_MUST_USE int rs_issuance_living(struct rs_issuance_list *ret, const json_t *records, const rs_digest *root, int64_t now_ms, struct rs_err *e);
void rs_issuance_list_done(struct rs_issuance_list *l);

/* Whether one record is dead for good: expired for longer than the skew. */
bool rs_issuance_expired(const json_t *record, int64_t now_ms);

/* Whether the last state seen of a pod proves that its containers stopped: every container and init container has
 * state.terminated or (init) never ran, and the deletion was not forced. */
bool rs_pod_verifiably_ended(const json_t *last_state);
