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
        bool ended = rs_issuance_ended(record);
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

bool rs_pod_verifiably_ended(const json_t *last_state, bool graceful)
{
    const json_t *status = json_object_get(last_state, "status"), *containers = rs_json_at(last_state, "spec", "containers");
    const char *phase = rs_json_str(status, "phase");
    bool finished = rs_streq(phase, "Succeeded") || rs_streq(phase, "Failed");
    graceful |= rs_json_int(last_state, 0, "metadata", "deletionGracePeriodSeconds") > 0;
    size_t n = json_array_size(containers), n_init = json_array_size(rs_json_at(last_state, "spec", "initContainers"));
    return (graceful || finished) && n > 0 && all_terminated(json_object_get(status, "containerStatuses"), n, false) &&
           all_terminated(json_object_get(status, "initContainerStatuses"), n_init, true);
}

bool rs_issuance_ended(const json_t *record)
{
    const char *uid = rs_json_str(record, "spec", "podUID");
    return uid && *uid && rs_json_str(record, "status", "endedAt");
}

static json_t *text_or_empty(const char *s)
{
    return json_string(s ? s : "");
}

static void set_digest(json_t *o, const char *key, const rs_cert *c, size_t digits)
{
    char text[RS_DIGEST_TEXT];
    rs_digest_text(rs_cert_digest(c), text);
    text[digits] = 0;
    rs_json_set_str(o, key, text);
}

static void set_time(json_t *o, const char *key, int64_t ms)
{
    char text[RS_TIME_TEXT];
    rs_json_set_str(o, key, rs_time_text(ms, text));
}

json_t *rs_issuance_record(const struct rs_issuance_of *i)
{
    enum { WHOLE = RS_DIGEST_TEXT - 1, SHORT = 40 };           /* 63 is the limit of a label */
    json_t *metadata = rs_json_pack("{s:s, s:{}}", "namespace", RS_RECORDS_NAMESPACE, "labels"), *spec = json_object();
    set_digest(metadata, "name", i->leaf, SHORT);
    set_digest(json_object_get(metadata, "labels"), RS_RECORD_ROOT_LABEL, i->root, SHORT);
    if (i->pod_uid && *i->pod_uid)
        rs_json_set_str(json_object_get(metadata, "labels"), RS_RECORD_POD_LABEL, i->pod_uid);
    rs_json_set_str(spec, "ca", i->ca);
    rs_json_set_str(spec, "serial", rs_cert_serial(i->leaf));
    set_digest(spec, "leafSHA256", i->leaf, WHOLE);
    set_digest(spec, "issuerSHA256", i->issuer, WHOLE);
    set_digest(spec, "rootSHA256", i->root, WHOLE);
    json_object_set_new(spec, "identity", text_or_empty(i->identity));
    json_object_set_new(spec, "cluster", text_or_empty(i->cluster));
    json_object_set_new(spec, "namespace", text_or_empty(i->namespace));
    json_object_set_new(spec, "serviceAccount", text_or_empty(i->service_account));
    json_object_set_new(spec, "podName", text_or_empty(i->pod_name));
    json_object_set_new(spec, "podUID", text_or_empty(i->pod_uid));
    json_object_set_new(spec, "requestID", text_or_empty(i->request_id));
    set_time(spec, "issuedAt", i->issued_at_ms);
    set_time(spec, "notBefore", rs_cert_not_before(i->leaf));
    set_time(spec, "notAfter", rs_cert_not_after(i->leaf));
    return rs_json_pack("{s:s, s:s, s:o, s:o}", "apiVersion", "rootshift.dev/v1", "kind", "IssuanceRecord", "metadata", metadata, "spec", spec);
}
