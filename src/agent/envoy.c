#include "agent/envoy.h"

#include <signal.h>
#include <unistd.h>

#include "agent/bootstrap.h"
#include "base/file.h"
#include "base/log.h"
#include "base/proc.h"

enum { ADMIN_MS = 3000, KILL_MS = 5000 };

/* Lives until the child is reaped, even when its owner let go before. */
struct rs_envoy {
    rs_http_client *http;
    int admin_port;
    pid_t pid;                           /* 0 once reaped */
    rs_timer *kill;
    bool freed;
    void (*on_exit)(void *ctx, int status);
    void *ctx;
};

static int write_bootstrap(const struct rs_agent_config *config, const char *path, struct rs_err *e)
{
    RS_AUTO(rs_chars) *id = rs_agent_node_id(config), *cluster = rs_agent_node_cluster(config), *ads = rs_printf("%s/XDS", config->config_dir);
    struct rs_bootstrap b = {
        .node_id = id, .cluster = cluster, .metadata = config->metadata, .ads_path = ads, .sds_path = config->sds_path,
        .admin_port = config->admin_port, .agent_port = config->status_port, .ready_port = config->ready_port,
        .prometheus_port = config->prometheus_port,
    };
    RS_AUTO(json_t) *o = rs_bootstrap_json(&b);
    RS_AUTO(rs_chars) *text = rs_json_pretty(o);
    return rs_file_write(path, rs_str_of(text), 0644, e);
}

static void reaped(void *ctx, pid_t pid, int status)
{
    rs_envoy *v = ctx;
    v->pid = 0;
    rs_timer_cancel(v->kill);
    if (!v->freed) {
        v->on_exit(v->ctx, status);
        return;
    }
    rs_timer_free(v->kill);
    free(v);
}

static void kill_it(void *ctx)
{
    rs_envoy *v = ctx;
    rs_log_warning("Envoy does not end: killed");
    if (v->pid)
        kill(v->pid, SIGKILL);
}

int rs_envoy_start(rs_envoy **ret, rs_loop *loop, rs_http_client *http, const struct rs_agent_config *config,
                   void (*on_exit)(void *ctx, int status), void *ctx, struct rs_err *e)
{
    RS_AUTO(rs_chars) *program = config->envoy ? rs_strdup(config->envoy) : rs_program_find("envoy");
    RS_AUTO(rs_chars) *path = rs_printf("%s/envoy-rev.json", config->config_dir), *concurrency = rs_printf("%d", config->concurrency);
    if (!program)
        return RS_FAIL(e, RS_NOT_FOUND, "no program envoy beside ours or in PATH");
    if (write_bootstrap(config, path, e) < 0)
        return -1;
    const char *const argv[] = {
        program, "-c", path, "--drain-time-s", "45", "--drain-strategy", "immediate", "--local-address-ip-version", "v4",
        "--file-flush-interval-msec", "1000", "--disable-hot-restart", "--allow-unknown-static-fields", "-l", "warning",
        config->concurrency > 0 ? "--concurrency" : NULL, concurrency, NULL,
    };
    struct rs_proc_spec spec = { .argv = argv, .fd_in = -1, .fd_out = STDOUT_FILENO, .fd_err = STDERR_FILENO, .die_with_parent = true };
    pid_t pid;
    if (rs_proc_start(&spec, &pid, e) < 0)
        return -1;
    rs_envoy *v = rs_new(rs_envoy);
    v->http = http;
    v->admin_port = config->admin_port;
    v->pid = pid;
    v->kill = rs_timer_new(loop, kill_it, v);
    v->on_exit = on_exit;
    v->ctx = ctx;
    rs_loop_on_child(loop, pid, reaped, v);
    rs_log_info("Envoy started pid=%d", (int)pid);
    *ret = v;
    return 0;
}

rs_http_call *rs_envoy_ask(rs_envoy *v, const char *method, const char *target,
                           void (*done)(void *ctx, const struct rs_http_response *r, const struct rs_err *why), void *ctx)
{
    RS_AUTO(rs_chars) *url = rs_printf("http://127.0.0.1:%d%s", v->admin_port, target);
    struct rs_http_request r = { .method = method, .url = url, .timeout_ms = ADMIN_MS };
    return rs_http_start(v->http, &r, done, ctx);
}

void rs_envoy_terminate(rs_envoy *v)
{
    if (!v->pid)
        return;
    kill(v->pid, SIGTERM);
    rs_timer_set(v->kill, KILL_MS);
}

void rs_envoy_free(rs_envoy *v)
{
    if (!v)
        return;
    v->freed = true;
    if (v->pid) {
        kill(v->pid, SIGKILL);
        return;
    }
    rs_timer_free(v->kill);
    free(v);
}
