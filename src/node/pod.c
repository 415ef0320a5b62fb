#include "node/pod.h"
#include "base/time.h"
#include "kube/object.h"

enum { BACKOFF_FIRST_MS = 10 * 1000, BACKOFF_MAX_MS = 300 * 1000, BACKOFF_FORGET_MS = 600 * 1000, RETRY_MS = 2000 };

static void ended_done(struct rs_ended *e)
{
    free(e->reason);
    free(e->message);
    free(e->id);
    *e = (struct rs_ended){ 0 };
}

static void replace_text(char **slot, const char *text)
{
    char *copy = rs_strdup(text);

    free(*slot);
    *slot = copy;
}

static void container_init(struct rs_container *c, const json_t *spec, bool init)
{
    const char *image = rs_json_str(spec, "image");

    c->spec = spec;
    c->name = rs_json_str(spec, "name") ? rs_json_str(spec, "name") : "";
    c->image = image ? image : "";
    c->init = init;
    rs_probe_init(&c->startup, init ? NULL : json_object_get(spec, "startupProbe"));
    rs_probe_init(&c->readiness, init ? NULL : json_object_get(spec, "readinessProbe"));
    rs_probe_init(&c->liveness, init ? NULL : json_object_get(spec, "livenessProbe"));
}

rs_pod *rs_pod_new(const json_t *object, const char *host_ip, int64_t now)
{
    rs_pod *p = rs_new(rs_pod);
    p->object = json_incref((json_t *)object);
    p->spec_object = json_incref((json_t *)object);
    p->host_ip = rs_strdup(host_ip);
    const char *started = rs_json_str(object, "status", "startTime");
    if (!started || !rs_time_parse(started, &p->start_time))
        p->start_time = now;

    const json_t *init = rs_json_at(object, "spec", "initContainers"), *main_ones = rs_json_at(object, "spec", "containers");
    p->n_init = json_array_size(init);
    p->n = p->n_init + json_array_size(main_ones);
    p->c = rs_new_array(struct rs_container, p->n ? p->n : 1);
    for (size_t i = 0; i < p->n; i++) {
        bool is_init = i < p->n_init;
        container_init(&p->c[i], is_init ? json_array_get(init, i) : json_array_get(main_ones, i - p->n_init), is_init);
    }
    rs_pod_update(p, object, now);
    return p;
}

void rs_pod_free(rs_pod *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++) {
        free(p->c[i].id);
        free(p->c[i].wait_reason);
        free(p->c[i].wait_message);
        ended_done(&p->c[i].ended);
        ended_done(&p->c[i].last);
    }
    free(p->c);
    free(p->ip);
    free(p->host_ip);
    json_decref(p->object);
    json_decref(p->spec_object);
    json_decref(p->reported);
    free(p);
}

int64_t rs_pod_grace_ms(const rs_pod *p)
{
    json_int_t spec = rs_json_int(p->object, 30, "spec", "terminationGracePeriodSeconds");
    json_int_t grace = rs_json_int(p->object, spec, "metadata", "deletionGracePeriodSeconds");

    return (grace < 1 ? 1 : grace) * 1000;
}

void rs_pod_update(rs_pod *p, const json_t *object, int64_t now)
{
    json_t *held = json_incref((json_t *)object);
    json_decref(p->object);
    p->object = held;
    if (!rs_object_deleting(object))
        return;
    int64_t deadline = now + rs_pod_grace_ms(p), asked;
    /* After a restart of the node the deletion is older than this sight of it; two seconds are always given. The API's
     * time has whole seconds, so a difference of one means nothing. */
    const char *text = rs_json_str(object, "metadata", "deletionTimestamp");
    if (!p->deleting && text && rs_time_parse(text, &asked) && asked + 1000 < deadline)
        deadline = asked > now + 2000 ? asked : now + 2000;
    if (!p->deleting || deadline < p->kill_deadline)
        p->kill_deadline = deadline;
    p->deleting = true;
}

void rs_pod_vanished(rs_pod *p, int64_t now)
{
    p->removed = true;
    if (!p->deleting)
        p->kill_deadline = now + rs_pod_grace_ms(p);
    p->deleting = true;
}

void rs_pod_setup_done(rs_pod *p, const char *ip)
{
    p->ground = RS_POD_UP;
    replace_text(&p->ip, ip);
}

void rs_pod_setup_failed(rs_pod *p, int64_t again_at)
{
    p->ground = RS_POD_BARE;
    p->setup_after = again_at;
}

void rs_pod_started(rs_pod *p, size_t i, const char *id, int64_t at, int64_t now)
{
    struct rs_container *c = &p->c[i];

    c->phase = RS_CONTAINER_RUNNING;
    c->stopping = false;
    c->started_at = at;
    replace_text(&c->id, id);
    replace_text(&c->wait_reason, NULL);
    replace_text(&c->wait_message, NULL);
    ended_done(&c->last);
    c->last = c->ended;
    c->ended = (struct rs_ended){ 0 };
    rs_probe_begin(&c->startup, now);
    rs_probe_begin(&c->readiness, c->startup.spec ? INT64_MAX / 2 : now);
    rs_probe_begin(&c->liveness, c->startup.spec ? INT64_MAX / 2 : now);
}

/* Before each restart but the first there is a pause that doubles; a run of ten minutes is forgiven. */
static void take_backoff(struct rs_container *c, int64_t ran_ms, int64_t now)
{
    if (ran_ms >= BACKOFF_FORGET_MS)
        c->backoff_ms = 0;
    c->not_before = now + c->backoff_ms;
    c->backoff_ms = c->backoff_ms ? c->backoff_ms * 2 : BACKOFF_FIRST_MS;
    if (c->backoff_ms > BACKOFF_MAX_MS)
        c->backoff_ms = BACKOFF_MAX_MS;
}

void rs_pod_start_failed(rs_pod *p, size_t i, const char *reason, const char *message, int64_t now)
{
    struct rs_container *c = &p->c[i];

    c->phase = c->ended.set ? RS_CONTAINER_EXITED : RS_CONTAINER_WAITING;
    c->stopping = false;
    replace_text(&c->wait_reason, reason);
    replace_text(&c->wait_message, message);
    if (rs_streq(reason, "CreateContainerConfigError"))
        c->not_before = now + RETRY_MS;            /* waits for an object; the worker asks earlier when one changes */
    else
        take_backoff(c, 0, now);
    if (c->not_before < now + RETRY_MS)
        c->not_before = now + RETRY_MS;
}

void rs_pod_ended(rs_pod *p, size_t i, int exit_code, const char *reason, const char *message, int64_t started_at, int64_t at)
{
    struct rs_container *c = &p->c[i];

    if (c->ended.set) {
        ended_done(&c->last);
        c->last = c->ended;
    }
    c->ended = (struct rs_ended){ true, started_at, at, exit_code, rs_strdup(reason), rs_strdup(message), rs_strdup(c->id) };
    c->phase = RS_CONTAINER_EXITED;
    c->stopping = c->hook_pending = false;
    c->attempt++;
    take_backoff(c, at - started_at, at);
    rs_probe_begin(&c->startup, INT64_MAX / 2);
    rs_probe_begin(&c->readiness, INT64_MAX / 2);
    rs_probe_begin(&c->liveness, INT64_MAX / 2);
}

void rs_pod_probed(rs_pod *p, size_t i, struct rs_probe *probe, bool passed, int64_t now)
{
    struct rs_container *c = &p->c[i];

    if (!rs_probe_result(probe, passed, now) || probe != &c->startup || probe->verdict != RS_PROBE_PASSED)
        return;
    c->startup.next = INT64_MAX;
    int64_t age = now - c->started_at;             /* initial delays count from the start of the container */
    rs_probe_begin(&c->readiness, age > c->readiness.initial_ms ? now - c->readiness.initial_ms : c->started_at);
    rs_probe_begin(&c->liveness, age > c->liveness.initial_ms ? now - c->liveness.initial_ms : c->started_at);
}

bool rs_container_started(const struct rs_container *c)
{
    return c->phase == RS_CONTAINER_RUNNING && !c->hook_pending && (!c->startup.spec || c->startup.verdict == RS_PROBE_PASSED);
}

bool rs_container_ready(const struct rs_container *c)
{
    if (c->init)
        return c->phase == RS_CONTAINER_EXITED && c->ended.exit_code == 0;
    return rs_container_started(c) && (!c->readiness.spec || c->readiness.verdict == RS_PROBE_PASSED);
}

bool rs_pod_all_ended(const rs_pod *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->c[i].phase == RS_CONTAINER_STARTING || p->c[i].phase == RS_CONTAINER_RUNNING)
            return false;
    return true;
}

int rs_pod_find(const rs_pod *p, const char *container)
{
    for (size_t i = 0; i < p->n; i++)
        if (rs_streq(p->c[i].name, container))
            return (int)i;
    return -1;
}

/* Whether the policy wants another run after this end. */
static bool again(const rs_pod *p, const struct rs_container *c)
{
    const char *policy = rs_json_str(p->spec_object, "spec", "restartPolicy");

    if (!c->ended.set)
        return true;
    if (c->init)
        return c->ended.exit_code != 0 && !rs_streq(policy, "Never");
    if (rs_streq(policy, "Never"))
        return false;
    return !rs_streq(policy, "OnFailure") || c->ended.exit_code != 0;
}

static struct rs_pod_action nothing(void) { return (struct rs_pod_action){ .act = RS_POD_NOTHING }; }

static void wake_by(int64_t *wake, int64_t at) { if (at < *wake) *wake = at; }

/* Everything is to end: stop what runs, then take the ground away, then report. */
static struct rs_pod_action next_down(rs_pod *p, int64_t now)
{
    for (size_t i = 0; i < p->n; i++) {
        struct rs_container *c = &p->c[i];
        if (c->phase != RS_CONTAINER_RUNNING || c->stopping)
            continue;
        c->stopping = true;
        int64_t grace = p->kill_deadline - now;
        return (struct rs_pod_action){ RS_POD_STOP, i, grace > 0 ? grace : 0, "Stopping container" };
    }
    if (!rs_pod_all_ended(p) || p->ground == RS_POD_SETTING_UP)
        return nothing();
    if (p->ground == RS_POD_UP || p->ground == RS_POD_BARE) {
        p->ground = RS_POD_DOWN;
        return (struct rs_pod_action){ .act = RS_POD_TEARDOWN };
    }
    if (p->announced_stop)
        return nothing();
    p->announced_stop = true;
    return (struct rs_pod_action){ .act = RS_POD_GONE };
}

static struct rs_pod_action start(rs_pod *p, size_t i, int64_t now, int64_t *wake)
{
    struct rs_container *c = &p->c[i];

    if (c->not_before > now) {
        wake_by(wake, c->not_before);
        return nothing();
    }
    c->phase = RS_CONTAINER_STARTING;
    return (struct rs_pod_action){ .act = RS_POD_START, .i = i };
}

/* The first init container that has not succeeded, or n_init. Once a main container ran, init is over. */
static size_t init_position(const rs_pod *p)
{
    for (size_t i = p->n_init; i < p->n; i++)
        if (p->c[i].phase != RS_CONTAINER_WAITING || p->c[i].ended.set)
            return p->n_init;
    for (size_t i = 0; i < p->n_init; i++)
        if (p->c[i].phase != RS_CONTAINER_EXITED || p->c[i].ended.exit_code != 0)
            return i;
    return p->n_init;
}

static bool init_failed(const rs_pod *p)
{
    size_t i = init_position(p);

    return i < p->n_init && p->c[i].phase == RS_CONTAINER_EXITED && !again(p, &p->c[i]);
}

/* True when nothing runs and the policy wants nothing to run again. */
static bool completed(const rs_pod *p)
{
    if (init_failed(p))
        return true;
    for (size_t i = p->n_init; i < p->n; i++)
        if (p->c[i].phase != RS_CONTAINER_EXITED || again(p, &p->c[i]))
            return false;
    return p->n > p->n_init;
}

/* A container whose liveness or startup probe failed is stopped; its restart is the policy's matter. */
static struct rs_pod_action next_unhealthy(rs_pod *p)
{
    for (size_t i = p->n_init; i < p->n; i++) {
        struct rs_container *c = &p->c[i];
        bool dead = c->liveness.verdict == RS_PROBE_FAILED, never = c->startup.verdict == RS_PROBE_FAILED;
        if (c->phase != RS_CONTAINER_RUNNING || c->stopping || (!dead && !never))
            continue;
        c->stopping = true;
        const struct rs_probe *by = dead ? &c->liveness : &c->startup;
        int64_t grace = rs_json_int(p->spec_object, 30, "spec", "terminationGracePeriodSeconds");
        grace = rs_json_int(by->spec, grace, "terminationGracePeriodSeconds") * 1000;
        return (struct rs_pod_action){ RS_POD_STOP, i, grace, dead ? "failed liveness probe" : "failed startup probe" };
    }
    return nothing();
}

struct rs_pod_action rs_pod_next(rs_pod *p, int64_t now, int64_t *ret_wake)
{
    *ret_wake = INT64_MAX;
    if (p->deleting)
        return next_down(p, now);
    if (completed(p)) {
        p->kill_deadline = now;
        return next_down(p, now);
    }
    if (p->ground == RS_POD_BARE) {
        wake_by(ret_wake, p->setup_after);
        if (p->setup_after > now)
            return nothing();
        p->ground = RS_POD_SETTING_UP;
        return (struct rs_pod_action){ .act = RS_POD_SETUP };
    }
    if (p->ground != RS_POD_UP)
        return nothing();

    struct rs_pod_action act = next_unhealthy(p);
    if (act.act != RS_POD_NOTHING)
        return act;
    size_t at = init_position(p);
    if (at < p->n_init) {
        struct rs_container *c = &p->c[at];
        return c->phase == RS_CONTAINER_WAITING || c->phase == RS_CONTAINER_EXITED ? start(p, at, now, ret_wake) : nothing();
    }
    for (size_t i = p->n_init; i < p->n; i++) {
        struct rs_container *c = &p->c[i];
        if (c->phase == RS_CONTAINER_WAITING || (c->phase == RS_CONTAINER_EXITED && again(p, c))) {
            act = start(p, i, now, ret_wake);
            if (act.act != RS_POD_NOTHING)
                return act;
        }
    }
    return nothing();
}
