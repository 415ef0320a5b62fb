#include "control/hooks.h"

#include "base/log.h"
#include "kube/informer.h"
#include "kube/object.h"

enum { PROBE_MS = 500, RETRY_MS = 1000 };
#define ADMISSION "/apis/admissionregistration.k8s.io/v1/"
#define DEFAULT_VALIDATOR "istiod-default-validator"

json_t *rs_hooks_patch(const json_t *config, const char *ca_bundle, bool fail)
{
    RS_AUTO(json_t) *patch = json_array();
    const json_t *hooks = json_object_get(config, "webhooks");
    size_t i;
    json_t *hook;
    json_array_foreach((json_t *)(uintptr_t)hooks, i, hook) {
        bool bundle = !rs_streq(rs_json_str(hook, "clientConfig", "caBundle"), ca_bundle);
        bool policy = fail && !rs_streq(rs_json_str(hook, "failurePolicy"), "Fail");
        if (!bundle && !policy)
            continue;
        RS_AUTO(rs_chars) *name = rs_printf("/webhooks/%zu/name", i), *ca = rs_printf("/webhooks/%zu/clientConfig/caBundle", i);
        RS_AUTO(rs_chars) *fp = rs_printf("/webhooks/%zu/failurePolicy", i);
        json_array_append_new(patch, rs_json_pack("{s:s, s:s, s:O?}", "op", "test", "path", name, "value", json_object_get(hook, "name")));
        if (bundle)
            json_array_append_new(patch, rs_json_pack("{s:s, s:s, s:s}", "op", "add", "path", ca, "value", ca_bundle));
        if (policy)
            json_array_append_new(patch, rs_json_pack("{s:s, s:s, s:s}", "op", "add", "path", fp, "value", "Fail"));
    }
    return json_array_size(patch) ? rs_take(patch) : NULL;
}

/* One configuration object. */
enum which { INJECTOR, VALIDATOR, DEFAULT, WHICH };

struct hooked {
    rs_hooks *hooks;
    enum which which;
    rs_informer *informer;
    rs_kube_call *call;
    rs_timer *again;
    bool answers;                                        /* a dry run was refused by us */
};

struct rs_hooks {
    rs_kube *kube;
    char *revision, *namespace, *ca_bundle;
    struct hooked of[WHICH];
};

static void look(void *ctx);

static const json_t *first(const struct hooked *o)
{
    RS_AUTO(json_t) *list = rs_informer_list(o->informer);
    return json_array_get(list, 0);                      /* kept by the informer */
}

static void on_patched(void *ctx, json_t *answer, const struct rs_err *why)
{
    struct hooked *o = ctx;
    o->call = NULL;
    if (why)
        rs_log_warning("webhook configuration was not updated, trying again: %s", why->msg);
    rs_timer_set(o->again, why ? RETRY_MS : 0);
}

static void on_probed(void *ctx, json_t *answer, const struct rs_err *why)
{
    struct hooked *o = ctx;
    o->call = NULL;
    o->answers = why && strstr(why->msg, "denied the request");
    if (!o->answers)
        rs_log_debug("validator is not asked yet: %s", why ? why->msg : "a wrong policy was accepted");
    rs_timer_set(o->again, o->answers ? 0 : PROBE_MS);
}

/* A policy whose only fault is one that nobody but the webhook finds. */
static void probe(struct hooked *o)
{
    RS_AUTO(rs_chars) *path = rs_printf("/apis/security.istio.io/v1beta1/namespaces/%s/authorizationpolicies?dryRun=All", o->hooks->namespace);
    RS_AUTO(json_t) *policy = rs_json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s}}", "apiVersion", "security.istio.io/v1beta1", "kind",
                                           "AuthorizationPolicy", "metadata", "generateName", "rootshift-probe-", "namespace", o->hooks->namespace,
                                           "spec", "action", "PROBE");
    if (o->which == VALIDATOR)
        rs_json_set_str(rs_json_need(policy, "metadata", "labels"), "istio.io/rev", o->hooks->revision);
    o->call = rs_kube_start(o->hooks->kube, "POST", path, NULL, policy, on_probed, o);
}

/* Only the control plane that Service istiod points at answers for the default validator; its probe says whether it does,
 * whoever that is, so every revision may ask. */
static void look(void *ctx)
{
    struct hooked *o = ctx;
    const json_t *config = first(o);
    if (!config || o->call)
        return;
    RS_AUTO(rs_chars) *path = rs_printf(ADMISSION "%s/%s", o->which == INJECTOR ? "mutatingwebhookconfigurations" : "validatingwebhookconfigurations",
                                        rs_object_name(config));
    RS_AUTO(json_t) *patch = rs_hooks_patch(config, o->hooks->ca_bundle, o->which != INJECTOR && o->answers);
    if (patch) {
        o->call = rs_kube_start(o->hooks->kube, "PATCH", path, RS_JSON_PATCH, patch, on_patched, o);
        return;
    }
    const char *policy = rs_json_str(json_array_get(json_object_get(config, "webhooks"), 0), "failurePolicy");
    if (o->which != INJECTOR && !rs_streq(policy, "Fail"))
        probe(o);
}

static void on_change(void *ctx, const json_t *old, const json_t *now, bool final)
{
    struct hooked *o = ctx;
    rs_timer_set(o->again, 0);
}

static void set_bundle(rs_hooks *h, rs_bundle *root)
{
    const char *pem = rs_bundle_pem(root);
    free(h->ca_bundle);
    h->ca_bundle = rs_base64(pem, strlen(pem));
}

rs_hooks *rs_hooks_new(rs_kube *k, const char *revision, const char *namespace, rs_bundle *serving_root)
{
    static const struct rs_informer_ops ops = { .on_change = on_change };
    rs_hooks *h = rs_new(rs_hooks);
    h->kube = k;
    h->revision = rs_strdup(revision);
    h->namespace = rs_strdup(namespace);
    set_bundle(h, serving_root);
    RS_AUTO(rs_chars) *label = rs_printf("istio.io/rev=%s,app=sidecar-injector", revision), *own = rs_printf("istio.io/rev=%s", revision);
    for (size_t i = 0; i < WHICH; i++) {
        struct hooked *o = &h->of[i];
        *o = (struct hooked){ .hooks = h, .which = (enum which)i, .again = rs_timer_new(rs_kube_loop(k), look, o) };
        o->informer = rs_informer_new(k, i == INJECTOR ? ADMISSION "mutatingwebhookconfigurations" : ADMISSION "validatingwebhookconfigurations",
                                      i == INJECTOR ? label : i == VALIDATOR ? own : NULL,
                                      i == INJECTOR ? NULL : i == VALIDATOR ? "metadata.name!=" DEFAULT_VALIDATOR : "metadata.name=" DEFAULT_VALIDATOR, &ops, o);
    }
    return h;
}

void rs_hooks_set_serving(rs_hooks *h, rs_bundle *serving_root)
{
    set_bundle(h, serving_root);
    for (size_t i = 0; i < WHICH; i++)
        rs_timer_set(h->of[i].again, 0);
}

void rs_hooks_free(rs_hooks *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < WHICH; i++) {
        rs_kube_cancel(h->of[i].call);
        rs_informer_free(h->of[i].informer);
        rs_timer_free(h->of[i].again);
    }
    free(h->revision);
    free(h->namespace);
    free(h->ca_bundle);
    free(h);
}
