/* rootshift: the operator's command. This file only finds the verb; each verb is a file of its own. */
#include "base/log.h"
#include "base/str.h"
#include "cmd/rootshift/cmd.h"

struct verb {
    const char *name, *help;
    int (*run)(int argc, char **argv);
};

static int run_version(int argc, char **argv)
{
    puts("rootshift " RS_VERSION);
    return 0;
}

/* In the order of --help. */
static const struct verb verbs[] = {
    { "install", "install one revision of the control plane (asmcli install)", rs_cmd_install },
    { "mesh-ca", "install Mesh CA in the cluster", rs_cmd_mesh_ca },
    { "cluster", "make, delete, list embedded clusters on this machine", rs_cmd_cluster },
    { "migrate", "move the mesh to another CA, as far as it can be undone", rs_cmd_migrate },
    { "status", "where a migration stands and what the gates say", rs_cmd_status },
    { "rollback", "undo the last phase", rs_cmd_rollback },
    { "complete", "remove the control planes, secrets and root of before", rs_cmd_complete },
    { "check-root-cert", "which roots every running proxy trusts", rs_cmd_check_root_cert },
    { "check-workload-cert", "who issued every running proxy's certificate", rs_cmd_check_workload_cert },
    { "check-trustdomain", "which trust domains every running proxy accepts", rs_cmd_check_trustdomain },
    { "version", "print the version", run_version },
};

static enum rs_cmd_name called_as = RS_AS_ROOTSHIFT;

enum rs_cmd_name rs_cmd_called_as(void) { return called_as; }

static const struct verb *find(const char *name)
{
    for (size_t i = 0; i < RS_COUNT(verbs); i++)
        if (rs_streq(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

static void usage(FILE *out)
{
    fprintf(out, "usage: rootshift VERB [OPTION]...\n\nMoves a service mesh from one certificate authority to another without a failed request.\n\n");
    for (size_t i = 0; i < RS_COUNT(verbs); i++)
        fprintf(out, "  %-22s%s\n", verbs[i].name, verbs[i].help);
    fprintf(out, "\nrootshift VERB --help tells a verb's options. Called as asmcli or migrate_ca it behaves as that tool.\n"
                 "Exit status: 0 done, 1 a check failed, 2 usage or bad input, 3 cluster unreachable or forbidden, 4 a gate is closed.\n");
}

static int run_verb(const char *name, int argc, char **argv)
{
    const struct verb *v = find(name);
    if (v)
        return v->run(argc, argv);
    fprintf(stderr, "rootshift: unknown verb \"%s\"; see rootshift --help\n", name);
    return 2;
}

static bool is_help(const char *s) { return rs_streq(s, "--help") || rs_streq(s, "-h") || rs_streq(s, "help"); }

/* asmcli SUBCOMMAND: install, apply (never asks), validate (checks only), print-config. */
static int as_asmcli(int argc, char **argv)
{
    const char *first = argc > 1 ? argv[1] : NULL;
    if (!first || is_help(first)) {
        fprintf(first ? stdout : stderr, "usage: asmcli SUBCOMMAND [OPTION]...\n\n"
                "  install        install one revision of the control plane\n"
                "  apply          the same\n"
                "  validate       check everything, change nothing\n"
                "  print-config   print the compiled IstioOperator\n"
                "  --version      print the version that is installed\n\nasmcli install --help tells the options.\n");
        return first ? 0 : 2;
    }
    if (rs_streq(first, "--version")) {
        puts("1.15.7-asm.23+config1");
        return 0;
    }
    if (rs_streq(first, "install") || rs_streq(first, "apply") || rs_streq(first, "validate") || rs_streq(first, "print-config"))
        return run_verb("install", argc - 1, argv + 1);
    fprintf(stderr, "asmcli: [ERROR]: Unknown subcommand %s. Run asmcli --help.\n", first);
    return 2;
}

/* migrate_ca CHECK: the three checks; anything else prints usage and succeeds, as the original does. */
static int as_migrate_ca(int argc, char **argv)
{
    const char *first = argc > 1 ? argv[1] : NULL;
    if (first && rs_starts(first, "check-") && find(first))
        return run_verb(first, argc - 1, argv + 1);
    puts("usage: migrate_ca check-root-cert | check-workload-cert | check-trustdomain");
    return 0;
}

int main(int argc, char **argv)
{
    rs_log_init("rootshift", RS_LOG_WARNING);
    const char *slash = argc ? strrchr(argv[0], '/') : NULL;
    const char *base = slash ? slash + 1 : argc ? argv[0] : "rootshift";
    if (rs_streq(base, "asmcli")) {
        called_as = RS_AS_ASMCLI;
        return as_asmcli(argc, argv);
    }
    if (rs_streq(base, "migrate_ca")) {
        called_as = RS_AS_MIGRATE_CA;
        return as_migrate_ca(argc, argv);
    }
    if (argc < 2 || is_help(argv[1])) {
        usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (rs_streq(argv[1], "--version"))
        return run_version(0, NULL);
    return run_verb(argv[1], argc - 1, argv + 1);
}
