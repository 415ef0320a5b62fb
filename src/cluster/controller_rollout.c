#include "cluster/controller_rollout.h"

#include "base/time.h"
#include "cluster/controller_rollout_int.h"
#include "kube/object.h"

static const char component[] = "deployment-controller";

/* ---- reading ---- */

/* "25%" or a number, of total. */
static int64_t resolve(const json_t *v, int64_t fallback_percent, int64_t total, bool up)
{
    int64_t percent = fallback_percent;
    if (json_is_integer(v))
        return json_integer_value(v) > 0 ? json_integer_value(v) : 0;
    const char *text = json_string_value(v);
    if (text && strchr(text, '%'))
        percent = strtoll(text, NULL, 10);
    else if (text)
        return strtoll(text, NULL, 10);
    return (total * percent + (up ? 99 : 0)) / 100;
}

static void read_strategy(struct pass *p)
{
    const json_t *rolling = rs_json_at(p->d, "spec", "strategy", "rollingUpdate");
    p->recreate = rs_streq(rs_json_str(p->d, "spec", "strategy", "type"), "Recreate");
    if (p->recreate)
        return;
    p->max_surge = resolve(rs_json_at(rolling, "maxSurge"), 25, p->replicas, true);
    p->max_unavailable = resolve(rs_json_at(rolling, "maxUnavailable"), 25, p->replicas, false);
    if (p->max_surge == 0 && p->max_unavailable == 0)
        p->max_unavailable = 1;
    if (p->max_unavailable > p->replicas)
        p->max_unavailable = p->replicas;
}

static int64_t annotation_number(const json_t *o, const char *key)
{
    const char *text = rs_object_annotation(o, key);
    return text ? strtoll(text, NULL, 10) : 0;
}

static void read_set(struct set *s, const json_t *o)
{
    const char *created = rs_json_str(o, "metadata", "creationTimestamp");
    *s = (struct set){
        .o = o, .next = json_deep_copy(o), .replicas = rs_json_int(o, 1, "spec", "replicas"), .actual = rs_json_int(o, 0, "status", "replicas"),
        .ready = rs_json_int(o, 0, "status", "readyReplicas"), .available = rs_json_int(o, 0, "status", "availableReplicas"),
        .revision = annotation_number(o, REVISION) };
    if (!created || !rs_time_parse(created, &s->created_ms))
        s->created_ms = INT64_MAX;
}

static json_t *template_without_hash(const json_t *o)
{
    json_t *t = json_deep_copy(rs_json_at(o, "spec", "template"));
    json_object_del(rs_json_at(t, "metadata", "labels"), "pod-template-hash");
    return t;
}

static bool empty(const json_t *v)
{
    return json_is_null(v) || (json_is_object(v) && json_object_size(v) == 0) || (json_is_array(v) && json_array_size(v) == 0);
}

/* What a typed client sends back differs from what it got: "creationTimestamp": null, "resources": {}. For comparing, nothing
 * and something empty are the same. */
static void strip_empty(json_t *o)
{
    const char *key;
    json_t *v;
    void *next;
    size_t i;
    json_array_foreach(o, i, v)
        strip_empty(v);
    json_object_foreach_safe(o, next, key, v) {
        strip_empty(v);
        if (empty(v))
            json_object_del(o, key);
    }
}

static json_t *canonical_template(const json_t *o)
{
    json_t *t = template_without_hash(o);
    strip_empty(t);
    return t;
}

static int by_age(const void *a, const void *b)
{
    const struct set *x = a, *y = b;
    if (x->created_ms != y->created_ms)
        return x->created_ms < y->created_ms ? -1 : 1;
    return strcmp(rs_object_name(x->o), rs_object_name(y->o));
}

static void begin(struct pass *p, const struct rs_rollout *in)
{
    *p = (struct pass){ .in = in, .d = in->deployment, .plan = json_array() };
    p->replicas = rs_json_int(p->d, 1, "spec", "replicas");
    int64_t deadline = rs_json_int(p->d, INT32_MAX, "spec", "progressDeadlineSeconds");
    p->has_deadline = deadline != INT32_MAX;
    read_strategy(p);
    p->status = json_deep_copy(json_object_get(p->d, "status"));
    if (!p->status)
        p->status = json_object();
    p->v = rs_new_array(struct set, in->n_sets + 1);
    for (size_t i = 0; i < in->n_sets; i++)
        read_set(&p->v[p->n++], in->sets[i]);
    qsort(p->v, p->n, sizeof(*p->v), by_age);
    RS_AUTO(json_t) *wanted = canonical_template(p->d);
    for (size_t i = 0; i < p->n && !p->current; i++) {
        RS_AUTO(json_t) *has = canonical_template(p->v[i].o);
        if (json_equal(wanted, has))
            p->current = &p->v[i];
    }
}

static void end(struct pass *p)
{
    for (size_t i = 0; i < p->n; i++)
        json_decref(p->v[i].next);
    free(p->v);
    json_decref(p->status);
    free(p->revision);
}

const json_t *rs_rollout_current(const struct rs_rollout *r)
{
    struct pass p;
    begin(&p, r);
    const json_t *current = p.current ? p.current->o : NULL;
    end(&p);
    json_decref(p.plan);
    return current;
}

/* ---- the current set: found or made, with its revision ---- */

static bool copied(const char *key)
{
    static const char *const own[] = { "kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS };
    for (size_t i = 0; i < RS_COUNT(own); i++)
        if (rs_streq(key, own[i]))
            return false;
    return true;
}

static void copy_annotations(const struct pass *p, struct set *s)
{
    const char *key;
    json_t *value;
    json_object_foreach(rs_json_at(p->d, "metadata", "annotations"), key, value)
        if (copied(key))
            json_object_set(rs_json_need(s->next, "metadata", "annotations"), key, value);
}

static void set_revision(struct pass *p, struct set *s)
{
    int64_t newest = 0;
    for (size_t i = 0; i < p->n; i++)
        if (&p->v[i] != s && p->v[i].revision > newest)
            newest = p->v[i].revision;
    if (s->revision > newest)
        return;
    json_t *annotations = rs_json_need(s->next, "metadata", "annotations");
    const char *old = rs_json_str(annotations, REVISION), *history = rs_json_str(annotations, REVISION_HISTORY);
    if (old) {                           /* an earlier set is current again */
        RS_AUTO(rs_chars) *more = history ? rs_printf("%s,%s", history, old) : rs_strdup(old);
        rs_json_set_str(annotations, REVISION_HISTORY, more);
    }
    s->revision = newest + 1;
    RS_AUTO(rs_chars) *text = rs_printf("%lld", (long long)s->revision);
    rs_json_set_str(annotations, REVISION, text);
}

static void note_revision(struct pass *p)
{
    const char *revision = rs_object_annotation(p->current->next, REVISION);
    if (revision && !rs_streq(revision, rs_object_annotation(p->d, REVISION)))
        p->revision = rs_strdup(revision);
}

static void use_existing(struct pass *p)
{
    struct set *s = p->current;
    copy_annotations(p, s);
    set_revision(p, s);
    const json_t *wait = rs_json_at(p->d, "spec", "minReadySeconds");
    if (wait)
        json_object_set(json_object_get(s->next, "spec"), "minReadySeconds", (json_t *)wait);
    else
        json_object_del(json_object_get(s->next, "spec"), "minReadySeconds");
    note_revision(p);
    if (p->has_deadline && !rs_pass_condition(p, "Progressing")) {
        RS_AUTO(rs_chars) *message = rs_printf("Found new replica set \"%s\"", rs_object_name(s->o));
        rs_pass_set_condition(p, "Progressing", "True", "FoundNewReplicaSet", message);
    }
}

static json_t *new_set(const struct pass *p, const char *name, const char *hash)
{
    RS_AUTO(json_t) *template = template_without_hash(p->d);
    RS_AUTO(json_t) *selector = json_deep_copy(rs_json_at(p->d, "spec", "selector"));
    rs_json_set_str(rs_json_need(template, "metadata", "labels"), "pod-template-hash", hash);
    rs_json_set_str(rs_json_need(selector, "matchLabels"), "pod-template-hash", hash);
    json_t *o = rs_json_pack("{s:s,s:s,s:{s:s,s:s,s:O,s:[o]},s:{s:O,s:O}}", "apiVersion", "apps/v1", "kind", "ReplicaSet", "metadata",
                             "name", name, "namespace", rs_object_namespace(p->d), "labels", rs_json_at(template, "metadata", "labels"),
                             "ownerReferences", rs_owner_reference(p->d), "spec", "selector", selector, "template", template);
    json_t *wait = rs_json_at(p->d, "spec", "minReadySeconds");
    if (wait)
        json_object_set(json_object_get(o, "spec"), "minReadySeconds", wait);
    return o;
}

/* A name that another template of ours has taken (hash collision) is passed over by a larger salt. */
static bool name_taken(const struct pass *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (rs_streq(rs_object_name(p->v[i].o), name))
            return true;
    return false;
}

static void make_current(struct pass *p)
{
    RS_AUTO(json_t) *template = canonical_template(p->d);
    RS_AUTO(rs_chars) *hash = NULL, *name = NULL;
    for (int64_t salt = rs_json_int(p->status, 0, "collisionCount");; salt++) {
        free(hash);
        free(name);
        hash = rs_content_hash(template, salt);
        name = rs_printf("%s-%s", rs_object_name(p->d), hash);
        if (!name_taken(p, name))
            break;
    }
    struct set *s = &p->v[p->n];
    *s = (struct set){ .create = true, .next = new_set(p, name, hash), .created_ms = p->in->now_ms };
    s->replicas = rs_pass_size_of_current(p, 0);
    copy_annotations(p, s);
    set_revision(p, s);
    p->n++;
    p->current = s;
    note_revision(p);
    if (p->has_deadline) {
        RS_AUTO(rs_chars) *message = rs_printf("Created new replica set \"%s\"", name);
        rs_pass_set_condition(p, "Progressing", "True", "NewReplicaSetCreated", message);
    }
}

/* ---- from sets as they will be to calls ---- */

static void set_number(json_t *annotations, const char *key, int64_t n)
{
    RS_AUTO(rs_chars) *text = rs_printf("%lld", (long long)n);
    rs_json_set_str(annotations, key, text);
}

static void emit_set(struct pass *p, struct set *s)
{
    int64_t had = s->o ? rs_json_int(s->o, 1, "spec", "replicas") : 0;
    bool wanted = s == p->current || s->replicas > 0 || s->replicas != had;
    if (wanted) {
        json_t *annotations = rs_json_need(s->next, "metadata", "annotations");
        set_number(annotations, DESIRED_REPLICAS, p->replicas);
        set_number(annotations, MAX_REPLICAS, p->replicas + p->max_surge);
    }
    json_object_set_new(json_object_get(s->next, "spec"), "replicas", json_integer(s->replicas));
    if (s->o && json_equal((json_t *)s->o, s->next))
        return;
    if (!s->o && !s->create)
        return;
    RS_AUTO(rs_chars) *path = rs_object_path(s->next, !s->create);
    rs_plan_call(p->plan, s->create ? "POST" : "PUT", path, NULL, json_incref(s->next));
    if (s->replicas != had)
        rs_plan_event(p->plan, p->d, component, "Normal", "ScalingReplicaSet", "Scaled %s replica set %s to %lld", s->replicas > had ? "up" : "down",
                      rs_object_name(s->next), (long long)s->replicas);
}

static void emit_status(struct pass *p)
{
    if (json_equal(p->status, json_object_get(p->d, "status")) && !p->revision)
        return;
    json_t *next = json_deep_copy(p->d);
    json_object_set(next, "status", p->status);
    if (p->revision)
        rs_json_set_str(rs_json_need(next, "metadata", "annotations"), REVISION, p->revision);
    RS_AUTO(rs_chars) *path = rs_object_path(p->d, true), *status_path = rs_printf("%s/status", path);
    rs_plan_call(p->plan, "PUT", status_path, NULL, next);
}

/* Sets beyond revisionHistoryLimit, oldest revision first, if nothing of them is left. */
static int by_revision(const void *a, const void *b)
{
    const struct set *const *x = a, *const *y = b;
    return ((*x)->revision > (*y)->revision) - ((*x)->revision < (*y)->revision);
}

static void clean_up(struct pass *p)
{
    const json_t *limit = rs_json_at(p->d, "spec", "revisionHistoryLimit");
    struct set **old = rs_new_array(struct set *, p->n + 1);
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (&p->v[i] != p->current && !rs_object_deleting(p->v[i].o))
            old[n++] = &p->v[i];
    qsort(old, n, sizeof(*old), by_revision);
    for (size_t i = 0; json_is_integer(limit) && (json_int_t)i < (json_int_t)n - json_integer_value(limit); i++) {
        const json_t *o = old[i]->o;
        if (old[i]->actual || old[i]->replicas || rs_json_int(o, 0, "metadata", "generation") > rs_json_int(o, 0, "status", "observedGeneration"))
            continue;
        RS_AUTO(rs_chars) *path = rs_object_path(o, true);
        rs_plan_call(p->plan, "DELETE", path, NULL, rs_delete_options(o));
    }
    free(old);
}

/* ---- the strategies ---- */

static bool was_scaled(const struct pass *p)
{
    for (size_t i = 0; i < p->n; i++) {
        const char *desired = rs_object_annotation(p->v[i].o, DESIRED_REPLICAS);
        if (p->v[i].replicas > 0 && desired && strtoll(desired, NULL, 10) != p->replicas)
            return true;
    }
    return false;
}

static void need_current(struct pass *p, bool may_create)
{
    if (p->current)
        use_existing(p);
    else if (may_create)
        make_current(p);
}

static void roll(struct pass *p)
{
    need_current(p, true);
    if (p->current->create)
        return;
    if (rs_pass_scale_current(p) || rs_pass_scale_old(p))
        return;
    if (rs_pass_complete(p))
        clean_up(p);
}

static void recreate(struct pass *p)
{
    need_current(p, false);
    if (rs_pass_old_to_zero(p) || p->in->old_pods > 0)
        return;
    if (!p->current) {
        need_current(p, true);
        return;
    }
    rs_pass_scale_to(p, p->current, p->replicas);
    if (rs_pass_complete(p))
        clean_up(p);
}

/* Pausing must not run into the deadline, and resuming starts it anew. */
static void note_pause(struct pass *p, bool paused)
{
    const json_t *c = rs_pass_condition(p, "Progressing");
    const char *reason = rs_json_str(c, "reason");
    if (!p->has_deadline || rs_streq(reason, "ProgressDeadlineExceeded"))
        return;
    if (paused && !rs_streq(reason, "DeploymentPaused"))
        rs_pass_set_condition(p, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused");
    else if (!paused && rs_streq(reason, "DeploymentPaused"))
        rs_pass_set_condition(p, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed");
}

void rs_rollout_plan(const struct rs_rollout *r, json_t **ret_plan, int64_t *ret_again_ms)
{
    struct pass p;
    begin(&p, r);
    bool paused = rs_json_true(p.d, "spec", "paused"), deleting = rs_object_deleting(p.d);
    if (!deleting)
        note_pause(&p, paused);
    if (deleting) {
        rs_pass_finish_status(&p, false);
    } else if (paused || was_scaled(&p)) {
        need_current(&p, false);
        rs_pass_scale_in_proportion(&p);
        if (paused)
            clean_up(&p);
        rs_pass_finish_status(&p, false);
    } else {
        if (p.recreate)
            recreate(&p);
        else
            roll(&p);
        rs_pass_finish_status(&p, true);
    }
    for (size_t i = 0; i < p.n && !deleting; i++)
        emit_set(&p, &p.v[i]);
    emit_status(&p);
    *ret_plan = p.plan;
    *ret_again_ms = p.again_ms;
    end(&p);
}
