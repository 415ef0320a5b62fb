/* Issuance records (custom resources IssuanceRecord, ARCHITECTURE 8): how a CA makes one and how the gates read them. Pure,
 * over json_t. */
#pragma once
#include "base/json.h"
#include "pki/cert.h"

enum { RS_CLOCK_SKEW_MS = 5 * 60 * 1000 };       /* margin for clocks that differ */

#define RS_RECORDS_NAMESPACE "istio-system"
#define RS_RECORDS_PATH "/apis/rootshift.dev/v1/namespaces/" RS_RECORDS_NAMESPACE "/issuancerecords"
#define RS_RECORD_ROOT_LABEL "rootshift.dev/root"
#define RS_RECORD_POD_LABEL "rootshift.dev/pod-uid"

/* Everything about one issuance; texts may be NULL. */
struct rs_issuance_of {
    const char *ca, *identity, *cluster, *namespace, *service_account, *pod_name, *pod_uid, *request_id;
    const rs_cert *leaf, *issuer, *root;
    int64_t issued_at_ms;
};
/* The record to create; its name is the leaf's hash. New reference. */
json_t *rs_issuance_record(const struct rs_issuance_of *i);

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

/* Whether one record says that its pod has ended. */
bool rs_issuance_ended(const json_t *record);

/* Whether the last state seen of a pod that is gone now proves that it ended: every container has state.terminated, every
 * init container too unless it never ran, and the deletion was no force: some state of it (graceful) had
 * deletionGracePeriodSeconds > 0, or it had finished (Succeeded, Failed) before. */
bool rs_pod_verifiably_ended(const json_t *last_state, bool graceful);
