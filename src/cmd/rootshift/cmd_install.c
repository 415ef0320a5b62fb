/* rootshift install, asmcli install|apply|validate|print-config. */
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/yaml.h"
#include "cmd/rootshift/cmd.h"
#include "cmd/rootshift/connect.h"
#include "install/install.h"
#include "install/revision.h"

static const char *arg_fleet, *arg_kubeconfig, *arg_context, *arg_ca = "mesh_ca", *arg_ca_cert, *arg_ca_key, *arg_root_cert, *arg_cert_chain,
                  *arg_revision = RS_REVISION_DEFAULT_NAME, *arg_output, *arg_address, *arg_root, *arg_hub, *arg_tag, *arg_project, *arg_cluster, *arg_location;
static struct rs_opt_list arg_options, arg_overlays;
static bool arg_enable_all, arg_enable_namespace, arg_enable_other, arg_verbose, arg_validate, arg_print, arg_dry_run, arg_unsafe;
static int64_t arg_timeout = 5 * 60 * 1000;

#define GOOGLE_CLOUD "nothing to do outside Google Cloud; accepted"
#define PERMISSION(n, a) { .name = n, .aliases = a, .kind = RS_OPT_FLAG, .value = &arg_enable_other, .help = GOOGLE_CLOUD }

static struct rs_opt options[] = {
    { .name = "fleet_id", .aliases = "fleet-id", .kind = RS_OPT_TEXT, .value = &arg_fleet, .arg = "FLEET", .help = "fleet; Mesh CA's trust domain is FLEET.svc.id.goog" },
    { .name = "kubeconfig", .aliases = "kc", .kind = RS_OPT_TEXT, .value = &arg_kubeconfig, .arg = "FILE", .help = "kubeconfig file (default: $KUBECONFIG, ~/.kube/config)" },
    { .name = "context", .aliases = "ctx", .kind = RS_OPT_TEXT, .value = &arg_context, .arg = "NAME", .help = "context of the cluster (default: the current one)" },
    { .name = "ca", .letter = 'c', .kind = RS_OPT_TEXT, .value = &arg_ca, .arg = "CA", .help = "who signs: citadel or mesh_ca (default)" },
    { .name = "ca_cert", .aliases = "ca-cert", .kind = RS_OPT_TEXT, .value = &arg_ca_cert, .arg = "FILE", .help = "intermediate certificate (with --ca citadel)" },
    { .name = "ca_key", .aliases = "ca-key", .kind = RS_OPT_TEXT, .value = &arg_ca_key, .arg = "FILE", .help = "its key" },
    { .name = "root_cert", .aliases = "root-cert", .kind = RS_OPT_TEXT, .value = &arg_root_cert, .arg = "FILE", .help = "root certificate" },
    { .name = "cert_chain", .aliases = "cert-chain", .kind = RS_OPT_TEXT, .value = &arg_cert_chain, .arg = "FILE", .help = "certificate chain" },
    { .name = "option", .letter = 'o', .kind = RS_OPT_LIST, .value = &arg_options, .arg = "NAME", .help = "ca-migration-citadel or ca-migration-meshca; may be repeated" },
    { .name = "custom_overlay", .aliases = "custom-overlay co", .kind = RS_OPT_LIST, .value = &arg_overlays, .arg = "FILE", .help = "IstioOperator document(s); may be repeated" },
    { .name = "revision_name", .aliases = "revision-name", .letter = 'r', .kind = RS_OPT_TEXT, .value = &arg_revision, .arg = "REV", .help = "revision (default " RS_REVISION_DEFAULT_NAME ")" },
    { .name = "output_dir", .aliases = "output-dir working_dir", .letter = 'D', .kind = RS_OPT_TEXT, .value = &arg_output, .arg = "DIR", .help = "where files go; one directory per revision (default: a temporary one)" },
    { .name = "mesh_ca_address", .kind = RS_OPT_TEXT, .value = &arg_address, .arg = "HOST:PORT", .help = "Mesh CA (default: as ConfigMap mesh-ca/mesh-ca-root says)" },
    { .name = "mesh_ca_root", .kind = RS_OPT_TEXT, .value = &arg_root, .arg = "FILE", .help = "Mesh CA's root certificate (default: from there)" },
    { .name = "hub", .kind = RS_OPT_TEXT, .value = &arg_hub, .arg = "NAME", .help = "where images come from (default rootshift)" },
    { .name = "tag", .kind = RS_OPT_TEXT, .value = &arg_tag, .arg = "TAG", .help = "their tag (default " RS_VERSION ")" },
    { .name = "enable_all", .aliases = "enable-all", .letter = 'e', .kind = RS_OPT_FLAG, .value = &arg_enable_all, .help = "may create what is missing, the namespace for instance" },
    { .name = "enable_namespace_creation", .aliases = "enable-namespace-creation", .kind = RS_OPT_FLAG, .value = &arg_enable_namespace, .help = "may create namespace istio-system" },
    PERMISSION("enable_cluster_roles", "enable-cluster-roles"),
    PERMISSION("enable_cluster_labels", "enable-cluster-labels"),
    PERMISSION("enable_gcp_apis", "enable-gcp-apis"),
    PERMISSION("enable_gcp_iam_roles", "enable-gcp-iam-roles"),
    PERMISSION("enable_gcp_components", "enable-gcp-components"),
    PERMISSION("enable_registration", "enable-registration"),
    PERMISSION("enable_meshconfig_init", "enable-meshconfig-init"),
    { .name = "only_validate", .aliases = "only-validate", .kind = RS_OPT_FLAG, .value = &arg_validate, .help = "check everything, change nothing" },
    { .name = "print_config", .aliases = "print-config", .kind = RS_OPT_FLAG, .value = &arg_print, .help = "print the compiled IstioOperator, change nothing" },
    { .name = "dry_run", .aliases = "dry-run", .kind = RS_OPT_FLAG, .value = &arg_dry_run, .help = "tell what would be created or changed, change nothing" },
    { .name = "unsafe-skip-gates", .aliases = "unsafe_skip_gates", .kind = RS_OPT_FLAG, .value = &arg_unsafe, .help = "install a signer that running proxies may not trust" },
    { .name = "timeout", .kind = RS_OPT_DURATION, .value = &arg_timeout, .arg = "TIME", .help = "for the control plane to become available (default 5m)" },
    { .name = "verbose", .letter = 'v', .kind = RS_OPT_FLAG, .value = &arg_verbose, .help = "tell more of what is done" },
    { .name = "project_id", .aliases = "project-id", .letter = 'p', .kind = RS_OPT_TEXT, .value = &arg_project },
    { .name = "cluster_name", .aliases = "cluster-name", .letter = 'n', .kind = RS_OPT_TEXT, .value = &arg_cluster },
    { .name = "cluster_location", .aliases = "cluster-location", .letter = 'l', .kind = RS_OPT_TEXT, .value = &arg_location },
};

/* asmcli reads these variables and says so; rootshift doesn't, because a stray CA or CONTEXT would steer it. */
static void use_environment(void)
{
    static const struct { const char *option, *variable; } table[] = {
        { "fleet_id", "FLEET_ID" }, { "kubeconfig", "KUBECONFIG_FILE" }, { "context", "CONTEXT" }, { "ca", "CA" }, { "ca_cert", "CA_CERT" },
        { "ca_key", "CA_KEY" }, { "root_cert", "CA_ROOT" }, { "cert_chain", "CA_CHAIN" }, { "output_dir", "OUTPUT_DIR" }, { "revision_name", "REVISION_NAME" },
    };
    for (size_t i = 0; i < RS_COUNT(table); i++)
        for (size_t k = 0; k < RS_COUNT(options); k++)
            if (strcmp(options[k].name, table[i].option) == 0)
                options[k].env = table[i].variable;
}

static void tell_environment(void)
{
    for (size_t k = 0; k < RS_COUNT(options); k++) {
        const char *v = options[k].env ? getenv(options[k].env) : NULL;
        if (v && options[k].kind == RS_OPT_TEXT && *(const char **)options[k].value == v)
            rs_cmd_say("Using %s = %s from environment variable.", options[k].env, v);
    }
}

static int check_arguments(int positional, char **argv, struct rs_err *e)
{
    if (positional)
        return RS_FAIL(e, RS_INVALID, "unexpected argument \"%s\"; see --help", argv[1]);
    if (arg_project || arg_cluster || arg_location)
        return RS_FAIL(e, RS_INVALID, "--project_id, --cluster_name and --cluster_location need Google Cloud; name the cluster by --kubeconfig and --context");
    if (arg_validate && (arg_enable_all || arg_enable_namespace || arg_enable_other))
        return RS_FAIL(e, RS_INVALID, "validation cannot be run with any --enable* flag");
    if (arg_kubeconfig && !rs_file_exists(arg_kubeconfig))
        return RS_FAIL(e, RS_INVALID, "Couldn't find kubeconfig file %s.", arg_kubeconfig);
    return 0;
}

static bool logging;

static void log_when_possible(void)
{
    if (logging || !arg_output || !rs_file_exists(arg_output))
        return;
    RS_AUTO(rs_chars) *path = rs_printf("%s/logs.txt", arg_output);
    rs_cmd_log_to(path);
    logging = true;
}

static void say(void *ctx, const char *line)
{
    log_when_possible();
    rs_cmd_say("%s", line);
}

static void warn(void *ctx, const char *line)
{
    log_when_possible();
    rs_cmd_warn("%s", line);
}

static int print_config(rs_kube *k, const struct rs_install *in, struct rs_err *e)
{
    RS_AUTO(rs_chars) *address = NULL, *root = NULL;
    RS_AUTO(json_t) *op = NULL;
    if (rs_install_check_names(in, e) < 0 || rs_install_find_mesh_ca(k, in, &address, &root, e) < 0 ||
        rs_install_compile(in, address, root, &op, e) < 0)
        return -1;
    RS_AUTO(rs_chars) *text = rs_yaml_text(op);
    fputs(text, stdout);
    return 0;
}

static int run(struct rs_err *e)
{
    RS_AUTO_CONNECTION c = { 0 };
    struct rs_install in = {
        .revision = arg_revision, .fleet = arg_fleet, .certs = { arg_ca_cert, arg_ca_key, arg_root_cert, arg_cert_chain },
        .mesh_ca_address = arg_address, .mesh_ca_root_file = arg_root, .options = arg_options.v, .n_options = arg_options.n,
        .overlays = arg_overlays.v, .n_overlays = arg_overlays.n, .hub = arg_hub, .tag = arg_tag, .output_dir = arg_output,
        .may_create_namespace = arg_enable_all || arg_enable_namespace || arg_validate || arg_dry_run, .only_validate = arg_validate,
        .dry_run = arg_dry_run, .unsafe_skip_gates = arg_unsafe, .timeout_ms = arg_timeout, .say = say, .warn = warn,
    };
    char temporary[] = "/tmp/asm-XXXXXX";
    if (rs_ca_kind_parse(&in.ca, arg_ca, e) < 0 || rs_install_check_names(&in, e) < 0 || rs_connect(&c, arg_kubeconfig, arg_context, e) < 0)
        return -1;
    if (arg_print)
        return print_config(c.kube, &in, e);
    if (!arg_output && !arg_validate && !arg_dry_run) {
        if (!mkdtemp(temporary))
            return RS_FAIL_ERRNO(e, "make a temporary directory");
        in.output_dir = arg_output = temporary;
        rs_cmd_warn("no --output_dir was given; files go to %s", temporary);
    } else if (!arg_output) {
        in.output_dir = "/tmp";
    }
    return rs_install_run(c.kube, &in, e);
}

int rs_cmd_install(int argc, char **argv)
{
    struct rs_err e;
    int positional = 0;
    bool asmcli = rs_cmd_called_as() == RS_AS_ASMCLI;
    if (asmcli)
        use_environment();
    int r = rs_opt_parse(options, RS_COUNT(options), argc, argv, &positional, &e);
    if (r > 0)
        return rs_cmd_help(asmcli ? "asmcli install [OPTION]..." : "rootshift install [OPTION]...",
                           "Installs one revision of the control plane beside those that are there.", options, RS_COUNT(options));
    if (r == 0 && asmcli)
        tell_environment();
    if (arg_verbose)
        rs_log_init(asmcli ? "asmcli" : "rootshift", RS_LOG_DEBUG);
    arg_validate = arg_validate || rs_streq(argv[0], "validate");
    arg_print = arg_print || rs_streq(argv[0], "print-config");
    if (r < 0 || check_arguments(positional, argv, &e) < 0 || run(&e) < 0) {
        log_when_possible();
        return rs_cmd_fail(&e);
    }
    return 0;
}
