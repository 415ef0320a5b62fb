#include "cluster/needs.h"

#include <sys/statvfs.h>

#include "base/file.h"
#include "base/str.h"

enum { NAME_MAX_CHARS = 40, ROOM_MB = 64 };

static bool in_path(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    for (const char *p = path; p; p = strchr(p, ':'), p = p ? p + 1 : NULL)
        if (strcspn(p, ":") == n && strncmp(p, dir, n) == 0)
            return true;
    return false;
}

void rs_needs_path(void)
{
    static const char *const wanted[] = { "/usr/sbin", "/sbin" };
    for (size_t i = 0; i < RS_COUNT(wanted); i++) {
        const char *path = getenv("PATH");
        if (!path || !*path)
            path = "/usr/bin:/bin";
        if (in_path(path, wanted[i]))
            continue;
        RS_AUTO(rs_chars) *longer = rs_printf("%s:%s", path, wanted[i]);
        setenv("PATH", longer, 1);
    }
}

int rs_needs_programs(struct rs_err *e)
{
    static const struct { const char *program, *package; } needed[] = {
        { "runc", "runc" }, { "nft", "nftables" }, { "ip", "iproute2" }, { "dnsmasq", "dnsmasq-base" },
    };
    for (size_t i = 0; i < RS_COUNT(needed); i++) {
        RS_AUTO(rs_chars) *path = rs_program_find(needed[i].program);
        if (!path)
            return RS_FAIL(e, RS_UNIMPLEMENTED, "%s is not installed; apt-get install %s", needed[i].program, needed[i].package);
    }
    static const char *const ours[] = { "rootshift-cluster", "rootshift-node" };
    RS_AUTO(rs_chars) *dir = rs_program_dir();
    for (size_t i = 0; i < RS_COUNT(ours); i++) {
        RS_AUTO(rs_chars) *path = rs_printf("%s/%s", dir, ours[i]);
        if (!rs_file_exists(path))
            return RS_FAIL(e, RS_UNIMPLEMENTED, "%s is missing; it belongs beside this program", path);
    }
    return 0;
}

int rs_needs_room(const char *dir, struct rs_err *e)
{
    struct statvfs v;
    if (statvfs(dir, &v) < 0)
        return RS_FAIL_ERRNO(e, "look at %s", dir);
    unsigned long long free_mb = (unsigned long long)v.f_bavail * v.f_frsize / (1024 * 1024);
    if (free_mb < ROOM_MB)
        return RS_FAIL(e, RS_EXHAUSTED, "no room on disk: %s has %llu MB free, a cluster needs %d MB; make room or set "
                       "ROOTSHIFT_HOME to another place", dir, free_mb, ROOM_MB);
    return 0;
}

int rs_needs_name(const char *name, struct rs_err *e)
{
    if (!rs_dns_label(name, false) || strlen(name) > NAME_MAX_CHARS)
        return RS_FAIL(e, RS_INVALID, "cluster name \"%s\" is not a DNS label (lower-case letters, digits and '-', at most %d)",
                       name, NAME_MAX_CHARS);
    return 0;
}
