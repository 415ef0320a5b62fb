#include "cluster/part.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/str.h"
#include "base/time.h"

enum { LOG_KEEP_BYTES = 16 * 1024 * 1024, FDS_MAX = 8 };

struct rs_part {
    const struct rs_part_env *env;
    char *name;
    const char *argv[RS_PART_ARGS + 3];        /* room for --ready-fd N */
    size_t argc;
    const int *keep_fds;
    bool tells_ready, wanted, was_ready;
    enum rs_part_state state;
    pid_t pid, host_pid;
    unsigned starts;
    char end[64];
    struct rs_backoff backoff;
    rs_timer *again;
    int ready_fd;
    rs_fd_watch *ready_watch;
};

static void start_process(rs_part *p);

static void on_again(void *ctx)
{
    start_process(ctx);
}

rs_part *rs_part_new(const struct rs_part_env *env, const char *name, const char *const *argv, const int *keep_fds,
                     bool tells_ready)
{
    rs_part *p = rs_new(rs_part);
    p->env = env;
    p->name = rs_strdup(name);
    while (argv[p->argc]) {
        rs_assert(p->argc < RS_PART_ARGS);
        p->argv[p->argc] = rs_strdup(argv[p->argc]);
        p->argc++;
    }
    p->keep_fds = keep_fds;
    p->tells_ready = tells_ready;
    p->ready_fd = -1;
    p->again = rs_timer_new(env->loop, on_again, p);
    return p;
}

static void drop_ready(rs_part *p)
{
    rs_fd_watch_free(p->ready_watch);
    p->ready_watch = NULL;
    rs_auto_fd_close(&p->ready_fd);
    p->ready_fd = -1;
}

void rs_part_free(rs_part *p)
{
    if (!p)
        return;
    if (p->ready_watch)
        drop_ready(p);
    rs_timer_free(p->again);
    for (size_t i = 0; i < p->argc; i++)
        free((char *)p->argv[i]);
    free(p->name);
    free(p);
}

static void become(rs_part *p, enum rs_part_state state)
{
    p->state = state;
    p->was_ready |= state == RS_PART_READY;
    p->env->on_change(p->env->ctx);
}

/* End of file without the word: the part is about to be reaped, or has closed the pipe; either way nothing is ready. */
static void on_ready(void *ctx, bool readable, bool writable)
{
    rs_part *p = ctx;
    char text[16];
    ssize_t n = read(p->ready_fd, text, sizeof(text));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    drop_ready(p);
    if (n >= 5 && memcmp(text, "ready", 5) == 0)
        become(p, RS_PART_READY);
}

static int open_log(const rs_part *p, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s.log", p->env->log_dir, p->name);
    RS_AUTO(rs_chars) *old = rs_printf("%s.1", path);
    struct stat st;
    if (stat(path, &st) == 0 && st.st_size > LOG_KEEP_BYTES)
        rename(path, old);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return fd < 0 ? RS_FAIL_ERRNO(e, "open %s", path) : fd;
}

/* The number the host knows a child under: a pidfd's "Pid:" is told in the pid namespace of the /proc that is asked. */
static pid_t host_pid(int host_proc, pid_t pid)
{
    int RS_AUTO_FD handle = pidfd_open(pid, 0);
    char path[64], text[512];
    snprintf(path, sizeof(path), "self/fdinfo/%d", handle);
    int RS_AUTO_FD info = handle < 0 || host_proc < 0 ? -1 : openat(host_proc, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = info < 0 ? -1 : read(info, text, sizeof(text) - 1);
    if (n <= 0)
        return 0;
    text[n] = 0;
    const char *at = strstr(text, "\nPid:");
    return at ? (pid_t)strtol(at + 5, NULL, 10) : 0;
}

static int spawn(rs_part *p, struct rs_err *e)
{
    int RS_AUTO_FD log_fd = open_log(p, e);
    if (log_fd < 0)
        return -1;
    int ready[2] = { -1, -1 };
    if (p->tells_ready && pipe2(ready, O_CLOEXEC | O_NONBLOCK) < 0)
        return RS_FAIL_ERRNO(e, "make a pipe");
    int keep[FDS_MAX + 1];
    size_t n = 0;
    for (const int *fd = p->keep_fds; fd && *fd >= 0 && n < FDS_MAX - 1; fd++)
        keep[n++] = *fd;
    char number[16];
    snprintf(number, sizeof(number), "%d", ready[1]);
    p->argv[p->argc] = p->argv[p->argc + 1] = NULL;
    if (p->tells_ready) {
        keep[n++] = ready[1];
        p->argv[p->argc] = "--ready-fd";
        p->argv[p->argc + 1] = number;
    }
    keep[n] = -1;
    int rc = rs_proc_start(&(struct rs_proc_spec){ .argv = p->argv, .cwd = "/", .fd_in = -1, .fd_out = log_fd, .fd_err = log_fd,
                                                   .keep_fds = keep, .new_session = true }, &p->pid, e);
    p->argv[p->argc] = NULL;
    rs_auto_fd_close(&ready[1]);
    if (rc < 0) {
        rs_auto_fd_close(&ready[0]);
        return -1;
    }
    p->ready_fd = ready[0];
    if (p->tells_ready)
        p->ready_watch = rs_fd_watch_new(p->env->loop, ready[0], true, false, on_ready, p);
    p->host_pid = host_pid(p->env->host_proc, p->pid);
    return 0;
}

static void ended(rs_part *p)
{
    if (p->ready_watch)
        drop_ready(p);
    p->pid = p->host_pid = 0;
    if (!p->wanted) {
        rs_log_info("%s ended (%s)", p->name, p->end);
        become(p, RS_PART_OFF);
        return;
    }
    int64_t wait = rs_backoff_ended(&p->backoff, rs_mono_ms());
    rs_log_warning("%s ended (%s); starting it again in %lld ms", p->name, p->end, (long long)wait);
    rs_timer_set(p->again, wait);
    become(p, RS_PART_WAITING);
}

static void start_process(rs_part *p)
{
    struct rs_err e;
    p->starts++;
    rs_backoff_started(&p->backoff, rs_mono_ms());
    if (spawn(p, &e) < 0) {
        snprintf(p->end, sizeof(p->end), "%.*s", (int)sizeof(p->end) - 1, e.msg);
        ended(p);
        return;
    }
    become(p, p->tells_ready ? RS_PART_STARTING : RS_PART_READY);
}

void rs_part_start(rs_part *p)
{
    if (p->wanted)
        return;
    p->wanted = true;
    if (!p->pid)
        start_process(p);
}

void rs_part_stop(rs_part *p, int signo)
{
    p->wanted = false;
    rs_timer_cancel(p->again);
    if (p->pid)
        kill(p->pid, signo);
    else if (p->state != RS_PART_OFF)
        become(p, RS_PART_OFF);
}

bool rs_part_reaped(rs_part *p, pid_t pid, int status)
{
    if (!p->pid || pid != p->pid)
        return false;
    if (WIFSIGNALED(status))
        snprintf(p->end, sizeof(p->end), "signal %d", WTERMSIG(status));
    else
        snprintf(p->end, sizeof(p->end), "exit status %d", WEXITSTATUS(status));
    ended(p);
    return true;
}

const char *rs_part_name(const rs_part *p) { return p->name; }
enum rs_part_state rs_part_state(const rs_part *p) { return p->state; }
bool rs_part_alive(const rs_part *p) { return p->pid != 0; }
bool rs_part_was_ready(const rs_part *p) { return p->was_ready; }
unsigned rs_part_starts(const rs_part *p) { return p->starts; }
pid_t rs_part_host_pid(const rs_part *p) { return p->host_pid; }
const char *rs_part_end(const rs_part *p) { return p->end; }
