/* One pod being run: turns what the pure machine (pod.h) wants into acts and feeds back what happens. */
#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "kube/object.h"
#include "node/node_int.h"

static void on_timer(void *ctx) { rs_worker_pump(ctx); }

static void take_names(rs_worker *w, const json_t *pod)
{
    char tag[13];
    size_t k = 0;

    w->uid = rs_strdup(rs_object_uid(pod));
    w->ns = rs_strdup(rs_object_namespace(pod));
    w->name = rs_strdup(rs_object_name(pod));
    w->dir = rs_printf("%s/pods/%s", w->node->args->run, w->uid);
    w->log_dir = rs_printf("%s/logs/%s_%s_%s", w->node->args->state, w->ns, w->name, w->uid);
    for (const char *p = w->uid; *p && k < 12; p++)
        if (*p != '-')
            tag[k++] = *p;
    tag[k] = '\0';
    w->veth = rs_printf("rs%s", tag);
    w->host_network = rs_json_true(pod, "spec", "hostNetwork");
    w->netns = w->host_network ? NULL : rs_printf("/run/netns/rs%s", tag);
}

rs_worker *rs_worker_new(rs_node *n, const json_t *pod)
{
    rs_worker *w = rs_new(rs_worker);

    w->node = n;
    take_names(w, pod);
    w->pod = rs_pod_new(pod, n->host_ip, rs_now_ms());
    w->runs = rs_new_array(struct rs_run, w->pod->n + 1);
    for (size_t i = 0; i < w->pod->n; i++) {
        struct rs_run *r = &w->runs[i];
        struct rs_container *c = &w->pod->c[i];
        struct rs_probe *const probes[] = { &c->startup, &c->readiness, &c->liveness };
        r->w = w;
        r->i = i;
        for (size_t k = 0; k < RS_COUNT(probes); k++)
            r->tries[k] = (struct rs_try){ r, probes[k], NULL };
    }
    w->timer = rs_timer_new(n->loop, on_timer, w);
    HASH_ADD_KEYPTR(hh, n->workers, w->uid, strlen(w->uid), w);
    rs_worker_prepare(w);
    rs_worker_adopt(w);
    return w;
}

rs_worker *rs_worker_find(rs_node *n, const char *ns, const char *pod)
{
    rs_worker *w, *next;

    HASH_ITER(hh, n->workers, w, next)
        if (rs_streq(w->ns, ns) && rs_streq(w->name, pod) && !w->dead)
            return w;
    return NULL;
}

struct removal { char *dir, *logs; };

static void remove_dirs(void *ctx)
{
    struct removal *r = ctx;
    struct rs_err e;

    if (rs_remove_tree(r->dir, &e) < 0 || rs_remove_tree(r->logs, &e) < 0)
        rs_log_warning("%s", e.msg);
}

static void removed(void *ctx)
{
    struct removal *r = ctx;

    free(r->dir);
    free(r->logs);
    free(r);
}

void rs_worker_free(rs_worker *w)
{
    rs_node *n = w->node;
    struct removal *r = rs_new(struct removal);

    *r = (struct removal){ rs_strdup(w->dir), rs_strdup(w->log_dir) };
    rs_loop_work(n->loop, remove_dirs, removed, r);
    HASH_DEL(n->workers, w);
    rs_worker_slot_done(w);
    for (size_t i = 0; i < w->pod->n; i++)
        rs_worker_run_free(&w->runs[i]);
    free(w->runs);
    rs_worker_setup_free(w);
    rs_timer_free(w->timer);
    rs_timer_free(w->retry);
    rs_kube_cancel(w->status_call);
    rs_kube_cancel(w->delete_call);
    json_decref(w->sent);
    rs_pod_free(w->pod);
    char *const texts[] = { w->uid, w->ns, w->name, w->dir, w->netns, w->veth, w->ip, w->log_dir, w->hold_told };
    for (size_t i = 0; i < RS_COUNT(texts); i++)
        free(texts[i]);
    free(w);
}

static void act(rs_worker *w, const struct rs_pod_action *a)
{
    switch (a->act) {
    case RS_POD_SETUP:
        rs_worker_setup(w);
        break;
    case RS_POD_START:
        rs_worker_start(w, a->i);
        break;
    case RS_POD_STOP:
        rs_worker_stop(w, a->i, a->grace_ms, a->why);
        break;
    case RS_POD_TEARDOWN:
        rs_worker_slot_done(w);
        rs_worker_teardown(w);
        break;
    case RS_POD_GONE:
        w->finished = true;
        break;
    case RS_POD_NOTHING:
        break;
    }
}

/* The slot in which a pod starts is free again once its containers run (or wait for something). */
static void check_slot(rs_worker *w, int64_t now)
{
    if (w->slot != RS_SLOT_HELD || w->pod->ground != RS_POD_UP)
        return;
    bool going = false;
    for (size_t i = 0; i < w->pod->n; i++) {
        const struct rs_container *c = &w->pod->c[i];
        going |= c->phase == RS_CONTAINER_STARTING || (c->phase == RS_CONTAINER_WAITING && !c->wait_reason);
    }
    if (!going || now >= w->slot_until)
        rs_worker_slot_done(w);
}

void rs_worker_pump(rs_worker *w)
{
    if (w->dead)
        return;
    if (w->pumping) {
        w->again = true;
        return;
    }
    w->pumping = true;
    int64_t now, wake, probe;
    do {
        w->again = false;
        now = rs_now_ms();
        struct rs_pod_action a;
        while ((a = rs_pod_next(w->pod, now, &wake)).act != RS_POD_NOTHING)
            act(w, &a);
        probe = rs_worker_probe(w, now);
    } while (w->again);
    w->pumping = false;
    check_slot(w, now);
    if (w->slot == RS_SLOT_HELD && w->slot_until < wake)
        wake = w->slot_until;
    if (probe < wake)
        wake = probe;
    if (wake != INT64_MAX)
        rs_timer_set(w->timer, wake > now ? wake - now : 1);
    else
        rs_timer_cancel(w->timer);
    rs_worker_report(w);
}

static bool metadata_changed(const json_t *a, const json_t *b)
{
    return !json_equal(rs_json_at(a, "metadata", "labels"), rs_json_at(b, "metadata", "labels")) ||
           !json_equal(rs_json_at(a, "metadata", "annotations"), rs_json_at(b, "metadata", "annotations"));
}

void rs_worker_update(rs_worker *w, const json_t *pod)
{
    bool fields = metadata_changed(w->pod->object, pod), was_deleting = w->pod->deleting;
    int64_t deadline = w->pod->kill_deadline;

    rs_pod_update(w->pod, pod, rs_now_ms());
    if (fields)
        rs_worker_refresh_volumes(w);
    if (!was_deleting && w->pod->deleting)
        rs_worker_setup(w);                            /* a set-up that waits gives up */
    if (was_deleting && w->pod->kill_deadline < deadline)
        rs_worker_hurry(w);
    rs_worker_pump(w);
}

void rs_worker_vanished(rs_worker *w)
{
    bool was_deleting = w->pod->deleting;

    rs_pod_vanished(w->pod, rs_now_ms());
    if (!was_deleting)
        rs_worker_setup(w);
    rs_worker_pump(w);
}

void rs_worker_object_changed(rs_worker *w, const char *kind, const char *name)
{
    RS_AUTO(rs_chars) *key = rs_printf("%s/%s", kind, name);
    size_t i;
    json_t *v;
    bool used = false;

    json_array_foreach(w->held, i, v)
        used |= rs_streq(json_string_value(v), key);
    if (!used || w->dead)
        return;
    for (i = 0; i < w->pod->n; i++)
        if (rs_streq(w->pod->c[i].wait_reason, "CreateContainerConfigError"))
            w->pod->c[i].not_before = 0;
    if (w->pod->ground == RS_POD_SETTING_UP)
        rs_worker_setup(w);
    else if (w->pod->ground == RS_POD_UP)
        rs_worker_refresh_volumes(w);
    rs_worker_pump(w);
}
