#include "install/check.h"

#include <sys/statvfs.h>

#include "install/revision.h"
#include "kube/object.h"

enum { ROOM_NEEDED = 4 * 1024 * 1024 };

static int may(rs_kube *k, const char *verb, const char *group, const char *resource, const char *namespace, struct rs_err *e)
{
    RS_AUTO(json_t) *answer = NULL;
    RS_AUTO(json_t) *ask = rs_json_pack("{s:s, s:s, s:{s:{s:s, s:s, s:s, s:s}}}", "apiVersion", "authorization.k8s.io/v1", "kind",
                                        "SelfSubjectAccessReview", "spec", "resourceAttributes", "verb", verb, "group", group, "resource",
                                        resource, "namespace", namespace);
    if (rs_kube_do(k, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", NULL, ask, &answer, e) < 0)
        return rs_err_wrap(e, "ask whether we may %s %s", verb, resource);
    if (rs_json_true(answer, "status", "allowed"))
        return 0;
    return RS_FAIL(e, RS_FORBIDDEN, "you may not %s %s%s%s%s%s; grant your user cluster-admin", verb, resource, *group ? "." : "", group,
                   *namespace ? " in namespace " : "", namespace);
}

int rs_check_access(rs_kube *k, struct rs_err *e)
{
    static const struct { const char *verb, *group, *resource, *namespace; } needed[] = {
        { "create", "", "namespaces", "" },
        { "create", "apiextensions.k8s.io", "customresourcedefinitions", "" },
        { "create", "rbac.authorization.k8s.io", "clusterroles", "" },
        { "create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "" },
        { "create", "admissionregistration.k8s.io", "validatingwebhookconfigurations", "" },
        { "create", "", "secrets", "istio-system" },
        { "create", "", "configmaps", "istio-system" },
        { "create", "", "services", "istio-system" },
        { "create", "apps", "deployments", "istio-system" },
        { "patch", "apps", "deployments", "istio-system" },
    };
    if (rs_kube_get(k, "/version", NULL, e) < 0)
        return rs_err_wrap(e, "cluster %s can't be used", rs_kube_config_of(k)->server);
    for (size_t i = 0; i < RS_COUNT(needed); i++)
        if (may(k, needed[i].verb, needed[i].group, needed[i].resource, needed[i].namespace, e) < 0)
            return -1;
    return 0;
}

int rs_check_namespaces(rs_kube *k, bool may_create, struct rs_err *e)
{
    RS_AUTO(json_t) *list = NULL;
    bool found = false;
    size_t i;
    json_t *ns;
    if (rs_kube_list(k, "/api/v1/namespaces", NULL, &list, NULL, e) < 0)
        return rs_err_wrap(e, "list namespaces");
    json_array_foreach(list, i, ns) {
        if (rs_object_label(ns, "istio.io/rev") && rs_object_label(ns, "istio-injection"))
            return RS_FAIL(e, RS_INVALID, "namespace %s carries both labels istio.io/rev and istio-injection, so its injection is undefined; "
                           "remove one: kubectl label namespace %s istio-injection-", rs_object_name(ns), rs_object_name(ns));
        found = found || strcmp(rs_object_name(ns), "istio-system") == 0;
    }
    if (!found && !may_create)
        return RS_FAIL(e, RS_INVALID, "The istio-system namespace doesn't exist. Please create it, or run the script with the "
                       "'--enable_namespace_creation' flag to allow it to be created. Alternatively, use --enable_all|-e to allow this "
                       "tool to handle all dependencies.");
    return 0;
}

int rs_check_installed(rs_kube *k, const char *revision, enum rs_ca_kind ca, struct rs_err *e)
{
    RS_AUTO(rs_chars) *name = rs_revision_name("installed-state", revision);
    RS_AUTO(rs_chars) *path = rs_printf("/apis/install.istio.io/v1alpha1/namespaces/istio-system/istiooperators/%s", name);
    RS_AUTO(json_t) *op = NULL;
    if (rs_kube_get(k, path, &op, e) < 0)
        return e->code == RS_NOT_FOUND ? 0 : rs_err_wrap(e, "read %s", name);
    if (rs_operator_ca(op) != ca)
        return RS_FAIL(e, RS_INVALID, "revision %s is installed with --ca %s; changing its CA in place would cut traffic; choose another "
                       "--revision_name", revision, rs_ca_kind_text(rs_operator_ca(op)));
    return 0;
}

static bool same(const json_t *secret, const char *key, const char *text)
{
    RS_AUTO(rs_chars) *have = rs_secret_value(secret, key, NULL);
    return rs_streq(have, text);
}

int rs_check_cacerts(rs_kube *k, const struct rs_ca_input *in, struct rs_err *e)
{
    RS_AUTO(json_t) *secret = NULL;
    if (rs_kube_get(k, "/api/v1/namespaces/istio-system/secrets/cacerts", &secret, e) < 0)
        return e->code == RS_NOT_FOUND ? 0 : rs_err_wrap(e, "read Secret cacerts");
    RS_AUTO(rs_chars) *key = rs_secret_value(secret, "ca-key.pem", NULL);
    bool key_same = key && strlen(key) == in->key->n && memcmp(key, in->key->p, in->key->n) == 0;
    if (key)
        rs_free_cleansed(rs_take(key), in->key->n);
    if (key_same && same(secret, "ca-cert.pem", in->ca_cert) && same(secret, "root-cert.pem", in->root_cert) &&
        same(secret, "cert-chain.pem", in->cert_chain))
        return 0;
    return RS_FAIL(e, RS_INVALID, "Custom certificates already exist in the cluster (Secret istio-system/cacerts), and they are not the ones given; "
                   "leave out --ca_cert, --ca_key, --root_cert and --cert_chain to keep them");
}

int rs_check_disk(const char *dir, struct rs_err *e)
{
    struct statvfs s;
    RS_AUTO(rs_chars) *at = rs_strdup(dir);
    while (statvfs(at, &s) < 0) {                        /* the nearest directory that exists */
        char *slash = strrchr(at, '/');
        if (errno != ENOENT)
            return RS_FAIL_ERRNO(e, "output directory %s", dir);
        if (!slash || slash == at) {
            if (statvfs(slash ? "/" : ".", &s) < 0)
                return RS_FAIL_ERRNO(e, "output directory %s", dir);
            break;
        }
        *slash = '\0';
    }
    if ((uint64_t)s.f_bavail * s.f_frsize < ROOM_NEEDED)
        return RS_FAIL(e, RS_INVALID, "no room on disk for output directory %s: %llu KiB are free, 4096 KiB are needed", dir,
                       (unsigned long long)s.f_bavail * s.f_frsize / 1024);
    return 0;
}
