#include "cluster/nsproc.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time.h"

enum { STEP_MS = 60 * 1000, LINE_MAX_BYTES = 2048 };

/* What the new process tells while it is still ours: the step that failed, or that it needs its ids, or who pid 1 is. */
enum step { STEP_IDS, STEP_READY, STEP_USER_NS, STEP_JOIN, STEP_IDENTITY, STEP_CLUSTER_NS, STEP_FORK };
struct report { enum step step; int sys; pid_t pid; };

struct start {
    const struct rs_ns_place *place;
    const char *const *argv;
    const int *keep_fds;
    int log_fd, control;           /* control: the process's end */
};

static void tell(int fd, enum step step, int sys, pid_t pid)
{
    struct report r = { step, sys, pid };
    ssize_t ignored = write(fd, &r, sizeof(r));
    (void)ignored;
}

static void fail_child(int fd, enum step step) __attribute__((noreturn));
static void fail_child(int fd, enum step step)
{
    tell(fd, step, errno, 0);
    _exit(1);
}

static bool wait_byte(int fd)
{
    char c;
    ssize_t n;
    while ((n = read(fd, &c, 1)) < 0 && errno == EINTR)
        ;
    return n == 1;
}

/* Waits for the parent's word, then becomes the program. End of file means that the parent is gone. */
static void become(const struct start *s) __attribute__((noreturn));
static void become(const struct start *s)
{
    if (!wait_byte(s->control))
        _exit(1);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(s->log_fd, 1) < 0 || dup2(s->log_fd, 2) < 0)
        _exit(1);
    if (dup2(s->control, RS_NS_CONTROL_FD) < 0 || (s->control == RS_NS_CONTROL_FD && fcntl(s->control, F_SETFD, 0) < 0))
        _exit(1);
    for (const int *fd = s->keep_fds; fd && *fd >= 0; fd++)
        fcntl(*fd, F_SETFD, 0);
    if (chdir("/") == 0)
        execv(s->argv[0], (char *const *)s->argv);
    dprintf(STDERR_FILENO, "cannot execute %s: %s\n", s->argv[0], strerror(errno));      /* its log: nobody else hears it */
    _exit(127);
}

/* Inside: id 0 of the namespace and no group of the caller's besides. */
static bool take_identity(void)
{
    return setresgid(0, 0, 0) == 0 && setgroups(0, NULL) == 0 && setresuid(0, 0, 0) == 0;
}

static void enter_user_ns(const struct start *s)
{
    const struct rs_ns_place *p = s->place;
    if (p->user_ns >= 0) {
        if (setns(p->user_ns, CLONE_NEWUSER) < 0 || setns(p->net_ns, CLONE_NEWNET) < 0)
            fail_child(s->control, STEP_JOIN);
    } else {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
            fail_child(s->control, STEP_USER_NS);
        tell(s->control, STEP_IDS, 0, 0);
        if (!wait_byte(s->control))
            _exit(1);
    }
    if (!take_identity())
        fail_child(s->control, STEP_IDENTITY);
}

static void child(const struct start *s) __attribute__((noreturn));
static void child(const struct start *s)
{
    if (setsid() < 0)
        fail_child(s->control, STEP_FORK);
    enter_user_ns(s);
    if (s->place->cluster) {
        if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
            fail_child(s->control, STEP_CLUSTER_NS);
        pid_t pid = fork();
        if (pid < 0)
            fail_child(s->control, STEP_FORK);
        if (pid > 0) {             /* only the parent of pid 1 sees its number on the host */
            tell(s->control, STEP_READY, 0, pid);
            _exit(0);
        }
        setsid();
        become(s);
    }
    tell(s->control, STEP_READY, 0, getpid());
    become(s);
}

static int explain(const struct report *r, struct rs_err *e)
{
    errno = r->sys;
    switch (r->step) {
    case STEP_USER_NS:
    case STEP_CLUSTER_NS:
        if (r->sys == EPERM || r->sys == ENOSPC || r->sys == EINVAL || r->sys == EUSERS)
            return RS_FAIL(e, RS_FORBIDDEN, "%s namespaces are disabled on this machine (%s); look at the sysctls "
                           "user.max_user_namespaces, user.max_net_namespaces, kernel.unprivileged_userns_clone and "
                           "kernel.apparmor_restrict_unprivileged_userns",
                           r->step == STEP_USER_NS ? "user" : "network, mount or pid", strerror(r->sys));
        return RS_FAIL_ERRNO(e, "make namespaces");
    case STEP_JOIN: return RS_FAIL_ERRNO(e, "enter the namespaces of the running clusters");
    case STEP_IDENTITY: return RS_FAIL_ERRNO(e, "become id 0 of the user namespace");
    default: return RS_FAIL_ERRNO(e, "start a process");
    }
}

static int await(int fd, int ms, struct rs_err *e)
{
    int64_t until = rs_mono_ms() + ms;
    struct pollfd p = { .fd = fd, .events = POLLIN };
    for (;;) {
        int64_t left = until - rs_mono_ms();
        int n = poll(&p, 1, left > 0 ? (int)left : 0);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return RS_FAIL_ERRNO(e, "wait for the new process");
        if (left <= 0)
            return RS_FAIL(e, RS_DEADLINE, "the new process did not answer in time");
    }
}

static int hear(int fd, struct report *ret, struct rs_err *e)
{
    if (await(fd, STEP_MS, e) < 0)
        return -1;
    if (read(fd, ret, sizeof(*ret)) != (ssize_t)sizeof(*ret))
        return RS_FAIL(e, RS_ABORTED, "the new process ended before it could start");
    if (ret->step != STEP_IDS && ret->step != STEP_READY)
        return explain(ret, e);
    return 0;
}

static int write_byte(int fd, struct rs_err *e)
{
    if (send(fd, "g", 1, MSG_NOSIGNAL) != 1)
        return RS_FAIL_ERRNO(e, "speak to the new process");
    return 0;
}

static int see_through(struct rs_ns_proc *p, const struct rs_ns_place *place, pid_t first, struct rs_err *e)
{
    struct report r;
    if (hear(p->control, &r, e) < 0)
        return -1;
    if (r.step == STEP_IDS && (rs_idmap_give(place->ids, first, e) < 0 || write_byte(p->control, e) < 0 ||
                               hear(p->control, &r, e) < 0))
        return -1;
    return rs_life_of(&p->life, r.pid, e);
}

int rs_ns_start(struct rs_ns_proc *ret, const struct rs_ns_place *place, const char *const *argv, int log_fd,
                const int *keep_fds, struct rs_err *e)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return RS_FAIL_ERRNO(e, "make a socket pair");
    pid_t first = fork();
    if (first == 0) {
        close(pair[0]);
        child(&(struct start){ .place = place, .argv = argv, .keep_fds = keep_fds, .log_fd = log_fd, .control = pair[1] });
    }
    int sys = errno;
    close(pair[1]);
    struct rs_ns_proc p = { .control = pair[0] };
    if (first < 0) {
        close(p.control);
        errno = sys;
        return RS_FAIL_ERRNO(e, "fork");
    }
    int rc = see_through(&p, place, first, e);
    if (rc < 0) {
        close(p.control);          /* whoever waits ends */
        kill(first, SIGKILL);
    }
    if (rc < 0 || place->cluster)
        while (waitpid(first, NULL, 0) < 0 && errno == EINTR)
            ;
    if (rc == 0)
        *ret = p;
    return rc;
}

int rs_ns_release(struct rs_ns_proc *p, struct rs_err *e)
{
    return write_byte(p->control, e);
}

int rs_ns_line(struct rs_ns_proc *p, int ms, char **ret, struct rs_err *e)
{
    char line[LINE_MAX_BYTES];
    size_t n = 0;
    int64_t until = rs_mono_ms() + ms;
    while (n < sizeof(line)) {
        int64_t left = until - rs_mono_ms();
        if (await(p->control, left > 0 ? (int)left : 0, e) < 0)
            return -1;
        ssize_t got = read(p->control, line + n, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return RS_FAIL_ERRNO(e, "hear the new process");
        if (got == 0)
            return RS_FAIL(e, RS_ABORTED, "it ended while it was starting");
        if (line[n] == '\n') {
            *ret = rs_strndup(line, n);
            return 0;
        }
        n++;
    }
    return RS_FAIL(e, RS_INTERNAL, "the new process talks too much");
}

void rs_ns_abandon(struct rs_ns_proc *p)
{
    if (p->control < 0)
        return;
    close(p->control);
    p->control = -1;
    struct rs_err ignored;
    if (rs_life_end(&p->life, SIGKILL, 5000, &ignored) < 0)
        return;
}
