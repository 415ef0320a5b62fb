#include "control/root_cert.h"

#include <utlist.h>

#include "base/log.h"
#include "kube/informer.h"
#include "kube/object.h"

#define LEASE "istio-namespace-controller-election"
#define NAME "istio-ca-root-cert"
#define KEY "root-cert.pem"
enum { DEBOUNCE_MS = 50, RETRY_MS = 2000 };

struct write { rs_root_cert *owner; rs_kube_call *call; char *namespace; struct write *prev, *next; };

struct rs_root_cert {
    rs_kube *kube;
    rs_bundle *serving;
    rs_leader *leader;
    rs_informer *namespaces, *bundles, *written;
    rs_timer *work;
    struct write *writes;
    bool told;                     /* that a record can't be read: once, not at every look */
};

bool rs_root_cert_wanted(const char *namespace)
{
    static const char *const without[] = { "kube-system", "kube-public", "kube-node-lease", "local-path-storage" };
    for (size_t i = 0; i < RS_COUNT(without); i++)
        if (strcmp(namespace, without[i]) == 0)
            return false;
    return true;
}

int rs_root_cert_content(rs_bundle **ret, const rs_bundle *serving_root, const json_t *records, struct rs_err *e)
{
    RS_AUTO(rs_bundle) *all = NULL;
    RS_AUTO(rs_bundle) *none = rs_bundle_empty();
    size_t i;
    json_t *record;
    if (rs_bundle_union(&all, serving_root, none, e) < 0)
        return -1;
    json_array_foreach((json_t *)records, i, record) {
        const char *pem = rs_configmap_value(record, "roots.pem");
        RS_AUTO(rs_bundle) *one = NULL, *more = NULL;
        if (pem && !*pem)                      /* a revision that distributes nothing */
            continue;
        if (!pem || rs_bundle_parse(&one, rs_str_of(pem), e) < 0)
            return RS_FAIL(e, RS_INVALID, "ConfigMap %s/%s: roots.pem %s", rs_object_namespace(record), rs_object_name(record),
                           pem ? e->msg : "is missing");
        if (rs_bundle_union(&more, all, one, e) < 0)
            return -1;
        rs_bundle_unref(all);
        all = rs_take(more);
    }
    *ret = rs_take(all);
    return 0;
}

static void soon(rs_root_cert *r, int64_t ms)
{
    rs_timer_set(r->work, ms);
}

static void on_done(void *ctx, json_t *answer, const struct rs_err *why)
{
    struct write *w = ctx;
    rs_root_cert *r = w->owner;
    /* Gone namespaces and lost races are seen by the informers; the rest is tried again. */
    if (why && why->code != RS_NOT_FOUND && why->code != RS_EXISTS) {
        rs_log_warning("ConfigMap %s/" NAME " not written: %s", w->namespace, why->msg);
        soon(r, RETRY_MS);
    }
    DL_DELETE(r->writes, w);
    if (!why)
        soon(r, DEBOUNCE_MS);                  /* the content may have changed meanwhile */
    free(w->namespace);
    free(w);
}

static bool being_written(const rs_root_cert *r, const char *namespace)
{
    const struct write *w;
    DL_FOREACH(r->writes, w)
        if (strcmp(w->namespace, namespace) == 0)
            return true;
    return false;
}

static void write_one(rs_root_cert *r, const char *namespace, const char *pem)
{
    const json_t *have = rs_informer_get(r->written, namespace, NAME);
    if ((have && rs_streq(rs_configmap_value(have, KEY), pem)) || being_written(r, namespace))
        return;
    struct write *w = rs_new(struct write);
    w->owner = r;
    w->namespace = rs_strdup(namespace);
    DL_APPEND(r->writes, w);
    RS_AUTO(rs_chars) *all = rs_printf("/api/v1/namespaces/%s/configmaps", namespace), *one = rs_printf("%s/" NAME, all);
    RS_AUTO(json_t) *body = rs_json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:s}}, s:{s:s}}", "apiVersion", "v1", "kind", "ConfigMap", "metadata",
                                         "namespace", namespace, "name", NAME, "labels", "istio.io/config", "true", "data", KEY, pem);
    w->call = have ? rs_kube_start(r->kube, "PATCH", one, RS_MERGE_PATCH, body, on_done, w)
                   : rs_kube_start(r->kube, "POST", all, NULL, body, on_done, w);
}

static void work(void *ctx)
{
    rs_root_cert *r = ctx;
    struct rs_err e;
    RS_AUTO(rs_bundle) *all = NULL;
    if (!rs_leader_is(r->leader) || !rs_informer_synced(r->namespaces) || !rs_informer_synced(r->bundles) || !rs_informer_synced(r->written))
        return;
    RS_AUTO(json_t) *records = rs_informer_list(r->bundles), *namespaces = rs_informer_list(r->namespaces);
    if (rs_root_cert_content(&all, r->serving, records, &e) < 0) {
        if (!r->told)
            rs_log_error(NAME " stays as it is: %s", e.msg);
        r->told = true;
        return;
    }
    r->told = false;
    size_t i;
    json_t *ns;
    json_array_foreach(namespaces, i, ns)
        if (rs_root_cert_wanted(rs_object_name(ns)) && !rs_object_deleting(ns))
            write_one(r, rs_object_name(ns), rs_bundle_pem(all));
}

static void on_any(void *ctx, const json_t *old, const json_t *now, bool final) { soon(ctx, DEBOUNCE_MS); }
static void on_synced(void *ctx) { soon(ctx, 0); }
static void on_leading(void *ctx, bool leading) { soon(ctx, 0); }

/* A new namespace's pods wait for the ConfigMap: no debounce for it. */
static void on_namespace(void *ctx, const json_t *old, const json_t *now, bool final)
{
    soon(ctx, old ? DEBOUNCE_MS : 0);
}

rs_root_cert *rs_root_cert_new(rs_kube *k, const char *namespace, const char *identity, rs_bundle *serving_root)
{
    static const struct rs_informer_ops any = { on_any, on_synced }, for_namespaces = { on_namespace, on_synced };
    rs_root_cert *r = rs_new(rs_root_cert);
    RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/%s/configmaps", namespace);
    r->kube = k;
    r->serving = rs_bundle_ref(serving_root);
    r->work = rs_timer_new(rs_kube_loop(k), work, r);
    r->leader = rs_leader_new(k, namespace, LEASE, identity, on_leading, r);
    r->namespaces = rs_informer_new(k, "/api/v1/namespaces", NULL, NULL, &for_namespaces, r);
    r->bundles = rs_informer_new(k, path, "rootshift.dev/trust-bundle=true", NULL, &any, r);
    r->written = rs_informer_new(k, "/api/v1/configmaps", NULL, "metadata.name=" NAME, &any, r);
    return r;
}

void rs_root_cert_set_serving(rs_root_cert *r, rs_bundle *serving_root)
{
    rs_bundle *old = r->serving;
    r->serving = rs_bundle_ref(serving_root);
    rs_bundle_unref(old);
    soon(r, 0);
}

void rs_root_cert_release(rs_root_cert *r, void (*done)(void *ctx), void *ctx)
{
    rs_leader_release(r->leader, done, ctx);
}

void rs_root_cert_free(rs_root_cert *r)
{
    if (!r)
        return;
    struct write *w, *next;
    DL_FOREACH_SAFE(r->writes, w, next) {
        rs_kube_cancel(w->call);
        free(w->namespace);
        free(w);
    }
    rs_informer_free(r->namespaces);
    rs_informer_free(r->bundles);
    rs_informer_free(r->written);
    rs_leader_free(r->leader);
    rs_timer_free(r->work);
    rs_bundle_unref(r->serving);
    free(r);
}
