#include "mesh/issuance.h"

#include "base/time.h"
#include "kube/object.h"

static int read_one(struct rs_issuance *ret, const json_t *record, struct rs_err *e)
{
    const json_t *spec = json_object_get(record, "spec");
    const char *leaf = rs_json_str(spec, "leafSHA256"), *root = rs_json_str(spec, "rootSHA256"), *end = rs_json_str(spec, "notAfter");
    struct rs_issuance r = { 0 };
    if (!leaf || !root || rs_digest_parse(leaf, &r.leaf) < 0 || rs_digest_parse(root, &r.root) < 0 || !rs_time_parse(end, &r.not_after_ms))
        return RS_FAIL(e, RS_DATA_LOSS, "issuance record %s is unreadable", rs_object_name(record));
    const char *identity = rs_json_str(spec, "identity"), *namespace = rs_json_str(spec, "namespace");
    const char *pod = rs_json_str(spec, "podName"), *uid = rs_json_str(spec, "podUID"), *ca = rs_json_str(spec, "ca");
    r.identity = rs_strdup(identity ? identity : "");
    r.namespace = rs_strdup(namespace ? namespace : "");
    r.pod = rs_strdup(pod ? pod : "");
    r.pod_uid = rs_strdup(uid ? uid : "");
    r.ca = rs_strdup(ca ? ca : "");
    *ret = r;
    return 0;
}

static void one_done(struct rs_issuance *r)
{
    free(r->identity);
    free(r->namespace);
    free(r->pod);
    free(r->pod_uid);
    free(r->ca);
}

void rs_issuance_list_done(struct rs_issuance_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        one_done(&l->v[i]);
    free(l->v);
    *l = (struct rs_issuance_list){ 0 };
}

bool rs_issuance_expired(const json_t *record, int64_t now_ms)
{
    int64_t end;
    return rs_time_parse(rs_json_str(record, "spec", "notAfter"), &end) && end + RS_CLOCK_SKEW_MS < now_ms;
}

int rs_issuance_living(struct rs_issuance_list *ret, const json_t *records, const rs_digest *root, int64_t now_ms, struct rs_err *e)
{
    struct rs_issuance_list l = { .v = rs_new_array(struct rs_issuance, json_array_size(records)) };
    size_t i;
    json_t *record;
    json_array_foreach((json_t *)records, i, record) {
        struct rs_issuance r;
        if (read_one(&r, record, e) < 0) {
            rs_issuance_list_done(&l);
            return -1;
        }
        /* Only a record that names its pod can be ended by the pod's end. */
        bool ended = *r.pod_uid && rs_json_str(record, "status", "endedAt");
        if (rs_digest_eq(&r.root, root) && !ended && r.not_after_ms + RS_CLOCK_SKEW_MS >= now_ms)
            l.v[l.n++] = r;
        else
            one_done(&r);
    }
    *ret = l;
    return 0;
}

static bool all_terminated(const json_t *statuses, size_t want, bool may_wait)
{
    size_t i, ended = 0;
    json_t *s;
    json_array_foreach((json_t *)statuses, i, s) {
        if (rs_json_at(s, "state", "terminated"))
            ended++;
        else if (may_wait && rs_json_at(s, "state", "waiting"))
            ended++;                         /* an init container that never ran holds nothing */
    }
    return ended >= want;
}

bool rs_pod_verifiably_ended(const json_t *last_state)
{
    const json_t *status = json_object_get(last_state, "status");
    const char *phase = rs_json_str(status, "phase");
    json_int_t grace = rs_json_int(last_state, -1, "metadata", "deletionGracePeriodSeconds");
    bool finished = rs_streq(phase, "Succeeded") || rs_streq(phase, "Failed");
    if (rs_object_deleting(last_state) && grace == 0 && !finished && !rs_json_at(status, "containerStatuses"))
        return false;
    return all_terminated(json_object_get(status, "containerStatuses"), json_array_size(rs_json_at(last_state, "spec", "containers")), false) &&
           json_array_size(rs_json_at(last_state, "spec", "containers")) > 0 &&
           all_terminated(json_object_get(status, "initContainerStatuses"), json_array_size(json_object_get(status, "initContainerStatuses")), true);
}
