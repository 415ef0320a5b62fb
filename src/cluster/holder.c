#include "cluster/holder.h"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "cluster/nsproc.h"

enum { START_MS = 60 * 1000, SETTLE_MS = 5000 };

static char *in_ground(const struct rs_paths *p, const char *name)
{
    return rs_printf("%s/%s", p->ground, name);
}

/* True while somebody holds the FIFO open for writing. */
static bool anybody_left(int fifo)
{
    char c[16];
    ssize_t n;
    while ((n = read(fifo, c, sizeof(c))) > 0)
        ;
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* ---- the commands' side ---- */

static int open_ns(pid_t pid, const char *what, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("/proc/%d/%s", (int)pid, what);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? RS_FAIL_ERRNO(e, "open %s", path) : fd;
}

static int open_place(struct rs_holder *h, pid_t pid, const char *net, struct rs_err *e)
{
    int RS_AUTO_FD user_ns = open_ns(pid, "ns/user", e);
    int RS_AUTO_FD net_ns = user_ns < 0 ? -1 : open_ns(pid, net, e);
    if (net_ns < 0 || rs_high_fd(&user_ns, e) < 0)
        return -1;
    h->net_ns = fcntl(net_ns, F_DUPFD_CLOEXEC, RS_HOLDER_NET_FD);
    if (h->net_ns != RS_HOLDER_NET_FD)
        return RS_FAIL(e, RS_EXHAUSTED, "descriptor %d is not free", RS_HOLDER_NET_FD);
    h->user_ns = user_ns;
    user_ns = -1;
    return 0;
}

static bool known_holder(const struct rs_paths *p, struct rs_life *ret)
{
    struct rs_err ignored;
    RS_AUTO(rs_chars) *path = in_ground(p, "holder.json");
    RS_AUTO(json_t) *o = NULL;
    return rs_state_read(&o, path, &ignored) == 0 && o && rs_life_from_json(ret, o) && rs_life_alive(ret);
}

/* Opened for both directions: that never blocks, and counts as a writer. */
static int open_life(struct rs_holder *h, const struct rs_paths *p, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = in_ground(p, "life");
    if (rs_mkdirs(p->ground, 0700, e) < 0)
        return -1;
    if (mkfifo(path, 0600) < 0 && errno != EEXIST)
        return RS_FAIL_ERRNO(e, "make %s", path);
    h->life = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (h->life < 0)
        return RS_FAIL_ERRNO(e, "open %s", path);
    return rs_high_fd(&h->life, e);
}

static int start_with(const struct rs_paths *p, const struct rs_ns_place *place, struct rs_life *ret, struct rs_err *e)
{
    RS_AUTO(rs_chars) *program = rs_program_find("rootshift-cluster");
    if (!program)
        return RS_FAIL(e, RS_UNIMPLEMENTED, "rootshift-cluster is not installed beside this program");
    RS_AUTO(rs_chars) *log_path = in_ground(p, "log");
    RS_AUTO(rs_chars) *record = in_ground(p, "holder.json");
    int RS_AUTO_FD log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        return RS_FAIL_ERRNO(e, "open %s", log_path);
    const char *const argv[] = { program, "ground", NULL };
    struct rs_ns_proc proc;
    if (rs_ns_start(&proc, place, argv, log_fd, NULL, e) < 0)
        return -1;
    RS_AUTO(json_t) *life = rs_life_json(&proc.life);
    RS_AUTO(rs_chars) *line = NULL;
    if (rs_state_write(record, life, e) < 0 || rs_ns_release(&proc, e) < 0 || rs_ns_line(&proc, START_MS, &line, e) < 0 ||
        (!rs_streq(line, "ready") && RS_FAIL(e, RS_FORBIDDEN, "%s", line) < 0)) {
        RS_AUTO(rs_chars) *last = line ? NULL : rs_last_line(log_path);      /* the log goes away with the holder */
        rs_ns_abandon(&proc);
        unlink(record);
        return last && *last ? rs_err_wrap(e, "%s", last) : -1;
    }
    close(proc.control);
    *ret = proc.life;
    return 0;
}

static int start_holder(const struct rs_paths *p, const struct rs_life *supervisors, size_t n, struct rs_life *ret,
                        struct rs_err *e)
{
    struct rs_err ignored;
    for (size_t i = 0; i < n; i++) {
        struct rs_holder old = { -1, -1, -1 };
        RS_AUTO(rs_chars) *net = rs_printf("fd/%d", RS_HOLDER_NET_FD);
        if (!rs_life_alive(&supervisors[i]) || open_place(&old, supervisors[i].pid, net, &ignored) < 0)
            continue;
        struct rs_ns_place place = { .user_ns = old.user_ns, .net_ns = old.net_ns };
        int rc = start_with(p, &place, ret, e);
        rs_holder_done(&old);      /* frees the number for the caller */
        return rc;
    }
    struct rs_idmap ids;
    if (rs_idmap_of_caller(&ids, e) < 0)
        return -1;
    return start_with(p, &(struct rs_ns_place){ .ids = &ids, .user_ns = -1, .net_ns = -1 }, ret, e);
}

int rs_holder_get(struct rs_holder *ret, const struct rs_paths *p, const struct rs_life *supervisors, size_t n,
                  struct rs_err *e)
{
    struct rs_holder h = { -1, -1, -1 };
    struct rs_life life;
    if (open_life(&h, p, e) < 0 || (!known_holder(p, &life) && start_holder(p, supervisors, n, &life, e) < 0) ||
        open_place(&h, life.pid, "ns/net", e) < 0) {
        rs_holder_done(&h);
        return rs_err_wrap(e, "prepare the namespaces");
    }
    *ret = h;
    return 0;
}

void rs_holder_done(struct rs_holder *h)
{
    rs_auto_fd_close(&h->user_ns);
    rs_auto_fd_close(&h->net_ns);
    rs_auto_fd_close(&h->life);
    *h = (struct rs_holder){ -1, -1, -1 };
}

static bool is_needed(const struct rs_paths *p)
{
    RS_AUTO(rs_chars) *path = in_ground(p, "life");
    int RS_AUTO_FD fifo = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    return fifo >= 0 && anybody_left(fifo);
}

void rs_holder_settle(const struct rs_paths *p)
{
    struct rs_life life;
    struct rs_err ignored;
    int RS_AUTO_FD lock = -1;
    if (!rs_file_exists(p->ground) || is_needed(p))
        return;
    if (known_holder(p, &life)) {
        rs_life_wait(&life, SETTLE_MS);
        return;
    }
    /* One that was killed, or never began, leaves its directory. */
    if (rs_ground_lock(p, &lock, &ignored) == 0 && !is_needed(p) && !known_holder(p, &life) &&
        rs_remove_tree(p->ground, &ignored) < 0)
        rs_log_debug("%s", ignored.msg);
}

/* ---- the holder's side ---- */

static int raise_loopback(struct rs_err *e)
{
    int RS_AUTO_FD s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    if (s < 0 || ioctl(s, SIOCSIFFLAGS, &r) < 0)
        return RS_FAIL_ERRNO(e, "no rights in the own user namespace (sysctl kernel.apparmor_restrict_unprivileged_userns?)");
    return 0;
}

static void say(const char *text)
{
    ssize_t ignored = send(RS_NS_CONTROL_FD, text, strlen(text), MSG_NOSIGNAL);
    (void)ignored;
}

/* Looks before it waits: had everybody gone before the FIFO was opened here, no end of file would ever be told. */
static int hold(const struct rs_paths *p, int fifo, struct rs_err *e)
{
    for (;;) {
        if (anybody_left(fifo)) {
            struct pollfd end_of_file = { .fd = fifo };
            if (poll(&end_of_file, 1, -1) < 0 && errno != EINTR)
                return RS_FAIL_ERRNO(e, "wait");
            continue;
        }
        int RS_AUTO_FD lock = -1;
        if (rs_ground_lock(p, &lock, e) < 0)
            return -1;
        if (!anybody_left(fifo))
            return rs_remove_tree(p->ground, e);
    }
}

int rs_holder_main(void)
{
    struct rs_err e;
    RS_AUTO_PATHS p = { 0 };
    if (rs_paths_init(&p, &e) < 0 || raise_loopback(&e) < 0) {
        RS_AUTO(rs_chars) *text = rs_printf("%s\n", e.msg);
        say(text);
        return 1;
    }
    RS_AUTO(rs_chars) *path = in_ground(&p, "life");
    int RS_AUTO_FD fifo = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fifo < 0) {
        say("its FIFO is gone\n");
        return 1;
    }
    prctl(PR_SET_NAME, "rootshift-holder");
    say("ready\n");
    close(RS_NS_CONTROL_FD);
    if (hold(&p, fifo, &e) < 0)
        rs_log_error("%s", e.msg);
    return 0;
}
