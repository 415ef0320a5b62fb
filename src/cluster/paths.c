#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "cluster/ground_int.h"

enum { STATE_MAX = 1024 * 1024, HIGH_FD = 10, TAIL_BYTES = 4096, LINE_BYTES = 300 };

static char *home_dir(void)
{
    const char *own = getenv("ROOTSHIFT_HOME");
    if (own && *own)
        return rs_strdup(own);
    const char *home = getenv("HOME");
    if (!home || !*home) {
        struct passwd *pw = getpwuid(geteuid());
        home = pw ? pw->pw_dir : "/";
    }
    return rs_printf("%s/.rootshift", home);
}

int rs_paths_init(struct rs_paths *p, struct rs_err *e)
{
    RS_AUTO(rs_chars) *home = home_dir();
    char real[PATH_MAX];
    if (rs_mkdirs(home, 0700, e) < 0)
        return rs_err_wrap(e, "state directory (ROOTSHIFT_HOME)");
    if (!realpath(home, real))
        return RS_FAIL_ERRNO(e, "state directory %s", home);
    struct rs_paths made = { rs_strdup(real), rs_printf("%s/lock", real), rs_printf("%s/ground", real), rs_printf("%s/clusters", real) };
    if (mkdir(made.clusters, 0700) < 0 && errno != EEXIST) {
        RS_FAIL_ERRNO(e, "make %s (ROOTSHIFT_HOME says where)", made.clusters);
        rs_paths_done(&made);
        return -1;
    }
    *p = made;
    return 0;
}

void rs_paths_done(struct rs_paths *p)
{
    free(p->home);
    free(p->lock);
    free(p->ground);
    free(p->clusters);
    *p = (struct rs_paths){ 0 };
}

int rs_ground_lock(const struct rs_paths *p, int *ret_fd, struct rs_err *e)
{
    int RS_AUTO_FD fd = open(p->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return RS_FAIL_ERRNO(e, "open %s", p->lock);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        rs_log_info("waiting for another rootshift command that holds %s", p->lock);
        while (flock(fd, LOCK_EX) < 0)
            if (errno != EINTR)
                return RS_FAIL_ERRNO(e, "lock %s", p->lock);
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int rs_state_read(json_t **ret, const char *path, struct rs_err *e)
{
    RS_AUTO(rs_chars) *text = NULL;
    size_t n;
    *ret = NULL;
    if (rs_file_read(path, STATE_MAX, &text, &n, e) < 0)
        return e->code == RS_NOT_FOUND || e->code == RS_EXHAUSTED || e->code == RS_INVALID ? 0 : -1;
    json_t *o;
    struct rs_err damaged;
    if (rs_json_parse(&o, (rs_str){ text, n }, &damaged) == 0)
        *ret = o;
    return 0;
}

int rs_state_write(const char *path, const json_t *o, struct rs_err *e)
{
    RS_AUTO(rs_chars) *text = rs_json_pretty(o);
    return rs_file_write(path, rs_str_of(text), 0600, e);
}

int rs_high_fd(int *fd, struct rs_err *e)
{
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, HIGH_FD);
    if (high < 0)
        return RS_FAIL_ERRNO(e, "duplicate a descriptor");
    close(*fd);
    *fd = high;
    return 0;
}

char *rs_last_line(const char *path)
{
    char tail[TAIL_BYTES];
    int RS_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    ssize_t n = size <= 0 ? 0 : pread(fd, tail, sizeof(tail), size > (off_t)sizeof(tail) ? size - (off_t)sizeof(tail) : 0);
    rs_str text = rs_str_trim((rs_str){ tail, n > 0 ? (size_t)n : 0 });
    const char *end_before = text.n ? memrchr(text.p, '\n', text.n) : NULL;
    if (end_before)
        text = (rs_str){ end_before + 1, text.n - (size_t)(end_before + 1 - text.p) };
    return rs_strndup(text.p, text.n < LINE_BYTES ? text.n : LINE_BYTES);
}
