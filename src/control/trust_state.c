#include "control/trust_state.h"

#include "base/buf.h"
#include "base/time.h"
#include "kube/object.h"

void rs_trust_state_done(struct rs_trust_state *s)
{
    rs_bundle_unref(s->roots);
    json_decref(s->sources);
    json_decref(s->retired);
    json_decref(s->kept);
    *s = (struct rs_trust_state){ 0 };
}

bool rs_trust_state_eq(const struct rs_trust_state *a, const struct rs_trust_state *b)
{
    return a->read_ms == b->read_ms && rs_bundle_eq(a->roots, b->roots) && json_equal(a->sources, b->sources) && json_equal(a->retired, b->retired) && json_equal(a->kept, b->kept);
}

static int read_json(json_t **ret, const json_t *configmap, const char *key, bool array, struct rs_err *e)
{
    const char *text = rs_configmap_value(configmap, key);
    if (!text || !*text) {
        *ret = array ? json_array() : json_object();
        return 0;
    }
    if (rs_json_parse(ret, rs_str_of(text), e) < 0 || (array ? !json_is_array(*ret) : !json_is_object(*ret)))
        return RS_FAIL(e, RS_INVALID, "ConfigMap %s/%s: %s is not what was written there", rs_object_namespace(configmap), rs_object_name(configmap), key);
    return 0;
}

/* Lines "DIGEST why", which a person can read in `kubectl get -o yaml`. They are found anew at each look, so nothing hangs on them. */
static json_t *read_kept(const char *text)
{
    json_t *kept = json_object();
    char **lines = rs_split(text ? text : "", '\n');
    for (char **line = lines; *line; line++) {
        char *space = strchr(*line, ' ');
        if (space) {
            *space = 0;
            rs_json_set_str(kept, *line, space + 1);
        }
    }
    rs_strv_free(lines);
    return kept;
}

static char *kept_text(const json_t *kept)
{
    RS_AUTO_BUF b;
    rs_buf_init(&b, 256 * 1024);
    const char *digest;
    json_t *why;
    json_object_foreach((json_t *)kept, digest, why)
        rs_buf_addf(&b, "%s %s\n", digest, json_string_value(why));
    return rs_buf_take(&b);
}

int rs_trust_state_read(struct rs_trust_state *ret, const json_t *configmap, struct rs_err *e)
{
    struct rs_trust_state s = { 0 };
    const char *pem = rs_configmap_value(configmap, "roots.pem");
    int r = 0;
    if (pem && !*pem)
        s.roots = rs_bundle_empty();
    else if (!pem || rs_bundle_parse(&s.roots, rs_str_of(pem), e) < 0)
        r = RS_FAIL(e, RS_INVALID, "ConfigMap %s/%s: roots.pem %s", rs_object_namespace(configmap), rs_object_name(configmap), pem ? e->msg : "is missing");
    if (r == 0)
        r = read_json(&s.sources, configmap, "sources", false, e);
    if (r == 0)
        r = read_json(&s.retired, configmap, "retired", true, e);
    s.kept = read_kept(rs_configmap_value(configmap, "kept"));
    if (!rs_time_parse(rs_configmap_value(configmap, "readAt"), &s.read_ms))
        s.read_ms = 0;
    if (r < 0)
        rs_trust_state_done(&s);
    else
        *ret = s;
    return r;
}

json_t *rs_trust_state_data(const struct rs_trust_state *s)
{
    RS_AUTO(rs_chars) *sources = rs_json_text(s->sources), *retired = rs_json_text(s->retired), *kept = kept_text(s->kept);
    json_t *data = rs_json_pack("{s:s, s:s, s:s}", "roots.pem", rs_bundle_pem(s->roots), "sources", sources, "retired", retired);
    char at[RS_TIME_TEXT];
    if (*kept)
        rs_json_set_str(data, "kept", kept);
    if (s->read_ms)
        rs_json_set_str(data, "readAt", rs_time_text_ms(s->read_ms, at));
    return data;
}

/* ---- the next state ---- */

struct next {
    const struct rs_trust_state *now;
    const struct rs_trust_source *sources;
    size_t n_sources;
    int64_t now_ms;
    struct rs_trust_state *ret;
};

static bool is_retired(const json_t *retired, const char *digest)
{
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)retired, i, one)
        if (rs_streq(rs_json_str(one, "sha256"), digest))
            return true;
    return false;
}

static void unretire(json_t *retired, const char *digest)
{
    for (size_t i = json_array_size(retired); i-- > 0; )
        if (rs_streq(rs_json_str(json_array_get(retired, i), "sha256"), digest))
            json_array_remove(retired, i);
}

static void add_name(json_t *list, const char *name)
{
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
        if (rs_streq(json_string_value(one), name))
            return;
    json_array_append_new(list, json_string(name));
}

static bool has_name(const json_t *list, const char *name)
{
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)list, i, one)
        if (rs_streq(json_string_value(one), name))
            return true;
    return false;
}

/* Names of the sources that have the root now; new reference, empty when it has none. */
static json_t *sources_of(const struct next *n, const rs_digest *root, const json_t *before)
{
    json_t *list = json_array();
    bool foreign = false;
    for (size_t i = 0; i < n->n_sources; i++) {
        const struct rs_trust_source *s = &n->sources[i];
        if (!s->roots || !rs_bundle_has(s->roots, root))
            continue;
        if (s->name)
            add_name(list, s->name);
        foreign |= !s->name;
    }
    if (json_array_size(list) == 0 && foreign && before && n->now && rs_bundle_has(n->now->roots, root))
        json_array_extend(list, (json_t *)before);
    return list;
}

/* Whether a source that failed could still have this root. */
static bool may_have_source(const struct next *n, const json_t *before)
{
    for (size_t i = 0; i < n->n_sources; i++)
        if (n->sources[i].failed && n->sources[i].name && has_name(before, n->sources[i].name))
            return true;
    return false;
}

static void retire(const struct next *n, const char *digest, const char *reason)
{
    char at[RS_TIME_TEXT];
    unretire(n->ret->retired, digest);
    json_array_append_new(n->ret->retired, rs_json_pack("{s:s, s:s, s:s}", "sha256", digest, "at", rs_time_text_ms(n->now_ms, at), "reason", reason));
}

/* True when the root stays. */
static bool judge(const struct next *n, const rs_digest *root, rs_trust_gate gate, rs_trust_recorded recorded, void *ctx)
{
    char digest[RS_DIGEST_TEXT];
    rs_digest_text(root, digest);
    const json_t *before = n->now ? json_object_get(n->now->sources, digest) : NULL;
    RS_AUTO(json_t) *names = sources_of(n, root, before);
    bool has_source = json_array_size(names) > 0, was_recorded = has_name(before, RS_SOURCE_RECORDS) || recorded(ctx, root);
    if (!has_source && n->now && is_retired(n->now->retired, digest))
        return false;
    if (was_recorded)
        add_name(names, RS_SOURCE_RECORDS);
    if (has_source) {
        unretire(n->ret->retired, digest);
        json_object_set(n->ret->sources, digest, names);
        return true;
    }
    RS_AUTO(rs_chars) *why = NULL;
    RS_AUTO(json_t) *last = before ? json_deep_copy(before) : json_array();
    if (was_recorded)
        add_name(last, RS_SOURCE_RECORDS);
    if (may_have_source(n, before)) {
        why = rs_strdup("its source can't be read");
    } else if (gate(ctx, root, last, &why)) {
        retire(n, digest, "its source is gone and no certificate under it is alive");
        return false;
    }
    json_object_set(n->ret->sources, digest, last);
    rs_json_set_str(n->ret->kept, digest, why ? why : "the gate is shut");
    return true;
}

static int candidates(rs_bundle **ret, const struct next *n, struct rs_err *e)
{
    RS_AUTO(rs_bundle) *all = n->now ? rs_bundle_ref(n->now->roots) : rs_bundle_empty();
    for (size_t i = 0; i < n->n_sources; i++) {
        RS_AUTO(rs_bundle) *more = NULL;
        if (!n->sources[i].roots || !n->sources[i].name)
            continue;
        if (rs_bundle_union(&more, all, n->sources[i].roots, e) < 0)
            return -1;
        rs_bundle_unref(all);
        all = rs_take(more);
    }
    *ret = rs_take(all);
    return 0;
}

int rs_trust_next(struct rs_trust_state *ret, const struct rs_trust_state *now, const struct rs_trust_source *sources, size_t n_sources,
                  int64_t read_ms, rs_trust_gate gate, rs_trust_recorded recorded, void *ctx, int64_t now_ms, struct rs_err *e)
{
    struct rs_trust_state next = {
        .sources = json_object(), .kept = json_object(), .retired = now ? json_deep_copy(now->retired) : json_array(),
        .read_ms = now && now->read_ms > read_ms ? now->read_ms : read_ms,
    };
    struct next n = { now, sources, n_sources, now_ms, &next };
    RS_AUTO(rs_bundle) *all = NULL;
    rs_digest out[RS_BUNDLE_MAX_ROOTS];
    size_t n_out = 0;
    if (candidates(&all, &n, e) < 0) {
        rs_trust_state_done(&next);
        return -1;
    }
    for (size_t i = 0; i < rs_bundle_count(all); i++) {
        const rs_digest *root = rs_cert_digest(rs_bundle_root(all, i));
        if (!judge(&n, root, gate, recorded, ctx))
            out[n_out++] = *root;
    }
    next.roots = rs_bundle_without(all, out, n_out);
    *ret = next;
    return 0;
}

int rs_trust_mesh_roots(rs_bundle **ret, const json_t *mesh_config, struct rs_err *e)
{
    RS_AUTO(rs_bundle) *all = rs_bundle_empty();
    const json_t *list = json_object_get(mesh_config, "caCertificates");
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)list, i, one) {
        const char *pem = rs_json_str(one, "pem");
        RS_AUTO(rs_bundle) *roots = NULL, *more = NULL;
        if (!pem)
            return RS_FAIL(e, RS_INVALID, "caCertificates[%zu] has no pem (other forms are not supported)", i);
        if (rs_bundle_parse(&roots, rs_str_of(pem), e) < 0)
            return rs_err_wrap(e, "caCertificates[%zu]", i);
        if (rs_bundle_union(&more, all, roots, e) < 0)
            return -1;
        rs_bundle_unref(all);
        all = rs_take(more);
    }
    *ret = rs_take(all);
    return 0;
}
