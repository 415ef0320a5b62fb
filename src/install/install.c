#include "install/install.h"

#include <stdarg.h>

#include "base/file.h"
#include "base/time.h"
#include "install/apply.h"
#include "install/check.h"
#include "install/gate.h"
#include "install/manifest.h"
#include "install/output.h"
#include "install/revision.h"
#include "kube/object.h"

#define MESH_CA_DEFAULT_ADDRESS "mesh-ca.mesh-ca.svc:443"
#define DAY_MS (24 * 3600 * 1000LL)
enum { CA_LIFE_DAYS = 7, WEBHOOK_WAIT_MS = 60 * 1000, OVERLAY_MAX = 1024 * 1024 };

static void say(const struct rs_install *in, const char *fmt, ...) RS_PRINTF(2, 3);
static void say(const struct rs_install *in, const char *fmt, ...)
{
    va_list args;
    char *line = NULL;
    va_start(args, fmt);
    if (vasprintf(&line, fmt, args) >= 0)
        in->say(in->ctx, line);
    va_end(args);
    free(line);
}

/* ---- what needs no cluster ---- */

static bool has_certs(const struct rs_install *in)
{
    return in->certs.ca_cert || in->certs.ca_key || in->certs.root_cert || in->certs.cert_chain;
}

int rs_install_check_names(const struct rs_install *in, struct rs_err *e)
{
    if (rs_revision_check(in->revision, e) < 0)
        return -1;
    RS_AUTO(rs_chars) *domain = in->fleet ? rs_printf("%s.svc.id.goog", in->fleet) : NULL;
    if (!domain || !rs_dns_label(in->fleet, false) || !rs_dns_subdomain(domain))
        return RS_FAIL(e, RS_INVALID, in->fleet ? "--fleet_id \"%s\" is no project ID (lower-case letters, digits and '-')"
                                                : "--fleet_id is missing%s; it names the trust domain FLEET.svc.id.goog", in->fleet ? in->fleet : "");
    if (!has_certs(in))
        return 0;
    if (in->ca != RS_CA_CITADEL)
        return RS_FAIL(e, RS_INVALID, "You must select Citadel as the CA in order to use custom certificates.");
    if (!in->certs.ca_cert || !in->certs.ca_key || !in->certs.root_cert || !in->certs.cert_chain)
        return RS_FAIL(e, RS_INVALID, "All four certificate options must be present to use a custom cert: --ca_cert, --ca_key, --root_cert, --cert_chain.");
    const char *const files[] = { in->certs.ca_cert, in->certs.ca_key, in->certs.root_cert, in->certs.cert_chain };
    for (size_t i = 0; i < RS_COUNT(files); i++)
        if (!rs_file_exists(files[i]))
            return RS_FAIL(e, RS_INVALID, "Couldn't find file %s.", files[i]);
    return 0;
}

struct overlays { struct rs_overlay_text *v; size_t n; };

static void overlays_done(struct overlays *o)
{
    for (size_t i = 0; i < o->n; i++)
        free((char *)(uintptr_t)o->v[i].text);
    free(o->v);
}

static int read_overlays(const struct rs_install *in, struct overlays *o, struct rs_err *e)
{
    o->v = rs_new_array(struct rs_overlay_text, in->n_overlays);
    for (size_t i = 0; i < in->n_overlays; i++) {
        char *text = NULL;
        if (rs_file_read(in->overlays[i], OVERLAY_MAX, &text, NULL, e) < 0) {
            e->code = RS_INVALID;
            return rs_err_wrap(e, "Couldn't find yaml file %s", in->overlays[i]);
        }
        o->v[o->n++] = (struct rs_overlay_text){ in->overlays[i], text };
    }
    return 0;
}

static struct rs_operator_inputs inputs_of(const struct rs_install *in, const struct overlays *o, const char *address, const char *root)
{
    return (struct rs_operator_inputs){
        .revision = in->revision, .fleet = in->fleet, .ca = in->ca, .mesh_ca_address = address, .mesh_ca_root = root, .options = in->options,
        .n_options = in->n_options, .hub = in->hub, .tag = in->tag, .custom = o->v, .n_custom = o->n,
    };
}

int rs_install_compile(const struct rs_install *in, const char *address, const char *root, json_t **ret_op, struct rs_err *e)
{
    __attribute__((cleanup(overlays_done))) struct overlays o = { 0 };
    if (read_overlays(in, &o, e) < 0)
        return -1;
    struct rs_operator_inputs inputs = inputs_of(in, &o, address, root);
    return rs_operator_compile(ret_op, &inputs, e);
}

/* ---- Mesh CA ---- */

int rs_install_find_mesh_ca(rs_kube *k, const struct rs_install *in, char **ret_address, char **ret_root, struct rs_err *e)
{
    RS_AUTO(json_t) *cm = NULL;
    RS_AUTO(rs_chars) *root = NULL;
    RS_AUTO(rs_bundle) *parsed = NULL;
    if (in->mesh_ca_root_file && rs_file_read(in->mesh_ca_root_file, RS_FILE_MAX, &root, NULL, e) < 0) {
        e->code = RS_INVALID;
        return rs_err_wrap(e, "--mesh_ca_root");
    }
    if (rs_kube_get(k, "/api/v1/namespaces/mesh-ca/configmaps/mesh-ca-root", &cm, e) < 0 && e->code != RS_NOT_FOUND)
        return rs_err_wrap(e, "read ConfigMap mesh-ca/mesh-ca-root");
    if (!root && rs_configmap_value(cm, "root-cert.pem"))
        root = rs_strdup(rs_configmap_value(cm, "root-cert.pem"));
    if (root && rs_bundle_parse(&parsed, rs_str_of(root), e) < 0) {
        e->code = RS_INVALID;
        return rs_err_wrap(e, "root of Mesh CA (%s)", in->mesh_ca_root_file ? in->mesh_ca_root_file : "ConfigMap mesh-ca/mesh-ca-root");
    }
    const char *address = in->mesh_ca_address ? in->mesh_ca_address : rs_configmap_value(cm, "address");
    *ret_address = rs_strdup(address ? address : MESH_CA_DEFAULT_ADDRESS);
    *ret_root = rs_take(root);
    return 0;
}

/* ---- the installation ---- */

struct job {
    const struct rs_install *in;
    rs_kube *k;
    struct rs_ca_input certs;
    bool has_certs;
    struct overlays overlays;
    char *address, *root;                                /* of Mesh CA */
    json_t *op;
    struct rs_manifest manifest;
};

static void job_done(struct job *j)
{
    rs_ca_input_done(&j->certs);
    overlays_done(&j->overlays);
    free(j->address);
    free(j->root);
    json_decref(j->op);
    rs_manifest_done(&j->manifest);
}

static int check_local(struct job *j, struct rs_err *e)
{
    const struct rs_install *in = j->in;
    struct rs_output_dir out = { in->output_dir, in->revision, in->ca };
    if (rs_install_check_names(in, e) < 0 || read_overlays(in, &j->overlays, e) < 0)
        return -1;
    if (has_certs(in)) {
        if (rs_ca_input_load(&j->certs, &in->certs, rs_now_ms(), CA_LIFE_DAYS * DAY_MS, e) < 0)
            return -1;
        j->has_certs = true;
    }
    return rs_output_check(&out, e) < 0 || rs_check_disk(in->output_dir, e) < 0 ? -1 : 0;
}

/* An option that can't be merged is known before the cluster is asked about anything else than Mesh CA. */
static int check_cluster(struct job *j, struct rs_err *e)
{
    const struct rs_install *in = j->in;
    say(in, "Checking access to the cluster...");
    if (rs_check_access(j->k, e) < 0 || rs_install_find_mesh_ca(j->k, in, &j->address, &j->root, e) < 0)
        return -1;
    struct rs_operator_inputs inputs = inputs_of(in, &j->overlays, j->address, j->root);
    if (rs_operator_compile(&j->op, &inputs, e) < 0)
        return -1;
    if (rs_check_namespaces(j->k, in->may_create_namespace, e) < 0 || rs_check_installed(j->k, in->revision, in->ca, e) < 0)
        return -1;
    if (j->has_certs && rs_check_cacerts(j->k, &j->certs, e) < 0)
        return -1;
    if (in->unsafe_skip_gates) {
        in->warn(in->ctx, "--unsafe-skip-gates: not asking the running proxies; traffic between old and new workloads may be cut");
        return 0;
    }
    say(in, "Reading the running proxies...");
    return rs_install_gate(j->k, in->ca, in->ca == RS_CA_MESH_CA ? j->root : j->has_certs ? j->certs.root_cert : NULL, e);
}

static int write_output(struct job *j, struct rs_err *e)
{
    struct rs_output_dir out = { j->in->output_dir, j->in->revision, j->in->ca };
    struct rs_operator_inputs inputs = inputs_of(j->in, &j->overlays, j->address, j->root);
    RS_AUTO(rs_chars) *dir = rs_program_dir();
    RS_AUTO(rs_chars) *program = rs_printf("%s/rootshift", dir);
    return rs_output_write(&out, &inputs, j->op, &j->manifest, program, e);
}

static int apply_all(struct job *j, struct rs_err *e)
{
    say(j->in, "Installing control plane revision %s (CA: %s)...", j->in->revision, rs_ca_kind_text(j->in->ca));
    if (j->has_certs && rs_apply_cacerts(j->k, &j->certs, e) < 0)
        return -1;
    return rs_apply_crds(j->k, j->manifest.crds, e) < 0 || rs_apply_objects(j->k, &j->manifest, e) < 0 ? -1 : 0;
}

static int wait_all(struct job *j, struct rs_err *e)
{
    RS_AUTO(rs_chars) *name = rs_revision_name("istiod", j->in->revision);
    say(j->in, "Waiting for Deployment %s...", name);
    if (rs_wait_deployment(j->k, "istio-system", name, j->in->timeout_ms, e) < 0)
        return -1;
    say(j->in, "Waiting for the webhooks of %s...", j->in->revision);
    return rs_wait_webhooks(j->k, j->in->revision, WEBHOOK_WAIT_MS, e);
}

/* The serving CA's root stands in the webhooks, so it comes before everything else; its namespace before it. */
static int make_serving_ca(struct job *j, char **ret_root, struct rs_err *e)
{
    RS_AUTO(json_t) *ns = rs_json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "Namespace", "metadata", "name", "istio-system");
    if (!j->in->dry_run && rs_kube_apply(j->k, ns, false, NULL, e) < 0)
        return -1;
    return rs_apply_serving_ca(j->k, j->in->dry_run, ret_root, e);
}

int rs_install_run(rs_kube *k, const struct rs_install *in, struct rs_err *e)
{
    __attribute__((cleanup(job_done))) struct job j = { .in = in, .k = k };
    RS_AUTO(rs_chars) *root = NULL;
    if (check_local(&j, e) < 0 || check_cluster(&j, e) < 0)
        return -1;
    RS_AUTO(json_t) *warnings = rs_operator_warnings(j.op);
    for (size_t i = 0; i < json_array_size(warnings); i++)
        in->warn(in->ctx, json_string_value(json_array_get(warnings, i)));
    /* Built once with a stand-in, so that what the operator says wrongly is found before anything is touched. */
    if (rs_manifest_build(&j.manifest, j.op, "", e) < 0)
        return -1;
    if (in->only_validate) {
        say(in, "Successfully validated all requirements to install ASM.");
        return 0;
    }
    /* Files before objects: a full disk is known before the cluster changes. */
    if (!in->dry_run && write_output(&j, e) < 0)
        return -1;
    rs_manifest_done(&j.manifest);
    if (make_serving_ca(&j, &root, e) < 0 || rs_manifest_build(&j.manifest, j.op, root, e) < 0)
        return -1;
    if (in->dry_run)
        return rs_apply_dry(k, &j.manifest, in, e);
    if (write_output(&j, e) < 0 || apply_all(&j, e) < 0 || wait_all(&j, e) < 0)
        return -1;
    say(in, "Successfully installed ASM. The control plane of revision %s serves; its files are in %s.", in->revision, in->output_dir);
    return 0;
}
