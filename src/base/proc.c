#include "base/proc.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

enum { OUTPUT_MAX = 1024 * 1024 };

static int dup_onto(int fd, int onto)
{
    if (fd == onto)
        return fcntl(fd, F_SETFD, 0);
    return dup2(fd, onto) < 0 ? -1 : 0;
}

static void keep_open(const int *fds)
{
    for (; fds && *fds >= 0; fds++)
        fcntl(*fds, F_SETFD, 0);
}

static void child(const struct rs_proc_spec *s, const char *path, int null_fd, int report)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int i = 1; i < 32; i++)
        if (i != SIGKILL && i != SIGSTOP)
            signal(i, SIG_DFL);
    if (s->die_with_parent)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    bool ok = !s->new_session || setsid() >= 0;
    ok = ok && dup_onto(s->fd_in < 0 ? null_fd : s->fd_in, 0) == 0;
    ok = ok && dup_onto(s->fd_out < 0 ? null_fd : s->fd_out, 1) == 0;
    ok = ok && dup_onto(s->fd_err < 0 ? null_fd : s->fd_err, 2) == 0;
    ok = ok && (!s->cwd || chdir(s->cwd) == 0);
    if (ok) {
        keep_open(s->keep_fds);
        if (s->in_child)
            s->in_child(s->ctx);
        if (s->env)
            execve(path, (char *const *)s->argv, (char *const *)s->env);
        else
            execv(path, (char *const *)s->argv);
    }
    int saved = errno;
    ssize_t ignored = write(report, &saved, sizeof(saved));
    (void)ignored;
    _exit(127);
}

int rs_proc_start(const struct rs_proc_spec *s, pid_t *ret, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = strchr(s->argv[0], '/') ? rs_strdup(s->argv[0]) : rs_program_find(s->argv[0]);
    if (!path)
        return RS_FAIL(e, RS_NOT_FOUND, "program %s is not installed", s->argv[0]);
    int RS_AUTO_FD null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int report[2];
    if (null_fd < 0 || pipe2(report, O_CLOEXEC) < 0)
        return RS_FAIL_ERRNO(e, "start %s", s->argv[0]);
    pid_t pid = fork();
    if (pid == 0)
        child(s, path, null_fd, report[1]);
    int fork_errno = errno;
    close(report[1]);
    int sys = 0;
    ssize_t got = pid < 0 ? 0 : read(report[0], &sys, sizeof(sys));
    close(report[0]);
    if (pid < 0) {
        errno = fork_errno;
        return RS_FAIL_ERRNO(e, "start %s", s->argv[0]);
    }
    if (got == (ssize_t)sizeof(sys)) {
        waitpid(pid, NULL, 0);
        errno = sys;
        return RS_FAIL_ERRNO(e, "start %s", s->argv[0]);
    }
    *ret = pid;
    return 0;
}

static void pump(int in, rs_str input, int out, struct rs_buf *out_buf, int err, struct rs_buf *err_buf)
{
    struct pollfd p[3] = { { .fd = out, .events = POLLIN }, { .fd = err, .events = POLLIN }, { .fd = in, .events = POLLOUT } };
    if (input.n == 0) {
        close(in);
        p[2].fd = -1;
    }
    while (p[0].fd >= 0 || p[1].fd >= 0) {
        if (poll(p, 3, -1) < 0)
            continue;
        for (int i = 0; i < 2; i++) {
            char chunk[4096];
            if (p[i].fd < 0 || !p[i].revents)
                continue;
            ssize_t n = read(p[i].fd, chunk, sizeof(chunk));
            if (n > 0) {
                rs_buf_add(i == 0 ? out_buf : err_buf, chunk, (size_t)n);
            } else {
                close(p[i].fd);
                p[i].fd = -1;
            }
        }
        if (p[2].fd >= 0 && p[2].revents) {
            ssize_t n = write(p[2].fd, input.p, input.n);
            if (n > 0) {
                input.p += n;
                input.n -= (size_t)n;
            }
            if (n < 0 || input.n == 0) {
                close(p[2].fd);
                p[2].fd = -1;
            }
        }
    }
    if (p[2].fd >= 0)
        close(p[2].fd);
}

int rs_proc_run(const char *const *argv, rs_str input, char **ret_out, struct rs_err *e)
{
    int in[2], out[2], err[2];
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
        return RS_FAIL_ERRNO(e, "start %s", argv[0]);
    pid_t pid;
    int rc = rs_proc_start(&(struct rs_proc_spec){ .argv = argv, .fd_in = in[0], .fd_out = out[1], .fd_err = err[1] }, &pid, e);
    close(in[0]);
    close(out[1]);
    close(err[1]);
    if (rc < 0) {
        close(in[1]);
        close(out[0]);
        close(err[0]);
        return -1;
    }
    RS_AUTO_BUF out_buf, err_buf;
    rs_buf_init(&out_buf, OUTPUT_MAX);
    rs_buf_init(&err_buf, 4096);
    void (*old)(int) = signal(SIGPIPE, SIG_IGN);
    pump(in[1], input, out[0], &out_buf, err[0], &err_buf);
    signal(SIGPIPE, old);
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        rs_str why = rs_str_trim(err_buf.n ? rs_buf_str(&err_buf) : rs_buf_str(&out_buf));
        return RS_FAIL(e, RS_INTERNAL, "%s %s: %.*s", argv[0], argv[1] ? argv[1] : "", (int)why.n, why.p);
    }
    if (ret_out)
        *ret_out = rs_buf_take(&out_buf);
    return 0;
}

unsigned long long rs_proc_start_time(pid_t pid)
{
    char path[64];
    struct rs_err e;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    RS_AUTO(rs_chars) *stat = NULL;
    if (rs_file_read(path, 8192, &stat, NULL, &e) < 0)
        return 0;
    const char *p = strrchr(stat, ')');
    unsigned long long start = 0;
    if (p)
        sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &start);
    return start;
}
