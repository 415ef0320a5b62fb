/* The Deployment's status and conditions, as `kubectl rollout status` reads them. */
#include "base/time.h"
#include "cluster/controller_rollout_int.h"
#include "kube/object.h"

json_t *rs_pass_condition(const struct pass *p, const char *type)
{
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(p->status, "conditions"), i, c)
        if (rs_streq(rs_json_str(c, "type"), type))
            return c;
    return NULL;
}

static void remove_condition(struct pass *p, const char *type)
{
    json_t *list = json_object_get(p->status, "conditions");
    for (size_t i = json_array_size(list); i-- > 0;)
        if (rs_streq(rs_json_str(json_array_get(list, i), "type"), type))
            json_array_remove(list, i);
}

/* Always written; the transition time stays when the status does. */
static void put_condition(struct pass *p, const char *type, const char *status, const char *reason, const char *message)
{
    char now[RS_TIME_TEXT];
    rs_time_text(p->in->now_ms, now);
    const json_t *old = rs_pass_condition(p, type);
    const char *since = rs_streq(rs_json_str(old, "status"), status) ? rs_json_str(old, "lastTransitionTime") : NULL;
    json_t *c = rs_json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "type", type, "status", status, "lastUpdateTime", now,
                             "lastTransitionTime", since ? since : now, "reason", reason, "message", message);
    remove_condition(p, type);
    json_t *list = json_object_get(p->status, "conditions");
    if (!list)
        json_object_set_new(p->status, "conditions", list = json_array());
    json_array_append_new(list, c);
}

void rs_pass_set_condition(struct pass *p, const char *type, const char *status, const char *reason, const char *message)
{
    const json_t *old = rs_pass_condition(p, type);
    if (!rs_streq(rs_json_str(old, "status"), status) || !rs_streq(rs_json_str(old, "reason"), reason))
        put_condition(p, type, status, reason, message);
}

static void set_count(json_t *status, const char *key, int64_t n)
{
    if (n)
        json_object_set_new(status, key, json_integer(n));
    else
        json_object_del(status, key);
}

static void count(struct pass *p)
{
    int64_t actual = 0, ready = 0, available = 0, total = 0;
    for (size_t i = 0; i < p->n; i++) {
        actual += p->v[i].actual;
        ready += p->v[i].ready;
        available += p->v[i].available;
        total += p->v[i].replicas;
    }
    json_object_set_new(p->status, "observedGeneration", json_integer(rs_json_int(p->d, 0, "metadata", "generation")));
    set_count(p->status, "replicas", actual);
    set_count(p->status, "updatedReplicas", p->current ? p->current->actual : 0);
    set_count(p->status, "readyReplicas", ready);
    set_count(p->status, "availableReplicas", available);
    set_count(p->status, "unavailableReplicas", total > available ? total - available : 0);
    if (available >= p->replicas - p->max_unavailable)
        rs_pass_set_condition(p, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.");
    else
        rs_pass_set_condition(p, "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.");
}

static bool counts_say_complete(const struct pass *p, const json_t *status)
{
    return rs_json_int(status, 0, "updatedReplicas") == p->replicas && rs_json_int(status, 0, "replicas") == p->replicas &&
           rs_json_int(status, 0, "availableReplicas") == p->replicas &&
           rs_json_int(status, 0, "observedGeneration") >= rs_json_int(p->d, 0, "metadata", "generation");
}

/* By the status of before this pass, as Kubernetes does before it cleans up. */
bool rs_pass_complete(const struct pass *p) { return counts_say_complete(p, json_object_get(p->d, "status")); }

static bool progressed(const struct pass *p)
{
    const json_t *old = json_object_get(p->d, "status"), *new = p->status;
    int64_t old_updated = rs_json_int(old, 0, "updatedReplicas"), new_updated = rs_json_int(new, 0, "updatedReplicas");
    return new_updated > old_updated || rs_json_int(new, 0, "replicas") - new_updated < rs_json_int(old, 0, "replicas") - old_updated ||
           rs_json_int(new, 0, "readyReplicas") > rs_json_int(old, 0, "readyReplicas") ||
           rs_json_int(new, 0, "availableReplicas") > rs_json_int(old, 0, "availableReplicas");
}

/* Milliseconds until the deadline passes; negative once it has. INT64_MAX: it does not run. */
static int64_t deadline_left(const struct pass *p)
{
    const json_t *c = rs_pass_condition(p, "Progressing");
    const char *reason = rs_json_str(c, "reason"), *at = rs_json_str(c, "lastUpdateTime");
    int64_t from;
    if (!p->has_deadline || !at || !rs_time_parse(at, &from) || rs_streq(reason, "NewReplicaSetAvailable") || rs_streq(reason, "DeploymentPaused"))
        return INT64_MAX;
    return from + rs_json_int(p->d, 600, "spec", "progressDeadlineSeconds") * 1000 - p->in->now_ms;
}

static void note_progress(struct pass *p)
{
    const json_t *c = rs_pass_condition(p, "Progressing");
    const json_t *about = p->current ? p->current->next : NULL;
    RS_AUTO(rs_chars) *what = about ? rs_printf("ReplicaSet \"%s\"", rs_object_name(about)) : rs_printf("Deployment \"%s\"", rs_object_name(p->d));
    RS_AUTO(rs_chars) *message = NULL;
    bool done = rs_streq(rs_json_str(c, "reason"), "NewReplicaSetAvailable") &&
                rs_json_int(p->status, 0, "replicas") == rs_json_int(p->status, 0, "updatedReplicas");
    if (!p->has_deadline) {
        remove_condition(p, "Progressing");
        return;
    }
    if (done)
        return;
    if (counts_say_complete(p, p->status)) {
        message = rs_printf("%s has successfully progressed.", what);
        rs_pass_set_condition(p, "Progressing", "True", "NewReplicaSetAvailable", message);
    } else if (progressed(p)) {
        message = rs_printf("%s is progressing.", what);
        put_condition(p, "Progressing", "True", "ReplicaSetUpdated", message);
    } else if (rs_streq(rs_json_str(c, "reason"), "ProgressDeadlineExceeded") || deadline_left(p) < 0) {
        message = rs_printf("%s has timed out progressing.", what);
        rs_pass_set_condition(p, "Progressing", "False", "ProgressDeadlineExceeded", message);
    }
}

static const json_t *failure_of(const struct set *s)
{
    size_t i;
    json_t *c;
    json_array_foreach(rs_json_at(s->o, "status", "conditions"), i, c)
        if (rs_streq(rs_json_str(c, "type"), "ReplicaFailure") && rs_streq(rs_json_str(c, "status"), "True"))
            return c;
    return NULL;
}

/* Pods that cannot be made show as the Deployment's ReplicaFailure; the current set's failure counts first. */
static void note_failures(struct pass *p)
{
    const json_t *c = p->current ? failure_of(p->current) : NULL;
    for (size_t i = 0; i < p->n && !c; i++)
        c = failure_of(&p->v[i]);
    if (c)
        rs_pass_set_condition(p, "ReplicaFailure", "True", rs_json_str(c, "reason"), rs_json_str(c, "message"));
    else
        remove_condition(p, "ReplicaFailure");
}

void rs_pass_finish_status(struct pass *p, bool with_progress)
{
    count(p);
    if (!with_progress)
        return;
    note_progress(p);
    note_failures(p);
    int64_t left = deadline_left(p);
    if (left != INT64_MAX && left >= 0 && !rs_streq(rs_json_str(rs_pass_condition(p, "Progressing"), "reason"), "ProgressDeadlineExceeded"))
        p->again_ms = left + 1000;
}
