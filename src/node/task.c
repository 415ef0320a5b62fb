#include "node/task.h"
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/time.h"
#include "node/shim.h"

struct rs_task {
    rs_loop *loop;
    struct rs_task_ops ops;
    void *ctx;
    char *dir, *id, *socket, *runc_root;
    int fd;
    rs_fd_watch *watch;
    rs_timer *soon;                    /* the record of an adopted task is read in the next round */
    struct rs_buf in;
    bool over;
};

static void ignore_child(void *ctx, pid_t pid, int status) { }

/* The shim is gone without a record: whatever may be left of the container goes too. */
static void clear_away(rs_task *t)
{
    const char *const argv[] = { "runc", "--root", t->runc_root, "delete", "--force", t->id, NULL };
    struct rs_proc_spec spec = { .argv = argv, .fd_in = -1, .fd_out = -1, .fd_err = -1 };
    struct rs_err e;
    pid_t pid;

    unlink(t->socket);
    if (rs_proc_start(&spec, &pid, &e) == 0)
        rs_loop_on_child(t->loop, pid, ignore_child, NULL);
    else
        rs_log_warning("clear away container %s: %s", t->id, e.msg);
}

static void close_socket(rs_task *t)
{
    rs_fd_watch_free(t->watch);
    t->watch = NULL;
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}

/* May free t through a callback: returns false then or when it was the last line. */
static bool line(rs_task *t, const char *text)
{
    long long started, finished;
    int pid, code;

    if (sscanf(text, "running %d %lld", &pid, &started) == 2) {
        t->ops.on_running(t->ctx, started);
        return true;
    }
    if (sscanf(text, "exited %d %lld %lld", &code, &started, &finished) == 3) {
        t->over = true;
        close_socket(t);
        t->ops.on_exited(t->ctx, code, started, finished, false);
        return false;
    }
    if (rs_starts(text, "failed ")) {
        t->over = true;
        close_socket(t);
        t->ops.on_failed(t->ctx, text + strlen("failed "));
        return false;
    }
    return true;
}

/* The socket ended: the record says how, or nobody knows. */
static void from_record(rs_task *t)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/" RS_SHIM_ENDED, t->dir), *text = NULL;
    struct rs_err e;

    close_socket(t);
    if (t->over)
        return;
    if (rs_file_read(path, RS_SHIM_LINE, &text, NULL, &e) == 0) {
        text[strcspn(text, "\n")] = '\0';
        if (!line(t, text))
            return;
    }
    t->over = true;
    clear_away(t);
    int64_t now = rs_now_ms();
    t->ops.on_exited(t->ctx, 137, now, now, true);
}

static void on_readable(void *ctx, bool readable, bool writable)
{
    rs_task *t = ctx;
    char bytes[RS_SHIM_LINE];
    ssize_t n = recv(t->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        from_record(t);
        return;
    }
    rs_buf_add(&t->in, bytes, (size_t)n);
    for (;;) {
        char *end = t->in.n ? memchr(t->in.p, '\n', t->in.n) : NULL;
        if (!end)
            return;
        RS_AUTO(rs_chars) *text = rs_strndup(t->in.p, (size_t)(end - t->in.p));
        rs_buf_drop(&t->in, (size_t)(end - t->in.p) + 1);
        if (!line(t, text))
            return;
    }
}

static rs_task *task_new(rs_loop *loop, const struct rs_task_place *at, const struct rs_task_ops *ops, void *ctx)
{
    rs_task *t = rs_new(rs_task);

    *t = (rs_task){ .loop = loop, .ops = *ops, .ctx = ctx, .dir = rs_strdup(at->dir), .id = rs_strdup(at->id), .socket = rs_strdup(at->socket), .runc_root = rs_strdup(at->runc_root), .fd = -1 };
    rs_buf_init(&t->in, 16 * RS_SHIM_LINE);
    return t;
}

static void listen_to(rs_task *t, int fd)
{
    t->fd = fd;
    t->watch = rs_fd_watch_new(t->loop, fd, true, false, on_readable, t);
}

int rs_task_start(rs_task **ret, rs_loop *loop, const struct rs_task_place *at, const struct rs_task_ops *ops, void *ctx, struct rs_err *e)
{
    RS_AUTO(rs_chars) *shim = rs_program_find("rootshift-shim");
    const char *const argv[] = { shim, at->dir, at->id, at->socket, at->log, at->runc_root, NULL };
    int pair[2];
    pid_t pid;

    if (!shim)
        return RS_FAIL(e, RS_NOT_FOUND, "no program rootshift-shim beside this one");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return RS_FAIL_ERRNO(e, "socketpair");
    struct rs_proc_spec spec = { .argv = argv, .fd_in = pair[1], .fd_out = -1, .fd_err = STDERR_FILENO, .new_session = true };
    int r = rs_proc_start(&spec, &pid, e);
    close(pair[1]);
    if (r < 0) {
        close(pair[0]);
        return -1;
    }
    rs_loop_on_child(loop, pid, ignore_child, NULL);
    *ret = task_new(loop, at, ops, ctx);
    listen_to(*ret, pair[0]);
    return 0;
}

static void look_up(void *ctx) { from_record(ctx); }

rs_task *rs_task_adopt(rs_loop *loop, const struct rs_task_place *at, const struct rs_task_ops *ops, void *ctx)
{
    rs_task *t = task_new(loop, at, ops, ctx);
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(at->socket) < sizeof(to.sun_path))
        memcpy(to.sun_path, at->socket, strlen(at->socket) + 1);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
        listen_to(t, fd);
        return t;
    }
    if (fd >= 0)
        close(fd);
    t->soon = rs_timer_new(loop, look_up, t);
    rs_timer_set(t->soon, 0);
    return t;
}

void rs_task_kill(rs_task *t, int signo)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "kill %d\n", signo);

    if (t && t->fd >= 0 && send(t->fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        rs_log_debug("container %s: its shim does not listen", t->id);      /* its end is noticed by the socket */
}

void rs_task_free(rs_task *t)
{
    if (!t)
        return;
    close_socket(t);
    rs_timer_free(t->soon);
    rs_buf_done(&t->in);
    free(t->dir);
    free(t->id);
    free(t->socket);
    free(t->runc_root);
    free(t);
}
