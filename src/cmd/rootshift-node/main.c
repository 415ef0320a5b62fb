/* rootshift-node: the kubelet's part of an embedded cluster. */
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "base/opt.h"
#include "node/node.h"

static struct rs_node_args arg_node = {
    .name = "rootshift-node", .run = "/run/rootshift", .runc_root = "/run/runc", .pod_cidr = "10.244.0.0/16", .service_cidr = "10.96.0.0/16",
    .cluster_dns = "10.96.0.10", .cluster_domain = "cluster.local", .listen = "0.0.0.0:10250", .ready_fd = -1,
};
static bool arg_version;

static struct rs_opt options[] = {
    { .name = "kubeconfig", .kind = RS_OPT_TEXT, .value = &arg_node.kubeconfig, .arg = "FILE", .help = "how to reach the API server" },
    { .name = "node-name", .kind = RS_OPT_TEXT, .value = &arg_node.name, .arg = "NAME", .help = "name of the Node object (rootshift-node)" },
    { .name = "state", .aliases = "state-dir", .kind = RS_OPT_TEXT, .value = &arg_node.state, .arg = "DIR", .help = "where logs are kept" },
    { .name = "run", .kind = RS_OPT_TEXT, .value = &arg_node.run, .arg = "DIR", .help = "what ends with the machine, on a tmpfs (/run/rootshift)" },
    { .name = "runc-root", .kind = RS_OPT_TEXT, .value = &arg_node.runc_root, .arg = "DIR", .help = "runc's own state (/run/runc)" },
    { .name = "bin-dir", .kind = RS_OPT_TEXT, .value = &arg_node.bin_dir, .arg = "DIR", .help = "programs that pods find in /opt/rootshift/bin (default: ours)" },
    { .name = "dns-dir", .kind = RS_OPT_TEXT, .value = &arg_node.dns_dir, .arg = "DIR", .help = "hosts files for the cluster's DNS server (default: none)" },
    { .name = "pod-cidr", .kind = RS_OPT_TEXT, .value = &arg_node.pod_cidr, .arg = "CIDR", .help = "addresses of pods (10.244.0.0/16)" },
    { .name = "service-cidr", .kind = RS_OPT_TEXT, .value = &arg_node.service_cidr, .arg = "CIDR", .help = "addresses of services (10.96.0.0/16)" },
    { .name = "cluster-dns", .kind = RS_OPT_TEXT, .value = &arg_node.cluster_dns, .arg = "IP", .help = "DNS server of pods (10.96.0.10)" },
    { .name = "cluster-domain", .kind = RS_OPT_TEXT, .value = &arg_node.cluster_domain, .arg = "NAME", .help = "cluster.local" },
    { .name = "listen", .kind = RS_OPT_TEXT, .value = &arg_node.listen, .arg = "ADDRESS", .help = "kubelet port (0.0.0.0:10250); port 0: any" },
    { .name = "tls-cert-file", .kind = RS_OPT_TEXT, .value = &arg_node.tls_cert, .arg = "FILE", .help = "serving certificate (default: self-signed)" },
    { .name = "tls-private-key-file", .kind = RS_OPT_TEXT, .value = &arg_node.tls_key, .arg = "FILE", .help = "its key" },
    { .name = "client-ca-file", .kind = RS_OPT_TEXT, .value = &arg_node.client_ca, .arg = "FILE", .help = "CA of clients (default: the kubeconfig's)" },
    { .name = "ready-fd", .kind = RS_OPT_INT, .value = &arg_node.ready_fd, .arg = "N", .help = "gets \"ready\" once the node is registered", .min = 0, .max = 1 << 20 },
    { .name = "version", .kind = RS_OPT_FLAG, .value = &arg_version, .help = "print the version" },
};

int main(int argc, char **argv)
{
    struct rs_err e;
    int positional;

    rs_log_init("rootshift-node", RS_LOG_INFO);
    int r = rs_opt_parse(options, RS_COUNT(options), argc, argv, &positional, &e);
    if (r > 0) {
        puts("rootshift-node: runs the pods of one machine\nusage: rootshift-node --kubeconfig FILE --state DIR [options]");
        rs_opt_help(stdout, options, RS_COUNT(options));
        return 0;
    }
    if (r == 0 && arg_version) {
        puts("rootshift-node " RS_VERSION);
        return 0;
    }
    if (r == 0 && (positional > 0 || !arg_node.state))
        r = RS_FAIL(&e, RS_INVALID, positional > 0 ? "unexpected argument %s" : "--state is missing%s", positional > 0 ? argv[1] : "");
    if (r < 0) {
        rs_log_error("%s", e.msg);
        return rs_code_exit(e.code);
    }
    if (!arg_node.bin_dir)
        arg_node.bin_dir = rs_program_dir();
    return rs_node_main(&arg_node);
}
