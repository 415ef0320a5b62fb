/* A pod's containers: starting, probes, hooks, stopping. */
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/time.h"
#include "kube/object.h"
#include "node/node_int.h"
#include "node/oci.h"

enum { AFTER_HOOK_MS = 2000, KILL_AGAIN_MS = 2000, MESSAGE_MAX = 4096, MOUNTS_MAX = 128 };

static struct rs_container *container(const struct rs_run *r) { return &r->w->pod->c[r->i]; }

#define EVENT(r, type, reason, ...) \
    rs_events_add((r)->w->node->events, (r)->w->pod->object, container(r)->name, container(r)->init, (type), (reason), __VA_ARGS__)

static void forget_names(struct rs_run *r)
{
    free(r->dir);
    free(r->id);
    free(r->socket);
    free(r->log);
    r->dir = r->id = r->socket = r->log = NULL;
}

void rs_worker_run_free(struct rs_run *r)
{
    rs_task_free(r->task);
    rs_timer_free(r->kill_timer);
    rs_prober_free(r->hook);
    for (size_t k = 0; k < RS_COUNT(r->tries); k++)
        rs_prober_free(r->tries[k].prober);
    forget_names(r);
}

static struct rs_prober_target target(const struct rs_run *r)
{
    return (struct rs_prober_target){ .loop = r->w->node->loop, .http = r->w->node->http, .ip = r->w->ip, .container = container(r)->spec,
                                      .id = r->id, .runc_root = r->w->node->args->runc_root };
}

/* ---- mounts ---- */

static const struct rs_volume *volume(const rs_worker *w, const char *name)
{
    for (size_t i = 0; i < w->n_volumes; i++)
        if (rs_streq(rs_json_str(w->volumes[i].spec, "name"), name))
            return &w->volumes[i];
    return NULL;
}

/* What is bound for a mount with subPath: a real path that is still inside the volume. */
static char *sub_path(const struct rs_volume *v, const char *sub, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s", v->dir, sub);
    RS_AUTO(rs_chars) *root = realpath(v->dir, NULL);

    if (*sub == '/' || strstr(sub, "..")) {
        RS_FAIL(e, RS_INVALID, "subPath \"%s\" leaves its volume", sub);
        return NULL;
    }
    if (!rs_file_exists(path) && !rs_files_volume(v->spec) && rs_mkdirs(path, 0777, e) < 0)
        return NULL;
    char *real = realpath(path, NULL);
    if (real && root && rs_starts(real, root))
        return real;
    free(real);
    RS_FAIL(e, RS_NOT_FOUND, "subPath \"%s\" is not in volume %s", sub, rs_json_str(v->spec, "name"));
    return NULL;
}

static int collect_mounts(struct rs_run *r, const json_t *env, struct rs_oci_mount *ret, char **owned, size_t *ret_n, struct rs_err *e)
{
    const json_t *list = json_object_get(container(r)->spec, "volumeMounts");
    size_t i;
    json_t *m;

    json_array_foreach(list, i, m) {
        const char *name = rs_json_str(m, "name"), *path = rs_json_str(m, "mountPath"), *sub = rs_json_str(m, "subPath"), *expr = rs_json_str(m, "subPathExpr");
        const struct rs_volume *v = volume(r->w, name);
        if (!v || !path || *ret_n == MOUNTS_MAX)
            return RS_FAIL(e, RS_INVALID, "volumeMount \"%s\" has no volume", name ? name : "");
        RS_AUTO(rs_chars) *expanded = expr ? rs_source_expand(expr, env) : sub && *sub ? rs_strdup(sub) : NULL;
        char *source = expanded ? sub_path(v, expanded, e) : rs_strdup(v->dir);
        if (!source)
            return -1;
        owned[*ret_n] = source;
        ret[(*ret_n)++] = (struct rs_oci_mount){ source, path, rs_json_true(m, "readOnly") || rs_files_volume(v->spec) };
    }
    return 0;
}

static int write_bundle(struct rs_run *r, const json_t *env, const char *termination_log, struct rs_err *e)
{
    rs_worker *w = r->w;
    struct rs_oci_mount mounts[MOUNTS_MAX];
    char *owned[MOUNTS_MAX];
    size_t n = 0;
    const char *hostname = rs_json_str(w->pod->spec_object, "spec", "hostname");
    RS_AUTO(rs_chars) *host = rs_strndup(hostname ? hostname : w->name, 63);
    int rc = collect_mounts(r, env, mounts, owned, &n, e);

    if (rc == 0) {
        struct rs_oci in = { .pod = w->pod->object, .container = container(r)->spec, .env = env, .hostname = host, .netns = w->netns,
                             .bin_dir = w->node->bin_mount, .ip = w->ip, .cluster_dns = w->node->args->cluster_dns,
                             .termination_log = termination_log, .mounts = mounts, .n_mounts = n };
        rc = rs_oci_write(r->dir, &in, e);
    }
    for (size_t i = 0; i < n; i++)
        free(owned[i]);
    return rc;
}

/* ---- start ---- */

static int new_names(struct rs_run *r, struct rs_err *e)
{
    unsigned char bytes[16];
    const struct rs_container *c = container(r);
    rs_worker *w = r->w;

    forget_names(r);
    rs_random(bytes, sizeof(bytes));
    r->id = rs_hex(bytes, sizeof(bytes));
    r->dir = rs_printf("%s/c/%s/%d", w->dir, c->name, c->attempt);
    r->socket = rs_printf("%s/s/%s", w->node->args->run, r->id);
    RS_AUTO(rs_chars) *logs = rs_printf("%s/%s", w->log_dir, c->name);
    r->log = rs_printf("%s/%d.log", logs, c->attempt);
    RS_AUTO(rs_chars) *id_file = rs_printf("%s/id", r->dir);
    if (rs_remove_tree(r->dir, e) < 0 || rs_mkdirs(r->dir, 0755, e) < 0 || rs_mkdirs(logs, 0755, e) < 0)
        return -1;
    return rs_file_write(id_file, rs_str_of(r->id), 0600, e);
}

static int start(struct rs_run *r, const json_t *env, struct rs_err *e)
{
    if (new_names(r, e) < 0)
        return -1;
    RS_AUTO(rs_chars) *termination_log = rs_printf("%s/termination-log", r->dir);
    if (rs_file_write(termination_log, RS_STR(""), 0666, e) < 0)
        return -1;
    if (chmod(termination_log, 0666) < 0)
        return RS_FAIL_ERRNO(e, "chmod %s", termination_log);
    if (write_bundle(r, env, termination_log, e) < 0)
        return -1;
    struct rs_task_place at = { r->dir, r->id, r->socket, r->log, r->w->node->args->runc_root };
    return rs_task_start(&r->task, r->w->node->loop, &at, &rs_worker_task_ops, r, e);
}

void rs_worker_start(rs_worker *w, size_t i)
{
    struct rs_run *r = &w->runs[i];
    struct rs_container *c = &w->pod->c[i];
    struct rs_source s = rs_worker_source(w);
    RS_AUTO(json_t) *env = NULL;
    struct rs_err e;

    if (rs_source_env(&env, &s, c->spec, &e) < 0) {
        if (e.code != RS_UNAVAILABLE)
            EVENT(r, "Warning", "Failed", "Error: %s", e.msg);
        rs_pod_start_failed(w->pod, i, "CreateContainerConfigError", e.msg, rs_now_ms());
        return;
    }
    if (c->attempt == 0 && !c->wait_reason)
        EVENT(r, "Normal", "Pulled", "Container image \"%s\" already present on machine", c->image);
    if (start(r, env, &e) < 0) {
        EVENT(r, "Warning", "Failed", "Error: %s", e.msg);
        rs_pod_start_failed(w->pod, i, "RunContainerError", e.msg, rs_now_ms());
        return;
    }
    EVENT(r, "Normal", "Created", "Created container %s", c->name);
}

static void on_post_start(void *ctx, bool passed, const char *message)
{
    struct rs_run *r = ctx;
    rs_worker *w = r->w;

    rs_prober_free(r->hook);
    r->hook = NULL;
    container(r)->hook_pending = false;
    if (!passed) {
        EVENT(r, "Warning", "FailedPostStartHook", "PostStartHook failed: %s", message);
        container(r)->stopping = true;
        rs_worker_stop(w, r->i, rs_pod_grace_ms(w->pod), "failed postStart hook");
    }
    rs_worker_pump(w);
}

void rs_worker_run_adopt(struct rs_run *r, const char *dir, const char *id)
{
    rs_worker *w = r->w;
    struct rs_container *c = container(r);

    forget_names(r);
    r->dir = rs_strdup(dir);
    r->id = rs_strdup(id);
    r->socket = rs_printf("%s/s/%s", w->node->args->run, id);
    r->log = rs_printf("%s/%s/%d.log", w->log_dir, c->name, c->attempt);
    r->adopted = true;
    w->adopting++;
    c->phase = RS_CONTAINER_STARTING;
    struct rs_task_place at = { r->dir, r->id, r->socket, r->log, w->node->args->runc_root };
    r->task = rs_task_adopt(w->node->loop, &at, &rs_worker_task_ops, r);
}

/* True the first time something is heard of an adopted run. What the API last heard of its probes stays true until they
 * say otherwise: a restart of the node takes no pod out of service. */
static bool adopted(struct rs_run *r, bool running)
{
    const json_t *list = rs_json_at(r->w->pod->object, "status", "containerStatuses");
    struct rs_container *c = container(r);
    RS_AUTO(rs_chars) *id = rs_printf("runc://%s", r->id);
    size_t i;
    json_t *s;

    if (!r->adopted)
        return false;
    r->adopted = false;
    r->w->adopting--;
    json_array_foreach(list, i, s) {
        if (!running || !rs_streq(rs_json_str(s, "containerID"), id))
            continue;
        if (c->startup.spec && rs_json_true(s, "started")) {
            c->startup.verdict = RS_PROBE_PASSED;
            c->startup.next = INT64_MAX;
            rs_probe_begin(&c->readiness, rs_now_ms());
            rs_probe_begin(&c->liveness, rs_now_ms());
        }
        if (c->readiness.spec && rs_json_true(s, "ready"))
            c->readiness.verdict = RS_PROBE_PASSED;
    }
    return true;
}

static void on_running(void *ctx, int64_t started_at)
{
    struct rs_run *r = ctx;
    rs_worker *w = r->w;
    const json_t *hook = rs_json_at(container(r)->spec, "lifecycle", "postStart");

    rs_pod_started(w->pod, r->i, r->id, started_at, rs_now_ms());
    if (adopted(r, true)) {
        rs_worker_pump(w);
        return;
    }
    EVENT(r, "Normal", "Started", "Started container %s", container(r)->name);
    if (hook && !w->pod->deleting) {
        struct rs_prober_target t = target(r);
        container(r)->hook_pending = true;
        r->hook = rs_prober_start(&t, hook, rs_pod_grace_ms(w->pod) + 120000, on_post_start, r);
    }
    rs_worker_pump(w);
}

/* ---- end ---- */

static void drop_activity(struct rs_run *r)
{
    rs_timer_free(r->kill_timer);
    r->kill_timer = NULL;
    rs_prober_free(r->hook);
    r->hook = NULL;
    for (size_t k = 0; k < RS_COUNT(r->tries); k++) {
        rs_prober_free(r->tries[k].prober);
        r->tries[k].prober = NULL;
    }
}

static void on_failed(void *ctx, const char *message)
{
    struct rs_run *r = ctx;
    rs_worker *w = r->w;
    RS_AUTO(rs_chars) *text = rs_strdup(message);

    rs_task_free(r->task);
    r->task = NULL;
    drop_activity(r);
    adopted(r, false);
    EVENT(r, "Warning", "Failed", "Error: %s", text);
    rs_pod_start_failed(w->pod, r->i, "RunContainerError", text, rs_now_ms());
    rs_worker_pump(w);
}

static void remove_path(void *ctx)
{
    struct rs_err e;

    if (rs_remove_tree(ctx, &e) < 0)
        rs_log_debug("%s", e.msg);
}

/* Only the newest two runs keep log and record. */
static void forget_old(struct rs_run *r)
{
    int old = container(r)->attempt - 2;
    rs_worker *w = r->w;

    rs_loop_work(w->node->loop, remove_path, free, rs_printf("%s/rootfs", r->dir));
    if (old < 0)
        return;
    rs_loop_work(w->node->loop, remove_path, free, rs_printf("%s/c/%s/%d", w->dir, container(r)->name, old));
    for (int part = 0; part < 2; part++) {
        RS_AUTO(rs_chars) *log = rs_printf("%s/%s/%d.log%s", w->log_dir, container(r)->name, old, part ? ".1" : "");
        unlink(log);
    }
}

/* terminated.message: what the container left at terminationMessagePath. */
static char *last_words(const struct rs_run *r)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/termination-log", r->dir);
    char *text;
    struct rs_err e;

    if (rs_file_read(path, MESSAGE_MAX, &text, NULL, &e) < 0)
        return NULL;
    json_t *valid = json_string(text);                 /* only UTF-8 can stand in a status */
    if (!valid || !*text) {
        free(text);
        text = NULL;
    }
    json_decref(valid);
    return text;
}

static void on_exited(void *ctx, int code, int64_t started_at, int64_t finished_at, bool lost)
{
    struct rs_run *r = ctx;
    rs_worker *w = r->w;
    struct rs_container *c = container(r);
    RS_AUTO(rs_chars) *message = lost ? rs_strdup("The shim of the container was killed, and the container with it") : last_words(r);

    rs_task_free(r->task);
    r->task = NULL;
    drop_activity(r);
    bool known = adopted(r, false);
    if (c->phase == RS_CONTAINER_STARTING) {           /* it ended before it was seen to run */
        rs_pod_started(w->pod, r->i, r->id, started_at, rs_now_ms());
        if (!known)
            EVENT(r, "Normal", "Started", "Started container %s", c->name);
    }
    rs_pod_ended(w->pod, r->i, code, lost ? "ContainerStatusUnknown" : code == 0 ? "Completed" : "Error", message,
                 lost && c->started_at ? c->started_at : started_at, finished_at);
    if (!w->pod->deleting && c->not_before > rs_now_ms() && !rs_streq(rs_json_str(w->pod->spec_object, "spec", "restartPolicy"), "Never"))
        EVENT(r, "Warning", "BackOff", "Back-off restarting failed container %s in pod %s_%s(%s)", c->name, w->name, w->ns, w->uid);
    forget_old(r);
    rs_worker_pump(w);
}

const struct rs_task_ops rs_worker_task_ops = { on_running, on_failed, on_exited };

/* ---- stop ---- */

static void on_kill(void *ctx)
{
    struct rs_run *r = ctx;

    rs_task_kill(r->task, SIGKILL);
    rs_timer_set(r->kill_timer, KILL_AGAIN_MS);
}

static void terminate(struct rs_run *r)
{
    int64_t now = rs_now_ms();

    rs_task_kill(r->task, SIGTERM);
    if (!r->kill_timer)
        r->kill_timer = rs_timer_new(r->w->node->loop, on_kill, r);
    rs_timer_set(r->kill_timer, r->kill_at > now ? r->kill_at - now : 0);
}

static void on_pre_stop(void *ctx, bool passed, const char *message)
{
    struct rs_run *r = ctx;
    int64_t least = rs_now_ms() + AFTER_HOOK_MS;

    if (!passed)
        EVENT(r, "Warning", "FailedPreStopHook", "PreStopHook failed: %s", message);
    rs_prober_free(r->hook);
    r->hook = NULL;
    if (r->kill_at < least)
        r->kill_at = least;
    terminate(r);
}

void rs_worker_stop(rs_worker *w, size_t i, int64_t grace_ms, const char *why)
{
    struct rs_run *r = &w->runs[i];
    const char *name = container(r)->name;
    const json_t *hook = rs_json_at(container(r)->spec, "lifecycle", "preStop");

    if (rs_starts(why, "failed"))
        EVENT(r, "Normal", "Killing", "Container %s %s, will be restarted", name, why);
    else
        EVENT(r, "Normal", "Killing", "Stopping container %s", name);
    r->kill_at = rs_now_ms() + grace_ms;
    rs_prober_free(r->hook);
    r->hook = NULL;
    if (hook && grace_ms > 0) {
        struct rs_prober_target t = target(r);
        r->hook = rs_prober_start(&t, hook, grace_ms, on_pre_stop, r);
        return;
    }
    terminate(r);
}

void rs_worker_hurry(rs_worker *w)
{
    for (size_t i = 0; i < w->pod->n; i++) {
        struct rs_run *r = &w->runs[i];
        if (!w->pod->c[i].stopping || r->kill_at <= w->pod->kill_deadline)
            continue;
        r->kill_at = w->pod->kill_deadline;
        if (r->kill_timer || r->hook) {
            rs_prober_free(r->hook);
            r->hook = NULL;
            terminate(r);
        }
    }
}

/* ---- probes ---- */

static const char *probe_name(const struct rs_try *t)
{
    static const char *const names[] = { "Startup", "Readiness", "Liveness" };

    return names[t - t->run->tries];
}

static void on_tried(void *ctx, bool passed, const char *message)
{
    struct rs_try *t = ctx;
    struct rs_run *r = t->run;
    rs_worker *w = r->w;

    if (!passed)
        EVENT(r, "Warning", "Unhealthy", "%s probe failed: %s", probe_name(t), message);
    rs_prober_free(t->prober);
    t->prober = NULL;
    rs_pod_probed(w->pod, r->i, t->probe, passed, rs_now_ms());
    rs_worker_pump(w);
}

int64_t rs_worker_probe(rs_worker *w, int64_t now)
{
    int64_t next = INT64_MAX;

    for (size_t i = w->pod->n_init; i < w->pod->n; i++) {
        struct rs_run *r = &w->runs[i];
        struct rs_container *c = &w->pod->c[i];
        if (c->phase != RS_CONTAINER_RUNNING || !r->task)
            continue;
        for (size_t k = 0; k < RS_COUNT(r->tries); k++) {
            struct rs_try *t = &r->tries[k];
            bool wanted = t->probe->spec && !t->prober && (!c->stopping || t->probe == &c->readiness);
            if (wanted && t->probe->next <= now) {
                struct rs_prober_target to = target(r);
                t->prober = rs_prober_start(&to, t->probe->spec, t->probe->timeout_ms, on_tried, t);
            } else if (wanted && t->probe->next < next)
                next = t->probe->next;
        }
    }
    return next;
}
