#include "cluster/idmap.h"

#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#include "base/file.h"
#include "base/proc.h"

enum { SUBID_FILE_MAX = 1024 * 1024 };

static int granted(struct rs_subid *ret, const char *path, const char *user, uid_t uid, struct rs_err *e)
{
    RS_AUTO(rs_chars) *text = NULL;
    size_t n = 0;
    if (rs_file_read(path, SUBID_FILE_MAX, &text, &n, e) < 0 && e->code != RS_NOT_FOUND)
        return -1;
    if (rs_subid_find(ret, (rs_str){ text, n }, path, user, uid, e) < 0) {
        e->code = RS_FORBIDDEN;
        return -1;
    }
    return 0;
}

int rs_idmap_of_caller(struct rs_idmap *ret, struct rs_err *e)
{
    struct rs_idmap m = { .uid = geteuid(), .gid = getegid() };
    m.identity = m.uid == 0;
    if (!m.identity) {
        static const char *const tools[] = { "newuidmap", "newgidmap" };
        for (size_t i = 0; i < RS_COUNT(tools); i++) {
            RS_AUTO(rs_chars) *path = rs_program_find(tools[i]);
            if (!path)
                return RS_FAIL(e, RS_UNIMPLEMENTED, "%s is not installed; apt-get install uidmap (or run as root)", tools[i]);
        }
        struct passwd *pw = getpwuid(m.uid);
        RS_AUTO(rs_chars) *user = rs_strdup(pw ? pw->pw_name : NULL);
        if (granted(&m.uids, "/etc/subuid", user, m.uid, e) < 0 || granted(&m.gids, "/etc/subgid", user, m.uid, e) < 0)
            return -1;
    }
    *ret = m;
    return 0;
}

/* The kernel wants the whole map in one write. */
static int give_identity(pid_t pid, const char *which, struct rs_err *e)
{
    static const char map[] = "0 0 65536\n";
    RS_AUTO(rs_chars) *path = rs_printf("/proc/%d/%s", (int)pid, which);
    int RS_AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, map, sizeof(map) - 1) < 0) {
        if (errno == EPERM)
            return RS_FAIL(e, RS_FORBIDDEN, "this root may not map ids 0-65535 into a user namespace (inside a container "
                           "without them?); run on the host or in a privileged container");
        return RS_FAIL_ERRNO(e, "write %s", path);
    }
    return 0;
}

static int give_range(const char *tool, pid_t pid, unsigned own, const struct rs_subid *range, struct rs_err *e)
{
    char p[16], o[16], first[16], count[16];
    snprintf(p, sizeof(p), "%d", (int)pid);
    snprintf(o, sizeof(o), "%u", own);
    snprintf(first, sizeof(first), "%u", range->first);
    snprintf(count, sizeof(count), "%d", RS_SUBID_NEEDED);
    const char *const argv[] = { tool, p, "0", o, "1", "1", first, count, NULL };
    if (rs_proc_run(argv, (rs_str){ "", 0 }, NULL, e) < 0) {
        e->code = RS_FORBIDDEN;
        return -1;
    }
    return 0;
}

int rs_idmap_give(const struct rs_idmap *m, pid_t pid, struct rs_err *e)
{
    if (m->identity)
        return give_identity(pid, "uid_map", e) < 0 || give_identity(pid, "gid_map", e) < 0 ? -1 : 0;
    if (give_range("newuidmap", pid, m->uid, &m->uids, e) < 0)
        return -1;
    return give_range("newgidmap", pid, m->gid, &m->gids, e);
}
