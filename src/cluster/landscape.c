#include "cluster/landscape.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/proc.h"

static int mount_one(const char *source, const char *target, const char *type, unsigned long flags, const char *data,
                     struct rs_err *e)
{
    if (mount(source, target, type, flags, data) < 0)
        return RS_FAIL_ERRNO(e, "mount %s on %s", type ? type : source, target);
    return 0;
}

/* Read-only down to the last mount below. This is what lets runc run: its attempt to make cgroups fails with EROFS, which
 * a rootless runc passes over, instead of succeeding on the host (as root) or failing in another way that it does not. */
static int freeze_sys(struct rs_err *e)
{
    struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };
    if (mount_setattr(AT_FDCWD, "/sys", AT_RECURSIVE, &ro, sizeof(ro)) < 0)
        return RS_FAIL_ERRNO(e, "make /sys read-only (Linux 5.12 or newer is needed)");
    return 0;
}

/* A new tmpfs on /run, on which the state directory appears again when it lies there (/run/user/1000). */
static int fresh_run(const char *state, struct rs_err *e)
{
    int RS_AUTO_FD kept = -1;
    if (rs_starts(state, "/run/") && (kept = open_tree(AT_FDCWD, state, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)) < 0)
        return RS_FAIL_ERRNO(e, "keep %s", state);
    if (mount_one("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755", e) < 0)
        return -1;
    if (kept < 0)
        return 0;
    if (rs_mkdirs(state, 0755, e) < 0)
        return -1;
    if (move_mount(kept, "", AT_FDCWD, state, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return RS_FAIL_ERRNO(e, "mount %s again", state);
    return 0;
}

int rs_landscape_mounts(const char *hostname, const char *state, struct rs_err *e)
{
    if (mount_one("none", "/", NULL, MS_REC | MS_PRIVATE, NULL, e) < 0 ||
        mount_one("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, e) < 0 ||
        fresh_run(state, e) < 0 || freeze_sys(e) < 0)
        return -1;
    if (mkdir("/run/netns", 0755) < 0 || mkdir("/run/runc", 0700) < 0)
        return RS_FAIL_ERRNO(e, "make directories in /run");
    if (sethostname(hostname, strlen(hostname)) < 0)
        return RS_FAIL_ERRNO(e, "set the host name");
    return 0;
}

/* sysctls of the own network namespace want a plain write. */
static int set_sysctl(const char *path, const char *value, struct rs_err *e)
{
    int RS_AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        return RS_FAIL_ERRNO(e, "write %s", path);
    return 0;
}

int rs_landscape_network(struct rs_err *e)
{
    static const char commands[] =
        "link set lo up\n"
        "address add " RS_CLUSTER_GATEWAY "/32 dev lo\n"
        "address add " RS_CLUSTER_API "/32 dev lo\n"
        "address add " RS_CLUSTER_DNS "/32 dev lo\n"
        "route add 10.96.0.0/16 dev lo src " RS_CLUSTER_GATEWAY "\n";
    const char *const argv[] = { "ip", "-batch", "-", NULL };
    if (rs_proc_run(argv, RS_STR(commands), NULL, e) < 0)
        return rs_err_wrap(e, "set up the cluster's network");
    return set_sysctl("/proc/sys/net/ipv4/ip_forward", "1\n", e);
}
