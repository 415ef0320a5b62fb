/* How large each ReplicaSet is to be next. */
#include "cluster/controller_rollout_int.h"
#include "kube/object.h"

static int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }

bool rs_pass_scale_to(struct pass *p, struct set *s, int64_t replicas)
{
    if (s->replicas == replicas)
        return false;
    s->replicas = replicas;
    return true;
}

int64_t rs_pass_sum(const struct pass *p, bool old_only)
{
    int64_t sum = 0;
    for (size_t i = 0; i < p->n; i++)
        if (!old_only || &p->v[i] != p->current)
            sum += p->v[i].replicas;
    return sum;
}

static int64_t available_sum(const struct pass *p)
{
    int64_t sum = 0;
    for (size_t i = 0; i < p->n; i++)
        sum += p->v[i].available;
    return sum;
}

/* What the current set may grow to, given the surge. */
int64_t rs_pass_size_of_current(const struct pass *p, int64_t has)
{
    if (p->recreate)
        return p->replicas;
    int64_t room = p->replicas + p->max_surge - rs_pass_sum(p, false);
    return room <= 0 ? has : has + min(room, p->replicas - has);
}

bool rs_pass_scale_current(struct pass *p)
{
    struct set *s = p->current;
    if (s->replicas > p->replicas)
        return rs_pass_scale_to(p, s, p->replicas);
    return s->replicas < p->replicas && rs_pass_scale_to(p, s, rs_pass_size_of_current(p, s->replicas));
}

/* Pods that do not work go first: taking them away costs nothing. */
static int64_t drop_unhealthy(struct pass *p, int64_t at_most)
{
    int64_t done = 0;
    for (size_t i = 0; i < p->n && done < at_most; i++) {
        struct set *s = &p->v[i];
        if (s == p->current || s->replicas <= s->available)
            continue;
        int64_t n = min(at_most - done, s->replicas - s->available);
        s->replicas -= n;
        done += n;
    }
    return done;
}

bool rs_pass_scale_old(struct pass *p)
{
    if (rs_pass_sum(p, true) == 0)
        return false;
    int64_t min_available = p->replicas - p->max_unavailable;
    int64_t at_most = rs_pass_sum(p, false) - min_available - (p->current->replicas - p->current->available);
    if (at_most <= 0)
        return false;
    int64_t done = drop_unhealthy(p, at_most), more = available_sum(p) - min_available, dropped = 0;
    for (size_t i = 0; i < p->n && dropped < more; i++) {
        struct set *s = &p->v[i];
        if (s == p->current || s->replicas == 0)
            continue;
        int64_t n = min(s->replicas, more - dropped);
        s->replicas -= n;
        dropped += n;
    }
    return done + dropped > 0;
}

bool rs_pass_old_to_zero(struct pass *p)
{
    bool any = false;
    for (size_t i = 0; i < p->n; i++)
        if (&p->v[i] != p->current && rs_pass_scale_to(p, &p->v[i], 0))
            any = true;
    return any;
}

/* ---- the Deployment's size changed in the middle of a rollout ---- */

/* The only set with pods, or without any the current or else the newest; NULL when several have pods. */
static struct set *active_or_latest(struct pass *p)
{
    struct set *active = NULL, *latest = NULL;
    for (size_t i = 0; i < p->n; i++) {
        struct set *s = &p->v[i];
        if (s->replicas > 0 && active)
            return NULL;
        if (s->replicas > 0)
            active = s;
        if (!latest || s->created_ms >= latest->created_ms)
            latest = s;
    }
    return active ? active : p->current ? p->current : latest;
}

static bool saturated(const struct pass *p)
{
    const struct set *s = p->current;
    const char *desired = s ? rs_object_annotation(s->o, DESIRED_REPLICAS) : NULL;
    return desired && strtoll(desired, NULL, 10) == p->replicas && s->replicas == p->replicas && s->available == p->replicas;
}

static int64_t fraction(const struct pass *p, const struct set *s)
{
    if (p->replicas == 0)
        return -s->replicas;
    const char *max = rs_object_annotation(s->o, MAX_REPLICAS);
    int64_t before = max ? strtoll(max, NULL, 10) : rs_json_int(p->d, 0, "status", "replicas");
    if (before <= 0)
        return 0;
    return (2 * s->replicas * (p->replicas + p->max_surge) + before) / (2 * before) - s->replicas;      /* rounded */
}

struct by_size { struct set *s; bool down; };

static int compare_size(const void *a, const void *b)
{
    const struct by_size *x = a, *y = b;
    if (x->s->replicas != y->s->replicas)
        return x->s->replicas > y->s->replicas ? -1 : 1;
    if (x->s->created_ms != y->s->created_ms)          /* newer first when growing, older first when shrinking */
        return (x->s->created_ms < y->s->created_ms) == x->down ? -1 : 1;
    return 0;
}

void rs_pass_scale_in_proportion(struct pass *p)
{
    struct set *only = active_or_latest(p);
    if (only) {
        rs_pass_scale_to(p, only, p->replicas);
        return;
    }
    if (p->n == 0)
        return;
    if (saturated(p)) {
        rs_pass_old_to_zero(p);
        return;
    }
    if (p->recreate)
        return;
    int64_t to_add = (p->replicas > 0 ? p->replicas + p->max_surge : 0) - rs_pass_sum(p, false), added = 0;
    struct by_size *order = rs_new_array(struct by_size, p->n);
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (p->v[i].replicas > 0)
            order[n++] = (struct by_size){ &p->v[i], to_add < 0 };
    qsort(order, n, sizeof(*order), compare_size);
    for (size_t i = 0; i < n && to_add != 0; i++) {
        int64_t part = fraction(p, order[i].s), left = to_add - added;
        part = to_add > 0 ? min(part, left) : part > left ? part : left;
        order[i].s->replicas += part;
        added += part;
    }
    if (n && to_add != 0) {
        int64_t size = order[0].s->replicas + to_add - added;
        order[0].s->replicas = size > 0 ? size : 0;
    }
    free(order);
}
