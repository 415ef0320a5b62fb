/* rootshift-control: the control plane of one revision (istiod-REV). `rootshift-control discovery`, configured by the
 * environment that `rootshift install` gives its Deployment. */
#include <signal.h>

#include "base/log.h"
#include "base/opt.h"
#include "cmd/rootshift-control/app.h"
#include "install/revision.h"

static const char *arg_revision = "default", *arg_namespace = "istio-system", *arg_cluster = "Kubernetes", *arg_pod, *arg_audiences = "istio-ca",
                  *arg_ca = "true", *arg_multi_root = "false";
static struct settings set = {
    .ttl_ms = 24LL * 3600 * 1000, .max_ttl_ms = 90LL * 24 * 3600 * 1000, .drain_ms = 3000, .grpc = "0.0.0.0:15012", .webhook = "0.0.0.0:15017",
    .monitoring = "0.0.0.0:15014", .status = "0.0.0.0:8080",
};

static struct rs_opt options[] = {
    { .name = "revision", .kind = RS_OPT_TEXT, .value = &arg_revision, .arg = "REV", .env = "REVISION", .help = "revision (default: default)" },
    { .name = "namespace", .kind = RS_OPT_TEXT, .value = &arg_namespace, .arg = "NS", .env = "POD_NAMESPACE", .help = "mesh namespace (default istio-system)" },
    { .name = "cluster", .kind = RS_OPT_TEXT, .value = &arg_cluster, .arg = "NAME", .env = "CLUSTER_ID", .help = "name of this cluster (default Kubernetes)" },
    { .name = "pod", .kind = RS_OPT_TEXT, .value = &arg_pod, .arg = "NAME", .env = "POD_NAME", .help = "our own name among others of the revision" },
    { .name = "token_audiences", .kind = RS_OPT_TEXT, .value = &arg_audiences, .arg = "A,B", .env = "TOKEN_AUDIENCES", .help = "audiences that callers' tokens may carry (default istio-ca)" },
    { .name = "enable_ca", .kind = RS_OPT_TEXT, .value = &arg_ca, .arg = "BOOL", .env = "ENABLE_CA_SERVER", .help = "be a CA (default true)" },
    { .name = "multi_root", .kind = RS_OPT_TEXT, .value = &arg_multi_root, .arg = "BOOL", .env = "ISTIO_MULTIROOT_MESH", .help = "distribute the mesh config's caCertificates (default false)" },
    { .name = "ttl", .kind = RS_OPT_DURATION, .value = &set.ttl_ms, .arg = "TIME", .env = "DEFAULT_WORKLOAD_CERT_TTL", .help = "lifetime of a leaf when the caller asks for none (default 24h)" },
    { .name = "max_ttl", .kind = RS_OPT_DURATION, .value = &set.max_ttl_ms, .arg = "TIME", .env = "MAX_WORKLOAD_CERT_TTL", .help = "longest lifetime (default 2160h)" },
    { .name = "drain", .kind = RS_OPT_DURATION, .value = &set.drain_ms, .arg = "TIME", .help = "after SIGTERM, keep serving this long while clients learn of it (default 3s)" },
    { .name = "grpc", .kind = RS_OPT_TEXT, .value = &set.grpc, .arg = "ADDRESS", .help = "discovery and CA (default 0.0.0.0:15012)" },
    { .name = "webhook", .kind = RS_OPT_TEXT, .value = &set.webhook, .arg = "ADDRESS", .help = "webhooks (default 0.0.0.0:15017)" },
    { .name = "monitoring", .kind = RS_OPT_TEXT, .value = &set.monitoring, .arg = "ADDRESS", .help = "metrics (default 0.0.0.0:15014)" },
    { .name = "status", .kind = RS_OPT_TEXT, .value = &set.status, .arg = "ADDRESS", .help = "readiness (default 0.0.0.0:8080)" },
    { .name = "kubeconfig", .kind = RS_OPT_TEXT, .value = &set.kubeconfig, .arg = "FILE", .help = "kubeconfig (default: the pod's service account)" },
    { .name = "context", .kind = RS_OPT_TEXT, .value = &set.context, .arg = "NAME", .help = "context of the kubeconfig" },
};

static void on_signal(void *ctx, int signo) { app_stop(ctx); }

static int run(struct rs_err *e)
{
    struct app a = { .set = &set, .loop = rs_loop_new() };
    int r = app_start(&a, e) < 0 || app_serve(&a, e) < 0 ? -1 : 0;
    if (r == 0) {
        rs_loop_on_signal(a.loop, SIGTERM, on_signal, &a);
        rs_loop_on_signal(a.loop, SIGINT, on_signal, &a);
        rs_log_info("control plane of revision %s", set.revision);
        rs_loop_run(a.loop);
    }
    app_free(&a);
    return r;
}

static int read_bool(const char *name, const char *text, bool *ret, struct rs_err *e)
{
    if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0)
        return *ret = true, 0;
    if (strcmp(text, "false") == 0 || strcmp(text, "0") == 0)
        return *ret = false, 0;
    return RS_FAIL(e, RS_INVALID, "%s: \"%s\" is neither true nor false", name, text);
}

static int settle(struct rs_err *e)
{
    if (rs_revision_check(*arg_revision ? arg_revision : "default", e) < 0 || read_bool("ENABLE_CA_SERVER", arg_ca, &set.ca_enabled, e) < 0 ||
        read_bool("ISTIO_MULTIROOT_MESH", arg_multi_root, &set.multi_root, e) < 0)
        return -1;
    set.revision = *arg_revision ? arg_revision : "default";
    set.namespace = arg_namespace;
    set.cluster = arg_cluster;
    set.pod = arg_pod ? arg_pod : "rootshift-control";
    set.audiences = rs_split(arg_audiences, ',');
    return 0;
}

int main(int argc, char **argv)
{
    struct rs_err e;
    int positional;
    rs_log_init("rootshift-control", RS_LOG_INFO);
    int r = rs_opt_parse(options, RS_COUNT(options), argc, argv, &positional, &e);
    if (r == 1) {
        printf("usage: rootshift-control discovery [OPTION]...\n\nThe control plane of one revision.\n\n");
        rs_opt_help(stdout, options, RS_COUNT(options));
        return 0;
    }
    if (r == 0 && (positional != 1 || strcmp(argv[1], "discovery") != 0))
        r = RS_FAIL(&e, RS_INVALID, "usage: rootshift-control discovery [OPTION]...");
    if (r == 0)
        r = settle(&e);
    if (r == 0)
        r = run(&e);
    if (set.audiences)
        rs_strv_free(set.audiences);
    if (r < 0) {
        rs_log_error("%s", e.msg);
        return rs_code_exit(e.code);
    }
    return 0;
}
