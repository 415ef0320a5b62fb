/* Installing one revision of the control plane, as `asmcli install` does it, but with everything checked before anything is
 * touched. Sequential: runs the client's loop; not from callbacks. */
#pragma once
#include "install/overlay.h"
#include "kube/client.h"
#include "pki/chain.h"

struct rs_install {
    const char *revision, *fleet;
    enum rs_ca_kind ca;
    struct rs_ca_files certs;                            /* all four or none */
    const char *mesh_ca_address;                         /* NULL: from the cluster's ConfigMap mesh-ca/mesh-ca-root */
    const char *mesh_ca_root_file;                       /* NULL: from there too */
    const char *const *options; size_t n_options;
    const char *const *overlays; size_t n_overlays;      /* files */
    const char *hub, *tag;
    const char *output_dir;
    bool may_create_namespace;                           /* --enable_all or --enable_namespace_creation */
    bool only_validate, dry_run, unsafe_skip_gates;
    int64_t timeout_ms;                                  /* for the control plane to become available */
    void (*say)(void *ctx, const char *line);            /* progress */
    void (*warn)(void *ctx, const char *line);
    void *ctx;
};

/* What can be known without a cluster: names, certificate files, overlays. Also the operator that would be installed.
 * mesh_ca_root may be NULL. */
RS_MUST_USE int rs_install_compile(const struct rs_install *in, const char *mesh_ca_address, const char *mesh_ca_root, json_t **ret_op, struct rs_err *e);
RS_MUST_USE int rs_install_check_names(const struct rs_install *in, struct rs_err *e);

/* Checks, writes the output directory, applies, waits until the Deployment is available and the webhooks answer. */
RS_MUST_USE int rs_install_run(rs_kube *k, const struct rs_install *in, struct rs_err *e);
/* Address and root of Mesh CA: as given, else from the cluster; *ret_root NULL when the cluster has none. malloc'ed. */
RS_MUST_USE int rs_install_find_mesh_ca(rs_kube *k, const struct rs_install *in, char **ret_address, char **ret_root, struct rs_err *e);
