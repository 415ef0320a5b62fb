#include "cluster/ground.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"
#include "base/time.h"
#include "base/yaml.h"
#include "cluster/contexts.h"
#include "cluster/holder.h"
#include "cluster/needs.h"
#include "cluster/nsproc.h"
#include "io/listen.h"

enum { START_MS = 60 * 1000, END_MS = 30 * 1000, KILL_MS = 30 * 1000, KUBECONFIG_MAX = 1024 * 1024, CLUSTERS_MAX = 256 };

/* cluster.json: {name, phase: starting|running, life, server, context, kubeconfig, created, previous}. Written before the
 * supervisor may run, with all that is needed to remove it and its context again; once more (with the context that was
 * current before) when the cluster shall stay. */
struct cluster { char *dir, *file; json_t *record; };

static void cluster_done(struct cluster *c)
{
    free(c->dir);
    free(c->file);
    json_decref(c->record);
    *c = (struct cluster){ 0 };
}
#define AUTO_CLUSTER __attribute__((cleanup(cluster_done))) struct cluster

static int look(struct cluster *ret, const struct rs_paths *p, const char *name, struct rs_err *e)
{
    struct cluster c = { .dir = rs_printf("%s/%s", p->clusters, name) };
    c.file = rs_printf("%s/cluster.json", c.dir);
    if (rs_state_read(&c.record, c.file, e) < 0) {
        cluster_done(&c);
        return -1;
    }
    *ret = c;
    return 0;
}

static bool life_of(const struct cluster *c, struct rs_life *ret)
{
    return c->record && rs_life_from_json(ret, rs_json_at(c->record, "life"));
}

static bool lives(const struct cluster *c)
{
    struct rs_life life;
    return life_of(c, &life) && rs_life_alive(&life);
}

static bool is_running(const struct cluster *c)
{
    return rs_streq(rs_json_str(c->record, "phase"), "running") && lives(c);
}

/* Names of all state directories, sorted; dead ones too. */
static int names_of(const struct rs_paths *p, struct dirent ***ret, struct rs_err *e)
{
    int n = scandir(p->clusters, ret, NULL, alphasort);
    return n < 0 ? RS_FAIL_ERRNO(e, "read %s", p->clusters) : n;
}

/* Calls fn for every cluster there is a directory of. */
static int each_cluster(const struct rs_paths *p, int (*fn)(void *ctx, const char *name, const struct cluster *c, struct rs_err *e),
                        void *ctx, struct rs_err *e)
{
    struct dirent **names;
    int n = names_of(p, &names, e), rc = n < 0 ? -1 : 0;
    for (int i = 0; i < n; i++) {
        if (rc == 0 && rs_dns_label(names[i]->d_name, false)) {
            AUTO_CLUSTER c = { 0 };
            rc = look(&c, p, names[i]->d_name, e) < 0 ? -1 : fn(ctx, names[i]->d_name, &c, e);
        }
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return rc;
}

/* ---- removing ---- */

/* Files of other ids of the user namespace (a volume's, a pod's) yield only to somebody inside of it. */
static int remove_inside(const struct rs_paths *p, const char *dir, struct rs_err *e)
{
    struct rs_holder h;
    RS_AUTO(rs_chars) *rm = rs_program_find("rm");
    if (!rm)
        return RS_FAIL(e, RS_UNIMPLEMENTED, "rm is not installed");
    if (rs_holder_get(&h, p, NULL, 0, e) < 0)
        return -1;
    struct rs_ns_place place = { .user_ns = h.user_ns, .net_ns = h.net_ns };
    struct rs_ns_proc proc;
    int rc = rs_ns_start(&proc, &place, (const char *const[]){ rm, "-rf", "--one-file-system", "--", dir, NULL }, STDERR_FILENO,
                         NULL, e);
    rs_holder_done(&h);
    if (rc < 0)
        return -1;
    if (rs_ns_release(&proc, e) == 0)
        rs_life_wait(&proc.life, END_MS);
    rs_ns_abandon(&proc);
    return rs_file_exists(dir) ? RS_FAIL(e, RS_INTERNAL, "%s could not be removed", dir) : 0;
}

static int remove_state(const struct rs_paths *p, const struct cluster *c, struct rs_err *e)
{
    if (rs_remove_tree(c->dir, e) == 0)
        return 0;
    return e->code == RS_FORBIDDEN && geteuid() != 0 ? remove_inside(p, c->dir, e) : -1;
}

static int remove_context(const struct cluster *c, struct rs_err *e)
{
    const char *file = rs_json_str(c->record, "kubeconfig"), *context = rs_json_str(c->record, "context");
    const char *server = rs_json_str(c->record, "server");
    if (!file || !context || !server)
        return 0;
    return rs_contexts_drop_from(file, context, server, rs_json_str(c->record, "previous"), e);
}

/* Whatever there is of it: the process (orderly when it runs), the entries, the directory. The record goes last, so that
 * this can be done again after a kill. */
static int clear(const struct rs_paths *p, const struct cluster *c, struct rs_err *e)
{
    struct rs_life life;
    if (life_of(c, &life) && rs_life_end(&life, is_running(c) ? SIGTERM : SIGKILL, END_MS, e) < 0 &&
        rs_life_end(&life, SIGKILL, KILL_MS, e) < 0)
        return -1;
    if (remove_context(c, e) < 0)
        return -1;
    return remove_state(p, c, e);
}

static int delete_locked(const struct rs_paths *p, const char *name, struct rs_err *e)
{
    int RS_AUTO_FD lock = -1;
    AUTO_CLUSTER c = { 0 };
    if (rs_ground_lock(p, &lock, e) < 0 || look(&c, p, name, e) < 0)
        return -1;
    if (!rs_file_exists(c.dir))
        return RS_FAIL(e, RS_NOT_FOUND, "there is no cluster %s; see rootshift cluster list", name);
    return clear(p, &c, e) < 0 ? rs_err_wrap(e, "delete cluster %s", name) : 0;
}

int rs_ground_delete(const char *name, struct rs_err *e)
{
    RS_AUTO_PATHS p = { 0 };
    rs_needs_path();
    if (rs_needs_name(name, e) < 0 || rs_paths_init(&p, e) < 0)
        return -1;
    int rc = delete_locked(&p, name, e);
    rs_holder_settle(&p);
    return rc;
}

/* ---- making ---- */

struct making {
    const struct rs_paths *paths;
    const char *name;
    struct cluster c;
    struct rs_holder holder;
    int listen_fd;
    char *server, *context, *kubeconfig;
    struct rs_ns_proc proc;
};

static void making_done(struct making *m)
{
    cluster_done(&m->c);
    rs_holder_done(&m->holder);
    rs_auto_fd_close(&m->listen_fd);
    rs_ns_abandon(&m->proc);
    free(m->server);
    free(m->context);
    free(m->kubeconfig);
}

struct lives { struct rs_life v[CLUSTERS_MAX]; size_t n; };

static int collect_life(void *ctx, const char *name, const struct cluster *c, struct rs_err *e)
{
    struct lives *l = ctx;
    if (l->n < CLUSTERS_MAX && life_of(c, &l->v[l->n]))
        l->n++;
    return 0;
}

static int open_ground(struct making *m, struct rs_err *e)
{
    struct lives l = { .n = 0 };
    if (each_cluster(m->paths, collect_life, &l, e) < 0 || rs_holder_get(&m->holder, m->paths, l.v, l.n, e) < 0)
        return -1;
    m->listen_fd = rs_listen("127.0.0.1:0", e);
    if (m->listen_fd < 0 || rs_high_fd(&m->listen_fd, e) < 0)
        return -1;
    m->server = rs_printf("https://127.0.0.1:%d", rs_listen_port(m->listen_fd));
    return 0;
}

static int save(struct making *m, const char *phase, struct rs_err *e)
{
    rs_json_set_str(m->c.record, "phase", phase);
    return rs_state_write(m->c.file, m->c.record, e);
}

/* Starts pid 1 as far as its first breath, writes down who it is, lets it go, and hears that the API answers. */
static int start_supervisor(struct making *m, struct rs_err *e)
{
    RS_AUTO(rs_chars) *program = rs_program_find("rootshift-cluster");
    RS_AUTO(rs_chars) *log_dir = rs_printf("%s/log", m->c.dir);
    RS_AUTO(rs_chars) *log_path = rs_printf("%s/supervisor.log", log_dir);
    char fd_text[16], now[RS_TIME_TEXT];
    snprintf(fd_text, sizeof(fd_text), "%d", m->listen_fd);
    if (rs_mkdirs(log_dir, 0700, e) < 0)
        return -1;
    int RS_AUTO_FD log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        return RS_FAIL_ERRNO(e, "open %s", log_path);
    struct rs_ns_place place = { .user_ns = m->holder.user_ns, .net_ns = m->holder.net_ns, .cluster = true };
    const char *const argv[] = { program, "supervise", "--name", m->name, "--state", m->c.dir, "--listen-fd", fd_text, NULL };
    const int keep[] = { m->listen_fd, m->holder.net_ns, m->holder.life, -1 };
    if (rs_ns_start(&m->proc, &place, argv, log_fd, keep, e) < 0)
        return -1;
    m->c.record = rs_json_pack("{s:s, s:o, s:s, s:s, s:s, s:s}", "name", m->name, "life", rs_life_json(&m->proc.life),
                               "server", m->server, "context", m->context, "kubeconfig", m->kubeconfig,
                               "created", rs_time_text(rs_now_ms(), now));
    RS_AUTO(rs_chars) *line = NULL;
    if (save(m, "starting", e) < 0 || rs_ns_release(&m->proc, e) < 0)
        return rs_err_wrap(e, "start the supervisor");
    if (rs_ns_line(&m->proc, START_MS, &line, e) < 0) {
        RS_AUTO(rs_chars) *last = rs_last_line(log_path);      /* the log goes away with the cluster */
        return rs_err_wrap(e, "start the supervisor%s%s", *last ? ": " : "", last);
    }
    return rs_streq(line, "ready") ? 0 : RS_FAIL(e, RS_INTERNAL, "%s", line);
}

static int merge_context(struct making *m, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/kubeconfig", m->c.dir);
    RS_AUTO(rs_chars) *text = NULL;
    RS_AUTO(json_t) *own = NULL;
    size_t n;
    if (rs_file_read(path, KUBECONFIG_MAX, &text, &n, e) < 0)
        return -1;
    int rc = rs_yaml_parse(&own, (rs_str){ text, n }, e);
    rs_free_cleansed(rs_take(text), n);
    struct rs_context context;
    RS_AUTO(rs_chars) *previous = NULL;
    if (rc < 0 || rs_contexts_own(&context, m->context, own, e) < 0)
        return rs_err_wrap(e, "%s", path);
    if (rs_contexts_add_to(m->kubeconfig, &context, &previous, e) < 0) {
        json_object_del(m->c.record, "kubeconfig");    /* nothing was written: nothing is to be taken out again */
        return -1;
    }
    rs_json_set_str(m->c.record, "previous", previous);
    return 0;
}

/* The record's replacement decides: from that instant on the supervisor stays when we end, before it does not. */
static int commit(struct making *m, struct rs_err *e)
{
    if (save(m, "running", e) < 0)
        return -1;
    close(m->proc.control);
    m->proc.control = -1;
    return 0;
}

static int make(struct making *m, struct rs_err *e)
{
    if (mkdir(m->c.dir, 0700) < 0)
        return RS_FAIL_ERRNO(e, "make %s", m->c.dir);
    if (open_ground(m, e) == 0 && start_supervisor(m, e) == 0 && merge_context(m, e) == 0 && commit(m, e) == 0)
        return 0;
    struct rs_err ignored;
    rs_ns_abandon(&m->proc);
    if (clear(m->paths, &m->c, &ignored) < 0)
        rs_err_wrap(e, "(and something is left in %s)", m->c.dir);
    return -1;
}

static int create_unless_running(struct rs_ground_cluster *ret, struct making *m, struct rs_err *e)
{
    if (look(&m->c, m->paths, m->name, e) < 0)
        return -1;
    if (is_running(&m->c))
        return RS_FAIL(e, RS_EXISTS, "cluster %s runs already; rootshift cluster delete %s removes it", m->name, m->name);
    if (rs_file_exists(m->c.dir) && clear(m->paths, &m->c, e) < 0)
        return rs_err_wrap(e, "clean what is left of an earlier cluster %s", m->name);
    json_decref(rs_take(m->c.record));
    if (make(m, e) < 0)
        return rs_err_wrap(e, "cluster %s", m->name);
    *ret = (struct rs_ground_cluster){ rs_strdup(m->name), rs_take(m->context), rs_take(m->server), rs_take(m->kubeconfig),
                                       rs_strdup(m->c.dir) };
    return 0;
}

static int create_locked(struct rs_ground_cluster *ret, struct making *m, struct rs_err *e)
{
    int RS_AUTO_FD lock = -1;
    int rc = rs_ground_lock(m->paths, &lock, e) < 0 ? -1 : create_unless_running(ret, m, e);
    making_done(m);
    return rc;
}

int rs_ground_create(struct rs_ground_cluster *ret, const char *name, const char *kubeconfig, struct rs_err *e)
{
    RS_AUTO_PATHS p = { 0 };
    struct making m = { .paths = &p, .name = name, .holder = { -1, -1, -1 }, .listen_fd = -1, .proc = { .control = -1 } };
    rs_needs_path();
    if (rs_needs_name(name, e) < 0 || rs_needs_programs(e) < 0 || rs_paths_init(&p, e) < 0 || rs_needs_room(p.home, e) < 0 ||
        rs_contexts_path(&m.kubeconfig, kubeconfig, e) < 0)
        return -1;
    m.context = rs_printf("rootshift-%s", name);
    int rc = create_locked(ret, &m, e);
    if (rc < 0)
        rs_holder_settle(&p);
    return rc;
}

void rs_ground_cluster_done(struct rs_ground_cluster *c)
{
    free(c->name);
    free(c->context);
    free(c->server);
    free(c->kubeconfig);
    free(c->state);
    *c = (struct rs_ground_cluster){ 0 };
}

/* ---- looking ---- */

static int add_row(void *ctx, const char *name, const struct cluster *c, struct rs_err *e)
{
    static const char *const copied[] = { "server", "context", "kubeconfig", "created" };
    struct rs_life life = { 0 };
    bool alive = life_of(c, &life) && rs_life_alive(&life);
    json_t *row = rs_json_pack("{s:s, s:s}", "name", name, "status",
                               !alive ? "dead" : is_running(c) ? "running" : "starting");
    for (size_t i = 0; i < RS_COUNT(copied); i++)
        rs_json_set_str(row, copied[i], rs_json_str(c->record, copied[i]));
    if (alive)
        json_object_set_new(row, "pid", json_integer(life.pid));
    json_array_append_new(ctx, row);
    return 0;
}

int rs_ground_list(json_t **ret, struct rs_err *e)
{
    RS_AUTO_PATHS p = { 0 };
    RS_AUTO(json_t) *rows = json_array();
    if (rs_paths_init(&p, e) < 0 || each_cluster(&p, add_row, rows, e) < 0)
        return -1;
    *ret = rs_take(rows);
    return 0;
}

int rs_ground_kubeconfig(const char *name, char **ret, struct rs_err *e)
{
    RS_AUTO_PATHS p = { 0 };
    AUTO_CLUSTER c = { 0 };
    if (rs_needs_name(name, e) < 0 || rs_paths_init(&p, e) < 0 || look(&c, &p, name, e) < 0)
        return -1;
    if (!is_running(&c))
        return RS_FAIL(e, RS_NOT_FOUND, rs_file_exists(c.dir) ? "cluster %s does not run; rootshift cluster create makes it anew"
                       : "there is no cluster %s; see rootshift cluster list", name);
    RS_AUTO(rs_chars) *path = rs_printf("%s/kubeconfig", c.dir);
    return rs_file_read(path, KUBECONFIG_MAX, ret, NULL, e);
}
