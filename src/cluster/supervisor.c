#include "cluster/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <linux/close_range.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/time.h"
#include "cluster/ground_int.h"
#include "cluster/landscape.h"
#include "cluster/nsproc.h"
#include "cluster/part.h"
#include "io/listen.h"

/* In the order in which they are ended: the node while the API still answers, the API last. */
enum { NODE, CONTROLLERS, APISERVER, DNS, PARTS };

struct supervisor {
    const char *name, *state;
    rs_loop *loop;
    struct rs_part_env env;
    char *program_dir, *log_dir, *record;
    int api_fds[3];                /* host's loopback, inside, -1 */
    rs_part *part[PARTS];
    rs_fd_watch *control;          /* the command that makes us; NULL once it has committed (or is gone) */
    bool told, stopping;
    int ending;                    /* the part whose end is awaited while stopping */
    rs_timer *grace;
};

/* ---- the record of the parts ---- */

static const char *state_name(enum rs_part_state s)
{
    static const char *const names[] = { "off", "starting", "ready", "waiting" };
    return names[s];
}

static void record_parts(const struct supervisor *s)
{
    char now[RS_TIME_TEXT];
    RS_AUTO(json_t) *all = json_object();
    for (int i = 0; i < PARTS; i++) {
        const rs_part *p = s->part[i];
        json_object_set_new(all, rs_part_name(p), rs_json_pack("{s:s, s:i, s:i, s:s}", "state", state_name(rs_part_state(p)),
                            "pid", (int)rs_part_host_pid(p), "starts", (int)rs_part_starts(p), "lastEnd", rs_part_end(p)));
    }
    RS_AUTO(json_t) *o = rs_json_pack("{s:s, s:O}", "at", rs_time_text_ms(rs_now_ms(), now), "parts", all);
    struct rs_err e;
    if (rs_state_write(s->record, o, &e) < 0)
        rs_log_warning("%s", e.msg);           /* a full disk must not end the cluster */
}

/* ---- ending ---- */

static void end_next(struct supervisor *s, int signo)
{
    for (; s->ending < PARTS; s->ending++) {
        rs_part *p = s->part[s->ending];
        rs_part_stop(p, signo);
        if (rs_part_alive(p)) {
            rs_timer_set(s->grace, RS_SUPERVISOR_GRACE_MS);
            return;
        }
        signo = SIGTERM;
    }
    rs_loop_stop(s->loop);
}

static void on_grace(void *ctx)
{
    struct supervisor *s = ctx;
    rs_log_warning("%s does not end; killing it", rs_part_name(s->part[s->ending]));
    end_next(s, SIGKILL);
}

static void begin_to_end(struct supervisor *s, const char *why)
{
    if (s->stopping)
        return;
    s->stopping = true;
    rs_log_info("ending the cluster: %s", why);
    for (int i = 0; i < PARTS; i++)            /* none of those that wait starts again */
        if (!rs_part_alive(s->part[i]))
            rs_part_stop(s->part[i], SIGTERM);
    end_next(s, SIGTERM);
}

static void on_signal(void *ctx, int signo)
{
    begin_to_end(ctx, signo == SIGTERM ? "asked to (SIGTERM)" : "interrupted");
}

/* ---- the command that makes us ---- */

static void say(struct supervisor *s, const char *line)
{
    RS_AUTO(rs_chars) *text = rs_printf("%s\n", line);
    if (s->control && send(RS_NS_CONTROL_FD, text, strlen(text), MSG_NOSIGNAL) < 0)
        rs_log_warning("the command that makes this cluster does not listen");
}

static void drop_control(struct supervisor *s)
{
    rs_fd_watch_free(s->control);
    s->control = NULL;
    close(RS_NS_CONTROL_FD);
}

/* True once the record says that the cluster is made: its replacement is the one instant that decides (ground.c). */
static bool is_committed(const struct supervisor *s)
{
    struct rs_err ignored;
    RS_AUTO(rs_chars) *path = rs_printf("%s/cluster.json", s->state);
    RS_AUTO(json_t) *record = NULL;
    return rs_state_read(&record, path, &ignored) == 0 && rs_streq(rs_json_str(record, "phase"), "running");
}

/* The command has ended. Had it not come to its end, the cluster goes away with it: a killed command leaves nothing. */
static void on_control(void *ctx, bool readable, bool writable)
{
    struct supervisor *s = ctx;
    char c;
    ssize_t n = read(RS_NS_CONTROL_FD, &c, 1);
    if (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)))
        return;
    drop_control(s);
    if (is_committed(s))
        rs_log_info("cluster %s runs", s->name);
    else
        begin_to_end(s, "the command that makes it is gone");
}

/* ---- parts ---- */

/* The log goes away with the cluster: what it ends with is told at once. */
static void give_up(struct supervisor *s)
{
    RS_AUTO(rs_chars) *log = rs_printf("%s/apiserver.log", s->log_dir);
    RS_AUTO(rs_chars) *last = rs_last_line(log);
    RS_AUTO(rs_chars) *why = rs_printf("the API server does not start (%s)%s%s", rs_part_end(s->part[APISERVER]), *last ? ": " : "", last);
    s->told = true;
    say(s, why);
    begin_to_end(s, why);
}

static void on_part_change(void *ctx)
{
    struct supervisor *s = ctx;
    if (!s->part[PARTS - 1])
        return;                                /* still being put together */
    rs_part *api = s->part[APISERVER];
    if (!s->stopping && rs_part_was_ready(api)) {
        if (!s->told) {
            s->told = true;
            say(s, "ready");
        }
        rs_part_start(s->part[CONTROLLERS]);
        rs_part_start(s->part[NODE]);
    } else if (!s->stopping && !s->told && rs_part_state(api) == RS_PART_WAITING) {
        give_up(s);
    }
    record_parts(s);
}

/* Everything that ends in this pid namespace without a parent comes to us as well. */
static void on_child(void *ctx, int signo)
{
    struct supervisor *s = ctx;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0; )
        for (int i = 0; i < PARTS; i++)
            if (rs_part_reaped(s->part[i], pid, status))
                break;
    if (s->stopping && s->ending < PARTS && !rs_part_alive(s->part[s->ending]))
        end_next(s, SIGTERM);
}

static void make_parts(struct supervisor *s)
{
    RS_AUTO(rs_chars) *cluster = rs_printf("%s/rootshift-cluster", s->program_dir);
    RS_AUTO(rs_chars) *node = rs_printf("%s/rootshift-node", s->program_dir);
    RS_AUTO(rs_chars) *config = rs_printf("%s/kubeconfig.inside", s->state);
    RS_AUTO(rs_chars) *node_state = rs_printf("%s/node", s->state);
    RS_AUTO(rs_chars) *dns_dir = rs_printf("%s/dns", s->state);
    RS_AUTO(rs_chars) *hosts = rs_printf("--hostsdir=%s", dns_dir);
    char listen_fd[16], inside_fd[16];
    snprintf(listen_fd, sizeof(listen_fd), "%d", s->api_fds[0]);
    snprintf(inside_fd, sizeof(inside_fd), "%d", s->api_fds[1]);
    s->part[APISERVER] = rs_part_new(&s->env, "apiserver", (const char *const[]){ cluster, "apiserver", "--state", s->state,
                                     "--listen-fd", listen_fd, "--inside-fd", inside_fd, NULL }, s->api_fds, true);
    s->part[CONTROLLERS] = rs_part_new(&s->env, "controllers", (const char *const[]){ cluster, "controllers", "--kubeconfig",
                                       config, NULL }, NULL, true);
    s->part[NODE] = rs_part_new(&s->env, "node", (const char *const[]){ node, "--kubeconfig", config, "--state", node_state,
                                "--dns-dir", dns_dir, NULL }, NULL, true);
    s->part[DNS] = rs_part_new(&s->env, "dnsmasq", (const char *const[]){ "dnsmasq", "--keep-in-foreground",
                               "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=", "--group=", "--bind-interfaces",
                               "--listen-address=" RS_CLUSTER_DNS, "--local=/cluster.local/", hosts, "--pid-file=",
                               "--log-facility=-", NULL }, NULL, false);
}

/* ---- start ---- */

/* Nothing of the caller's environment reaches the parts (a proxy or a KUBECONFIG of theirs would mislead us), but what
 * controls logging and sanitizers. */
static void clean_environment(const struct supervisor *s)
{
    static const char *const kept[] = { "ROOTSHIFT_LOG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TZ" };
    char *values[RS_COUNT(kept)];
    for (size_t i = 0; i < RS_COUNT(kept); i++)
        values[i] = rs_strdup(getenv(kept[i]));
    RS_AUTO(rs_chars) *path = rs_printf("%s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", s->program_dir);
    clearenv();
    setenv("PATH", path, 1);
    setenv("HOME", "/nonexistent", 1);
    setenv("LANG", "C.UTF-8", 1);
    for (size_t i = 0; i < RS_COUNT(kept); i++) {
        if (values[i])
            setenv(kept[i], values[i], 1);
        free(values[i]);
    }
}

static int prepare(struct supervisor *s, struct rs_err *e)
{
    if (getpid() != 1)
        return RS_FAIL(e, RS_INVALID, "this runs as pid 1 of a cluster; use `rootshift cluster create`");
    s->env.host_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    static const char *const dirs[] = { "log", "dns", "node" };
    for (size_t i = 0; i < RS_COUNT(dirs); i++) {
        RS_AUTO(rs_chars) *dir = rs_printf("%s/%s", s->state, dirs[i]);
        if (rs_mkdirs(dir, 0700, e) < 0)
            return -1;
    }
    if (rs_landscape_mounts(s->name, s->state, e) < 0 || rs_landscape_network(e) < 0)
        return -1;
    s->api_fds[1] = rs_listen(RS_CLUSTER_API ":443", e);
    return s->api_fds[1] < 0 ? -1 : 0;
}

static void run(struct supervisor *s)
{
    make_parts(s);
    s->grace = rs_timer_new(s->loop, on_grace, s);
    s->control = rs_fd_watch_new(s->loop, RS_NS_CONTROL_FD, true, false, on_control, s);
    rs_loop_on_signal(s->loop, SIGTERM, on_signal, s);
    rs_loop_on_signal(s->loop, SIGINT, on_signal, s);
    rs_loop_on_signal(s->loop, SIGCHLD, on_child, s);
    rs_part_start(s->part[APISERVER]);
    rs_part_start(s->part[DNS]);
    rs_loop_run(s->loop);
    for (int i = 0; i < PARTS; i++)
        rs_part_free(s->part[i]);
    rs_timer_free(s->grace);
    if (s->control)
        drop_control(s);
    rs_log_info("the cluster ends; what is left in it goes along");
}

int rs_supervisor_main(const struct rs_supervisor_args *args)
{
    struct rs_err e;
    struct supervisor s = { .name = args->name, .state = args->state, .api_fds = { (int)args->listen_fd, -1, -1 } };
    s.program_dir = rs_program_dir();
    s.log_dir = rs_printf("%s/log", args->state);
    s.record = rs_printf("%s/parts.json", args->state);
    clean_environment(&s);
    umask(022);
    close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);      /* a part gets what is meant for it and nothing else */
    int rc = prepare(&s, &e);
    if (rc < 0) {
        RS_AUTO(rs_chars) *line = rs_printf("%s\n", e.msg);
        ssize_t ignored = send(RS_NS_CONTROL_FD, line, strlen(line), MSG_NOSIGNAL);
        (void)ignored;
        rs_log_error("%s", e.msg);
    } else {
        s.loop = rs_loop_new();
        s.env = (struct rs_part_env){ s.loop, s.log_dir, s.env.host_proc, on_part_change, &s };
        run(&s);
        rs_loop_free(s.loop);
    }
    free(s.program_dir);
    free(s.log_dir);
    free(s.record);
    return rc < 0 ? rs_code_exit(e.code) : 0;
}
