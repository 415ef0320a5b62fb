#include "mesh/scan.h"

#include "base/time.h"
#include "kube/object.h"

enum { ENVOY_ADMIN_PORT = 15000, DUMP_MAX = 32 * 1024 * 1024, ROUNDS = 3 };

static const char secrets_target[] = "/config_dump?mask=dynamic_active_secrets,dynamic_warming_secrets";
static const char clusters_target[] = "/config_dump?mask=dynamic_active_clusters";

struct job;

/* One round: a set of proxies read at once. */
struct round {
    rs_kube *kube;
    const struct rs_scan_options *o;
    struct job *jobs;
    size_t n, next, running, done;
    bool complete;
};

struct job {
    struct round *round;
    struct rs_proxy *proxy;
    rs_kube_pod_get *get;
    rs_timer *retry;
    bool clusters_next;              /* secrets are read; clusters are asked for */
    int tries;
};

static void start_more(struct round *r);
static void ask(void *ctx);

static void job_over(struct job *j)
{
    struct round *r = j->round;
    r->running--;
    r->done++;
    if (r->o->on_progress)
        r->o->on_progress(r->o->ctx, r->done, r->n);
    start_more(r);
}

static void try_again(struct job *j, const char *why)
{
    int tries = j->round->o->tries ? j->round->o->tries : 3;
    rs_proxy_unknown(j->proxy, "%s", why);
    if (++j->tries >= tries) {
        job_over(j);
        return;
    }
    if (!j->retry)
        j->retry = rs_timer_new(rs_kube_loop(j->round->kube), ask, j);
    rs_timer_set(j->retry, 100 << j->tries);
}

static void answered(void *ctx, int status, rs_str body, const struct rs_err *why)
{
    struct job *j = ctx;
    j->get = NULL;
    if (why || status != 200) {
        RS_AUTO(rs_chars) *text = why ? rs_printf("its Envoy can't be read through port-forward: %s", why->msg)
                                      : rs_printf("its Envoy answered status %d", status);
        try_again(j, text);
        return;
    }
    if (j->clusters_next) {
        rs_proxy_read_clusters(j->proxy, body);
    } else if (j->round->o->secrets) {
        rs_proxy_read_secrets(j->proxy, body, rs_now_ms());
        if (!j->proxy->known) {
            RS_AUTO(rs_chars) *text = rs_strdup(j->proxy->why);
            try_again(j, text);
            return;
        }
    }
    if (j->round->o->clusters && !j->clusters_next) {
        j->clusters_next = true;
        ask(j);
        return;
    }
    job_over(j);
}

static void ask(void *ctx)
{
    struct job *j = ctx;
    const struct rs_scan_options *o = j->round->o;
    if (!o->secrets)
        j->clusters_next = true;
    j->get = rs_kube_pod_get_start(j->round->kube, j->proxy->namespace, j->proxy->pod, ENVOY_ADMIN_PORT,
                                   j->clusters_next ? clusters_target : secrets_target,
                                   o->timeout_ms ? o->timeout_ms : 5000, DUMP_MAX, answered, j);
}

static void start_more(struct round *r)
{
    size_t at_once = r->o->at_once ? r->o->at_once : 16;
    while (r->running < at_once && r->next < r->n) {
        struct job *j = &r->jobs[r->next++];
        r->running++;
        ask(j);
    }
    r->complete = r->done == r->n;
}

static void read_all(rs_kube *k, const struct rs_scan_options *o, struct rs_proxy **v, size_t n)
{
    struct round r = { .kube = k, .o = o, .jobs = rs_new_array(struct job, n), .n = n };
    for (size_t i = 0; i < n; i++)
        r.jobs[i] = (struct job){ .round = &r, .proxy = v[i] };
    start_more(&r);
    rs_loop_run_until(rs_kube_loop(k), &r.complete, -1);
    for (size_t i = 0; i < n; i++)
        rs_timer_free(r.jobs[i].retry);
    free(r.jobs);
}

static struct rs_proxy *find(const struct rs_scan *s, const char *uid)
{
    for (size_t i = 0; i < s->n; i++)
        if (rs_streq(s->v[i]->uid, uid))
            return s->v[i];
    return NULL;
}

static int by_name(const void *a, const void *b)
{
    const struct rs_proxy *p = *(struct rs_proxy *const *)a, *q = *(struct rs_proxy *const *)b;
    int c = strcmp(p->namespace, q->namespace);
    return c ? c : strcmp(p->pod, q->pod);
}

/* Brings the scan to the pods that are there now: keeps what was read of a pod that did not restart, drops what is gone.
 * Returns those that have to be read, in a malloc'ed array. */
static struct rs_proxy **reconcile(struct rs_scan *s, const json_t *pods, size_t *ret_n)
{
    struct rs_scan old = *s;
    struct rs_proxy **todo = rs_new_array(struct rs_proxy *, json_array_size(pods));
    size_t n_todo = 0, i;
    json_t *pod;
    s->v = rs_new_array(struct rs_proxy *, json_array_size(pods));
    s->n = 0;
    json_array_foreach((json_t *)pods, i, pod) {
        struct rs_proxy *p = rs_proxy_of_pod(pod);
        if (!p)
            continue;
        struct rs_proxy *before = find(&old, p->uid);
        bool running = rs_streq(rs_json_str(pod, "status", "phase"), "Running");
        bool reread = running && (!before || before->restarts != p->restarts || rs_starts(before->why ? before->why : "", "the pod is"));
        if (before && !reread && running) {
            before->terminating = p->terminating;
            rs_proxy_free(p);
            p = before;
            for (size_t k = 0; k < old.n; k++)
                if (old.v[k] == before)
                    old.v[k] = old.v[--old.n];
        }
        s->v[s->n++] = p;
        if (reread)
            todo[n_todo++] = p;
    }
    for (size_t k = 0; k < old.n; k++)
        rs_proxy_free(old.v[k]);
    free(old.v);
    *ret_n = n_todo;
    return todo;
}

int rs_scan_run(rs_kube *k, const struct rs_scan_options *o, struct rs_scan **ret, struct rs_err *e)
{
    RS_AUTO(rs_scan) *s = rs_new(rs_scan);
    RS_AUTO(rs_chars) *path = o->namespace ? rs_printf("/api/v1/namespaces/%s/pods", o->namespace) : rs_strdup("/api/v1/pods");
    s->started_ms = rs_now_ms();
    for (int round = 0; ; round++) {
        RS_AUTO(json_t) *pods = NULL;
        if (rs_kube_list(k, path, NULL, &pods, NULL, e) < 0)
            return rs_err_wrap(e, "list pods");
        size_t n;
        struct rs_proxy **todo = reconcile(s, pods, &n);
        if (n && round < ROUNDS)
            read_all(k, o, todo, n);
        for (size_t i = 0; i < n && round == ROUNDS; i++)
            rs_proxy_unknown(todo[i], "the pod appeared or restarted while the mesh was read; ask again");
        free(todo);
        if (n == 0 || round == ROUNDS)
            break;
    }
    qsort(s->v, s->n, sizeof(*s->v), by_name);
    s->ended_ms = rs_now_ms();
    *ret = rs_take(s);
    return 0;
}

void rs_scan_free(struct rs_scan *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        rs_proxy_free(s->v[i]);
    free(s->v);
    free(s);
}
