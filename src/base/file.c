#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

int rs_file_read(const char *path, size_t max, char **ret, size_t *ret_n, struct rs_err *e)
{
    int RS_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return RS_FAIL_ERRNO(e, "open %s", path);
    size_t cap = 4096, n = 0;
    RS_AUTO(rs_chars) *p = rs_alloc(cap + 1);
    for (;;) {
        ssize_t got = read(fd, p + n, cap - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return RS_FAIL_ERRNO(e, "read %s", path);
        if (got == 0)
            break;
        n += (size_t)got;
        if (n > max)
            return RS_FAIL(e, RS_EXHAUSTED, "%s is larger than %zu bytes", path, max);
        if (n == cap) {
            cap *= 2;
            p = rs_realloc(p, cap + 1);
        }
    }
    p[n] = 0;
    *ret = rs_take(p);
    if (ret_n)
        *ret_n = n;
    return 0;
}

static int write_all(int fd, rs_str s)
{
    while (s.n) {
        ssize_t put = write(fd, s.p, s.n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        s.p += put;
        s.n -= (size_t)put;
    }
    return 0;
}

int rs_file_write(const char *path, rs_str bytes, mode_t mode, struct rs_err *e)
{
    RS_AUTO(rs_chars) *tmp = rs_printf("%s.XXXXXX", path);
    int RS_AUTO_FD fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0)
        return RS_FAIL_ERRNO(e, "create a file beside %s", path);
    if (fchmod(fd, mode) < 0 || write_all(fd, bytes) < 0 || fsync(fd) < 0 || rename(tmp, path) < 0) {
        int saved = errno;
        unlink(tmp);
        errno = saved;
        return RS_FAIL_ERRNO(e, "write %s", path);
    }
    return 0;
}

int rs_mkdirs(const char *path, mode_t mode, struct rs_err *e)
{
    RS_AUTO(rs_chars) *p = rs_strdup(path);
    for (char *s = p + 1; ; s++) {
        if (*s && *s != '/')
            continue;
        char keep = *s;
        *s = 0;
        if (mkdir(p, mode) < 0 && errno != EEXIST)
            return RS_FAIL_ERRNO(e, "create directory %s", p);
        *s = keep;
        if (!keep)
            return 0;
    }
}

static int remove_at(int dir, const char *name, dev_t dev, const char *path, struct rs_err *e)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : RS_FAIL_ERRNO(e, "remove %s", path);
    if (!S_ISDIR(st.st_mode)) {
        if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
            return RS_FAIL_ERRNO(e, "remove %s", path);
        return 0;
    }
    if (st.st_dev != dev)
        return RS_FAIL(e, RS_PRECONDITION, "remove %s: something is mounted there", path);
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return RS_FAIL_ERRNO(e, "remove %s", path);
    DIR *d = fdopendir(fd);
    rs_assert(d);
    int rc = 0;
    for (struct dirent *de; rc == 0 && (de = readdir(d)); ) {
        if (rs_streq(de->d_name, ".") || rs_streq(de->d_name, ".."))
            continue;
        RS_AUTO(rs_chars) *sub = rs_printf("%s/%s", path, de->d_name);
        rc = remove_at(fd, de->d_name, dev, sub, e);
    }
    closedir(d);
    if (rc == 0 && unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        rc = RS_FAIL_ERRNO(e, "remove %s", path);
    return rc;
}

int rs_remove_tree(const char *path, struct rs_err *e)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : RS_FAIL_ERRNO(e, "remove %s", path);
    return remove_at(AT_FDCWD, path, st.st_dev, path, e);
}

bool rs_file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

char *rs_program_dir(void)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (n < 0)
        return rs_strdup(".");
    path[n] = 0;
    return rs_strdup(dirname(path));
}

char *rs_program_find(const char *name)
{
    RS_AUTO(rs_chars) *dir = rs_program_dir();
    RS_AUTO(rs_chars) *beside = rs_printf("%s/%s", dir, name);
    if (access(beside, X_OK) == 0)
        return rs_take(beside);
    const char *path = getenv("PATH");
    char **dirs = rs_split(path ? path : "/usr/sbin:/usr/bin:/sbin:/bin", ':');
    char *found = NULL;
    for (char **d = dirs; *d && !found; d++) {
        found = rs_printf("%s/%s", **d ? *d : ".", name);
        if (access(found, X_OK) != 0)
            free(rs_take(found));
    }
    rs_strv_free(dirs);
    return found;
}
