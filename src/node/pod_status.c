/* The status of a pod as the kubelet writes it (reasons and texts are the kubelet's). */
#include "base/buf.h"
#include "base/time.h"
#include "kube/object.h"
#include "node/pod.h"

static json_t *time_json(int64_t ms)
{
    char text[RS_TIME_TEXT];

    return ms ? json_string(rs_time_text(ms, text)) : json_null();
}

static json_t *container_id(const char *id)
{
    RS_AUTO(rs_chars) *text = id ? rs_printf("runc://%s", id) : rs_strdup("");
    return json_string(text);
}

static json_t *ended_json(const struct rs_ended *e)
{
    json_t *o = rs_json_pack("{s:i, s:s, s:o, s:o, s:o}", "exitCode", e->exit_code, "reason", e->reason ? e->reason : "Error",
                             "startedAt", time_json(e->started_at), "finishedAt", time_json(e->finished_at),
                             "containerID", container_id(e->id));
    if (e->message && *e->message)
        json_object_set_new(o, "message", json_string(e->message));
    return rs_json_pack("{s:o}", "terminated", o);
}

static json_t *waiting_json(const char *reason, const char *message)
{
    json_t *o = rs_json_pack("{s:s}", "reason", reason);

    if (message)
        json_object_set_new(o, "message", json_string(message));
    return rs_json_pack("{s:o}", "waiting", o);
}

/* CrashLoopBackOff shows only while a pause is really on. */
static bool in_backoff(const rs_pod *p, const struct rs_container *c, int64_t now)
{
    return !p->deleting && c->phase == RS_CONTAINER_EXITED && c->ended.set && c->not_before > now &&
           !(c->init && c->ended.exit_code == 0) && !rs_streq(rs_json_str(p->spec_object, "spec", "restartPolicy"), "Never") &&
           !(rs_streq(rs_json_str(p->spec_object, "spec", "restartPolicy"), "OnFailure") && c->ended.exit_code == 0);
}

static json_t *state_json(const rs_pod *p, const struct rs_container *c, int64_t now, bool *ret_last_is_ended)
{
    *ret_last_is_ended = false;
    if (c->phase == RS_CONTAINER_RUNNING)
        return rs_json_pack("{s:{s:o}}", "running", "startedAt", time_json(c->started_at));
    if (c->phase == RS_CONTAINER_EXITED && !c->wait_reason && !in_backoff(p, c, now))
        return ended_json(&c->ended);
    *ret_last_is_ended = c->ended.set;
    if (c->wait_reason)
        return waiting_json(c->wait_reason, c->wait_message);
    if (in_backoff(p, c, now)) {
        RS_AUTO(rs_chars) *text = rs_printf("back-off %llds restarting failed container=%s pod=%s_%s(%s)",
            (long long)(c->not_before - c->ended.finished_at + 500) / 1000, c->name, rs_object_name(p->object),
            rs_object_namespace(p->object), rs_object_uid(p->object));
        return waiting_json("CrashLoopBackOff", text);
    }
    return p->n_init > 0 ? waiting_json("PodInitializing", NULL) : waiting_json("ContainerCreating", NULL);
}

static json_t *container_json(const rs_pod *p, const struct rs_container *c, int64_t now)
{
    bool last_is_ended;
    json_t *state = state_json(p, c, now, &last_is_ended);
    const struct rs_ended *last = last_is_ended ? &c->ended : &c->last;
    /* The attempt counter moves when a run ends; the count shown moves when the next one starts. */
    int restarts = c->attempt - (c->ended.set && c->attempt > 0 && c->phase != RS_CONTAINER_RUNNING ? 1 : 0);

    json_t *o = rs_json_pack("{s:s, s:s, s:s, s:b, s:i, s:o, s:o, s:o}", "name", c->name, "image", c->image, "imageID", c->image,
                             "ready", rs_container_ready(c), "restartCount", restarts, "state", state, "lastState",
                             last->set ? ended_json(last) : json_object(), "containerID",
                             container_id(c->phase == RS_CONTAINER_RUNNING ? c->id : c->ended.set ? c->ended.id : NULL));
    if (!c->init)
        json_object_set_new(o, "started", json_boolean(rs_container_started(c)));
    return o;
}

static bool initialized(const rs_pod *p)
{
    for (size_t i = p->n_init; i < p->n; i++)
        if (p->c[i].phase != RS_CONTAINER_WAITING || p->c[i].ended.set)
            return true;
    for (size_t i = 0; i < p->n_init; i++)
        if (!rs_container_ready(&p->c[i]))
            return false;
    return true;
}

/* Phase by the kubelet's rules; a deleted pod that ended is Succeeded or Failed whatever its policy. */
static const char *phase_of(const rs_pod *p)
{
    const char *policy = rs_json_str(p->spec_object, "spec", "restartPolicy");
    size_t waiting = 0, running = 0, stopped = 0, succeeded = 0, n = p->n - p->n_init;
    bool over = p->deleting && rs_pod_all_ended(p);

    for (size_t i = 0; i < p->n_init; i++) {
        const struct rs_container *c = &p->c[i];
        if (c->phase == RS_CONTAINER_EXITED && c->ended.exit_code != 0 && (over || rs_streq(policy, "Never")))
            return "Failed";
    }
    for (size_t i = p->n_init; i < p->n; i++) {
        const struct rs_container *c = &p->c[i];
        if (c->phase == RS_CONTAINER_RUNNING)
            running++;
        else if (c->ended.set)
            stopped++, succeeded += c->ended.exit_code == 0;
        else
            waiting++;
    }
    if (over)
        return waiting == n || succeeded < stopped || waiting > 0 ? "Failed" : "Succeeded";
    if (waiting > 0 || !initialized(p))
        return "Pending";
    if (running > 0 || n == 0 || stopped < n || !policy || rs_streq(policy, "Always"))
        return "Running";
    if (succeeded == n)
        return "Succeeded";
    return rs_streq(policy, "Never") ? "Failed" : "Running";
}

static const json_t *find_condition(const json_t *list, const char *type)
{
    size_t i;
    json_t *c;

    json_array_foreach(list, i, c)
        if (rs_streq(rs_json_str(c, "type"), type))
            return c;
    return NULL;
}

/* The node's own conditions are newest in what it reported, those of others in the object. */
static const json_t *old_condition(const rs_pod *p, const char *type)
{
    const json_t *c = find_condition(json_object_get(p->reported, "conditions"), type);

    return c ? c : find_condition(rs_json_at(p->object, "status", "conditions"), type);
}

static void condition(const rs_pod *p, json_t *list, const char *type, bool yes, const char *reason, const char *message, int64_t now)
{
    const json_t *old = old_condition(p, type);
    const char *status = yes ? "True" : "False", *since = rs_json_str(old, "lastTransitionTime");
    bool same = old && since && rs_streq(rs_json_str(old, "status"), status);

    json_t *c = rs_json_pack("{s:s, s:s, s:n, s:o}", "type", type, "status", status, "lastProbeTime",
                             "lastTransitionTime", same ? json_string(since) : time_json(now));
    if (reason)
        json_object_set_new(c, "reason", json_string(reason));
    if (message)
        json_object_set_new(c, "message", json_string(message));
    json_array_append_new(list, c);
}

/* "containers with unready status: [a b]", or NULL when all are. */
static char *lacking(const rs_pod *p, bool init, const char *what)
{
    RS_AUTO_BUF b;
    rs_buf_init(&b, 16 * 1024);
    for (size_t i = init ? 0 : p->n_init; i < (init ? p->n_init : p->n); i++)
        if (!rs_container_ready(&p->c[i]))
            rs_buf_addf(&b, "%s%s", b.n ? " " : "", p->c[i].name);
    return b.n ? rs_printf("containers with %s status: [%s]", what, b.p) : NULL;
}

/* Readiness gates: conditions that others set and that Ready waits for. */
static char *gate_message(const rs_pod *p)
{
    const json_t *gates = rs_json_at(p->spec_object, "spec", "readinessGates");
    size_t i;
    json_t *g;

    json_array_foreach(gates, i, g) {
        const char *type = rs_json_str(g, "conditionType");
        if (type && !rs_streq(rs_json_str(find_condition(rs_json_at(p->object, "status", "conditions"), type), "status"), "True"))
            return rs_printf("the status of pod readiness gate \"%s\" is not \"True\"", type);
    }
    return NULL;
}

static json_t *conditions_json(const rs_pod *p, const char *phase, int64_t now)
{
    static const char *const own[] = { "Initialized", "Ready", "ContainersReady", "PodScheduled" };
    json_t *list = json_array();
    bool done = rs_streq(phase, "Succeeded"), failed = rs_streq(phase, "Failed");
    RS_AUTO(rs_chars) *init = initialized(p) ? NULL : lacking(p, true, "incomplete");
    RS_AUTO(rs_chars) *unready = lacking(p, false, "unready");
    RS_AUTO(rs_chars) *gate = gate_message(p);
    const char *why = done ? "PodCompleted" : failed ? "PodFailed" : "ContainersNotReady";

    condition(p, list, "Initialized", !init || done, done ? "PodCompleted" : init ? "ContainersNotInitialized" : NULL, done ? NULL : init, now);
    bool ready = !unready && !done && !failed;
    condition(p, list, "Ready", ready && !gate, !ready ? why : gate ? "ReadinessGatesNotReady" : NULL,
              done || failed ? NULL : unready ? unready : gate, now);
    condition(p, list, "ContainersReady", ready, ready ? NULL : why, done || failed ? NULL : unready, now);
    condition(p, list, "PodScheduled", true, NULL, NULL, now);

    const json_t *old = rs_json_at(p->object, "status", "conditions");
    size_t i;
    json_t *c;
    json_array_foreach(old, i, c) {
        bool mine = false;
        for (size_t k = 0; k < RS_COUNT(own); k++)
            mine |= rs_streq(rs_json_str(c, "type"), own[k]);
        if (!mine)
            json_array_append(list, c);
    }
    return list;
}

json_t *rs_pod_status(const rs_pod *p, int64_t now)
{
    const char *phase = phase_of(p), *qos = rs_json_str(p->object, "status", "qosClass");
    json_t *s = rs_json_pack("{s:s, s:o, s:s, s:o, s:s}", "phase", phase, "conditions", conditions_json(p, phase, now), "hostIP", p->host_ip,
                             "startTime", time_json(p->start_time), "qosClass", qos ? qos : "BestEffort");
    if (p->ip) {
        json_object_set_new(s, "podIP", json_string(p->ip));
        json_object_set_new(s, "podIPs", rs_json_pack("[{s:s}]", "ip", p->ip));
    }
    json_t *init = json_array(), *list = json_array();
    for (size_t i = 0; i < p->n_init; i++)
        json_array_append_new(init, container_json(p, &p->c[i], now));
    for (size_t i = p->n_init; i < p->n; i++)
        json_array_append_new(list, container_json(p, &p->c[i], now));
    if (p->n_init > 0)
        json_object_set(s, "initContainerStatuses", init);
    json_decref(init);
    json_object_set_new(s, "containerStatuses", list);
    return s;
}
