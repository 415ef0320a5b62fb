/* Deployments and namespaces: labels, restarts, waiting for rollouts. */
#include "base/time.h"
#include "cmd/rootshift/world_kube.h"
#include "kube/object.h"

enum { ROLLOUT_LIMIT_MS = 600 * 1000 };

bool rs_is_gateway(const json_t *deployment)
{
    const char *templates = rs_json_str(rs_json_at(deployment, "spec", "template", "metadata", "annotations"), "inject.istio.io/templates");
    return templates && strstr(templates, "gateway");
}

int rs_world_label_namespace(void *ctx, const char *namespace, const char *revision, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/%s", namespace);
    RS_AUTO(json_t) *patch = json_object();
    json_t *labels = rs_json_need(patch, "metadata", "labels");
    json_object_set_new(labels, "istio.io/rev", *revision ? json_string(revision) : json_null());
    json_object_set_new(labels, "istio-injection", *revision ? json_null() : json_string("enabled"));
    if (rs_kube_do(w->kube, "PATCH", path, RS_MERGE_PATCH, patch, NULL, e) < 0)
        return rs_err_wrap(e, "label namespace %s", namespace);
    return 0;
}

/* What `kubectl rollout status` reads, in its order. NULL when done, else malloc'ed text of what is missing. */
static char *rollout_missing(const json_t *d, bool *ret_failed)
{
    json_int_t want = rs_json_int(d, 1, "spec", "replicas");
    json_int_t updated = rs_json_int(d, 0, "status", "updatedReplicas"), all = rs_json_int(d, 0, "status", "replicas");
    json_int_t available = rs_json_int(d, 0, "status", "availableReplicas");
    *ret_failed = false;
    if (rs_json_int(d, 0, "status", "observedGeneration") < rs_json_int(d, 0, "metadata", "generation"))
        return rs_strdup("its new specification is not observed yet");
    size_t i;
    json_t *c;
    json_array_foreach(rs_json_at(d, "status", "conditions"), i, c) {
        if (rs_streq(rs_json_str(c, "type"), "Progressing") && rs_streq(rs_json_str(c, "reason"), "ProgressDeadlineExceeded")) {
            *ret_failed = true;
            return rs_strdup("it exceeded its progress deadline; see `kubectl describe` of its newest pod");
        }
    }
    if (updated < want)
        return rs_printf("%lld of %lld new pods exist", (long long)updated, (long long)want);
    if (all > updated)
        return rs_printf("%lld old pods remain", (long long)(all - updated));
    if (available < updated)
        return rs_printf("%lld of %lld new pods are available", (long long)available, (long long)updated);
    return NULL;
}

static char *deployment_path(const struct rs_rollout *r)
{
    return rs_printf("/apis/apps/v1/namespaces/%s/deployments/%s", r->namespace, r->name);
}

int rs_wait_rollouts(struct rs_world_kube *w, const struct rs_rollout *v, size_t n, struct rs_err *e)
{
    int64_t deadline = rs_mono_ms() + ROLLOUT_LIMIT_MS;
    for (size_t i = 0; i < n; ) {
        RS_AUTO(rs_chars) *path = deployment_path(&v[i]);
        RS_AUTO(json_t) *d = NULL;
        if (rs_kube_get(w->kube, path, &d, e) < 0)
            return rs_err_wrap(e, "Deployment %s/%s", v[i].namespace, v[i].name);
        bool failed;
        RS_AUTO(rs_chars) *missing = rollout_missing(d, &failed);
        if (!missing) {
            i++;
            continue;
        }
        if (failed || rs_mono_ms() > deadline)
            return RS_FAIL(e, RS_DEADLINE, "Deployment %s/%s is not rolled out: %s", v[i].namespace, v[i].name, missing);
        w->world.pause(w);
    }
    return 0;
}

int rs_restart_deployments(struct rs_world_kube *w, const struct rs_rollout *v, size_t n, const char *token, struct rs_err *e)
{
    char now[RS_TIME_TEXT];
    rs_time_text(rs_now_ms(), now);
    for (size_t i = 0; i < n; i++) {
        RS_AUTO(rs_chars) *path = deployment_path(&v[i]);
        RS_AUTO(json_t) *d = NULL;
        if (rs_kube_get(w->kube, path, &d, e) < 0)
            return rs_err_wrap(e, "Deployment %s/%s", v[i].namespace, v[i].name);
        const json_t *annotations = rs_json_at(d, "spec", "template", "metadata", "annotations");
        if (rs_streq(rs_json_str(annotations, "rootshift.dev/restarted-for"), token))
            continue;
        RS_AUTO(json_t) *patch = json_object();
        json_t *set = rs_json_need(patch, "spec", "template", "metadata", "annotations");
        rs_json_set_str(set, "kubectl.kubernetes.io/restartedAt", now);
        rs_json_set_str(set, "rootshift.dev/restarted-for", token);
        if (rs_kube_do(w->kube, "PATCH", path, RS_STRATEGIC_PATCH, patch, NULL, e) < 0)
            return rs_err_wrap(e, "restart Deployment %s/%s", v[i].namespace, v[i].name);
    }
    return rs_wait_rollouts(w, v, n, e);
}

/* Pods with a proxy that no Deployment owns would keep the old revision for ever: they are named instead of forgotten. */
static int refuse_strays(struct rs_world_kube *w, const char *namespace, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/%s/pods", namespace);
    RS_AUTO(json_t) *pods = NULL;
    if (rs_kube_list(w->kube, path, NULL, &pods, NULL, e) < 0)
        return -1;
    size_t i;
    json_t *pod;
    json_array_foreach(pods, i, pod) {
        struct rs_proxy *p = rs_proxy_of_pod(pod);
        const json_t *owner = rs_object_owner(pod);
        bool stray = p && !p->terminating && !rs_streq(rs_json_str(owner, "kind"), "ReplicaSet");
        rs_proxy_free(p);
        if (stray)
            return RS_FAIL(e, RS_PRECONDITION, "pod %s/%s carries a proxy but belongs to %s %s, which is not restarted here; "
                           "restart or delete it, then run this again", namespace, rs_object_name(pod),
                           owner ? rs_json_str(owner, "kind") : "no", owner ? rs_json_str(owner, "name") : "owner");
    }
    return 0;
}

static int restart_in(struct rs_world_kube *w, const char *namespace, bool gateways, bool injected_only, const char *token, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("/apis/apps/v1/namespaces/%s/deployments", namespace);
    RS_AUTO(json_t) *list = NULL;
    if (rs_kube_list(w->kube, path, NULL, &list, NULL, e) < 0)
        return rs_err_wrap(e, "Deployments of %s", namespace);
    struct rs_rollout *v = rs_new_array(struct rs_rollout, json_array_size(list));
    size_t n = 0, i;
    json_t *d;
    json_array_foreach(list, i, d)
        if ((gateways || !rs_is_gateway(d)) && rs_json_int(d, 1, "spec", "replicas") > 0)
            v[n++] = (struct rs_rollout){ namespace, rs_object_name(d) };
    int rc = rs_restart_deployments(w, v, n, token, e);
    free(v);
    return rc < 0 || !injected_only ? rc : refuse_strays(w, namespace, e);
}

int rs_world_restart_namespace(void *ctx, const char *namespace, const char *token, struct rs_err *e)
{
    return restart_in(ctx, namespace, false, true, token, e);
}

int rs_world_restart_control_planes(void *ctx, const char *token, struct rs_err *e)
{
    return restart_in(ctx, "istio-system", true, false, token, e);
}
