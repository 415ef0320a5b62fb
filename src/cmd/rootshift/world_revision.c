/* Whole control planes: taking one out, making one the default, removing the old CA's secrets. */
#include <sys/stat.h>

#include "base/file.h"
#include "base/time.h"
#include "base/yaml.h"
#include "cmd/rootshift/world_kube.h"
#include "kube/object.h"

#define NS "istio-system"
enum { WEBHOOK_LIMIT_MS = 60 * 1000 };

/* Everything of a revision beside what garbage collection takes; the Service of the default revision is shared by all. */
static const struct { const char *path, *base; bool keep_for_default; } parts[] = {
    { "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", "istio-sidecar-injector", false },
    { "/apis/apps/v1/namespaces/" NS "/deployments", "istiod", false },
    { "/apis/autoscaling/v2/namespaces/" NS "/horizontalpodautoscalers", "istiod", false },
    { "/apis/policy/v1/namespaces/" NS "/poddisruptionbudgets", "istiod", false },
    { "/api/v1/namespaces/" NS "/services", "istiod", true },
    { "/apis/install.istio.io/v1alpha1/namespaces/" NS "/istiooperators", "installed-state", false },
    { "/api/v1/namespaces/" NS "/configmaps", "istio-sidecar-injector", false },
    { "/api/v1/namespaces/" NS "/configmaps", "istio", false },
    { "/api/v1/namespaces/" NS "/configmaps", "istio-trust-bundle", false },
    { "/api/v1/namespaces/" NS "/serviceaccounts", "istiod", false },
};

static int delete_at(struct rs_world_kube *w, const char *path, struct rs_err *e)
{
    if (rs_kube_do(w->kube, "DELETE", path, NULL, NULL, NULL, e) < 0 && e->code != RS_NOT_FOUND)
        return rs_err_wrap(e, "delete %s", path);
    return 0;
}

static int refuse_in_use(struct rs_world_kube *w, const char *revision, struct rs_err *e)
{
    RS_AUTO(json_t) *pods = NULL;
    if (rs_kube_list(w->kube, "/api/v1/pods", NULL, &pods, NULL, e) < 0)
        return -1;
    size_t i;
    json_t *pod;
    json_array_foreach(pods, i, pod) {
        struct rs_proxy *p = rs_proxy_of_pod(pod);
        bool uses = p && !p->terminating && rs_streq(p->revision, revision);
        rs_proxy_free(p);
        if (uses)
            return RS_FAIL(e, RS_PRECONDITION, "pod %s/%s still runs under revision %s; restart it under another one first",
                           rs_object_namespace(pod), rs_object_name(pod), revision);
    }
    return 0;
}

int rs_world_uninstall(void *ctx, const char *revision, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    const char *name = *revision ? revision : "default";
    if (refuse_in_use(w, name, e) < 0)
        return -1;
    RS_AUTO(rs_chars) *validator = rs_printf("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/istio-validator%s%s-" NS,
                                             rs_streq(name, "default") ? "" : "-", rs_streq(name, "default") ? "" : name);
    if (delete_at(w, validator, e) < 0)
        return -1;
    for (size_t i = 0; i < RS_COUNT(parts); i++) {
        if (parts[i].keep_for_default && rs_streq(name, "default"))
            continue;
        RS_AUTO(rs_chars) *object = rs_revision_name(parts[i].base, name);
        RS_AUTO(rs_chars) *path = rs_printf("%s/%s", parts[i].path, object);
        if (delete_at(w, path, e) < 0)
            return -1;
    }
    return 0;
}

/* A write that must be refused and one that must pass, both dry runs: a webhook that answers wrongly, or not at all, shows. */
static int prove_webhook(struct rs_world_kube *w, struct rs_err *e)
{
    static const char path[] = "/apis/security.istio.io/v1beta1/namespaces/" NS "/peerauthentications?dryRun=All";
    RS_AUTO(json_t) *good = rs_json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:{s:s}}}", "apiVersion", "security.istio.io/v1beta1", "kind",
                                         "PeerAuthentication", "metadata", "name", "rootshift-proof", "namespace", NS, "spec", "mtls",
                                         "mode", "STRICT");
    RS_AUTO(json_t) *bad = json_deep_copy(good);
    rs_json_set_str(rs_json_need(bad, "spec", "mtls"), "mode", "NO_SUCH_MODE");
    if (rs_kube_do(w->kube, "POST", path, NULL, good, NULL, e) < 0)
        return rs_err_wrap(e, "a valid dry-run write did not pass the validating webhook");
    if (rs_kube_do(w->kube, "POST", path, NULL, bad, NULL, e) == 0)
        return RS_FAIL(e, RS_INTERNAL, "an invalid dry-run write passed: no validating webhook answers");
    if (!strstr(e->msg, "admission webhook"))
        return rs_err_wrap(e, "the dry-run write was refused by something else than the webhook");
    return 0;
}

int rs_world_point_default_to(void *ctx, const char *revision, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    static const char path[] = "/api/v1/namespaces/" NS "/services/istiod";
    RS_AUTO(json_t) *service = NULL;
    RS_AUTO(json_t) *patch = rs_json_pack("{s:{s:{s:s, s:s, s:n}}}", "spec", "selector", "app", "istiod", "istio.io/rev", revision, "istio");
    if (rs_kube_get(w->kube, path, &service, e) < 0 && e->code != RS_NOT_FOUND)
        return -1;
    if (!service)
        return RS_FAIL(e, RS_NOT_FOUND, "Service " NS "/istiod is missing; apply asm/istio/istiod-service.yaml of the output directory");
    if (rs_kube_do(w->kube, "PATCH", path, RS_MERGE_PATCH, patch, NULL, e) < 0)
        return rs_err_wrap(e, "Service " NS "/istiod");
    int64_t deadline = rs_mono_ms() + WEBHOOK_LIMIT_MS;
    while (prove_webhook(w, e) < 0) {
        if (rs_mono_ms() > deadline)
            return rs_err_wrap(e, "Service " NS "/istiod now selects revision %s", revision);
        w->world.pause(w);
    }
    return 0;
}

/* One copy per secret; an older copy is never overwritten. */
static int save_secret(struct rs_world_kube *w, const char *dir, const json_t *secret, struct rs_err *e)
{
    char now[RS_TIME_TEXT];
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s-%s.yaml", dir, rs_object_name(secret), rs_time_text(rs_now_ms(), now));
    RS_AUTO(rs_chars) *text = rs_yaml_text(secret);
    if (rs_mkdirs(dir, 0700, e) < 0 || rs_file_write(path, rs_str_of(text), 0600, e) < 0)
        return rs_err_wrap(e, "nothing was deleted");
    RS_AUTO(rs_chars) *line = rs_printf("saved Secret " NS "/%s to %s (mode 0600; it holds the private key)", rs_object_name(secret), path);
    w->world.say(w, line);
    return 0;
}

int rs_world_save_and_delete_ca_secrets(void *ctx, const json_t *plan, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    static const char *const names[] = { "cacerts", "istio-ca-secret" };
    const char *dir = w->output_dir ? w->output_dir : rs_json_str(plan, "outputDir");
    for (size_t i = 0; i < RS_COUNT(names); i++) {
        RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/" NS "/secrets/%s", names[i]);
        RS_AUTO(json_t) *secret = NULL;
        if (rs_kube_get(w->kube, path, &secret, e) < 0) {
            if (e->code != RS_NOT_FOUND)
                return -1;
            continue;
        }
        if (save_secret(w, dir, secret, e) < 0 || delete_at(w, path, e) < 0)
            return -1;
    }
    return 0;
}
