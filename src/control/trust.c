#include "control/trust.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/time.h"
#include "ca/istio_ca.h"
#include "control/trust_state.h"
#include "kube/informer.h"
#include "kube/object.h"
#include "mesh/issuance.h"

enum { DEBOUNCE_MS = 20, RETRY_MS = 1000, AGAIN_MS = 60 * 1000 };
#define LABEL "rootshift.dev/trust-bundle"

struct rs_trust {
    rs_kube *kube;
    struct rs_trust_ops ops;
    void *ctx;
    char *namespace, *name, *path, *collection;
    json_t *owner;
    rs_bundle *own, *mesh, *secret;              /* what the sources say; NULL: nothing */
    bool own_failed, mesh_failed, multi_root;
    bool rewrite;                                /* the ConfigMap is not what we acknowledged */
    const char *secret_name;                     /* NULL: no Secret when we started */
    int64_t secret_read_ms;                      /* 0: not a source, because our CA is on */
    int64_t reading_ms;                          /* the knowledge that the reading under way will have */
    bool secret_stale;                           /* another replica has read the Secrets since: read again before judging */

    rs_bundle *foreign;                          /* roots of CAs that other replicas have started since; never NULL */
    struct rs_trust_state record;                /* as last acknowledged; roots NULL before the first */
    struct rs_trust_state wanted;                /* being written */
    json_t *object;                              /* the ConfigMap as last seen; NULL: none */
    rs_bundle *published;
    char **retired, **kept;                      /* of what is published */

    rs_informer *issued, *bundles;
    rs_timer *work;
    rs_kube_call *call;
    json_t *told;                                /* digest -> reason: events sent already */
};

/* ---- the gate of this revision ---- */

/* Another revision whose CA signs under the root: its record says so. */
static char *signer_of(const rs_trust *t, const char *digest)
{
    RS_AUTO(json_t) *list = rs_informer_list(t->bundles);
    size_t i, k;
    json_t *cm, *name;
    json_array_foreach(list, i, cm) {
        RS_AUTO(json_t) *sources = NULL;
        struct rs_err ignored;
        const char *text = rs_configmap_value(cm, "sources");
        if (strcmp(rs_object_name(cm), t->name) == 0 || !text || rs_json_parse(&sources, rs_str_of(text), &ignored) < 0)
            continue;
        json_array_foreach(json_object_get(sources, digest), k, name)
            if (rs_streq(json_string_value(name), RS_SOURCE_OWN_CA))
                return rs_strdup(rs_object_name(cm));
    }
    return NULL;
}

static char *living_text(const struct rs_issuance_list *living)
{
    const struct rs_issuance *last = &living->v[0];
    char when[RS_TIME_TEXT];
    for (size_t i = 1; i < living->n; i++)
        if (living->v[i].not_after_ms > last->not_after_ms)
            last = &living->v[i];
    return rs_printf("a certificate under it may be alive: that of %s/%s until %s", last->namespace, last->pod, rs_time_text(last->not_after_ms, when));
}

static bool listed(const json_t *names, const char *name)
{
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)names, i, one)
        if (rs_streq(json_string_value(one), name))
            return true;
    return false;
}

static bool gate(void *ctx, const rs_digest *root, const json_t *sources_of_it, char **ret_why)
{
    rs_trust *t = ctx;
    char digest[RS_DIGEST_TEXT];
    struct rs_err e;
    struct rs_issuance_list living;
    if (!rs_informer_synced(t->issued) || !rs_informer_synced(t->bundles)) {
        *ret_why = rs_strdup("the issuance records can't be read yet");
        return false;
    }
    RS_AUTO(rs_chars) *signer = signer_of(t, rs_digest_text(root, digest));
    if (signer) {
        *ret_why = rs_printf("a CA signs under it (%s)", signer);
        return false;
    }
    /* A root that came with a CA's key has signed; when nothing of that was recorded, nobody knows what is alive. */
    if (!listed(sources_of_it, RS_SOURCE_RECORDS) && (listed(sources_of_it, "cacerts") || listed(sources_of_it, "istio-ca-secret"))) {
        *ret_why = rs_strdup("its CA kept no issuance records, so it is not known which certificates under it are alive");
        return false;
    }
    RS_AUTO(json_t) *records = rs_informer_list(t->issued);
    if (rs_issuance_living(&living, records, root, rs_now_ms(), &e) < 0) {
        *ret_why = rs_strdup(e.msg);
        return false;
    }
    bool open = living.n == 0;
    if (!open)
        *ret_why = living_text(&living);
    rs_issuance_list_done(&living);
    return open;
}

static bool recorded(void *ctx, const rs_digest *root)
{
    rs_trust *t = ctx;
    char digest[RS_DIGEST_TEXT];
    RS_AUTO(json_t) *records = rs_informer_list(t->issued);
    size_t i;
    json_t *one;
    rs_digest_text(root, digest);
    json_array_foreach(records, i, one)
        if (rs_streq(rs_json_str(one, "spec", "rootSHA256"), digest))
            return true;
    return false;
}

/* ---- publishing what is recorded ---- */

static char **texts_of_retired(const json_t *retired)
{
    char **v = rs_new_array(char *, json_array_size(retired) + 1);
    size_t n = 0, i;
    json_t *one;
    json_array_foreach((json_t *)retired, i, one)
        if (rs_json_str(one, "sha256"))
            v[n++] = rs_strdup(rs_json_str(one, "sha256"));
    return v;
}

static char **texts_of_kept(const json_t *kept)
{
    char **v = rs_new_array(char *, json_object_size(kept) + 1);
    size_t n = 0;
    const char *digest;
    json_t *why;
    json_object_foreach((json_t *)kept, digest, why)
        v[n++] = rs_printf("root %.16s… is kept: %s", digest, json_string_value(why));
    return v;
}

static void event(rs_trust *t, const char *reason, const char *message)
{
    rs_log_debug("%s: %s", reason, message);
    if (t->ops.on_event)
        t->ops.on_event(t->ctx, reason, message);
}

/* One event per root and reason. */
static void tell(rs_trust *t)
{
    const char *digest;
    json_t *why;
    json_object_foreach(t->record.kept, digest, why) {
        if (rs_streq(rs_json_str(t->told, digest), json_string_value(why)))
            continue;
        json_object_set(t->told, digest, why);
        RS_AUTO(rs_chars) *text = rs_printf("root %s has no source any more but stays in the bundle: %s", digest, json_string_value(why));
        event(t, "RootKept", text);
    }
    for (size_t i = 0; t->published && i < rs_bundle_count(t->published); i++) {
        char out[RS_DIGEST_TEXT];
        const rs_digest *root = rs_cert_digest(rs_bundle_root(t->published, i));
        if (rs_bundle_has(t->record.roots, root))
            continue;
        RS_AUTO(rs_chars) *text = rs_printf("root %s was retired: its source is gone and no certificate under it is alive", rs_digest_text(root, out));
        event(t, "RootRetired", text);
    }
}

static bool same_texts(char **a, char **b)
{
    size_t i = 0;
    while (a[i] && b[i] && strcmp(a[i], b[i]) == 0)
        i++;
    return !a[i] && !b[i];
}

static void publish(rs_trust *t)
{
    tell(t);
    char **retired = texts_of_retired(t->record.retired), **kept = texts_of_kept(t->record.kept);
    bool changed = !t->published || !rs_bundle_eq(t->published, t->record.roots) || !same_texts(retired, t->retired);
    rs_strv_free(t->retired);
    rs_strv_free(t->kept);
    t->retired = retired;
    t->kept = kept;
    rs_bundle *old = t->published;
    t->published = rs_bundle_ref(t->record.roots);
    rs_bundle_unref(old);
    if (changed)
        t->ops.on_change(t->ctx, t->published, (const char *const *)t->retired);
}

/* ---- the record ---- */

static void soon(rs_trust *t, int64_t ms)
{
    rs_timer_set(t->work, ms);
}

static void set_object(rs_trust *t, const json_t *o)
{
    json_t *old = t->object;
    t->object = o ? json_incref((json_t *)o) : NULL;
    json_decref(old);
}

static void on_written(void *ctx, json_t *answer, const struct rs_err *why)
{
    rs_trust *t = ctx;
    t->call = NULL;
    if (why) {
        rs_trust_state_done(&t->wanted);
        /* Somebody else of this revision wrote in between: the informer brings it. */
        rs_log_debug("ConfigMap %s/%s: %s", t->namespace, t->name, why->msg);
        soon(t, why->code == RS_ABORTED || why->code == RS_EXISTS ? DEBOUNCE_MS * 5 : RETRY_MS);
        return;
    }
    set_object(t, answer);
    t->rewrite = false;
    rs_trust_state_done(&t->record);
    t->record = t->wanted;
    t->wanted = (struct rs_trust_state){ 0 };
    publish(t);
    soon(t, AGAIN_MS);
}

static json_t *object_of(const rs_trust *t, const struct rs_trust_state *s)
{
    json_t *o = t->object ? json_deep_copy(t->object)
                          : rs_json_pack("{s:s, s:s, s:{s:s, s:s}}", "apiVersion", "v1", "kind", "ConfigMap", "metadata", "namespace", t->namespace, "name", t->name);
    rs_json_set_str(rs_json_need(o, "metadata", "labels"), LABEL, "true");
    if (t->owner) {
        json_t *ref = rs_json_pack("{s:s, s:s, s:s, s:s}", "apiVersion", "apps/v1", "kind", "Deployment", "name", rs_object_name(t->owner), "uid", rs_object_uid(t->owner));
        json_object_set_new(json_object_get(o, "metadata"), "ownerReferences", rs_json_pack("[o]", ref));
    }
    json_object_set_new(o, "data", rs_trust_state_data(s));
    return o;
}

static size_t gather(const rs_trust *t, struct rs_trust_source *v)
{
    size_t n = 0;
    if (t->own || t->own_failed)
        v[n++] = (struct rs_trust_source){ RS_SOURCE_OWN_CA, t->own, t->own_failed };
    if (t->own_failed) {           /* its root may have come to us under the name of a Secret before */
        v[n++] = (struct rs_trust_source){ "cacerts", NULL, true };
        v[n++] = (struct rs_trust_source){ "istio-ca-secret", NULL, true };
    }
    if (t->mesh || t->mesh_failed)
        v[n++] = (struct rs_trust_source){ RS_SOURCE_MESH_CONFIG, t->mesh, t->mesh_failed };
    if (t->secret)
        v[n++] = (struct rs_trust_source){ t->secret_name, t->secret, false };
    v[n++] = (struct rs_trust_source){ NULL, t->foreign, false };
    return n;
}

/* ---- the Secrets once more ---- */

static const char *const secrets[] = { "cacerts", "istio-ca-secret" };
static void read_next(rs_trust *t, size_t i);

static void on_read(rs_trust *t, size_t i, json_t *answer, const struct rs_err *why)
{
    struct rs_err e;
    rs_bundle *roots = NULL;
    t->call = NULL;
    if (why && why->code != RS_NOT_FOUND) {
        soon(t, RETRY_MS);
        return;
    }
    if (why && i + 1 < RS_COUNT(secrets)) {
        read_next(t, i + 1);
        return;
    }
    if (!why && rs_ca_roots_read(&roots, answer, &e) < 0) {        /* broken is not gone: what we have stays */
        event(t, "SourceFailed", e.msg);
        roots = t->secret ? rs_bundle_ref(t->secret) : NULL;
    }
    rs_bundle_unref(t->secret);
    t->secret = roots;
    t->secret_name = roots ? secrets[i] : NULL;
    t->secret_read_ms = t->reading_ms;         /* as old as the other replica's knowledge, so that it need not follow us */
    t->secret_stale = t->record.read_ms > t->reading_ms;
    soon(t, 0);
}

static void on_cacerts(void *ctx, json_t *answer, const struct rs_err *why) { on_read(ctx, 0, answer, why); }
static void on_self_signed(void *ctx, json_t *answer, const struct rs_err *why) { on_read(ctx, 1, answer, why); }

static void read_next(rs_trust *t, size_t i)
{
    RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/%s/secrets/%s", t->namespace, secrets[i]);
    t->call = rs_kube_start(t->kube, "GET", path, NULL, NULL, i == 0 ? on_cacerts : on_self_signed, t);
}

static void read_again(rs_trust *t)
{
    t->reading_ms = t->record.read_ms;
    read_next(t, 0);
}

static void work(void *ctx)
{
    rs_trust *t = ctx;
    struct rs_trust_source sources[8];
    struct rs_err e;
    if (t->call)
        return;
    if (t->secret_stale) {
        if (t->record.roots)
            publish(t);                        /* what is recorded is true whatever we find */
        read_again(t);
        return;
    }
    if (rs_trust_next(&t->wanted, t->record.roots ? &t->record : NULL, sources, gather(t, sources), t->secret_read_ms, gate, recorded, t, rs_now_ms(), &e) < 0) {
        rs_log_error("trust bundle stays as it is: %s", e.msg);
        soon(t, AGAIN_MS);
        return;
    }
    bool synced = rs_informer_synced(t->issued) && rs_informer_synced(t->bundles);
    bool recorded_already = t->record.roots && !t->rewrite;
    /* Before all is seen no verdict is recorded, but what is recorded already can go out. */
    if (recorded_already && (synced ? rs_trust_state_eq(&t->wanted, &t->record) : rs_bundle_eq(t->wanted.roots, t->record.roots))) {
        rs_trust_state_done(&t->wanted);
        publish(t);
        soon(t, AGAIN_MS);                     /* certificates expire without an event */
        return;
    }
    RS_AUTO(json_t) *o = object_of(t, &t->wanted);
    t->call = t->object ? rs_kube_start(t->kube, "PUT", t->path, NULL, o, on_written, t)
                        : rs_kube_start(t->kube, "POST", t->collection, NULL, o, on_written, t);
}

/* ---- what is seen ---- */

static void on_issued(void *ctx, const json_t *old, const json_t *now, bool final)
{
    rs_trust *t = ctx;
    const char *root = rs_json_str(now ? now : old, "spec", "rootSHA256");
    bool noted = root && listed(json_object_get(t->record.sources, root), RS_SOURCE_RECORDS);
    /* The gate looks at them for roots that wait for it; and that a root has any is noted. */
    if (json_object_size(t->record.kept) || !noted)
        soon(t, DEBOUNCE_MS);
}

/* A CA that another replica has started is not ours to judge. */
static void note_foreign(rs_trust *t, const struct rs_trust_state *seen)
{
    for (size_t i = 0; t->record.roots && i < rs_bundle_count(seen->roots); i++) {
        char digest[RS_DIGEST_TEXT];
        rs_cert *root = rs_bundle_root(seen->roots, i);
        const json_t *names = json_object_get(seen->sources, rs_digest_text(rs_cert_digest(root), digest));
        RS_AUTO(rs_bundle) *one = rs_bundle_of(root), *more = NULL;
        struct rs_err ignored;
        if (!listed(names, RS_SOURCE_OWN_CA) || rs_bundle_has(t->record.roots, rs_cert_digest(root)) || rs_bundle_union(&more, t->foreign, one, &ignored) < 0)
            continue;
        rs_bundle_unref(t->foreign);
        t->foreign = rs_take(more);
    }
}

static void on_bundles(void *ctx, const json_t *old, const json_t *now, bool final)
{
    rs_trust *t = ctx;
    const json_t *o = now ? now : old;
    if (strcmp(rs_object_name(o), t->name) != 0) {
        soon(t, DEBOUNCE_MS);
        return;
    }
    if (!now) {                                /* somebody deleted it: it is written again as it was */
        set_object(t, NULL);
        t->rewrite = true;
        soon(t, DEBOUNCE_MS);
        return;
    }
    if (rs_streq(rs_object_rv(now), rs_object_rv(t->object)))
        return;
    struct rs_trust_state seen;
    struct rs_err e;
    set_object(t, now);
    if (rs_trust_state_read(&seen, now, &e) < 0) {
        rs_log_warning("%s; it is written again", e.msg);
        t->rewrite = true;
    } else {
        note_foreign(t, &seen);
        t->secret_stale |= t->secret_read_ms && seen.read_ms > t->secret_read_ms;
        rs_trust_state_done(&t->record);
        t->record = seen;
    }
    soon(t, DEBOUNCE_MS);
}

static void on_synced(void *ctx)
{
    soon(ctx, 0);
}

/* ---- start ---- */

static int read_record(rs_trust *t, struct rs_err *e)
{
    RS_AUTO(json_t) *o = NULL;
    if (rs_kube_get(t->kube, t->path, &o, e) < 0)
        return e->code == RS_NOT_FOUND ? 0 : rs_err_wrap(e, "read ConfigMap %s/%s", t->namespace, t->name);
    if (rs_trust_state_read(&t->record, o, e) < 0)
        return rs_err_wrap(e, "correct or delete the record of what this revision distributes");
    set_object(t, o);
    return 0;
}

static int read_secret(rs_trust *t, const struct rs_trust_config *config, struct rs_err *e)
{
    if (config->ca_enabled)
        return 0;
    t->secret_read_ms = rs_now_ms() > t->record.read_ms ? rs_now_ms() : t->record.read_ms + 1;     /* later than all before, whatever our clock says */
    return rs_istio_ca_roots(&t->secret, &t->secret_name, t->kube, t->namespace, e);
}

static void read_mesh(rs_trust *t, const json_t *mesh_config)
{
    struct rs_err e;
    rs_bundle *roots = NULL;
    if (!t->multi_root)
        return;
    t->mesh_failed = rs_trust_mesh_roots(&roots, mesh_config, &e) < 0;
    if (t->mesh_failed) {
        RS_AUTO(rs_chars) *text = rs_printf("mesh config: %s; its last good roots stay", e.msg);
        event(t, "SourceFailed", text);
        return;
    }
    rs_bundle_unref(t->mesh);
    t->mesh = roots;
}

int rs_trust_new(rs_trust **ret, rs_kube *k, const struct rs_trust_config *config, const json_t *mesh_config,
                 const struct rs_trust_ops *ops, void *ctx, struct rs_err *e)
{
    static const struct rs_informer_ops issued = { on_issued, on_synced }, bundles = { on_bundles, on_synced };
    bool suffix = config->revision && *config->revision && strcmp(config->revision, "default") != 0;
    rs_trust *t = rs_new(rs_trust);
    *t = (rs_trust){ .kube = k, .ops = *ops, .ctx = ctx, .namespace = rs_strdup(config->namespace), .multi_root = config->multi_root,
                     .name = suffix ? rs_printf("istio-trust-bundle-%s", config->revision) : rs_strdup("istio-trust-bundle"),
                     .own_failed = config->ca_enabled && !config->own_roots, .told = json_object(), .foreign = rs_bundle_empty(),
                     .retired = rs_new_array(char *, 1), .kept = rs_new_array(char *, 1) };
    t->collection = rs_printf("/api/v1/namespaces/%s/configmaps", t->namespace);
    t->path = rs_printf("%s/%s", t->collection, t->name);
    t->own = config->own_roots ? rs_bundle_ref((rs_bundle *)config->own_roots) : NULL;
    t->owner = config->owner ? json_incref((json_t *)config->owner) : NULL;
    t->work = rs_timer_new(rs_kube_loop(k), work, t);
    if (read_record(t, e) < 0 || read_secret(t, config, e) < 0) {
        rs_trust_free(t);
        return -1;
    }
    read_mesh(t, mesh_config);
    t->issued = rs_informer_new(k, RS_RECORDS_PATH, NULL, NULL, &issued, t);
    t->bundles = rs_informer_new(k, t->collection, LABEL "=true", NULL, &bundles, t);
    soon(t, 0);
    *ret = t;
    return 0;
}

void rs_trust_free(rs_trust *t)
{
    if (!t)
        return;
    if (t->call)
        rs_kube_cancel(t->call);
    if (t->issued)
        rs_informer_free(t->issued);
    if (t->bundles)
        rs_informer_free(t->bundles);
    rs_timer_free(t->work);
    rs_trust_state_done(&t->record);
    rs_trust_state_done(&t->wanted);
    rs_bundle_unref(t->own);
    rs_bundle_unref(t->mesh);
    rs_bundle_unref(t->secret);
    rs_bundle_unref(t->foreign);
    rs_bundle_unref(t->published);
    rs_strv_free(t->retired);
    rs_strv_free(t->kept);
    json_decref(t->object);
    json_decref(t->owner);
    json_decref(t->told);
    free(t->namespace);
    free(t->name);
    free(t->path);
    free(t->collection);
    free(t);
}

void rs_trust_set_mesh(rs_trust *t, const json_t *mesh_config)
{
    read_mesh(t, mesh_config);
    soon(t, DEBOUNCE_MS);
}

rs_bundle *rs_trust_bundle(const rs_trust *t) { return t->published; }
const char *const *rs_trust_retired(const rs_trust *t) { return (const char *const *)t->retired; }
const char *const *rs_trust_kept(const rs_trust *t) { return (const char *const *)t->kept; }
