/* rootshift cluster create | delete | list | kubeconfig: embedded clusters on this machine. */
#include "base/time.h"
#include "cluster/ground.h"
#include "cmd/rootshift/cmd.h"

struct action {
    const char *name, *usage, *help;
    bool named;                                  /* takes one NAME ... */
    const char *name_if_none;                    /* ... or none, then this; NULL: it is needed */
    struct rs_opt *options;
    size_t n_options;
    int (*run)(const char *name, struct rs_err *e);
};

static const char *arg_kubeconfig, *arg_output;

static int run_create(const char *name, struct rs_err *e)
{
    struct rs_ground_cluster c;
    int64_t began = rs_mono_ms();
    if (rs_ground_create(&c, name, arg_kubeconfig, e) < 0)
        return -1;
    printf("cluster %s runs at %s (%.1f s)\ncontext %s is current in %s\n", c.name, c.server,
           (double)(rs_mono_ms() - began) / 1000, c.context, c.kubeconfig);
    rs_ground_cluster_done(&c);
    return 0;
}

static int run_delete(const char *name, struct rs_err *e)
{
    if (rs_ground_delete(name, e) < 0)
        return -1;
    printf("cluster %s is deleted\n", name);
    return 0;
}

static void print_rows(const json_t *rows)
{
    size_t i;
    json_t *row;
    int64_t created, now = rs_now_ms();
    char age[RS_TIME_TEXT];
    printf("%-20s %-9s %-6s %-26s %s\n", "NAME", "STATUS", "AGE", "SERVER", "CONTEXT");
    json_array_foreach(rows, i, row) {
        const char *text = rs_json_str(row, "created"), *server = rs_json_str(row, "server"), *context = rs_json_str(row, "context");
        bool known = text && rs_time_parse(text, &created);
        printf("%-20s %-9s %-6s %-26s %s\n", rs_json_str(row, "name"), rs_json_str(row, "status"),
               known ? rs_duration_age(now - created, age) : "-", server ? server : "-", context ? context : "-");
    }
}

static int run_list(const char *name, struct rs_err *e)
{
    bool as_json = arg_output && rs_streq(arg_output, "json");
    if (arg_output && !as_json)
        return RS_FAIL(e, RS_INVALID, "output \"%s\" is not known; only json is", arg_output);
    RS_AUTO(json_t) *rows = NULL;
    if (rs_ground_list(&rows, e) < 0)
        return -1;
    if (as_json) {
        RS_AUTO(rs_chars) *text = rs_json_pretty(rows);
        fputs(text, stdout);
    } else if (json_array_size(rows) == 0) {
        rs_cmd_say("no clusters; rootshift cluster create NAME makes one");
    } else {
        print_rows(rows);
    }
    return 0;
}

static int run_kubeconfig(const char *name, struct rs_err *e)
{
    RS_AUTO(rs_chars) *text = NULL;
    if (rs_ground_kubeconfig(name, &text, e) < 0)
        return -1;
    fputs(text, stdout);
    return 0;
}

static struct rs_opt create_options[] = {
    { .name = "kubeconfig", .kind = RS_OPT_TEXT, .value = &arg_kubeconfig, .arg = "FILE",
      .help = "where the context goes (default: $KUBECONFIG, else ~/.kube/config)" },
};
static struct rs_opt list_options[] = {
    { .name = "output", .letter = 'o', .kind = RS_OPT_TEXT, .value = &arg_output, .arg = "json", .help = "print JSON" },
};

static const struct action actions[] = {
    { "create", "rootshift cluster create [NAME] [--kubeconfig FILE]",
      "Makes an embedded cluster (demo) and its context rootshift-NAME.", true, "demo", create_options, RS_COUNT(create_options), run_create },
    { "delete", "rootshift cluster delete NAME", "Removes a cluster, its context, and everything that a kill left of it.", true,
      NULL, NULL, 0, run_delete },
    { "list", "rootshift cluster list [-o json]", "Lists the clusters of this user.", false, NULL, list_options,
      RS_COUNT(list_options), run_list },
    { "kubeconfig", "rootshift cluster kubeconfig NAME", "Prints the cluster's own kubeconfig.", true, NULL, NULL, 0, run_kubeconfig },
};

static void usage(FILE *out)
{
    fputs("usage:\n", out);
    for (size_t i = 0; i < RS_COUNT(actions); i++)
        fprintf(out, "  %-52s %s\n", actions[i].usage, actions[i].help);
}

static int run_action(const struct action *a, int argc, char **argv)
{
    struct rs_err e;
    int positional = 0, rc = rs_opt_parse(a->options, a->n_options, argc, argv, &positional, &e);
    if (rc > 0)
        return rs_cmd_help(a->usage, a->help, a->options, a->n_options);
    const char *name = positional ? argv[1] : a->name_if_none;
    if (rc == 0 && (positional > (a->named ? 1 : 0) || (a->named && !name)))
        rc = RS_FAIL(&e, RS_INVALID, "usage: %s", a->usage);
    if (rc == 0)
        rc = a->run(name, &e);
    return rc < 0 ? rs_cmd_fail(&e) : 0;
}

int rs_cmd_cluster(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    for (size_t i = 0; name && i < RS_COUNT(actions); i++)
        if (rs_streq(name, actions[i].name))
            return run_action(&actions[i], argc - 1, argv + 1);
    bool help = name && (rs_streq(name, "--help") || rs_streq(name, "-h") || rs_streq(name, "help"));
    usage(help ? stdout : stderr);
    return help ? 0 : 2;
}
