/* What an earlier node left below RUN/pods/UID: pod.json (spec and address) and c/CONTAINER/ATTEMPT/{id,ended}. A node that
 * starts takes its pods over as they are. */
#include <arpa/inet.h>
#include <dirent.h>
#include <stdlib.h>
#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "kube/object.h"
#include "node/node_int.h"
#include "node/shim.h"

enum { SAVED_MAX = 4 * 1024 * 1024, BACKOFF_FIRST_MS = 10000, BACKOFF_MAX_MS = 300000 };

static json_t *saved_pod(const char *dir)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/pod.json", dir), *text = NULL;
    struct rs_err e;
    json_t *o;

    if (rs_file_read(path, SAVED_MAX, &text, NULL, &e) < 0 || rs_json_parse(&o, rs_str_of(text), &e) < 0)
        return NULL;
    return o;
}

static int newest_attempt(const char *dir)
{
    DIR *d = opendir(dir);
    int best = -1;

    if (!d)
        return -1;
    for (struct dirent *it; (it = readdir(d));) {
        uint64_t n;
        if (rs_str_u64(rs_str_of(it->d_name), &n) && n < 1000000 && (int)n > best)
            best = (int)n;
    }
    closedir(d);
    return best;
}

static char *read_text(const char *dir, const char *name)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s", dir, name);
    char *text;
    struct rs_err e;

    if (rs_file_read(path, RS_SHIM_LINE, &text, NULL, &e) < 0)
        return NULL;
    text[strcspn(text, "\n")] = '\0';
    return text;
}

/* The run before the newest: it is the lastState. */
static void adopt_last(rs_worker *w, size_t i, const char *base, int attempt)
{
    RS_AUTO(rs_chars) *dir = rs_printf("%s/%d", base, attempt), *id = read_text(dir, "id"), *ended = read_text(dir, RS_SHIM_ENDED);
    struct rs_container *c = &w->pod->c[i];
    long long started, finished;
    int code;

    if (!id || !ended || sscanf(ended, "exited %d %lld %lld", &code, &started, &finished) != 3)
        return;
    c->attempt = attempt;
    free(c->id);
    c->id = rs_strdup(id);
    rs_pod_ended(w->pod, i, code, code == 0 ? "Completed" : "Error", NULL, started, finished);
}

static void adopt_container(rs_worker *w, size_t i)
{
    struct rs_container *c = &w->pod->c[i];
    RS_AUTO(rs_chars) *base = rs_printf("%s/c/%s", w->dir, c->name);
    int attempt = newest_attempt(base);
    if (attempt < 0)
        return;
    RS_AUTO(rs_chars) *dir = rs_printf("%s/%d", base, attempt), *id = read_text(dir, "id");
    if (attempt > 0)
        adopt_last(w, i, base, attempt - 1);
    c->attempt = attempt;
    c->backoff_ms = attempt == 0 ? 0 : attempt > 5 ? BACKOFF_MAX_MS : BACKOFF_FIRST_MS << (attempt - 1);
    if (!id)
        return;                                        /* the node died before it started anything */
    free(c->id);
    c->id = rs_strdup(id);
    rs_worker_run_adopt(&w->runs[i], dir, id);
}

/* No trace of the pod here, but it ran before (the machine was started anew): it runs again, counted as restarts. */
static void count_on(rs_worker *w)
{
    for (int part = 0; part < 2; part++) {
        const json_t *list = rs_json_at(w->pod->object, "status", part ? "initContainerStatuses" : "containerStatuses");
        size_t k;
        json_t *s;
        json_array_foreach(list, k, s) {
            int i = rs_pod_find(w->pod, rs_json_str(s, "name"));
            const char *id = rs_json_str(s, "containerID");
            if (i >= 0 && id && *id)
                w->pod->c[i].attempt = (int)rs_json_int(s, 0, "restartCount") + 1;
        }
    }
}

void rs_worker_adopt(rs_worker *w)
{
    RS_AUTO(json_t) *saved = saved_pod(w->dir);
    const char *ip = rs_json_str(saved, "ip");
    struct in_addr in;

    if (!ip || inet_pton(AF_INET, ip, &in) != 1 || (w->netns && !rs_file_exists(w->netns))) {
        count_on(w);
        return;
    }
    w->ip = rs_strdup(ip);
    if (!w->host_network && ntohl(in.s_addr) >= w->node->next_ip)
        w->node->next_ip = ntohl(in.s_addr) + 1;
    rs_pod_setup_done(w->pod, ip);
    for (size_t i = 0; i < w->pod->n; i++)
        adopt_container(w, i);
    rs_log_info("adopted pod %s/%s", w->ns, w->name);
    rs_worker_refresh_volumes(w);
}

void rs_worker_adopt_orphans(rs_node *n)
{
    RS_AUTO(rs_chars) *base = rs_printf("%s/pods", n->args->run);
    DIR *d = opendir(base);

    if (!d)
        return;
    for (struct dirent *it; (it = readdir(d));) {
        RS_AUTO(rs_chars) *dir = rs_printf("%s/%s", base, it->d_name);
        rs_worker *w;
        HASH_FIND_STR(n->workers, it->d_name, w);
        if (w || it->d_name[0] == '.')
            continue;
        RS_AUTO(json_t) *saved = saved_pod(dir);
        const json_t *pod = json_object_get(saved, "pod");
        struct rs_err e;
        if (pod && rs_streq(rs_object_uid(pod), it->d_name))
            rs_worker_vanished(rs_worker_new(n, pod));
        else if (rs_remove_tree(dir, &e) < 0)
            rs_log_warning("%s", e.msg);
    }
    closedir(d);
}
