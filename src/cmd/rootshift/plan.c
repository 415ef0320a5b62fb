#include "cmd/rootshift/plan.h"

#include "kube/object.h"

#define DISTRIBUTE_REVISION "asm-1157-23-distribute-root"
#define SWITCH_REVISION "asm-1157-23-meshca-ca-migration"
enum { REVISION_MAX = 56 };              /* istiod-REV is a Service, a DNS-1035 label of at most 63 */

static int check_revision(struct rs_world_kube *w, const char *name, struct rs_err *e)
{
    if (!rs_dns_label(name, true) || strlen(name) > REVISION_MAX)
        return RS_FAIL(e, RS_INVALID, "revision name \"%s\" is not a DNS-1035 label of at most %d characters", name, REVISION_MAX);
    RS_AUTO(rs_chars) *path = rs_printf("/apis/apps/v1/namespaces/istio-system/deployments/istiod-%s", name);
    if (rs_kube_get(w->kube, path, NULL, e) == 0)
        return RS_FAIL(e, RS_INVALID, "revision %s is installed already; choose another name with --revision_1 or --revision_2", name);
    return e->code == RS_NOT_FOUND ? 0 : -1;
}

/* Namespaces that inject, with the revision they inject by; "" for istio-injection=enabled. */
static int find_namespaces(struct rs_world_kube *w, json_t *plan, struct rs_err *e)
{
    RS_AUTO(json_t) *list = NULL;
    if (rs_kube_list(w->kube, "/api/v1/namespaces", NULL, &list, NULL, e) < 0)
        return -1;
    json_t *found = json_array();
    json_object_set_new(plan, "namespaces", found);
    size_t i;
    json_t *ns;
    json_array_foreach(list, i, ns) {
        const char *rev = rs_object_label(ns, "istio.io/rev"), *injection = rs_object_label(ns, "istio-injection");
        if (rev && injection)
            return RS_FAIL(e, RS_INVALID, "namespace %s carries both istio.io/rev and istio-injection, whose effect is undefined; remove one",
                           rs_object_name(ns));
        if (rev || rs_streq(injection, "enabled"))
            json_array_append_new(found, rs_json_pack("{s:s, s:s}", "name", rs_object_name(ns), "revision", rev ? rev : ""));
    }
    if (json_array_size(found) == 0)
        return RS_FAIL(e, RS_INVALID, "no namespace is labelled istio.io/rev or istio-injection=enabled: nothing to migrate");
    return 0;
}

static int find_gateways(struct rs_world_kube *w, json_t *plan, struct rs_err *e)
{
    RS_AUTO(json_t) *list = NULL;
    if (rs_kube_list(w->kube, "/apis/apps/v1/deployments", NULL, &list, NULL, e) < 0)
        return -1;
    json_t *found = json_array();
    json_object_set_new(plan, "gateways", found);
    size_t i;
    json_t *d;
    json_array_foreach(list, i, d) {
        if (!rs_is_gateway(d) || rs_json_int(d, 1, "spec", "replicas") == 0)
            continue;
        RS_AUTO(rs_chars) *name = rs_printf("%s.%s", rs_object_namespace(d), rs_object_name(d));
        const char *rev = rs_json_str(rs_json_at(d, "spec", "template", "metadata", "labels"), "istio.io/rev");
        json_array_append_new(found, rs_json_pack("{s:s, s:s}", "name", name, "revision", rev ? rev : ""));
    }
    return 0;
}

/* The root under which the mesh lives now is what its proxies present, not what a Secret says. */
static int find_old_root(struct rs_world_kube *w, json_t *plan, struct rs_err *e)
{
    RS_AUTO(rs_scan) *scan = NULL;
    const struct rs_proxy *first = NULL;
    char text[RS_DIGEST_TEXT];
    if (w->world.scan(w, &scan, e) < 0)
        return -1;
    for (size_t i = 0; i < scan->n; i++) {
        const struct rs_proxy *p = scan->v[i];
        if (p->terminating)
            continue;
        if (!p->known || !p->issuing_root)
            return RS_FAIL(e, RS_PRECONDITION, "%s/%s: %s", p->namespace, p->pod, p->known ? "its certificate verifies under no root that it holds" : p->why);
        if (first && !rs_digest_eq(rs_cert_digest(first->issuing_root), rs_cert_digest(p->issuing_root)))
            return RS_FAIL(e, RS_PRECONDITION, "%s/%s and %s/%s present certificates of different roots; finish or undo the change that is under way",
                           first->namespace, first->pod, p->namespace, p->pod);
        first = first ? first : p;
    }
    if (!first)
        return RS_FAIL(e, RS_PRECONDITION, "no running proxy was found: nothing to migrate");
    rs_json_set_str(plan, "oldRoot", rs_digest_text(rs_cert_digest(first->issuing_root), text));
    return 0;
}

static int find_new_root(struct rs_world_kube *w, json_t *plan, struct rs_err *e)
{
    RS_AUTO(json_t) *cm = NULL;
    RS_AUTO(rs_bundle) *roots = NULL;
    char text[RS_DIGEST_TEXT];
    if (rs_kube_get(w->kube, "/api/v1/namespaces/mesh-ca/configmaps/mesh-ca-root", &cm, e) < 0)
        return e->code == RS_NOT_FOUND ? RS_FAIL(e, RS_PRECONDITION, "no Mesh CA is known to this cluster; run `rootshift mesh-ca install --fleet_id F` first")
                                       : -1;
    const char *pem = rs_configmap_value(cm, "root-cert.pem");
    if (rs_bundle_parse(&roots, rs_str_of(pem), e) < 0)
        return rs_err_wrap(e, "ConfigMap mesh-ca/mesh-ca-root");
    if (rs_bundle_count(roots) != 1)
        return RS_FAIL(e, RS_INVALID, "ConfigMap mesh-ca/mesh-ca-root holds %zu roots; one is expected", rs_bundle_count(roots));
    rs_json_set_str(plan, "newRoot", rs_digest_text(rs_cert_digest(rs_bundle_root(roots, 0)), text));
    if (rs_streq(text, rs_json_str(plan, "oldRoot")))
        return RS_FAIL(e, RS_PRECONDITION, "every proxy already presents a certificate under the root of Mesh CA: nothing to migrate");
    return 0;
}

int rs_plan_make(struct rs_world_kube *w, const struct rs_plan_options *o, json_t **ret, struct rs_err *e)
{
    const char *first = o->revision_1 ? o->revision_1 : DISTRIBUTE_REVISION;
    const char *second = o->revision_2 ? o->revision_2 : SWITCH_REVISION;
    if (rs_streq(first, second))
        return RS_FAIL(e, RS_INVALID, "the two phases need two revisions; --revision_1 and --revision_2 are both %s", first);
    if (check_revision(w, first, e) < 0 || check_revision(w, second, e) < 0)
        return -1;
    RS_AUTO(json_t) *plan = rs_json_pack("{s:s, s:s, s:s, s:s, s:[s, s], s:[]}", "from", "citadel", "to", "mesh_ca", "fleetID", o->fleet_id,
                                         "outputDir", o->output_dir, "revisions", first, second, "overlays");
    for (size_t i = 0; i < o->n_overlays; i++)
        json_array_append_new(json_object_get(plan, "overlays"), json_string(o->overlays[i]));
    if (find_namespaces(w, plan, e) < 0 || find_gateways(w, plan, e) < 0 || find_old_root(w, plan, e) < 0 || find_new_root(w, plan, e) < 0)
        return -1;
    *ret = rs_take(plan);
    return 0;
}
