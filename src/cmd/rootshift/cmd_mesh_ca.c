/* rootshift mesh-ca install. */
#include "cmd/rootshift/cmd.h"
#include "cmd/rootshift/connect.h"
#include "install/mesh_ca.h"

static const char *arg_fleet, *arg_kubeconfig, *arg_context, *arg_output, *arg_hub, *arg_tag;
static int64_t arg_timeout = 5 * 60 * 1000;

static struct rs_opt options[] = {
    { .name = "fleet_id", .aliases = "fleet-id", .kind = RS_OPT_TEXT, .value = &arg_fleet, .arg = "FLEET", .help = "fleet; its trust domain is FLEET.svc.id.goog" },
    { .name = "kubeconfig", .aliases = "kc", .kind = RS_OPT_TEXT, .value = &arg_kubeconfig, .arg = "FILE", .help = "kubeconfig file (default: $KUBECONFIG, ~/.kube/config)" },
    { .name = "context", .aliases = "ctx", .kind = RS_OPT_TEXT, .value = &arg_context, .arg = "NAME", .help = "context of the cluster (default: the current one)" },
    { .name = "output_dir", .aliases = "output-dir", .letter = 'D', .kind = RS_OPT_TEXT, .value = &arg_output, .arg = "DIR", .help = "where the root's key is kept (default mesh-ca-FLEET)" },
    { .name = "hub", .kind = RS_OPT_TEXT, .value = &arg_hub, .arg = "NAME", .help = "where the image comes from (default rootshift)" },
    { .name = "tag", .kind = RS_OPT_TEXT, .value = &arg_tag, .arg = "TAG", .help = "its tag (default " RS_VERSION ")" },
    { .name = "timeout", .kind = RS_OPT_DURATION, .value = &arg_timeout, .arg = "TIME", .help = "for it to become available (default 5m)" },
};

static void say(void *ctx, const char *line) { rs_cmd_say("%s", line); }

static int run(struct rs_err *e)
{
    RS_AUTO_CONNECTION c = { 0 };
    RS_AUTO(rs_chars) *dir = arg_output ? rs_strdup(arg_output) : rs_printf("mesh-ca-%s", arg_fleet ? arg_fleet : "");
    struct rs_mesh_ca_install in = { .fleet = arg_fleet, .output_dir = dir, .hub = arg_hub, .tag = arg_tag, .timeout_ms = arg_timeout, .say = say };
    if (rs_connect(&c, arg_kubeconfig, arg_context, e) < 0 || rs_mesh_ca_install(c.kube, &in, e) < 0)
        return -1;
    rs_cmd_say("Mesh CA of fleet %s serves at mesh-ca.mesh-ca.svc:443; its root's key is in %s/root-key.pem.", arg_fleet, dir);
    return 0;
}

int rs_cmd_mesh_ca(int argc, char **argv)
{
    struct rs_err e;
    int positional = 0, r = rs_opt_parse(options, RS_COUNT(options), argc, argv, &positional, &e);
    if (r > 0)
        return rs_cmd_help("rootshift mesh-ca install --fleet_id FLEET [OPTION]...", "Installs Mesh CA in the cluster.", options, RS_COUNT(options));
    if (r == 0 && (positional != 1 || !rs_streq(argv[1], "install")))
        r = RS_FAIL(&e, RS_INVALID, "use: rootshift mesh-ca install --fleet_id FLEET");
    return r < 0 || run(&e) < 0 ? rs_cmd_fail(&e) : 0;
}
