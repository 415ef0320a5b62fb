/* What runc is told about a container: config.json and the directory that becomes its root. There are no images: the root
 * is the host's /usr read-only, a small /etc of the pod's own and the directory of our programs at /opt/rootshift/bin.
 * `rootshift/X[:tag]` (with any registry before it) means the program rootshift-X; any other image brings no command. */
#pragma once
#include "base/json.h"

struct rs_oci_mount { const char *source, *target; bool read_only; };

struct rs_oci {
    const json_t *pod, *container, *env;       /* env: "K=V" array from rs_source_env */
    const char *hostname, *netns;              /* netns: path, NULL: the node's own */
    const char *bin_dir;                       /* bound at /opt/rootshift/bin */
    const char *ip, *cluster_dns;              /* cluster_dns NULL: the host's resolv.conf */
    const char *termination_log;               /* file bound at terminationMessagePath */
    const struct rs_oci_mount *mounts; size_t n_mounts;
};

/* Command line: command or the image's entry point, then args, $(VAR) expanded. RS_INVALID when there is no command. */
RS_MUST_USE int rs_oci_args(json_t **ret, const struct rs_oci *in, struct rs_err *e);
RS_MUST_USE int rs_oci_config(json_t **ret, const struct rs_oci *in, struct rs_err *e);
/* Makes bundle/config.json and bundle/rootfs. */
RS_MUST_USE int rs_oci_write(const char *bundle, const struct rs_oci *in, struct rs_err *e);
/* User and group a container runs as. */
void rs_oci_user(const json_t *pod, const json_t *container, long *ret_uid, long *ret_gid);
/* Texts of /etc/resolv.conf and /etc/hosts; malloc'ed. */
char *rs_oci_resolv_conf(const json_t *pod, const char *cluster_dns);
char *rs_oci_hosts(const json_t *pod, const char *hostname, const char *ip);
