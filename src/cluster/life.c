#include "cluster/life.h"

#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/file.h"
#include "base/proc.h"
#include "base/time.h"

static const char *boot_id(void)
{
    static char id[40];
    struct rs_err ignored;
    RS_AUTO(rs_chars) *text = NULL;
    if (!*id && rs_file_read("/proc/sys/kernel/random/boot_id", 128, &text, NULL, &ignored) == 0) {
        rs_str s = rs_str_trim(rs_str_of(text));
        snprintf(id, sizeof(id), "%.*s", (int)s.n, s.p);
    }
    return id;
}

int rs_life_of(struct rs_life *ret, pid_t pid, struct rs_err *e)
{
    struct rs_life l = { .pid = pid, .start = rs_proc_start_time(pid) };
    if (!l.start)
        return RS_FAIL(e, RS_NOT_FOUND, "process %d ended", (int)pid);
    snprintf(l.boot, sizeof(l.boot), "%s", boot_id());
    *ret = l;
    return 0;
}

/* A handle on exactly this process, or -1 when it is gone. The start time is read after the handle is held: were the pid
 * somebody else's by now, the times would differ. */
static int hold(const struct rs_life *l)
{
    if (l->pid <= 0 || !rs_streq(l->boot, boot_id()))
        return -1;
    int fd = pidfd_open(l->pid, 0);
    if (fd >= 0 && rs_proc_start_time(l->pid) != l->start) {
        close(fd);
        return -1;
    }
    return fd;
}

/* A SIGKILL is on its way, or the process is ending: pid 1 of a cluster takes a while, since the kernel first ends everything
 * in its namespaces, and must not count as running meanwhile. */
static bool is_dying(pid_t pid)
{
    enum { PF_EXITING = 4 };
    char path[64];
    struct rs_err ignored;
    RS_AUTO(rs_chars) *stat = NULL;
    RS_AUTO(rs_chars) *status = NULL;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (rs_file_read(path, 8192, &stat, NULL, &ignored) < 0)
        return true;
    unsigned flags = 0;
    const char *p = strrchr(stat, ')');
    if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1 || (flags & PF_EXITING))
        return true;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (rs_file_read(path, 16384, &status, NULL, &ignored) < 0)
        return true;
    static const char *const pending[] = { "\nSigPnd:", "\nShdPnd:" };
    for (size_t i = 0; i < RS_COUNT(pending); i++) {
        const char *at = strstr(status, pending[i]);
        if (at && strtoull(at + strlen(pending[i]), NULL, 16) & 1ULL << (SIGKILL - 1))
            return true;
    }
    return false;
}

/* A pidfd is readable as soon as the process is dead, reaped or not. */
static bool ended_within(int fd, int ms)
{
    int64_t until = rs_mono_ms() + ms;
    struct pollfd p = { .fd = fd, .events = POLLIN };
    for (;;) {
        int64_t left = until - rs_mono_ms();
        int n = poll(&p, 1, left > 0 ? (int)left : 0);
        if (n > 0)
            return true;
        if (n == 0 && left <= 0)
            return false;
    }
}

bool rs_life_alive(const struct rs_life *l)
{
    int RS_AUTO_FD fd = hold(l);
    return fd >= 0 && !ended_within(fd, 0) && !is_dying(l->pid);
}

bool rs_life_wait(const struct rs_life *l, int wait_ms)
{
    int RS_AUTO_FD fd = hold(l);
    return fd < 0 || ended_within(fd, wait_ms);
}

int rs_life_end(const struct rs_life *l, int signo, int wait_ms, struct rs_err *e)
{
    int RS_AUTO_FD fd = hold(l);
    if (fd < 0)
        return 0;
    if (pidfd_send_signal(fd, signo, NULL, 0) < 0 && errno != ESRCH)
        return RS_FAIL_ERRNO(e, "end process %d", (int)l->pid);
    if (!ended_within(fd, wait_ms))
        return RS_FAIL(e, RS_DEADLINE, "process %d did not end", (int)l->pid);
    return 0;
}

json_t *rs_life_json(const struct rs_life *l)
{
    return rs_json_pack("{s:i, s:I, s:s}", "pid", (int)l->pid, "start", (json_int_t)l->start, "boot", l->boot);
}

bool rs_life_from_json(struct rs_life *ret, const json_t *o)
{
    json_int_t pid = rs_json_int(o, 0, "pid"), start = rs_json_int(o, 0, "start");
    const char *boot = rs_json_str(o, "boot");
    if (pid <= 0 || pid > INT32_MAX || start <= 0 || !boot)
        return false;
    *ret = (struct rs_life){ .pid = (pid_t)pid, .start = (unsigned long long)start };
    snprintf(ret->boot, sizeof(ret->boot), "%s", boot);
    return true;
}
