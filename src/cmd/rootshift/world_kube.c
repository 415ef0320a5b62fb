#include "cmd/rootshift/world_kube.h"

#include "base/time.h"
#include "kube/object.h"
#include "mesh/issuance.h"

#define RECORD_PATH "/api/v1/namespaces/istio-system/configmaps/rootshift-migration"
#define LEASE_PATH "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases/rootshift-migration"
enum { LEASE_SECONDS = 30, PAUSE_MS = 300 };

static int64_t world_now(void *ctx) { return rs_now_ms(); }

static void world_say(void *ctx, const char *line)
{
    struct rs_world_kube *w = ctx;
    if (!w->quiet)
        fprintf(stderr, "  %s\n", line);
}

static int world_load(void *ctx, json_t **ret, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    RS_AUTO(json_t) *cm = NULL;
    *ret = NULL;
    if (rs_kube_get(w->kube, RECORD_PATH, &cm, e) < 0)
        return e->code == RS_NOT_FOUND ? 0 : -1;
    free(w->record_rv);
    w->record_rv = rs_strdup(rs_object_rv(cm));
    const char *text = rs_configmap_value(cm, "record");
    if (!text)
        return RS_FAIL(e, RS_DATA_LOSS, "ConfigMap istio-system/rootshift-migration has no key record; restore it or delete the ConfigMap");
    return rs_json_parse(ret, rs_str_of(text), e) < 0 ? rs_err_wrap(e, "ConfigMap istio-system/rootshift-migration") : 0;
}

static int world_save(void *ctx, json_t *record, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    RS_AUTO(rs_chars) *text = rs_json_text(record);
    RS_AUTO(json_t) *cm = rs_json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:s}}, s:{s:s}}", "apiVersion", "v1", "kind", "ConfigMap",
                                       "metadata", "name", "rootshift-migration", "namespace", "istio-system", "labels",
                                       "app.kubernetes.io/managed-by", "rootshift", "data", "record", text);
    RS_AUTO(json_t) *saved = NULL;
    int rc;
    if (w->record_rv) {
        rs_json_set_str(json_object_get(cm, "metadata"), "resourceVersion", w->record_rv);
        rc = rs_kube_do(w->kube, "PUT", RECORD_PATH, NULL, cm, &saved, e);
    } else {
        rc = rs_kube_do(w->kube, "POST", "/api/v1/namespaces/istio-system/configmaps", NULL, cm, &saved, e);
    }
    if (rc < 0)
        return -1;
    free(w->record_rv);
    w->record_rv = rs_strdup(rs_object_rv(saved));
    return 0;
}

static int world_scan(void *ctx, struct rs_scan **ret, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    return rs_scan_run(w->kube, &(struct rs_scan_options){ .secrets = true }, ret, e);
}

static int world_living(void *ctx, const rs_digest *root, struct rs_living_list *ret, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    RS_AUTO(json_t) *records = NULL;
    *ret = (struct rs_living_list){ 0 };
    if (rs_kube_list(w->kube, "/apis/rootshift.dev/v1/namespaces/istio-system/issuancerecords", NULL, &records, NULL, e) < 0) {
        ret->unreadable = rs_strdup(e->msg);
        return 0;
    }
    struct rs_issuance_list list;
    if (rs_issuance_living(&list, records, root, rs_now_ms(), e) < 0) {
        ret->unreadable = rs_strdup(e->msg);
        return 0;
    }
    ret->v = rs_new_array(struct rs_living_leaf, list.n);
    for (size_t i = 0; i < list.n; i++)
        ret->v[ret->n++] = (struct rs_living_leaf){ .identity = rs_strdup(list.v[i].identity), .not_after_ms = list.v[i].not_after_ms,
                                                    .pod = rs_printf("%s/%s", list.v[i].namespace, list.v[i].pod) };
    rs_issuance_list_done(&list);
    return 0;
}

static void world_living_done(void *ctx, struct rs_living_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free((char *)l->v[i].identity);
        free((char *)l->v[i].pod);
    }
    free(l->v);
    free(l->unreadable);
    *l = (struct rs_living_list){ 0 };
}

static void world_required_done(void *ctx, struct rs_required *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free((char *)v[i].revision);
        rs_bundle_unref((rs_bundle *)v[i].roots);
    }
    free(v);
}

static int world_required(void *ctx, struct rs_required **ret, size_t *ret_n, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    RS_AUTO(json_t) *list = NULL;
    if (rs_kube_list(w->kube, "/api/v1/namespaces/istio-system/configmaps", "rootshift.dev/trust-bundle=true", &list, NULL, e) < 0)
        return rs_err_wrap(e, "trust bundle records");
    struct rs_required *v = rs_new_array(struct rs_required, json_array_size(list));
    size_t n = 0, i;
    json_t *cm;
    json_array_foreach(list, i, cm) {
        const char *name = rs_object_name(cm), *pem = rs_configmap_value(cm, "roots.pem");
        const char *prefix = "istio-trust-bundle-";
        rs_bundle *roots;
        if (!pem || rs_bundle_parse(&roots, rs_str_of(pem), e) < 0) {
            world_required_done(w, v, n);
            return pem ? rs_err_wrap(e, "ConfigMap istio-system/%s", name)
                       : RS_FAIL(e, RS_DATA_LOSS, "ConfigMap istio-system/%s has no roots.pem", name);
        }
        v[n++] = (struct rs_required){ rs_strdup(rs_starts(name, prefix) ? name + strlen(prefix) : "default"), roots };
    }
    *ret = v;
    *ret_n = n;
    return 0;
}

/* Whoever waits still holds the lock. */
static void renew_lock(struct rs_world_kube *w)
{
    struct rs_err ignored;
    char now[RS_TIME_TEXT];
    if (!w->locked || rs_mono_ms() - w->renewed_ms < 1000 * LEASE_SECONDS / 3)
        return;
    RS_AUTO(json_t) *patch = rs_json_pack("{s:{s:s}}", "spec", "renewTime", rs_time_text_ms(rs_now_ms(), now));
    if (rs_kube_do(w->kube, "PATCH", LEASE_PATH, RS_MERGE_PATCH, patch, NULL, &ignored) == 0)
        w->renewed_ms = rs_mono_ms();
}

static void world_pause(void *ctx)
{
    struct rs_world_kube *w = ctx;
    bool never = false;
    renew_lock(w);
    rs_loop_run_until(rs_kube_loop(w->kube), &never, PAUSE_MS);
}

void rs_world_kube_init(struct rs_world_kube *w, rs_kube *kube)
{
    *w = (struct rs_world_kube){ .kube = kube };
    w->world = (struct rs_world){
        .ctx = w, .now_ms = world_now, .say = world_say, .load = world_load, .save = world_save, .scan = world_scan,
        .living = world_living, .living_done = world_living_done, .required = world_required, .required_done = world_required_done,
        .pause = world_pause, .install = rs_world_install, .uninstall = rs_world_uninstall,
        .label_namespace = rs_world_label_namespace, .restart_namespace = rs_world_restart_namespace,
        .gateway_canary = rs_world_gateway_canary, .gateway_canary_undo = rs_world_gateway_canary_undo,
        .gateway_in_place = rs_world_gateway_in_place, .gateway_remove_old = rs_world_gateway_remove_old,
        .point_default_to = rs_world_point_default_to, .save_and_delete_ca_secrets = rs_world_save_and_delete_ca_secrets,
        .restart_control_planes = rs_world_restart_control_planes,
    };
}

void rs_world_kube_done(struct rs_world_kube *w)
{
    free(w->record_rv);
    w->record_rv = NULL;
}

/* A Lease that its holder stopped renewing, or that names this very process, is free. */
static bool held(const json_t *lease, const char *actor, char **ret_holder)
{
    const char *holder = rs_json_str(lease, "spec", "holderIdentity"), *renewed = rs_json_str(lease, "spec", "renewTime");
    int64_t at;
    if (!holder || !*holder || rs_streq(holder, actor) || !renewed || !rs_time_parse(renewed, &at))
        return false;
    if (rs_now_ms() - at > 1000 * rs_json_int(lease, LEASE_SECONDS, "spec", "leaseDurationSeconds"))
        return false;
    *ret_holder = rs_strdup(holder);
    return true;
}

static int take_lease(struct rs_world_kube *w, const char *actor, struct rs_err *e)
{
    char now[RS_TIME_TEXT];
    RS_AUTO(json_t) *lease = NULL;
    RS_AUTO(json_t) *want = rs_json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:i, s:s, s:s}}", "apiVersion", "coordination.k8s.io/v1",
                                         "kind", "Lease", "metadata", "name", "rootshift-migration", "namespace", "istio-system",
                                         "spec", "holderIdentity", actor, "leaseDurationSeconds", LEASE_SECONDS,
                                         "acquireTime", rs_time_text_ms(rs_now_ms(), now), "renewTime", now);
    if (rs_kube_get(w->kube, LEASE_PATH, &lease, e) < 0) {
        if (e->code != RS_NOT_FOUND)
            return -1;
        return rs_kube_do(w->kube, "POST", "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases", NULL, want, NULL, e);
    }
    RS_AUTO(rs_chars) *holder = NULL;
    if (held(lease, actor, &holder))
        return RS_FAIL(e, RS_PRECONDITION, "a migration is being run by %s; wait for it, or for its lease to end in %d s", holder, LEASE_SECONDS);
    rs_json_set_str(json_object_get(want, "metadata"), "resourceVersion", rs_object_rv(lease));
    return rs_kube_do(w->kube, "PUT", LEASE_PATH, NULL, want, NULL, e);
}

int rs_world_lock(struct rs_world_kube *w, const char *actor, struct rs_err *e)
{
    if (take_lease(w, actor, e) < 0)
        return e->code == RS_NOT_FOUND ? RS_FAIL(e, RS_PRECONDITION, "no mesh in this cluster: namespace istio-system is missing; install a control plane first")
                                       : rs_err_wrap(e, "Lease istio-system/rootshift-migration");
    w->locked = true;
    w->renewed_ms = rs_mono_ms();
    return 0;
}

void rs_world_unlock(struct rs_world_kube *w)
{
    w->locked = false;
    struct rs_err ignored;
    RS_AUTO(json_t) *patch = rs_json_pack("{s:{s:s}}", "spec", "holderIdentity", "");
    if (rs_kube_do(w->kube, "PATCH", LEASE_PATH, RS_MERGE_PATCH, patch, NULL, &ignored) < 0)
        return;                              /* it runs out by itself */
}
