#include "cluster/controller_replicas.h"

#include "base/time.h"
#include "kube/object.h"

static bool ended(const json_t *pod)
{
    const char *phase = rs_json_str(pod, "status", "phase");
    return rs_streq(phase, "Succeeded") || rs_streq(phase, "Failed");
}

/* ---- who goes first when there are too many ---- */

static int phase_rank(const json_t *pod)
{
    const char *phase = rs_json_str(pod, "status", "phase");
    return rs_streq(phase, "Running") ? 2 : rs_streq(phase, "Unknown") ? 1 : 0;
}

static int64_t ready_since(const json_t *pod)
{
    size_t i;
    json_t *c;
    int64_t at = 0;
    json_array_foreach(rs_json_at(pod, "status", "conditions"), i, c)
        if (rs_streq(rs_json_str(c, "type"), "Ready") && rs_json_str(c, "lastTransitionTime"))
            rs_time_parse(rs_json_str(c, "lastTransitionTime"), &at);
    return at;
}

static int64_t restarts(const json_t *pod)
{
    size_t i;
    json_t *c;
    int64_t most = 0;
    json_array_foreach(rs_json_at(pod, "status", "containerStatuses"), i, c)
        if (rs_json_int(c, 0, "restartCount") > most)
            most = rs_json_int(c, 0, "restartCount");
    return most;
}

static int64_t created(const json_t *pod)
{
    int64_t at = 0;
    if (rs_json_str(pod, "metadata", "creationTimestamp"))
        rs_time_parse(rs_json_str(pod, "metadata", "creationTimestamp"), &at);
    return at;
}

/* Unscheduled, pending, not ready, ready for the shortest time, most restarts, youngest. */
static int victims_first(const void *a, const void *b)
{
    const json_t *x = *(const json_t *const *)a, *y = *(const json_t *const *)b;
    bool x_ready = rs_pod_ready(x), y_ready = rs_pod_ready(y);
    int64_t keys[][2] = {                /* the smaller goes first */
        { rs_json_str(x, "spec", "nodeName") != NULL, rs_json_str(y, "spec", "nodeName") != NULL },
        { phase_rank(x), phase_rank(y) },
        { x_ready, y_ready },
        { x_ready && y_ready ? -ready_since(x) : 0, x_ready && y_ready ? -ready_since(y) : 0 },
        { -restarts(x), -restarts(y) },
        { -created(x), -created(y) },
    };
    for (size_t i = 0; i < RS_COUNT(keys); i++)
        if (keys[i][0] != keys[i][1])
            return keys[i][0] < keys[i][1] ? -1 : 1;
    return strcmp(rs_object_name(y), rs_object_name(x));
}

/* ---- the plan ---- */

static json_t *new_pod(const json_t *set)
{
    json_t *template = rs_json_at(set, "spec", "template");
    RS_AUTO(rs_chars) *prefix = rs_printf("%s-", rs_object_name(set));
    json_t *pod = rs_json_pack("{s:s,s:s,s:{s:s,s:s,s:[o]}}", "apiVersion", "v1", "kind", "Pod", "metadata", "generateName", prefix,
                               "namespace", rs_object_namespace(set), "ownerReferences", rs_owner_reference(set));
    static const char *const taken[] = { "labels", "annotations", "finalizers" };
    for (size_t i = 0; i < RS_COUNT(taken); i++) {
        json_t *v = rs_json_at(template, "metadata", taken[i]);
        if (v)
            json_object_set_new(json_object_get(pod, "metadata"), taken[i], json_deep_copy(v));
    }
    json_object_set_new(pod, "spec", json_deep_copy(json_object_get(template, "spec")));
    return pod;
}

static void plan_pods(const struct rs_replicas *r, json_t *plan, const json_t **active, size_t n)
{
    int64_t wanted = rs_json_int(r->set, 1, "spec", "replicas"), more = wanted - (int64_t)n;
    const struct rs_kind *kind = rs_kind_find("v1", "Pod");
    int64_t batch = more > 0 && r->failure ? 1 : RS_REPLICAS_BATCH;
    RS_AUTO(rs_chars) *collection = rs_kind_path(kind, rs_object_namespace(r->set), NULL);
    for (int64_t i = 0; i < more && i < batch; i++)
        rs_plan_call(plan, "POST", collection, NULL, new_pod(r->set));
    if (more < 0)
        qsort(active, n, sizeof(*active), victims_first);
    for (int64_t i = 0; i < -more && i < batch; i++) {
        RS_AUTO(rs_chars) *path = rs_kind_path(kind, rs_object_namespace(active[i]), rs_object_name(active[i]));
        rs_plan_call(plan, "DELETE", path, NULL, rs_delete_options(active[i]));
    }
}

static void set_count(json_t *status, const char *key, int64_t n)
{
    if (n)
        json_object_set_new(status, key, json_integer(n));
    else
        json_object_del(status, key);
}

static void set_failure(json_t *status, const char *failure, int64_t now_ms)
{
    json_t *list = json_object_get(status, "conditions");
    size_t at = 0;
    while (at < json_array_size(list) && !rs_streq(rs_json_str(json_array_get(list, at), "type"), "ReplicaFailure"))
        at++;
    bool has = at < json_array_size(list);
    char now[RS_TIME_TEXT];
    if (has && failure && rs_streq(rs_json_str(json_array_get(list, at), "message"), failure))
        return;
    if (has)
        json_array_remove(list, at);
    if (failure) {
        if (!list)
            json_object_set_new(status, "conditions", list = json_array());
        json_array_append_new(list, rs_json_pack("{s:s,s:s,s:s,s:s,s:s}", "type", "ReplicaFailure", "status", "True", "lastTransitionTime",
                                                 rs_time_text(now_ms, now), "reason", "FailedCreate", "message", failure));
    } else if (has && json_array_size(list) == 0) {
        json_object_del(status, "conditions");
    }
}

static void plan_status(const struct rs_replicas *r, json_t *plan, const json_t **active, size_t n, int64_t *again_ms)
{
    int64_t min_ready = rs_json_int(r->set, 0, "spec", "minReadySeconds"), labeled = 0, ready = 0, available = 0;
    const json_t *labels = rs_json_at(r->set, "spec", "template", "metadata", "labels");
    for (size_t i = 0; i < n; i++) {
        int64_t in_ms;
        labeled += rs_labels_include(rs_json_at(active[i], "metadata", "labels"), labels);
        ready += rs_pod_ready(active[i]);
        available += rs_pod_available(active[i], min_ready, r->now_ms, &in_ms);
        if (in_ms && (*again_ms == 0 || in_ms < *again_ms))
            *again_ms = in_ms;
    }
    RS_AUTO(json_t) *status = json_deep_copy(json_object_get(r->set, "status"));
    if (!status)
        status = json_object();
    json_object_set_new(status, "replicas", json_integer((json_int_t)n));
    set_count(status, "fullyLabeledReplicas", labeled);
    set_count(status, "readyReplicas", ready);
    set_count(status, "availableReplicas", available);
    json_object_set_new(status, "observedGeneration", json_integer(rs_json_int(r->set, 0, "metadata", "generation")));
    set_failure(status, r->failure, r->now_ms);
    if (json_equal(status, json_object_get(r->set, "status")))
        return;
    json_t *next = json_deep_copy(r->set);
    json_object_set(next, "status", status);
    RS_AUTO(rs_chars) *path = rs_object_path(r->set, true), *status_path = rs_printf("%s/status", path);
    rs_plan_call(plan, "PUT", status_path, NULL, next);
}

void rs_replicas_plan(const struct rs_replicas *r, json_t **ret_pods, json_t **ret_status, int64_t *ret_again_ms)
{
    const json_t **active = rs_new_array(const json_t *, r->n_pods + 1);
    size_t n = 0;
    *ret_pods = json_array();
    *ret_status = json_array();
    *ret_again_ms = 0;
    for (size_t i = 0; i < r->n_pods; i++)
        if (!ended(r->pods[i]) && !rs_object_deleting(r->pods[i]))
            active[n++] = r->pods[i];
    plan_status(r, *ret_status, active, n, ret_again_ms);
    if (r->settled && !rs_object_deleting(r->set))
        plan_pods(r, *ret_pods, active, n);
    free(active);
}
