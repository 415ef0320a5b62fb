#include "install/apply.h"

#include "base/time.h"
#include "install/revision.h"
#include "kube/informer.h"
#include "kube/object.h"
#include "pki/issue.h"

#define NS "istio-system"
#define DAY_MS (24 * 3600 * 1000LL)
enum { SERVING_CA_DAYS = 3650 };

/* ---- secrets ---- */

static json_t *text_secret(const char *name, const char *type)
{
    return rs_json_pack("{s:s, s:s, s:{s:s, s:s}, s:s, s:{}}", "apiVersion", "v1", "kind", "Secret", "metadata", "name", name, "namespace", NS,
                        "type", type, "data");
}

static void set_data(json_t *secret, const char *key, const void *p, size_t n)
{
    char *text = rs_base64(p, n);
    rs_json_set_str(json_object_get(secret, "data"), key, text);
    rs_free_cleansed(text, strlen(text));
}

static int make_serving_ca(json_t **ret, struct rs_err *e)
{
    RS_AUTO(EVP_PKEY) *key = NULL;
    RS_AUTO(rs_cert) *cert = NULL;
    if (rs_key_generate(&key, RS_KEY_P256, e) < 0 ||
        rs_issue_root(&cert, key, "Rootshift", "istiod serving CA", rs_now_ms(), SERVING_CA_DAYS * DAY_MS, e) < 0)
        return rs_err_wrap(e, "make the serving CA");
    RS_AUTO(rs_secret) *pem = rs_key_to_pem(key);
    json_t *secret = text_secret("istiod-serving-ca", "Opaque");
    set_data(secret, "ca-cert.pem", rs_cert_pem(cert), strlen(rs_cert_pem(cert)));
    set_data(secret, "ca-key.pem", pem->p, pem->n);
    *ret = secret;
    return 0;
}

int rs_apply_serving_ca(rs_kube *k, bool dry_run, char **ret_root, struct rs_err *e)
{
    RS_AUTO(json_t) *secret = NULL, *made = NULL;
    int rc = rs_kube_get(k, "/api/v1/namespaces/" NS "/secrets/istiod-serving-ca", &secret, e);
    if (rc < 0 && e->code != RS_NOT_FOUND)
        return rs_err_wrap(e, "read Secret istiod-serving-ca");
    if (rc < 0) {
        if (make_serving_ca(&made, e) < 0)
            return -1;
        if (dry_run)
            secret = json_incref(made);
        else if (rs_kube_do(k, "POST", "/api/v1/namespaces/" NS "/secrets", NULL, made, &secret, e) < 0) {
            if (e->code != RS_EXISTS)
                return rs_err_wrap(e, "create Secret istiod-serving-ca");
            return rs_apply_serving_ca(k, dry_run, ret_root, e);     /* another installation was faster */
        }
    }
    *ret_root = rs_secret_value(secret, "ca-cert.pem", NULL);
    return *ret_root ? 0 : RS_FAIL(e, RS_DATA_LOSS, "Secret istio-system/istiod-serving-ca has no ca-cert.pem");
}

int rs_apply_cacerts(rs_kube *k, const struct rs_ca_input *in, struct rs_err *e)
{
    RS_AUTO(json_t) *secret = text_secret("cacerts", "Opaque");
    set_data(secret, "ca-cert.pem", in->ca_cert, strlen(in->ca_cert));
    set_data(secret, "ca-key.pem", in->key->p, in->key->n);
    set_data(secret, "root-cert.pem", in->root_cert, strlen(in->root_cert));
    set_data(secret, "cert-chain.pem", in->cert_chain, strlen(in->cert_chain));
    if (rs_kube_do(k, "POST", "/api/v1/namespaces/" NS "/secrets", NULL, secret, NULL, e) < 0 && e->code != RS_EXISTS)
        return rs_err_wrap(e, "create Secret cacerts");
    return 0;                                            /* one that exists was compared before */
}

/* ---- waiting for one object ---- */

struct waiting {
    bool done;
    bool (*ready)(const json_t *object);
};

static void on_object(void *ctx, const json_t *old, const json_t *now, bool final)
{
    struct waiting *w = ctx;
    if (now && w->ready(now))
        w->done = true;
}

static bool wait_object(rs_kube *k, const char *collection, const char *name, bool (*ready)(const json_t *object), int64_t timeout_ms)
{
    struct waiting w = { .ready = ready };
    static const struct rs_informer_ops ops = { .on_change = on_object };
    RS_AUTO(rs_chars) *field = rs_printf("metadata.name=%s", name);
    rs_informer *i = rs_informer_new(k, collection, NULL, field, &ops, &w);
    bool done = rs_loop_run_until(rs_kube_loop(k), &w.done, timeout_ms);
    rs_informer_free(i);
    return done;
}

/* ---- objects ---- */

static bool crd_served(const json_t *crd)
{
    const json_t *conditions = rs_json_at(crd, "status", "conditions");
    size_t i;
    json_t *c;
    json_array_foreach((json_t *)(uintptr_t)conditions, i, c)
        if (rs_streq(rs_json_str(c, "type"), "Established"))
            return rs_streq(rs_json_str(c, "status"), "True");
    return false;
}

int rs_apply_crds(rs_kube *k, const json_t *crds, struct rs_err *e)
{
    size_t i;
    json_t *crd;
    json_array_foreach((json_t *)(uintptr_t)crds, i, crd)
        if (rs_kube_apply(k, crd, false, NULL, e) < 0)
            return -1;
    json_array_foreach((json_t *)(uintptr_t)crds, i, crd)
        if (!wait_object(k, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", rs_object_name(crd), crd_served, 30 * 1000))
            return RS_FAIL(e, RS_INTERNAL, "custom resource %s is not served after 30 s", rs_object_name(crd));
    return 0;
}

/* A validator that answers already says failurePolicy Fail; an installation must not open it again. */
static int keep_failure_policy(rs_kube *k, json_t *config, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_object_path(config, true);
    RS_AUTO(json_t) *live = NULL;
    if (rs_kube_get(k, path, &live, e) < 0)
        return e->code == RS_NOT_FOUND ? 0 : -1;
    size_t i;
    json_t *hook;
    json_array_foreach(json_object_get(config, "webhooks"), i, hook) {
        json_t *was = json_array_get(json_object_get(live, "webhooks"), i);
        const char *policy = rs_json_str(was, "failurePolicy");
        if (policy && rs_streq(rs_json_str(was, "name"), rs_json_str(hook, "name")))
            rs_json_set_str(hook, "failurePolicy", policy);
    }
    return 0;
}

int rs_apply_objects(rs_kube *k, const struct rs_manifest *m, struct rs_err *e)
{
    size_t i;
    json_t *o;
    json_array_foreach(m->revision, i, o) {
        RS_AUTO(json_t) *copy = json_deep_copy(o);
        if (rs_streq(rs_json_str(o, "kind"), "ValidatingWebhookConfiguration") && keep_failure_policy(k, copy, e) < 0)
            return -1;
        if (rs_kube_apply(k, copy, false, NULL, e) < 0)
            return -1;
    }
    json_array_foreach(m->shared, i, o) {
        RS_AUTO(rs_chars) *path = rs_object_path(o, false);
        if (rs_kube_do(k, "POST", path, NULL, o, NULL, e) < 0 && e->code != RS_EXISTS)
            return rs_err_wrap(e, "create %s %s", rs_json_str(o, "kind"), rs_object_name(o));
    }
    return 0;
}

int rs_apply_dry(rs_kube *k, const struct rs_manifest *m, const struct rs_install *in, struct rs_err *e)
{
    const json_t *const lists[] = { m->crds, m->revision, m->shared };
    for (size_t l = 0; l < RS_COUNT(lists); l++) {
        size_t i;
        json_t *o;
        json_array_foreach((json_t *)(uintptr_t)lists[l], i, o) {
            RS_AUTO(rs_chars) *path = rs_object_path(o, true);
            const char *kind = rs_json_str(o, "kind"), *what = "create";
            bool changed = false;
            if (rs_kube_get(k, path, NULL, e) == 0) {
                if (lists[l] == m->shared)
                    continue;
                if (rs_kube_apply(k, o, true, &changed, e) < 0)
                    return -1;
                what = changed ? "change" : "leave";
            } else if (e->code != RS_NOT_FOUND) {
                return rs_err_wrap(e, "read %s %s", kind, rs_object_name(o));
            }
            RS_AUTO(rs_chars) *line = rs_printf("would %s %s %s", what, kind, rs_object_name(o));
            in->say(in->ctx, line);
        }
    }
    return 0;
}

/* ---- is it serving? ---- */

static bool deployment_available(const json_t *d)
{
    json_int_t want = rs_json_int(d, 1, "spec", "replicas");
    return rs_json_int(d, -1, "status", "observedGeneration") >= rs_json_int(d, 0, "metadata", "generation") &&
           rs_json_int(d, 0, "status", "updatedReplicas") >= want && rs_json_int(d, 0, "status", "availableReplicas") >= want &&
           rs_json_int(d, 0, "status", "replicas") == want;
}

/* "pod istiod-x-1: discovery: CrashLoopBackOff: last words of its log". malloc'ed; never NULL. */
static char *what_pods_say(rs_kube *k, const char *namespace, const char *name)
{
    RS_AUTO(rs_chars) *pods_path = rs_printf("/api/v1/namespaces/%s/pods", namespace), *prefix = rs_printf("%s-", name);
    RS_AUTO(json_t) *pods = NULL;
    struct rs_err e;
    size_t i, j;
    json_t *pod, *c;
    if (rs_kube_list(k, pods_path, NULL, &pods, NULL, &e) < 0)
        return rs_printf("its pods can't be read: %s", e.msg);
    json_array_foreach(pods, i, pod) {
        if (!rs_starts(rs_object_name(pod), prefix) || rs_pod_ready(pod))
            continue;
        json_array_foreach(rs_json_at(pod, "status", "containerStatuses"), j, c) {
            const char *reason = rs_json_str(c, "state", "waiting", "reason"), *message = rs_json_str(c, "state", "waiting", "message");
            RS_AUTO(rs_chars) *log_path = rs_printf("%s/%s/log?tailLines=1%s", pods_path, rs_object_name(pod), rs_json_int(c, 0, "restartCount") ? "&previous=true" : "");
            RS_AUTO(rs_chars) *log = NULL;
            if (rs_json_true(c, "ready"))
                continue;
            if (rs_kube_get_text(k, log_path, &log, &e) < 0)
                log = NULL;                              /* a container that never ran has none */
            rs_str last = rs_str_trim(rs_str_of(log));
            return rs_printf("pod %s is not ready%s%s%s%s%s%.*s", rs_object_name(pod), reason ? ": " : "", reason ? reason : "", message ? ": " : "",
                             message ? message : "", last.n ? "; its log ends: " : "", (int)(last.n < 300 ? last.n : 300), last.p);
        }
        return rs_printf("pod %s is %s", rs_object_name(pod), rs_json_str(pod, "status", "phase") ? rs_json_str(pod, "status", "phase") : "not scheduled");
    }
    return rs_strdup("it has no pods that wait; see kubectl describe");
}

int rs_wait_deployment(rs_kube *k, const char *namespace, const char *name, int64_t timeout_ms, struct rs_err *e)
{
    RS_AUTO(rs_chars) *collection = rs_printf("/apis/apps/v1/namespaces/%s/deployments", namespace);
    if (wait_object(k, collection, name, deployment_available, timeout_ms))
        return 0;
    RS_AUTO(rs_chars) *pods = what_pods_say(k, namespace, name);
    return RS_FAIL(e, RS_INTERNAL, "Deployment %s/%s is not available after %lld s: %s", namespace, name, (long long)(timeout_ms / 1000), pods);
}

static bool injects(rs_kube *k, const char *revision, struct rs_err *e)
{
    RS_AUTO(json_t) *answer = NULL;
    RS_AUTO(json_t) *pod = rs_json_pack(
        "{s:s, s:s, s:{s:s, s:s, s:{s:s}}, s:{s:[{s:s, s:s}]}}", "apiVersion", "v1", "kind", "Pod", "metadata", "generateName",
        "rootshift-probe-", "namespace", NS, "labels", "istio.io/rev", revision, "spec", "containers", "name", "probe", "image", "probe");
    if (rs_kube_do(k, "POST", "/api/v1/namespaces/" NS "/pods?dryRun=All", NULL, pod, &answer, e) < 0)
        return false;
    size_t i;
    json_t *c;
    json_array_foreach(rs_json_at(answer, "spec", "containers"), i, c)
        if (rs_streq(rs_json_str(c, "name"), "istio-proxy"))
            return true;
    return RS_FAIL(e, RS_UNAVAILABLE, "a dry-run pod came back without istio-proxy"), false;
}

/* A policy that only the webhook can find wrong. */
static bool validates(rs_kube *k, const char *revision, struct rs_err *e)
{
    RS_AUTO(json_t) *policy = rs_json_pack(
        "{s:s, s:s, s:{s:s, s:s, s:{s:s}}, s:{s:s}}", "apiVersion", "security.istio.io/v1beta1", "kind", "AuthorizationPolicy", "metadata", "name",
        "rootshift-probe", "namespace", NS, "labels", "istio.io/rev", revision, "spec", "action", "PROBE");
    if (rs_kube_do(k, "POST", "/apis/security.istio.io/v1beta1/namespaces/" NS "/authorizationpolicies?dryRun=All", NULL, policy, NULL, e) == 0)
        return RS_FAIL(e, RS_UNAVAILABLE, "a wrong AuthorizationPolicy was accepted"), false;
    return strstr(e->msg, "denied the request") != NULL;
}

int rs_wait_webhooks(rs_kube *k, const char *revision, int64_t timeout_ms, struct rs_err *e)
{
    int64_t start = rs_mono_ms(), pause = 50;
    while (!injects(k, revision, e) || !validates(k, revision, e)) {
        e->code = RS_INTERNAL;                           /* the cluster is reachable; its webhook isn't */
        if (rs_mono_ms() - start > timeout_ms)
            return rs_err_wrap(e, "the webhooks of revision %s don't answer after %lld s", revision, (long long)(timeout_ms / 1000));
        bool never = false;                              /* service addresses follow endpoints; ask again, less and less often */
        rs_loop_run_until(rs_kube_loop(k), &never, pause);
        pause = pause < 800 ? pause * 2 : 1000;
    }
    return 0;
}
