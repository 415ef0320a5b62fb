/* Uses libc alone: one of these runs beside every container. */
#include "node/shim.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "node/crilog.h"

enum { CLIENTS = 8, DRAIN_MS = 300 };

struct shim {
    const char *dir, *id, *socket, *runc_root;
    pid_t runc, container;
    int64_t started;
    int out, err, listener, signals, clients[CLIENTS];
    char said[RS_SHIM_LINE];           /* the current line */
    struct { pid_t pid; int status; } early[16];       /* ends seen before the container's pid was known */
    size_t n_early;
    bool over;
    struct rs_crilog log;
};

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void tell(struct shim *s, int fd)
{
    if (fd >= 0 && *s->said && send(fd, s->said, strlen(s->said), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return;                                        /* gone or not listening: it will connect again */
}

static void say(struct shim *s)
{
    for (int i = 0; i < CLIENTS; i++)
        tell(s, s->clients[i]);
}

/* The record is on disk before anyone hears of it. */
static void record(struct shim *s)
{
    char tmp[4096], path[4096];

    snprintf(tmp, sizeof(tmp), "%s/.ended", s->dir);
    snprintf(path, sizeof(path), "%s/" RS_SHIM_ENDED, s->dir);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return;
    bool good = write(fd, s->said, strlen(s->said)) == (ssize_t)strlen(s->said) && fsync(fd) == 0;
    close(fd);
    if (good && rename(tmp, path) < 0)
        unlink(tmp);
}

static void ended(struct shim *s, int status)
{
    int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);

    snprintf(s->said, sizeof(s->said), "exited %d %lld %lld\n", code, (long long)s->started, (long long)now_ms());
    s->over = true;
}

/* The last message runc left in its log (JSON lines: "msg":"..."), shortened and without line ends. */
static void runc_message(struct shim *s, char *ret, size_t n)
{
    char path[4096], text[8192];

    snprintf(ret, n, "runc failed");
    snprintf(path, sizeof(path), "%s/runc.log", s->dir);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    while (fgets(text, sizeof(text), f)) {
        char *msg = strstr(text, "\"msg\":\""), *end;
        if (!msg || !strstr(text, "\"level\":\"error\""))
            continue;
        msg += strlen("\"msg\":\"");
        end = strstr(msg, "\",\"time\"");
        if (end)
            *end = '\0';
        for (char *p = msg; *p; p++)
            if (*p == '\n')
                *p = ' ';
        snprintf(ret, n, "%s", msg);
    }
    fclose(f);
}

static void runc_done(struct shim *s, int status)
{
    char path[4096], text[32] = "";

    s->runc = 0;
    snprintf(path, sizeof(path), "%s/pid", s->dir);
    FILE *f = status == 0 ? fopen(path, "re") : NULL;
    if (f && fgets(text, sizeof(text), f))
        s->container = (pid_t)atol(text);
    if (f)
        fclose(f);
    if (s->container <= 0) {
        char why[800];
        runc_message(s, why, sizeof(why));
        snprintf(s->said, sizeof(s->said), "failed %s\n", why);
        s->over = true;
        return;
    }
    for (size_t i = 0; i < s->n_early; i++)
        if (s->early[i].pid == s->container) {
            ended(s, s->early[i].status);
            return;
        }
    snprintf(s->said, sizeof(s->said), "running %d %lld\n", (int)s->container, (long long)s->started);
    say(s);
}

static void reap(struct shim *s)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;

    while (read(s->signals, &info, sizeof(info)) > 0)
        ;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == s->runc)
            runc_done(s, status);
        else if (s->container > 0 && pid == s->container)
            ended(s, status);
        else if (s->container == 0 && s->n_early < sizeof(s->early) / sizeof(s->early[0])) {
            s->early[s->n_early].pid = pid;
            s->early[s->n_early++].status = status;
        }
    }
}

static pid_t spawn(struct shim *s, char *const argv[], int out, int err)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    dup2(out, 1);
    dup2(err, 2);
    execvp(argv[0], argv);
    _exit(127);
}

static int start(struct shim *s)
{
    char log[4096], pid[4096];
    int out[2], err[2];

    snprintf(log, sizeof(log), "%s/runc.log", s->dir);
    snprintf(pid, sizeof(pid), "%s/pid", s->dir);
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
        return -1;
    char *const argv[] = { "runc", "--root", (char *)s->runc_root, "--rootless=true", "--log", log, "--log-format", "json", "run", "-d",
                           "-b", (char *)s->dir, "--pid-file", pid, (char *)s->id, NULL };
    s->started = now_ms();
    s->runc = spawn(s, argv, out[1], err[1]);
    close(out[1]);
    close(err[1]);
    s->out = out[0];
    s->err = err[0];
    fcntl(s->out, F_SETFL, O_NONBLOCK);
    fcntl(s->err, F_SETFL, O_NONBLOCK);
    return s->runc < 0 ? -1 : 0;
}

static void drain(struct shim *s, int *fd, int stream)
{
    char bytes[64 * 1024];
    ssize_t n;

    while ((n = read(*fd, bytes, sizeof(bytes))) > 0)
        rs_crilog_write(&s->log, stream, bytes, (size_t)n);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        close(*fd);
        *fd = -1;
    }
}

static void command(struct shim *s, int *fd)
{
    char text[256];
    ssize_t n = recv(*fd, text, sizeof(text) - 1, MSG_DONTWAIT);
    int signo;

    if (n <= 0) {
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        close(*fd);
        *fd = -1;
        return;
    }
    text[n] = '\0';
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (sscanf(line, "kill %d", &signo) == 1 && s->container > 0 && !s->over)
            kill(s->container, signo);                 /* not reaped yet, so the pid is the container's */
}

static void accept_client(struct shim *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

    for (int i = 0; i < CLIENTS && fd >= 0; i++)
        if (s->clients[i] < 0) {
            s->clients[i] = fd;
            tell(s, fd);
            return;
        }
    if (fd >= 0)
        close(fd);
}

static void turn(struct shim *s, int timeout_ms)
{
    struct pollfd p[4 + CLIENTS] = { { s->signals, POLLIN, 0 }, { s->out, POLLIN, 0 }, { s->err, POLLIN, 0 }, { s->listener, POLLIN, 0 } };

    for (int i = 0; i < CLIENTS; i++)
        p[4 + i] = (struct pollfd){ s->clients[i], POLLIN, 0 };
    if (poll(p, 4 + CLIENTS, timeout_ms) <= 0)
        return;
    if (p[1].revents)
        drain(s, &s->out, 1);
    if (p[2].revents)
        drain(s, &s->err, 2);
    for (int i = 0; i < CLIENTS; i++)
        if (p[4 + i].revents)
            command(s, &s->clients[i]);
    if (p[3].revents)
        accept_client(s);
    if (p[0].revents)
        reap(s);
}

static int open_all(struct shim *s, const char *log)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1);                  /* the container becomes our child when runc ends */
    s->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (strlen(s->socket) >= sizeof(at.sun_path))
        return -1;
    memcpy(at.sun_path, s->socket, strlen(s->socket));
    unlink(s->socket);
    if (s->signals < 0 || s->listener < 0 || bind(s->listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(s->listener, 8) < 0)
        return -1;
    return rs_crilog_open(&s->log, log, RS_CRILOG_FILE);
}

static void finish(struct shim *s)
{
    char *const argv[] = { "runc", "--root", (char *)s->runc_root, "delete", "--force", (char *)s->id, NULL };
    int64_t until = now_ms() + DRAIN_MS;

    while ((s->out >= 0 || s->err >= 0) && now_ms() < until)
        turn(s, DRAIN_MS);
    rs_crilog_close(&s->log);
    record(s);
    say(s);
    unlink(s->socket);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pid_t pid = spawn(s, argv, null, null);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

int rs_shim_main(int argc, char **argv)
{
    static struct shim s = { .out = -1, .err = -1 };

    if (argc != 6)
        return 2;
    s.dir = argv[1];
    s.id = argv[2];
    s.socket = argv[3];
    s.runc_root = argv[5];
    for (int i = 0; i < CLIENTS; i++)
        s.clients[i] = i == 0 ? RS_SHIM_FD : -1;
    if (open_all(&s, argv[4]) < 0 || start(&s) < 0) {
        snprintf(s.said, sizeof(s.said), "failed shim: %s\n", strerror(errno));
        record(&s);
        say(&s);
        return 1;
    }
    while (!s.over)
        turn(&s, -1);
    finish(&s);
    return 0;
}
