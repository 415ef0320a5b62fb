#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "base/opt.h"
#include "cluster/controllers.h"
#include "cmd/rootshift-cluster/verbs.h"

struct running { rs_loop *loop; int ready_fd; };

static void on_ready(void *ctx)
{
    struct running *r = ctx;
    rs_log_info("caches filled");
    if (r->ready_fd < 0)
        return;
    if (write(r->ready_fd, "ready\n", 6) != 6)
        rs_log_warning("nobody reads the ready descriptor");
    close(r->ready_fd);
    r->ready_fd = -1;
}

static void on_term(void *ctx, int signo)
{
    rs_loop_stop(((struct running *)ctx)->loop);
}

static int serve(const char *kubeconfig, int ready_fd, struct rs_err *e)
{
    RS_AUTO_KUBE_CONFIG config = { 0 };
    RS_AUTO(rs_kube) *k = NULL;
    if (rs_kube_config_load(&config, kubeconfig, NULL, e) < 0)
        return -1;
    struct running r = { .loop = rs_loop_new(), .ready_fd = ready_fd };
    int rc = rs_kube_new(&k, r.loop, &config, e);
    if (rc == 0) {
        rs_controllers *c = rs_controllers_new(k, on_ready, &r);
        rs_loop_on_signal(r.loop, SIGTERM, on_term, &r);
        rs_loop_on_signal(r.loop, SIGINT, on_term, &r);
        rs_loop_run(r.loop);
        rs_controllers_free(c);
        rs_kube_free(rs_take(k));
    }
    rs_loop_free(r.loop);
    return rc;
}

int rs_verb_controllers(int argc, char **argv)
{
    const char *kubeconfig = NULL;
    int64_t ready_fd = -1;
    struct rs_opt options[] = {
        { .name = "kubeconfig", .kind = RS_OPT_TEXT, .value = &kubeconfig, .arg = "FILE", .help = "cluster to work for (default: as kubectl finds it)" },
        { .name = "ready-fd", .kind = RS_OPT_INT, .value = &ready_fd, .min = 3, .max = 65535, .arg = "N", .help = "gets \"ready\\n\" once every cache is filled" },
    };
    struct rs_err e;
    int positional = 0, rc = rs_opt_parse(options, RS_COUNT(options), argc, argv, &positional, &e);
    if (rc > 0) {
        printf("usage: rootshift-cluster controllers [OPTION]...\n\n");
        rs_opt_help(stdout, options, RS_COUNT(options));
        return 0;
    }
    if (rc < 0 || positional > 0) {
        fprintf(stderr, "rootshift-cluster: controllers: %s\n", rc < 0 ? e.msg : "no arguments are taken");
        return 2;
    }
    if (serve(kubeconfig, (int)ready_fd, &e) == 0)
        return 0;
    rs_log_error("%s", e.msg);
    return rs_code_exit(e.code);
}
