/* rootshift-cluster: the embedded cluster's own processes. This file only finds the verb. */
#include "base/log.h"
#include "base/str.h"
#include "cmd/rootshift-cluster/verbs.h"

static const struct verb {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} verbs[] = {
    { "apiserver", "the Kubernetes API", rs_verb_apiserver },
    { "controllers", "Deployments, endpoints, namespaces and what else is done by watching", rs_verb_controllers },
    { "ground", "holds the namespaces of all clusters of a user", rs_verb_ground },
    { "supervise", "pid 1 of a cluster", rs_verb_supervise },
};

static void usage(FILE *out)
{
    fprintf(out, "usage: rootshift-cluster VERB [OPTION]...\n\nThe processes of an embedded cluster; `rootshift cluster create` starts them.\n\n");
    for (size_t i = 0; i < RS_COUNT(verbs); i++)
        fprintf(out, "  %-14s%s\n", verbs[i].name, verbs[i].help);
}

int main(int argc, char **argv)
{
    if (argc == 2 && (rs_streq(argv[1], "--help") || rs_streq(argv[1], "-h"))) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; argc > 1 && i < RS_COUNT(verbs); i++)
        if (rs_streq(argv[1], verbs[i].name)) {
            rs_log_init(verbs[i].name, RS_LOG_INFO);
            return verbs[i].run(argc - 1, argv + 1);
        }
    usage(stderr);
    return 2;
}
