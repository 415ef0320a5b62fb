#include "install/gate.h"

#include "base/buf.h"
#include "base/time.h"
#include "kube/object.h"
#include "mesh/scan.h"
#include "migrate/gate.h"

/* Root that Istio CA signs under now: from cacerts or istio-ca-secret. *ret NULL: there is none. */
static int istio_ca_root(rs_kube *k, rs_bundle **ret, struct rs_err *e)
{
    static const struct { const char *secret, *key; } places[] = {
        { "cacerts", "root-cert.pem" }, { "cacerts", "ca.crt" }, { "istio-ca-secret", "root-cert.pem" }, { "istio-ca-secret", "ca-cert.pem" },
    };
    *ret = NULL;
    for (size_t i = 0; i < RS_COUNT(places); i++) {
        RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/istio-system/secrets/%s", places[i].secret);
        RS_AUTO(json_t) *secret = NULL;
        if (rs_kube_get(k, path, &secret, e) < 0) {
            if (e->code != RS_NOT_FOUND)
                return rs_err_wrap(e, "read Secret %s", places[i].secret);
            continue;
        }
        RS_AUTO(rs_chars) *pem = rs_secret_value(secret, places[i].key, NULL);
        if (!pem || !*pem)
            continue;
        if (rs_bundle_parse(ret, rs_str_of(pem), e) < 0)
            return rs_err_wrap(e, "Secret %s, %s", places[i].secret, places[i].key);
        return 0;
    }
    return 0;
}

/* What every revision says it distributes. */
struct required { struct rs_required *v; size_t n; };

static void required_done(struct required *r)
{
    for (size_t i = 0; i < r->n; i++)
        rs_bundle_unref((rs_bundle *)(uintptr_t)r->v[i].roots);
    free(r->v);
}

static int read_required(rs_kube *k, json_t **ret_list, struct required *ret, struct rs_err *e)
{
    static const char prefix[] = "istio-trust-bundle-";
    if (rs_kube_list(k, "/api/v1/namespaces/istio-system/configmaps", "rootshift.dev/trust-bundle=true", ret_list, NULL, e) < 0)
        return rs_err_wrap(e, "trust bundle records");
    ret->v = rs_new_array(struct rs_required, json_array_size(*ret_list));
    size_t i;
    json_t *cm;
    json_array_foreach(*ret_list, i, cm) {
        rs_bundle *roots;
        const char *name = rs_object_name(cm), *pem = rs_configmap_value(cm, "roots.pem");
        if (!pem || !*pem)
            continue;                                    /* distributes nothing */
        if (rs_bundle_parse(&roots, rs_str_of(pem), e) < 0)
            return rs_err_wrap(e, "ConfigMap istio-system/%s", name);
        ret->v[ret->n++] = (struct rs_required){ rs_starts(name, prefix) ? name + sizeof(prefix) - 1 : "default", roots };
    }
    return 0;
}

static int shut(const struct rs_gate *g, const char *what, struct rs_err *e)
{
    RS_AUTO(rs_chars) *text = rs_gate_text(g);
    return RS_FAIL(e, RS_PRECONDITION, "%s (%zu of %zu proxies are ready): %s", what, g->ready, g->total, text);
}

static int switch_gate(rs_kube *k, const rs_scan *scan, const rs_digest *new_root, int64_t decided, struct rs_err *e)
{
    RS_AUTO(rs_bundle) *old = NULL;
    RS_AUTO(json_t) *list = NULL;
    __attribute__((cleanup(required_done))) struct required required = { 0 };
    if (istio_ca_root(k, &old, e) < 0 || read_required(k, &list, &required, e) < 0)
        return -1;
    const rs_digest *old_root = old ? rs_cert_digest(rs_bundle_root(old, 0)) : new_root;
    RS_AUTO_GATE g = rs_gate_switch(scan, old_root, new_root, required.v, required.n, decided);
    if (g.open)
        return 0;
    return shut(&g, "Mesh CA must not sign yet: distribute its root first (--ca citadel --option ca-migration-citadel, restart every "
                "workload), or take the risk with --unsafe-skip-gates", e);
}

/* Every running proxy holds one of these roots' first, and can be read. */
static int root_trusted(const rs_scan *scan, const rs_digest *root, struct rs_err *e)
{
    RS_AUTO_BUF names;
    size_t behind = 0;
    rs_buf_init(&names, 400);
    for (size_t i = 0; i < scan->n; i++) {
        const struct rs_proxy *p = scan->v[i];
        if (p->known && rs_bundle_has(p->roots, root))
            continue;
        if (behind++ < 3)
            rs_buf_addf(&names, "%s%s/%s%s%s", behind > 1 ? ", " : "", p->namespace, p->pod, p->known ? "" : ": ", p->known ? "" : p->why);
    }
    if (behind == 0)
        return 0;
    char text[RS_DIGEST_TEXT];
    return RS_FAIL(e, RS_PRECONDITION, "Istio CA would sign under root %.12s, which %zu of %zu running proxies don't hold (%.*s%s); distribute it first, "
                   "or take the risk with --unsafe-skip-gates", rs_digest_text(root, text), behind, scan->n, (int)names.n,
                   names.p ? names.p : "", behind > 3 ? ", ..." : "");
}

int rs_install_gate(rs_kube *k, enum rs_ca_kind ca, const char *new_root, struct rs_err *e)
{
    RS_AUTO(rs_scan) *scan = NULL;
    RS_AUTO(rs_bundle) *root = NULL;
    int64_t decided = rs_now_ms();
    struct rs_scan_options options = { .secrets = true };
    if (rs_scan_run(k, &options, &scan, e) < 0)
        return rs_err_wrap(e, "read the running proxies");
    if (scan->n == 0)
        return 0;
    if (new_root ? rs_bundle_parse(&root, rs_str_of(new_root), e) < 0 : istio_ca_root(k, &root, e) < 0)
        return rs_err_wrap(e, "root of the new control plane");
    if (!root)
        return RS_FAIL(e, RS_PRECONDITION, "Istio CA has no key in this cluster (no Secret cacerts or istio-ca-secret), so a new root would be made "
                       "that none of the %zu running proxies trusts; give --ca_cert, --ca_key, --root_cert, --cert_chain, or take the risk with "
                       "--unsafe-skip-gates", scan->n);
    const rs_digest *digest = rs_cert_digest(rs_bundle_root(root, 0));
    return ca == RS_CA_MESH_CA ? switch_gate(k, scan, digest, decided, e) : root_trusted(scan, digest, e);
}
