/* rootshift-agent: `init` redirects a pod's traffic, `proxy sidecar|router` runs beside Envoy. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "agent/agent.h"
#include "agent/redirect.h"
#include "base/log.h"
#include "base/proc.h"

extern char **environ;

static const char usage[] =
    "usage: rootshift-agent init                    redirect the traffic of this network namespace through the proxy\n"
    "       rootshift-agent proxy sidecar|router    run beside Envoy\n"
    "\n"
    "Both read their settings from the environment, as Istio's agent does.\n";

static const char *env(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static int init(struct rs_err *e)
{
    const char *const argv[] = { "nft", "-f", "-", NULL };
    struct rs_redirect r = {
        .inbound_ports = env("INCLUDE_INBOUND_PORTS"), .exclude_inbound = env("EXCLUDE_INBOUND_PORTS"), .exclude_outbound = env("EXCLUDE_OUTBOUND_PORTS"),
        .include_ranges = env("INCLUDE_OUTBOUND_IP_RANGES"), .exclude_ranges = env("EXCLUDE_OUTBOUND_IP_RANGES"),
        .proxy_uid = 1337, .proxy_gid = 1337, .inbound_to = 15006, .outbound_to = 15001,
    };
    RS_AUTO(rs_chars) *rules = NULL;
    if (rs_redirect_rules(&rules, &r, e) < 0 || rs_proc_run(argv, rs_str_of(rules), NULL, e) < 0)
        return -1;
    rs_log_info("traffic is redirected: inbound to %d, outbound to %d", r.inbound_to, r.outbound_to);
    return 0;
}

struct app { rs_loop *loop; rs_agent *agent; bool ok; };

static void on_signal(void *ctx, int signo)
{
    rs_agent_stop(((struct app *)ctx)->agent);
}

static void on_end(void *ctx, bool ok)
{
    struct app *app = ctx;
    app->ok = ok;
    rs_loop_stop(app->loop);
}

/* Private keys are in this process: no core dump, no tracer. */
static void keep_memory_private(void)
{
    struct rlimit none = { 0, 0 };
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
}

static int proxy(const char *role, struct rs_err *e)
{
    struct rs_agent_config config;
    struct app app = { 0 };
    if (strcmp(role, "sidecar") != 0 && strcmp(role, "router") != 0)
        return RS_FAIL(e, RS_INVALID, "proxy %s: neither sidecar nor router", role);
    if (rs_agent_config_load(&config, role, environ, e) < 0)
        return -1;
    keep_memory_private();
    app.loop = rs_loop_new();
    int rc = rs_agent_new(&app.agent, app.loop, &config, on_end, &app, e);
    if (rc == 0) {
        rs_loop_on_signal(app.loop, SIGTERM, on_signal, &app);
        rs_loop_on_signal(app.loop, SIGINT, on_signal, &app);
        rs_loop_run(app.loop);
        if (!app.ok)
            rc = RS_FAIL(e, RS_INTERNAL, "Envoy ended by itself");
    }
    rs_agent_free(app.agent);
    rs_loop_free(app.loop);
    rs_agent_config_done(&config);
    return rc;
}

int main(int argc, char **argv)
{
    struct rs_err e;
    int rc;
    rs_log_init("rootshift-agent", RS_LOG_INFO);
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "init") == 0) {
        rc = init(&e);
    } else if (argc >= 3 && strcmp(argv[1], "proxy") == 0) {
        rc = proxy(argv[2], &e);         /* what Istio's templates add behind (--domain ...) is known already */
    } else {
        fputs(usage, stderr);
        return 2;
    }
    if (rc < 0) {
        fprintf(stderr, "rootshift-agent: %s\n", e.msg);
        return rs_code_exit(e.code);
    }
    return 0;
}
