/* Gateways: in phase distribute a second Deployment behind the same Service, in phase switch in place. */
#include "base/time.h"
#include "cmd/rootshift/world_kube.h"
#include "kube/object.h"

#define BEFORE "rootshift.dev/replicas-before"

/* "NAMESPACE.NAME" of a plan; the name of the second Deployment is NAME-REVISION. */
struct place { char *namespace, *name, *canary; };

static struct place place_of(const char *gateway, const char *revision)
{
    const char *dot = strchr(gateway, '.');
    rs_assert(dot);
    struct place p = { .namespace = rs_strndup(gateway, (size_t)(dot - gateway)), .name = rs_strdup(dot + 1) };
    p.canary = revision ? rs_printf("%s-%s", p.name, revision) : NULL;
    return p;
}

static void place_done(struct place *p)
{
    free(p->namespace);
    free(p->name);
    free(p->canary);
}
#define AUTO_PLACE __attribute__((cleanup(place_done))) struct place

static char *path_of(const struct place *p, const char *name)
{
    return rs_printf("/apis/apps/v1/namespaces/%s/deployments%s%s", p->namespace, name ? "/" : "", name ? name : "");
}

static int scale(struct rs_world_kube *w, const struct place *p, const char *name, json_int_t replicas, const char *remember, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = path_of(p, name);
    RS_AUTO(json_t) *patch = rs_json_pack("{s:{s:I}}", "spec", "replicas", replicas);
    if (remember)
        json_object_set_new(rs_json_need(patch, "metadata", "annotations"), BEFORE, *remember ? json_string(remember) : json_null());
    if (rs_kube_do(w->kube, "PATCH", path, RS_MERGE_PATCH, patch, NULL, e) < 0)
        return rs_err_wrap(e, "scale Deployment %s/%s", p->namespace, name);
    return rs_wait_rollouts(w, &(struct rs_rollout){ p->namespace, name }, 1, e);
}

static json_t *canary_of(const json_t *old, const struct place *p, const char *revision)
{
    json_t *d = rs_json_pack("{s:s, s:s, s:{s:s, s:s}}", "apiVersion", "apps/v1", "kind", "Deployment", "metadata", "name", p->canary,
                             "namespace", p->namespace);
    json_object_set_new(d, "spec", json_deep_copy(json_object_get(old, "spec")));
    json_t *labels = json_deep_copy(rs_json_at(old, "metadata", "labels"));
    if (!labels)
        labels = json_object();
    rs_json_set_str(labels, "istio.io/rev", revision);
    json_object_set_new(json_object_get(d, "metadata"), "labels", labels);
    json_t *pod_labels = rs_json_need(d, "spec", "template", "metadata", "labels");
    rs_json_set_str(pod_labels, "istio.io/rev", revision);
    rs_json_set_str(pod_labels, "rootshift.dev/gateway", p->canary);
    rs_json_set_str(rs_json_need(d, "spec", "selector", "matchLabels"), "rootshift.dev/gateway", p->canary);
    json_object_del(rs_json_need(d, "spec", "selector", "matchLabels"), "istio.io/rev");
    return d;
}

/* Every Service that reaches the old gateway's pods must reach the new ones: the same selector has to match their labels. */
static int check_services(struct rs_world_kube *w, const struct place *p, const json_t *old, const json_t *canary, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/%s/services", p->namespace);
    RS_AUTO(json_t) *list = NULL;
    if (rs_kube_list(w->kube, path, NULL, &list, NULL, e) < 0)
        return -1;
    const json_t *before = rs_json_at(old, "spec", "template", "metadata", "labels");
    const json_t *after = rs_json_at(canary, "spec", "template", "metadata", "labels");
    size_t i;
    json_t *s;
    json_array_foreach(list, i, s) {
        const json_t *wanted = rs_json_at(s, "spec", "selector");
        if (rs_labels_include(before, wanted) && !rs_labels_include(after, wanted))
            return RS_FAIL(e, RS_PRECONDITION, "Service %s/%s selects the gateway by a label that changes with its revision; "
                           "take istio.io/rev out of its selector", p->namespace, rs_object_name(s));
    }
    return 0;
}

int rs_world_gateway_canary(void *ctx, const char *gateway, const char *revision, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    AUTO_PLACE p = place_of(gateway, revision);
    RS_AUTO(rs_chars) *old_path = path_of(&p, p.name), *new_path = path_of(&p, p.canary), *all = path_of(&p, NULL);
    RS_AUTO(json_t) *old = NULL, *there = NULL;
    if (rs_kube_get(w->kube, old_path, &old, e) < 0)
        return rs_err_wrap(e, "gateway %s", gateway);
    json_int_t replicas = rs_json_int(old, 1, "spec", "replicas");
    if (rs_kube_get(w->kube, new_path, &there, e) < 0) {
        if (e->code != RS_NOT_FOUND)
            return -1;
        RS_AUTO(json_t) *canary = canary_of(old, &p, revision);
        if (check_services(w, &p, old, canary, e) < 0)
            return -1;
        if (rs_kube_do(w->kube, "POST", all, NULL, canary, NULL, e) < 0)
            return rs_err_wrap(e, "create Deployment %s/%s", p.namespace, p.canary);
    }
    if (rs_wait_rollouts(w, &(struct rs_rollout){ p.namespace, p.canary }, 1, e) < 0)
        return -1;
    /* The new one serves: the old one steps aside but stays, so that an undo only has to scale it up. */
    RS_AUTO(rs_chars) *before = rs_printf("%lld", (long long)replicas);
    return replicas == 0 ? 0 : scale(w, &p, p.name, 0, before, e);
}

int rs_world_gateway_canary_undo(void *ctx, const char *gateway, const char *revision, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    AUTO_PLACE p = place_of(gateway, revision);
    RS_AUTO(rs_chars) *old_path = path_of(&p, p.name), *new_path = path_of(&p, p.canary);
    RS_AUTO(json_t) *old = NULL;
    if (rs_kube_get(w->kube, old_path, &old, e) < 0)
        return rs_err_wrap(e, "gateway %s", gateway);
    const char *before = rs_object_annotation(old, BEFORE);
    uint64_t replicas;
    if (before && rs_str_u64(rs_str_of(before), &replicas) && scale(w, &p, p.name, (json_int_t)replicas, "", e) < 0)
        return -1;
    if (rs_kube_do(w->kube, "DELETE", new_path, NULL, NULL, NULL, e) < 0 && e->code != RS_NOT_FOUND)
        return rs_err_wrap(e, "delete Deployment %s/%s", p.namespace, p.canary);
    return 0;
}

int rs_world_gateway_in_place(void *ctx, const char *gateway, const char *revision_of_canary, const char *revision, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    AUTO_PLACE p = place_of(gateway, revision_of_canary);
    RS_AUTO(rs_chars) *path = path_of(&p, p.canary);
    RS_AUTO(json_t) *patch = json_object();
    rs_json_set_str(rs_json_need(patch, "metadata", "labels"), "istio.io/rev", revision);
    rs_json_set_str(rs_json_need(patch, "spec", "template", "metadata", "labels"), "istio.io/rev", revision);
    if (rs_kube_do(w->kube, "PATCH", path, RS_STRATEGIC_PATCH, patch, NULL, e) < 0)
        return rs_err_wrap(e, "gateway %s", gateway);
    return rs_wait_rollouts(w, &(struct rs_rollout){ p.namespace, p.canary }, 1, e);
}

int rs_world_gateway_remove_old(void *ctx, const char *gateway, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    AUTO_PLACE p = place_of(gateway, NULL);
    RS_AUTO(rs_chars) *path = path_of(&p, p.name);
    if (rs_kube_do(w->kube, "DELETE", path, NULL, NULL, NULL, e) < 0 && e->code != RS_NOT_FOUND)
        return rs_err_wrap(e, "delete gateway %s", gateway);
    return 0;
}
