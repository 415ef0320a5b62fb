/* A pod's ground: references to other objects, volumes, tokens, network, and the slot in which it may start. */
#include <arpa/inet.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/secret.h"
#include "base/time.h"
#include "kube/object.h"
#include "node/link.h"
#include "node/node_int.h"

enum { SLOTS = 2, SLOT_MS = 5000, AGAIN_MS = 2000, TOKEN_RETRY_MS = 1000, TOKEN_RETRY_MAX_MS = 60000 };

/* ---- references ---- */

static void hold(rs_worker *w, const char *kind, const char *name)
{
    if (!name)
        return;
    RS_AUTO(rs_chars) *key = rs_printf("%s/%s", kind, name);
    size_t i;
    json_t *v;

    json_array_foreach(w->held, i, v)
        if (rs_streq(json_string_value(v), key))
            return;
    json_array_append_new(w->held, json_string(key));
    rs_objects_hold(w->node->objects, kind, w->ns, name);
}

static void hold_container(rs_worker *w, const json_t *c)
{
    size_t i;
    json_t *v;

    json_array_foreach(json_object_get(c, "env"), i, v) {
        hold(w, "ConfigMap", rs_json_str(v, "valueFrom", "configMapKeyRef", "name"));
        hold(w, "Secret", rs_json_str(v, "valueFrom", "secretKeyRef", "name"));
    }
    json_array_foreach(json_object_get(c, "envFrom"), i, v) {
        hold(w, "ConfigMap", rs_json_str(v, "configMapRef", "name"));
        hold(w, "Secret", rs_json_str(v, "secretRef", "name"));
    }
}

static void want_token(rs_worker *w, const json_t *src)
{
    const char *audience = rs_json_str(src, "audience");
    int64_t seconds = rs_json_int(src, 3600, "expirationSeconds");
    struct rs_token *t;

    LL_FOREACH(w->tokens, t)
        if (rs_streq(t->audience, audience) && t->seconds == seconds)
            return;
    t = rs_new(struct rs_token);
    *t = (struct rs_token){ .w = w, .audience = rs_strdup(audience), .seconds = seconds };
    LL_APPEND(w->tokens, t);
}

static void hold_volume(rs_worker *w, const json_t *v)
{
    const json_t *sources = rs_json_at(v, "projected", "sources");
    size_t i;
    json_t *src;

    hold(w, "ConfigMap", rs_json_str(v, "configMap", "name"));
    hold(w, "Secret", rs_json_str(v, "secret", "secretName"));
    json_array_foreach(sources, i, src) {
        hold(w, "ConfigMap", rs_json_str(src, "configMap", "name"));
        hold(w, "Secret", rs_json_str(src, "secret", "name"));
        if (json_object_get(src, "serviceAccountToken"))
            want_token(w, json_object_get(src, "serviceAccountToken"));
    }
}

static void on_token_timer(void *ctx);

void rs_worker_prepare(rs_worker *w)
{
    const json_t *list = rs_json_at(w->pod->spec_object, "spec", "volumes");
    size_t i;
    json_t *v;

    w->held = json_array();
    for (i = 0; i < w->pod->n; i++)
        hold_container(w, w->pod->c[i].spec);
    w->volumes = rs_new_array(struct rs_volume, json_array_size(list) + 1);
    json_array_foreach(list, i, v) {
        struct rs_volume *vol = &w->volumes[w->n_volumes++];
        vol->spec = v;
        vol->dir = json_object_get(v, "hostPath") ? rs_strdup(rs_json_str(v, "hostPath", "path"))
                                                  : rs_printf("%s/volumes/%s", w->dir, rs_json_str(v, "name") ? rs_json_str(v, "name") : "");
        hold_volume(w, v);
    }
    w->token_timer = rs_timer_new(w->node->loop, on_token_timer, w);
}

void rs_worker_setup_free(rs_worker *w)
{
    size_t i;
    json_t *v;
    struct rs_token *t, *next;

    json_array_foreach(w->held, i, v) {
        RS_AUTO(rs_chars) *kind = rs_strndup(json_string_value(v), strcspn(json_string_value(v), "/"));
        rs_objects_release(w->node->objects, kind, w->ns, strchr(json_string_value(v), '/') + 1);
    }
    json_decref(w->held);
    LL_FOREACH_SAFE(w->tokens, t, next) {
        rs_kube_cancel(t->call);
        free(t->audience);
        if (t->value)
            rs_free_cleansed(t->value, strlen(t->value));
        free(t);
    }
    for (i = 0; i < w->n_volumes; i++) {
        rs_files_done(&w->volumes[i].files);
        free(w->volumes[i].dir);
    }
    free(w->volumes);
    rs_timer_free(w->token_timer);
}

/* ---- tokens ---- */

static void arm_tokens(rs_worker *w)
{
    int64_t at = INT64_MAX, now = rs_now_ms();
    struct rs_token *t;

    LL_FOREACH(w->tokens, t)
        if (!t->call && t->refresh_at && t->refresh_at < at)
            at = t->refresh_at;
    if (at != INT64_MAX)
        rs_timer_set(w->token_timer, at > now ? at - now : 1);
}

static void token_done(void *ctx, json_t *answer, const struct rs_err *why)
{
    struct rs_token *t = ctx;
    rs_worker *w = t->w;
    const char *token = why ? NULL : rs_json_str(answer, "status", "token"), *until = why ? NULL : rs_json_str(answer, "status", "expirationTimestamp");
    int64_t now = rs_now_ms(), expires;

    t->call = NULL;
    if (!token || !until || !rs_time_parse(until, &expires)) {
        int64_t pause = (int64_t)TOKEN_RETRY_MS << (t->failures < 6 ? t->failures : 6);
        t->failures++;
        t->refresh_at = now + (pause > TOKEN_RETRY_MAX_MS ? TOKEN_RETRY_MAX_MS : pause);
        rs_log_warning("token for pod %s/%s: %s", w->ns, w->name, why ? why->msg : "not in the answer");
        arm_tokens(w);
        return;
    }
    if (t->value)
        rs_free_cleansed(t->value, strlen(t->value));
    t->value = rs_strdup(token);
    t->failures = 0;
    int64_t life = expires - now, early = life / 5;            /* at 80 % of its life, spread a little */
    t->refresh_at = expires - early - (int64_t)rs_random_below((uint64_t)(early > 100 ? early / 10 : 1));
    arm_tokens(w);
    if (w->pod->ground == RS_POD_UP)
        rs_worker_refresh_volumes(w);
    else
        rs_worker_setup(w);
    rs_worker_pump(w);
}

static void ask_token(struct rs_token *t)
{
    rs_worker *w = t->w;
    const char *sa = rs_json_str(w->pod->spec_object, "spec", "serviceAccountName");
    RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/%s/serviceaccounts/%s/token", w->ns, sa ? sa : "default");
    RS_AUTO(json_t) *audiences = json_array();
    if (t->audience)
        json_array_append_new(audiences, json_string(t->audience));
    RS_AUTO(json_t) *body = rs_json_pack("{s:s, s:s, s:{s:O, s:I, s:{s:s, s:s, s:s, s:s}}}", "apiVersion", "authentication.k8s.io/v1", "kind", "TokenRequest",
        "spec", "audiences", audiences, "expirationSeconds", (json_int_t)t->seconds, "boundObjectRef", "apiVersion", "v1", "kind", "Pod",
        "name", w->name, "uid", w->uid);

    t->call = rs_kube_start(w->node->kube, "POST", path, NULL, body, token_done, t);
}

static void on_token_timer(void *ctx)
{
    rs_worker *w = ctx;
    int64_t now = rs_now_ms();
    struct rs_token *t;

    if (w->finished || w->dead || w->pod->removed)
        return;
    LL_FOREACH(w->tokens, t)
        if (!t->call && t->refresh_at && t->refresh_at <= now)
            ask_token(t);
    arm_tokens(w);
}

static enum rs_lookup_state source_token(void *ctx, const char *audience, int64_t seconds, const char **ret)
{
    rs_worker *w = ctx;
    struct rs_token *t;

    LL_FOREACH(w->tokens, t) {
        if (!rs_streq(t->audience, audience) || t->seconds != seconds)
            continue;
        if (!t->value && !t->call && !t->refresh_at)
            ask_token(t);
        *ret = t->value;
        return t->value ? RS_LOOKUP_FOUND : RS_LOOKUP_WAIT;
    }
    return RS_LOOKUP_WAIT;
}

static enum rs_lookup_state source_object(void *ctx, const char *kind, const char *name, const json_t **ret)
{
    rs_worker *w = ctx;

    return rs_objects_get(w->node->objects, kind, w->ns, name, ret);
}

struct rs_source rs_worker_source(rs_worker *w)
{
    return (struct rs_source){ .pod = w->pod->object, .ip = w->ip, .host_ip = w->node->host_ip, .node_name = w->node->args->name,
                               .ctx = w, .object = source_object, .token = source_token };
}

/* ---- volumes ---- */

static bool fs_group(const rs_worker *w, gid_t *ret)
{
    const json_t *g = rs_json_at(w->pod->spec_object, "spec", "securityContext", "fsGroup");

    *ret = json_is_integer(g) ? (gid_t)json_integer_value(g) : 0;
    return json_is_integer(g);
}

static int write_files(rs_worker *w, struct rs_volume *v, struct rs_err *e)
{
    struct rs_source s = rs_worker_source(w);
    struct rs_files f = { 0 };
    gid_t gid;
    bool with = fs_group(w, &gid);

    if (rs_files_make(&f, &s, v->spec, e) < 0)
        return -1;
    if (v->written && rs_files_equal(&f, &v->files)) {
        rs_files_done(&f);
        return 0;
    }
    int r = rs_files_write(v->dir, &f, gid, with, e);
    rs_files_done(&v->files);
    v->files = f;
    v->written = r == 0;
    return r;
}

static int make_empty(rs_worker *w, struct rs_volume *v, struct rs_err *e)
{
    gid_t gid;

    if (v->written)
        return 0;
    if (rs_mkdirs(v->dir, 0755, e) < 0)
        return -1;
    if (fs_group(w, &gid) && chown(v->dir, 0, gid) < 0)
        return RS_FAIL_ERRNO(e, "chown %s", v->dir);
    if (chmod(v->dir, fs_group(w, &gid) ? 02777 : 0777) < 0)
        return RS_FAIL_ERRNO(e, "chmod %s", v->dir);
    v->written = true;
    return 0;
}

static int check_host_path(struct rs_volume *v, struct rs_err *e)
{
    const char *type = rs_json_str(v->spec, "hostPath", "type");

    if (!v->dir || *v->dir != '/')
        return RS_FAIL(e, RS_INVALID, "hostPath without a path");
    if (rs_streq(type, "DirectoryOrCreate"))
        return rs_mkdirs(v->dir, 0755, e);
    return rs_file_exists(v->dir) ? 0 : RS_FAIL(e, RS_NOT_FOUND, "hostPath %s does not exist", v->dir);
}

static int make_volumes(rs_worker *w, struct rs_err *e)
{
    int r = 0;
    bool wait = false;
    struct rs_err first;

    for (size_t i = 0; i < w->n_volumes; i++) {
        struct rs_volume *v = &w->volumes[i];
        const char *name = rs_json_str(v->spec, "name");
        int one;
        if (rs_files_volume(v->spec))
            one = write_files(w, v, e);
        else if (json_object_get(v->spec, "emptyDir"))
            one = make_empty(w, v, e);
        else if (json_object_get(v->spec, "hostPath"))
            one = check_host_path(v, e);
        else
            one = RS_FAIL(e, RS_UNIMPLEMENTED, "this node runs emptyDir, configMap, secret, projected, downwardAPI and hostPath volumes only");
        if (one == 0)
            continue;
        if (e->code == RS_UNAVAILABLE)
            wait = true;                               /* go on, so that everything is asked for at once */
        else if (r == 0) {
            rs_err_wrap(e, "MountVolume.SetUp failed for volume \"%s\"", name ? name : "");
            first = *e;
            r = -1;
        }
    }
    if (r < 0)
        *e = first;
    else if (wait)
        return RS_FAIL(e, RS_UNAVAILABLE, "volumes wait for their sources");
    return r;
}

void rs_worker_refresh_volumes(rs_worker *w)
{
    struct rs_err e;

    if (w->pod->ground != RS_POD_UP)
        return;
    for (size_t i = 0; i < w->n_volumes; i++)
        if (rs_files_volume(w->volumes[i].spec) && write_files(w, &w->volumes[i], &e) < 0 && e.code != RS_UNAVAILABLE)
            rs_log_warning("pod %s/%s keeps what is in volume %s: %s", w->ns, w->name, rs_json_str(w->volumes[i].spec, "name"), e.msg);
}

/* ---- slots ---- */

void rs_worker_slot_done(rs_worker *w)
{
    rs_node *n = w->node;

    if (w->slot == RS_SLOT_QUEUED)
        DL_DELETE2(n->queue, w, queue_prev, queue_next);
    else if (w->slot == RS_SLOT_HELD)
        n->starting--;
    w->slot = RS_SLOT_NONE;
    while (n->queue && n->starting < SLOTS) {
        rs_worker *next = n->queue;
        DL_DELETE2(n->queue, next, queue_prev, queue_next);
        n->starting++;
        next->slot = RS_SLOT_HELD;
        next->slot_until = rs_now_ms() + SLOT_MS;
        rs_worker_setup(next);
    }
}

static bool have_slot(rs_worker *w)
{
    rs_node *n = w->node;

    if (w->slot == RS_SLOT_NONE && n->starting < SLOTS && !n->queue) {
        n->starting++;
        w->slot = RS_SLOT_HELD;
        w->slot_until = rs_now_ms() + SLOT_MS;
    } else if (w->slot == RS_SLOT_NONE) {
        DL_APPEND2(n->queue, w, queue_prev, queue_next);
        w->slot = RS_SLOT_QUEUED;
    }
    return w->slot == RS_SLOT_HELD;
}

/* ---- network ---- */

char *rs_worker_take_ip(rs_node *n)
{
    rs_worker *w, *next;

    for (uint32_t tries = 0; tries <= ~n->mask; tries++) {
        uint32_t ip = n->net | (n->next_ip++ & ~n->mask);
        struct in_addr in = { htonl(ip) };
        char text[INET_ADDRSTRLEN];
        bool used = (ip & ~n->mask) < 256 || (ip & 255) == 0 || (ip & 255) == 255;
        inet_ntop(AF_INET, &in, text, sizeof(text));
        HASH_ITER(hh, n->workers, w, next)
            used |= rs_streq(w->ip, text);
        if (!used)
            return rs_strdup(text);
    }
    return NULL;
}

struct wiring { rs_worker *w; char *netns, *veth, *ip, *gateway; int result; struct rs_err e; };

static void wire(void *ctx)
{
    struct wiring *j = ctx;
    struct rs_link l = { j->netns, j->veth, j->ip, j->gateway };

    j->result = rs_link_up(&l, &j->e);
}

static void wiring_free(struct wiring *j)
{
    free(j->netns);
    free(j->veth);
    free(j->ip);
    free(j->gateway);
    free(j);
}

static void wired(void *ctx)
{
    struct wiring *j = ctx;
    rs_worker *w = j->w;

    w->linking = false;
    if (j->result < 0) {
        rs_log_warning("pod %s/%s: %s", w->ns, w->name, j->e.msg);
        rs_events_add(w->node->events, w->pod->object, NULL, false, "Warning", "FailedCreatePodSandBox", "Failed to create pod sandbox: %s", j->e.msg);
        rs_pod_setup_failed(w->pod, rs_now_ms() + AGAIN_MS);
        rs_worker_slot_done(w);
    } else
        rs_pod_setup_done(w->pod, w->ip);
    wiring_free(j);
    rs_worker_pump(w);
}

int rs_worker_save(rs_worker *w, struct rs_err *e)
{
    RS_AUTO(json_t) *o = rs_json_pack("{s:O, s:s}", "pod", w->pod->spec_object, "ip", w->ip);
    RS_AUTO(rs_chars) *text = rs_json_text(o), *path = rs_printf("%s/pod.json", w->dir);

    return rs_file_write(path, rs_str_of(text), 0600, e);
}

static void start_network(rs_worker *w)
{
    struct rs_err e;

    if (!w->ip)
        w->ip = w->host_network ? rs_strdup(w->node->host_ip) : rs_worker_take_ip(w->node);
    if (!w->ip || rs_worker_save(w, &e) < 0) {
        rs_log_error("pod %s/%s: %s", w->ns, w->name, w->ip ? e.msg : "no pod address is free");
        rs_pod_setup_failed(w->pod, rs_now_ms() + AGAIN_MS);
        rs_worker_slot_done(w);
        rs_worker_pump(w);
        return;
    }
    if (w->host_network) {
        rs_pod_setup_done(w->pod, w->ip);
        rs_worker_pump(w);
        return;
    }
    struct wiring *j = rs_new(struct wiring);
    *j = (struct wiring){ .w = w, .netns = rs_strdup(w->netns), .veth = rs_strdup(w->veth), .ip = rs_strdup(w->ip), .gateway = rs_strdup(w->node->host_ip) };
    w->linking = true;
    rs_loop_work(w->node->loop, wire, wired, j);
}

void rs_worker_setup(rs_worker *w)
{
    struct rs_err e;

    if (w->pod->ground != RS_POD_SETTING_UP || w->linking)
        return;
    if (w->pod->deleting) {
        rs_worker_slot_done(w);
        rs_pod_setup_failed(w->pod, 0);
        rs_worker_pump(w);
        return;
    }
    if (rs_mkdirs(w->dir, 0755, &e) < 0 || make_volumes(w, &e) < 0) {
        if (e.code != RS_UNAVAILABLE && !rs_streq(w->hold_told, e.msg)) {
            free(w->hold_told);
            w->hold_told = rs_strdup(e.msg);
            rs_events_add(w->node->events, w->pod->object, NULL, false, "Warning", "FailedMount", "%s", e.msg);
        }
        return;                                        /* comes again when an object or a token arrives */
    }
    if (have_slot(w))
        start_network(w);
}

static void unwire(void *ctx)
{
    struct wiring *j = ctx;

    rs_link_down(j->netns, j->veth);
}

static void unwired(void *ctx) { wiring_free(ctx); }

void rs_worker_teardown(rs_worker *w)
{
    if (w->host_network)
        return;
    struct wiring *j = rs_new(struct wiring);
    *j = (struct wiring){ .netns = rs_strdup(w->netns), .veth = rs_strdup(w->veth) };
    rs_loop_work(w->node->loop, unwire, unwired, j);
}
