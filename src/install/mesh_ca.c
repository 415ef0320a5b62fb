#include "install/mesh_ca.h"

#include "base/file.h"
#include "base/time.h"
#include "install/apply.h"
#include "install/check.h"
#include "install/data.h"
#include "kube/object.h"
#include "pki/issue.h"

#define NS "mesh-ca"
#define YEAR_MS (365LL * 24 * 3600 * 1000)
enum { ROOT_YEARS = 20, INTERMEDIATE_YEARS = 10 };

static int put(const char *dir, const char *name, const char *p, size_t n, mode_t mode, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s", dir, name);
    return rs_file_write(path, (rs_str){ p, n }, mode, e);
}

static int put_key(const char *dir, const char *name, EVP_PKEY *key, struct rs_err *e)
{
    RS_AUTO(rs_secret) *pem = rs_key_to_pem(key);
    return put(dir, name, pem->p, pem->n, 0600, e);
}

static void set_data(json_t *secret, const char *key, const char *p, size_t n)
{
    char *text = rs_base64(p, n);
    rs_json_set_str(rs_json_need(secret, "data"), key, text);
    rs_free_cleansed(text, strlen(text));
}

/* Root and intermediate; files first, so that a root that signs is never without its key. */
static int make_issuer(const struct rs_mesh_ca_install *in, json_t **ret, struct rs_err *e)
{
    RS_AUTO(EVP_PKEY) *root_key = NULL, *key = NULL;
    RS_AUTO(rs_cert) *root = NULL, *cert = NULL;
    RS_AUTO(rs_chars) *old = rs_printf("%s/root-key.pem", in->output_dir);
    int64_t now = rs_now_ms();
    if (rs_file_exists(old))
        return RS_FAIL(e, RS_INVALID, "%s exists already; choose another --output_dir, it belongs to another root", old);
    if (rs_key_generate(&root_key, RS_KEY_P256, e) < 0 || rs_issue_root(&root, root_key, "Rootshift Mesh CA", in->fleet, now, ROOT_YEARS * YEAR_MS, e) < 0 ||
        rs_key_generate(&key, RS_KEY_P256, e) < 0)
        return rs_err_wrap(e, "make Mesh CA's root");
    struct rs_issuer by = { root, root_key };
    if (rs_issue_intermediate(&cert, &by, key, "Rootshift Mesh CA", "intermediate 1", 0, now, INTERMEDIATE_YEARS * YEAR_MS, e) < 0)
        return rs_err_wrap(e, "make Mesh CA's intermediate");
    if (rs_mkdirs(in->output_dir, 0700, e) < 0 || put_key(in->output_dir, "root-key.pem", root_key, e) < 0 ||
        put(in->output_dir, "root-cert.pem", rs_cert_pem(root), strlen(rs_cert_pem(root)), 0644, e) < 0 ||
        put(in->output_dir, "ca-cert.pem", rs_cert_pem(cert), strlen(rs_cert_pem(cert)), 0644, e) < 0)
        return rs_err_wrap(e, "output directory");
    RS_AUTO(rs_secret) *pem = rs_key_to_pem(key);
    json_t *secret = rs_json_pack("{s:s, s:s, s:{s:s, s:s}, s:s}", "apiVersion", "v1", "kind", "Secret", "metadata", "name", "mesh-ca-issuer",
                                  "namespace", NS, "type", "Opaque");
    set_data(secret, "ca-key.pem", pem->p, pem->n);
    set_data(secret, "ca-cert.pem", rs_cert_pem(cert), strlen(rs_cert_pem(cert)));
    set_data(secret, "cert-chain.pem", rs_cert_pem(cert), strlen(rs_cert_pem(cert)));
    set_data(secret, "root-cert.pem", rs_cert_pem(root), strlen(rs_cert_pem(root)));
    *ret = secret;
    return 0;
}

static int ensure_issuer(rs_kube *k, const struct rs_mesh_ca_install *in, char **ret_root, struct rs_err *e)
{
    RS_AUTO(json_t) *secret = NULL;
    if (rs_kube_get(k, "/api/v1/namespaces/" NS "/secrets/mesh-ca-issuer", &secret, e) < 0) {
        if (e->code != RS_NOT_FOUND)
            return rs_err_wrap(e, "read Secret mesh-ca/mesh-ca-issuer");
        in->say(in->ctx, "Making a root and an intermediate...");
        if (make_issuer(in, &secret, e) < 0)
            return -1;
        if (rs_kube_do(k, "POST", "/api/v1/namespaces/" NS "/secrets", NULL, secret, NULL, e) < 0)
            return rs_err_wrap(e, "create Secret mesh-ca/mesh-ca-issuer");
    }
    *ret_root = rs_secret_value(secret, "root-cert.pem", NULL);
    return *ret_root ? 0 : RS_FAIL(e, RS_DATA_LOSS, "Secret mesh-ca/mesh-ca-issuer has no root-cert.pem");
}

static int check(rs_kube *k, const struct rs_mesh_ca_install *in, struct rs_err *e)
{
    RS_AUTO(json_t) *cm = NULL;
    if (!in->fleet || !rs_dns_label(in->fleet, false))
        return RS_FAIL(e, RS_INVALID, in->fleet ? "--fleet_id \"%s\" is no project ID (lower-case letters, digits and '-')"
                                                : "--fleet_id is missing%s; it names the trust domain FLEET.svc.id.goog", in->fleet ? in->fleet : "");
    if (rs_check_disk(in->output_dir, e) < 0 || rs_check_access(k, e) < 0)
        return -1;
    if (rs_kube_get(k, "/api/v1/namespaces/" NS "/configmaps/mesh-ca-root", &cm, e) < 0)
        return e->code == RS_NOT_FOUND ? 0 : rs_err_wrap(e, "read ConfigMap mesh-ca/mesh-ca-root");
    const char *fleet = rs_configmap_value(cm, "fleet");
    if (fleet && strcmp(fleet, in->fleet) != 0)
        return RS_FAIL(e, RS_INVALID, "the Mesh CA in this cluster belongs to fleet %s, not %s", fleet, in->fleet);
    return 0;
}

int rs_mesh_ca_install(rs_kube *k, const struct rs_mesh_ca_install *in, struct rs_err *e)
{
    RS_AUTO(rs_chars) *root = NULL;
    if (check(k, in, e) < 0)
        return -1;
    RS_AUTO(json_t) *ns = rs_json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "Namespace", "metadata", "name", NS);
    RS_AUTO(json_t) *crds = rs_data_documents("crds.yaml"), *docs = rs_data_documents("mesh-ca.yaml"), *objects = NULL;
    if (rs_kube_apply(k, ns, false, NULL, e) < 0 || rs_apply_crds(k, crds, e) < 0 || ensure_issuer(k, in, &root, e) < 0)
        return -1;
    RS_AUTO(json_t) *vars = rs_json_pack("{s:s, s:s, s:s, s:s}", "FLEET", in->fleet, "ROOT", root, "HUB", in->hub ? in->hub : "rootshift", "TAG",
                                         in->tag ? in->tag : RS_VERSION);
    if (rs_data_fill(&objects, docs, vars, e) < 0)
        return -1;
    size_t i;
    json_t *o;
    json_array_foreach(objects, i, o)
        if (rs_kube_apply(k, o, false, NULL, e) < 0)
            return -1;
    in->say(in->ctx, "Waiting for Deployment mesh-ca...");
    return rs_wait_deployment(k, NS, "mesh-ca", in->timeout_ms, e);
}
