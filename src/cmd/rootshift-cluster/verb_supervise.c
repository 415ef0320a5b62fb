#include "base/opt.h"
#include "cluster/supervisor.h"
#include "cmd/rootshift-cluster/verbs.h"

int rs_verb_supervise(int argc, char **argv)
{
    struct rs_supervisor_args args = { .listen_fd = -1 };
    struct rs_opt options[] = {
        { .name = "name", .kind = RS_OPT_TEXT, .value = &args.name, .arg = "NAME", .help = "the cluster's name" },
        { .name = "state", .kind = RS_OPT_TEXT, .value = &args.state, .arg = "DIR", .help = "its state directory" },
        { .name = "listen-fd", .kind = RS_OPT_INT, .value = &args.listen_fd, .min = 4, .max = 65535, .arg = "N",
          .help = "listening socket on the host's loopback" },
    };
    struct rs_err e;
    int positional = 0;
    int rc = rs_opt_parse(options, RS_COUNT(options), argc, argv, &positional, &e);
    if (rc > 0) {
        printf("usage: rootshift-cluster supervise --name NAME --state DIR --listen-fd N\n\n");
        rs_opt_help(stdout, options, RS_COUNT(options));
        return 0;
    }
    if (rc < 0 || positional > 0 || !args.name || !args.state || args.listen_fd < 0) {
        fprintf(stderr, "rootshift-cluster: supervise: %s\n", rc < 0 ? e.msg : "--name, --state and --listen-fd are needed");
        return 2;
    }
    return rs_supervisor_main(&args);
}
