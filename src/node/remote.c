/* exec and attach: a command, or a container's output, on the channels of an upgraded connection. */
#include "base/file.h"
#include "node/exec.h"
#include "node/logs.h"
#include "node/server_int.h"
#include "node/wire.h"

enum { STDIN, STDOUT, STDERR, ERROR, RESIZE, CHANNELS, BEHIND_MAX = 1024 * 1024, OPEN_MS = 30000 };

static const char *const channel_names[CHANNELS] = { "stdin", "stdout", "stderr", "error", "resize" };
static const char *const ws_protocols[] = { "v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io", NULL };
static const char *const spdy_protocols[] = { "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io", NULL };
static const struct rs_wire_protocols protocols = { ws_protocols, spdy_protocols };

struct session {
    rs_node *node;
    rs_wire *wire;
    rs_exec *exec;
    rs_logs *logs;                     /* attach */
    json_t *command;
    char *id, *ns, *pod, *container, *log;
    int attempt;
    bool want[CHANNELS], have[CHANNELS], started, told;
    uint32_t ids[CHANNELS];
    rs_timer *timer;                   /* the peer opens its channels, and closes, in time */
};

static void session_free(struct session *s)
{
    rs_wire_free(s->wire);
    rs_exec_free(s->exec);
    rs_logs_free(s->logs);
    rs_timer_free(s->timer);
    json_decref(s->command);
    free(s->id);
    free(s->ns);
    free(s->pod);
    free(s->container);
    free(s->log);
    free(s);
}

static void on_close(void *ctx, rs_wire *w) { session_free(ctx); }
static void on_late(void *ctx) { session_free(ctx); }

/* ---- the end ---- */

static json_t *exit_status(int code)
{
    if (code == 0)
        return rs_json_pack("{s:{}, s:s}", "metadata", "status", "Success");
    RS_AUTO(rs_chars) *text = rs_printf("command terminated with exit code %d", code), *number = rs_printf("%d", code);
    return rs_json_pack("{s:{}, s:s, s:s, s:s, s:{s:[{s:s, s:s}]}, s:i}", "metadata", "status", "Failure", "message", text, "reason", "NonZeroExitCode",
                        "details", "causes", "reason", "ExitCode", "message", number, "code", 500);
}

static void tell_end(struct session *s, json_t *status)
{
    RS_AUTO(rs_chars) *text = rs_json_text(status);

    json_decref(status);
    if (s->told)
        return;
    s->told = true;
    if (!rs_wire_numbered(s->wire))
        for (int i = STDOUT; i <= STDERR; i++)
            if (s->have[i])
                rs_wire_send(s->wire, s->ids[i], RS_STR(""), true);
    if (s->have[ERROR])
        rs_wire_send(s->wire, s->ids[ERROR], rs_str_of(text), !rs_wire_numbered(s->wire));
    rs_timer_set(s->timer, OPEN_MS);
    rs_wire_close(s->wire);
}

static json_t *failure(const char *text)
{
    return rs_json_pack("{s:{}, s:s, s:s, s:s, s:i}", "metadata", "status", "Failure", "message", text, "reason", "InternalError", "code", 500);
}

/* ---- exec ---- */

static void exec_output(void *ctx, int stream, rs_str bytes)
{
    struct session *s = ctx;
    int channel = stream == 2 ? STDERR : STDOUT;

    if (s->have[channel])
        rs_wire_send(s->wire, s->ids[channel], bytes, false);
    if (rs_wire_pending(s->wire) > BEHIND_MAX)
        rs_exec_pause(s->exec, true);
}

static void exec_drained(void *ctx)
{
    struct session *s = ctx;

    rs_wire_resume(s->wire);
}

static void exec_exit(void *ctx, int code)
{
    struct session *s = ctx;

    rs_exec_free(rs_take(s->exec));
    tell_end(s, exit_status(code));
}

static void start_exec(struct session *s)
{
    static const struct rs_exec_ops ops = { exec_output, exec_drained, exec_exit };
    struct rs_exec_spec spec = { .id = s->id, .runc_root = s->node->args->runc_root, .command = s->command, .stdin_wanted = s->want[STDIN], .tty = s->want[RESIZE] };
    struct rs_err e;

    if (rs_exec_start(&s->exec, s->node->loop, &spec, &ops, s, &e) < 0)
        tell_end(s, failure(e.msg));
}

/* ---- attach ---- */

static void attach_text(void *ctx, int stream, rs_str text) { exec_output(ctx, stream, text); }

static bool attach_ended(void *ctx)
{
    struct session *s = ctx;
    rs_worker *w = rs_worker_find(s->node, s->ns, s->pod);
    int i = w ? rs_pod_find(w->pod, s->container) : -1;

    return i < 0 || w->pod->c[i].attempt != s->attempt || w->pod->c[i].phase != RS_CONTAINER_RUNNING;
}

static void attach_end(void *ctx)
{
    struct session *s = ctx;

    tell_end(s, exit_status(0));
}

static void start_attach(struct session *s)
{
    static const struct rs_logs_ops ops = { attach_text, attach_ended, attach_end };
    struct rs_logs_options o = { .follow = true, .tail = 0, .limit = -1 };

    s->logs = rs_logs_start(s->node->loop, s->log, &o, &ops, s);
}

/* ---- channels ---- */

static void start(struct session *s)
{
    s->started = true;
    rs_timer_cancel(s->timer);
    if (s->command)
        start_exec(s);
    else
        start_attach(s);
}

static void on_channel(void *ctx, rs_wire *w, uint32_t id, const char *const *names, const char *const *values, size_t n)
{
    struct session *s = ctx;
    bool all = true;

    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < CHANNELS && rs_streq(names[i], "streamtype"); k++)
            if (rs_streq(values[i], channel_names[k]) && !s->have[k]) {
                s->have[k] = true;
                s->ids[k] = id;
            }
    for (int k = 0; k < CHANNELS; k++)
        all &= !s->want[k] || s->have[k];
    if (all && !s->started)
        start(s);
}

static void resize(struct session *s, rs_str data)
{
    RS_AUTO(json_t) *o = NULL;
    struct rs_err e;

    if (s->exec && rs_json_parse(&o, data, &e) == 0)
        rs_exec_resize(s->exec, (int)rs_json_int(o, 80, "Width"), (int)rs_json_int(o, 24, "Height"));
}

static void on_data(void *ctx, rs_wire *w, uint32_t id, rs_str data, bool fin)
{
    struct session *s = ctx;

    if (s->have[RESIZE] && id == s->ids[RESIZE]) {
        resize(s, rs_str_trim(data));
    } else if (s->have[STDIN] && id == s->ids[STDIN] && s->exec) {
        if (data.n > 0)
            rs_exec_write(s->exec, data);
        if (fin)
            rs_exec_close_stdin(s->exec);
        else if (rs_exec_pending(s->exec) > BEHIND_MAX)
            rs_wire_pause(s->wire);
    }
}

static void on_drained(void *ctx, rs_wire *w)
{
    struct session *s = ctx;

    if (s->exec)
        rs_exec_pause(s->exec, false);
}

static bool asked(const char *query, const char *name, const char *kubelet_name)
{
    for (int part = 0; part < 2; part++) {
        RS_AUTO(rs_chars) *v = rs_http_query(query, part ? kubelet_name : name, 0);
        if (v && (rs_streq(v, "1") || rs_streq(v, "true") || rs_streq(v, "True") || rs_streq(v, "TRUE") || rs_streq(v, "t")))
            return true;
    }
    return false;
}

static void serve(rs_node *n, rs_http_exchange *x, struct rs_run *r, json_t *command)
{
    static const struct rs_wire_ops ops = { .on_channel = on_channel, .on_data = on_data, .on_drained = on_drained, .on_close = on_close };
    const char *q = rs_http_query_raw(x);
    const struct rs_container *c = &r->w->pod->c[r->i];
    struct session *s = rs_new(struct session);
    bool tty = command && asked(q, "tty", "tty");

    *s = (struct session){ .node = n, .command = command, .id = rs_strdup(r->id), .ns = rs_strdup(r->w->ns), .pod = rs_strdup(r->w->name),
                           .container = rs_strdup(c->name), .log = rs_strdup(r->log), .attempt = c->attempt };
    s->want[STDIN] = asked(q, "stdin", "input");
    s->want[STDOUT] = asked(q, "stdout", "output");
    s->want[STDERR] = asked(q, "stderr", "error") && !tty;
    s->want[ERROR] = true;
    s->want[RESIZE] = tty;
    s->timer = rs_timer_new(n->loop, on_late, s);
    s->wire = rs_wire_accept(x, &protocols, &ops, s);
    if (!s->wire) {
        session_free(s);
        return;
    }
    if (!rs_wire_numbered(s->wire)) {
        rs_timer_set(s->timer, OPEN_MS);
        return;
    }
    for (int k = 0; k < CHANNELS; k++) {
        s->have[k] = s->want[k];
        s->ids[k] = (uint32_t)k;
    }
    start(s);
}

void rs_serve_exec(rs_node *n, rs_http_exchange *x, const char *ns, const char *pod, const char *container)
{
    struct rs_run *r = rs_server_container(n, x, ns, pod, container);
    RS_AUTO(json_t) *command = json_array();
    char *part;

    if (!r)
        return;
    if (r->w->pod->c[r->i].phase != RS_CONTAINER_RUNNING) {
        rs_server_refuse(x, 400, "BadRequest", "container %s of pod %s does not run", container, pod);
        return;
    }
    for (size_t i = 0; (part = rs_http_query(rs_http_query_raw(x), "command", i)); i++) {
        json_t *text = json_string(part);
        if (text)
            json_array_append_new(command, text);
        free(part);
    }
    if (json_array_size(command) == 0) {
        rs_server_refuse(x, 400, "BadRequest", "you must specify at least one command for the container");
        return;
    }
    serve(n, x, r, rs_take(command));
}

void rs_serve_attach(rs_node *n, rs_http_exchange *x, const char *ns, const char *pod, const char *container)
{
    struct rs_run *r = rs_server_container(n, x, ns, pod, container);

    if (r)
        serve(n, x, r, NULL);
}
