#include "node/exec.h"
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/file.h"
#include "base/proc.h"
#include "base/random.h"

enum { QUEUE_MAX = 8 * 1024 * 1024 };

struct end { rs_exec *x; int fd, stream; rs_fd_watch *watch; };

struct rs_exec {
    rs_loop *loop;
    struct rs_exec_ops ops;
    void *ctx;
    pid_t pid;                         /* runc; 0 once reaped */
    char *pid_file;
    int status;
    bool tty, paused, freed, close_in;
    unsigned busy;                     /* callbacks under way */
    struct end out[2];
    int in;
    rs_fd_watch *in_watch;
    struct rs_buf queue;
};

static void free_now(rs_exec *x)
{
    free(x->pid_file);
    rs_buf_done(&x->queue);
    free(x);
}

static void close_end(struct end *o)
{
    rs_fd_watch_free(o->watch);
    o->watch = NULL;
    if (o->fd >= 0)
        close(o->fd);
    o->fd = -1;
}

static void close_in(rs_exec *x)
{
    rs_fd_watch_free(x->in_watch);
    x->in_watch = NULL;
    if (x->in >= 0)
        close(x->in);
    x->in = -1;
}

static void maybe_done(rs_exec *x)
{
    if (x->freed || x->pid != 0 || x->out[0].fd >= 0 || x->out[1].fd >= 0)
        return;
    close_in(x);
    int code = WIFSIGNALED(x->status) ? 128 + WTERMSIG(x->status) : WEXITSTATUS(x->status);
    x->ops.on_exit(x->ctx, code);      /* may free x */
}

static void on_readable(void *ctx, bool readable, bool writable)
{
    struct end *o = ctx;
    rs_exec *x = o->x;
    char bytes[32 * 1024];
    ssize_t n = read(o->fd, bytes, sizeof(bytes));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {                      /* a terminal whose other side is closed says EIO */
        close_end(o);
        maybe_done(x);
        return;
    }
    x->ops.on_output(x->ctx, o->stream, (rs_str){ bytes, (size_t)n });
}

static void on_reaped(void *ctx, pid_t pid, int status)
{
    rs_exec *x = ctx;

    x->pid = 0;
    x->status = status;
    unlink(x->pid_file);
    if (x->freed) {
        free_now(x);
        return;
    }
    maybe_done(x);
}

static void flush_in(rs_exec *x);
static void on_writable(void *ctx, bool readable, bool writable)
{
    rs_exec *x = ctx;

    flush_in(x);
    if (x->queue.n == 0 && x->ops.on_drained)
        x->ops.on_drained(x->ctx);
}

static void flush_in(rs_exec *x)
{
    while (x->in >= 0 && x->queue.n > 0) {
        ssize_t n = write(x->in, x->queue.p, x->queue.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            if (!x->in_watch)
                x->in_watch = rs_fd_watch_new(x->loop, x->in, false, true, on_writable, x);
            return;
        }
        if (n < 0) {                   /* the command does not read any more */
            close_in(x);
            rs_buf_clear(&x->queue);
            return;
        }
        rs_buf_drop(&x->queue, (size_t)n);
    }
    rs_fd_watch_free(x->in_watch);
    x->in_watch = NULL;
    if (x->close_in)
        close_in(x);
}

static int spawn(rs_exec *x, const struct rs_exec_spec *s, const int fds[3], struct rs_err *e)
{
    size_t n = json_array_size(s->command), k = 0;
    const char **argv = rs_new_array(const char *, n + 12);

    argv[k++] = "runc";
    argv[k++] = "--root";
    argv[k++] = s->runc_root;
    argv[k++] = "exec";
    argv[k++] = "--pid-file";
    argv[k++] = x->pid_file;
    if (s->tty)
        argv[k++] = "-t";
    argv[k++] = s->id;
    for (size_t i = 0; i < n; i++)
        argv[k++] = json_string_value(json_array_get(s->command, i)) ? json_string_value(json_array_get(s->command, i)) : "";
    struct rs_proc_spec spec = { .argv = argv, .fd_in = fds[0], .fd_out = fds[1], .fd_err = fds[2], .new_session = true };
    int r = rs_proc_start(&spec, &x->pid, e);
    free(argv);
    return r;
}

static void open_pipes(rs_exec *x, const struct rs_exec_spec *s, int fds[3])
{
    int in[2] = { -1, -1 }, out[2], err[2];

    if (s->stdin_wanted)
        rs_assert(pipe2(in, O_CLOEXEC) == 0);
    rs_assert(pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0);
    fds[0] = in[0];
    fds[1] = out[1];
    fds[2] = err[1];
    x->in = in[1];
    x->out[0].fd = out[0];
    x->out[1].fd = err[0];
}

static int open_terminal(rs_exec *x, int fds[3], struct rs_err *e)
{
    int master, slave;

    if (openpty(&master, &slave, NULL, NULL, NULL) < 0)
        return RS_FAIL_ERRNO(e, "open a terminal");
    fcntl(master, F_SETFD, FD_CLOEXEC);
    fcntl(slave, F_SETFD, FD_CLOEXEC);
    fds[0] = fds[1] = fds[2] = slave;
    x->out[0].fd = master;
    x->in = fcntl(master, F_DUPFD_CLOEXEC, 3);
    return 0;
}

int rs_exec_start(rs_exec **ret, rs_loop *loop, const struct rs_exec_spec *s, const struct rs_exec_ops *ops, void *ctx, struct rs_err *e)
{
    rs_exec *x = rs_new(rs_exec);
    char name[9];
    int fds[3];

    *x = (rs_exec){ .loop = loop, .ops = *ops, .ctx = ctx, .in = -1, .tty = s->tty };
    for (int i = 0; i < 2; i++)
        x->out[i] = (struct end){ x, -1, i + 1, NULL };
    rs_buf_init(&x->queue, QUEUE_MAX);
    x->pid_file = rs_printf("%s/exec-%s", s->runc_root, rs_random_name(name, 8));
    if (s->tty && open_terminal(x, fds, e) < 0) {
        free_now(x);
        return -1;
    }
    if (!s->tty)
        open_pipes(x, s, fds);
    int r = spawn(x, s, fds, e);
    for (int i = 0; i < (s->tty ? 1 : 3); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (r < 0) {
        close_end(&x->out[0]);
        close_end(&x->out[1]);
        close_in(x);
        free_now(x);
        return -1;
    }
    if (x->in >= 0)
        fcntl(x->in, F_SETFL, O_NONBLOCK);
    rs_loop_on_child(loop, x->pid, on_reaped, x);
    for (int i = 0; i < 2; i++)
        if (x->out[i].fd >= 0) {
            fcntl(x->out[i].fd, F_SETFL, O_NONBLOCK);
            x->out[i].watch = rs_fd_watch_new(loop, x->out[i].fd, true, false, on_readable, &x->out[i]);
        }
    *ret = x;
    return 0;
}

void rs_exec_write(rs_exec *x, rs_str bytes)
{
    if (x->in < 0 || x->close_in)
        return;
    rs_buf_add(&x->queue, bytes.p, bytes.n);
    flush_in(x);
}

size_t rs_exec_pending(const rs_exec *x) { return x->queue.n; }

void rs_exec_close_stdin(rs_exec *x)
{
    x->close_in = !x->tty;             /* on a terminal the client sends ^D itself */
    if (x->close_in)
        flush_in(x);
}

void rs_exec_resize(rs_exec *x, int columns, int rows)
{
    struct winsize w = { .ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows };

    if (x->tty && x->out[0].fd >= 0 && ioctl(x->out[0].fd, TIOCSWINSZ, &w) == 0 && x->pid > 0)
        kill(x->pid, SIGWINCH);
}

void rs_exec_pause(rs_exec *x, bool paused)
{
    if (x->paused == paused)
        return;
    x->paused = paused;
    for (int i = 0; i < 2; i++) {
        if (x->out[i].fd < 0)
            continue;
        rs_fd_watch_free(x->out[i].watch);
        x->out[i].watch = paused ? NULL : rs_fd_watch_new(x->loop, x->out[i].fd, true, false, on_readable, &x->out[i]);
    }
}

void rs_exec_free(rs_exec *x)
{
    RS_AUTO(rs_chars) *text = NULL;
    struct rs_err e;
    uint64_t pid;

    if (!x)
        return;
    close_end(&x->out[0]);
    close_end(&x->out[1]);
    close_in(x);
    if (x->pid == 0) {
        free_now(x);
        return;
    }
    /* runc waits for the process in the container: kill that one, then runc ends by itself. */
    if (rs_file_read(x->pid_file, 64, &text, NULL, &e) == 0 && rs_str_u64(rs_str_trim(rs_str_of(text)), &pid) && pid > 1)
        kill((pid_t)pid, SIGKILL);
    else
        kill(x->pid, SIGKILL);
    x->freed = true;
}
