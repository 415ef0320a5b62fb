#include "node/oci.h"
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/file.h"
#include "kube/object.h"
#include "node/source.h"

#define BIN "/opt/rootshift/bin"

static const char *const default_caps[] = {
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE", NULL,
};
static const char *const further_caps[] = {
    "CAP_NET_ADMIN", "CAP_NET_BROADCAST", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
    "CAP_DAC_READ_SEARCH", "CAP_LINUX_IMMUTABLE", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_CHROOT", "CAP_LEASE", NULL,
};

/* Program name of `[registry/.../]rootshift/X[:tag|@digest]`, or NULL. malloc'ed. */
static char *our_program(const char *image)
{
    const char *last = strrchr(image, '/'), *begin = image;

    if (!last)
        return NULL;
    for (const char *p = image; p < last; p++)
        if (*p == '/')
            begin = p + 1;
    if ((size_t)(last - begin) != strlen("rootshift") || strncmp(begin, "rootshift", strlen("rootshift")) != 0)
        return NULL;
    size_t n = strcspn(last + 1, ":@");
    RS_AUTO(rs_chars) *name = rs_strndup(last + 1, n);
    return rs_dns_label(name, false) ? rs_printf("rootshift-%s", name) : NULL;
}

int rs_oci_args(json_t **ret, const struct rs_oci *in, struct rs_err *e)
{
    RS_AUTO(json_t) *args = json_array();
    const json_t *command = json_object_get(in->container, "command");
    const char *image = rs_json_str(in->container, "image");
    size_t i;
    json_t *v;

    if (json_array_size(command) == 0) {
        RS_AUTO(rs_chars) *program = our_program(image ? image : "");
        if (!program)
            return RS_FAIL(e, RS_INVALID, "image \"%s\" brings no command here: only rootshift/X images do, others need spec.containers[].command", image ? image : "");
        RS_AUTO(rs_chars) *here = rs_printf("%s/%s", in->bin_dir, program), *there = rs_printf(BIN "/%s", program);
        if (!rs_file_exists(here))
            return RS_FAIL(e, RS_NOT_FOUND, "image \"%s\" is the program %s, which is not in the directory of programs", image, program);
        json_array_append_new(args, json_string(there));
    }
    json_array_foreach(command, i, v) {
        RS_AUTO(rs_chars) *text = rs_source_expand(json_string_value(v) ? json_string_value(v) : "", in->env);
        json_array_append_new(args, json_string(text));
    }
    json_array_foreach(json_object_get(in->container, "args"), i, v) {
        RS_AUTO(rs_chars) *text = rs_source_expand(json_string_value(v) ? json_string_value(v) : "", in->env);
        json_array_append_new(args, json_string(text));
    }
    *ret = rs_take(args);
    return 0;
}

/* A securityContext member: the container's wins over the pod's. */
static const json_t *security(const json_t *pod, const json_t *container, const char *key)
{
    const json_t *v = rs_json_at(container, "securityContext", key);

    return v ? v : rs_json_at(pod, "spec", "securityContext", key);
}

void rs_oci_user(const json_t *pod, const json_t *container, long *ret_uid, long *ret_gid)
{
    const json_t *u = security(pod, container, "runAsUser"), *g = security(pod, container, "runAsGroup");

    *ret_uid = json_is_integer(u) ? (long)json_integer_value(u) : 0;
    *ret_gid = json_is_integer(g) ? (long)json_integer_value(g) : 0;
}

static bool listed(const json_t *list, const char *cap)
{
    size_t i;
    json_t *v;

    json_array_foreach(list, i, v) {
        const char *name = json_string_value(v);
        if (name && (rs_streq(name, "ALL") || rs_streq(name, cap) || rs_streq(name, cap + strlen("CAP_"))))
            return true;
    }
    return false;
}

/* Root gets Docker's default set; another user has only what was added, in every set, so that it really has it. */
static json_t *capabilities(const struct rs_oci *in, long uid)
{
    const json_t *add = rs_json_at(in->container, "securityContext", "capabilities", "add");
    const json_t *drop = rs_json_at(in->container, "securityContext", "capabilities", "drop");
    bool all = rs_json_true(in->container, "securityContext", "privileged");
    RS_AUTO(json_t) *bounding = json_array();
    RS_AUTO(json_t) *effective = json_array();

    for (int part = 0; part < 2; part++)
        for (const char *const *c = part ? further_caps : default_caps; *c; c++) {
            bool added = all || listed(add, *c), have = added || (!part && !listed(drop, *c));
            if (have)
                json_array_append_new(bounding, json_string(*c));
            if (added || (have && uid == 0))
                json_array_append_new(effective, json_string(*c));
        }
    return rs_json_pack("{s:O, s:O, s:O, s:O, s:O}", "bounding", bounding, "effective", effective, "permitted", effective,
                        "inheritable", effective, "ambient", effective);
}

static json_t *process(const struct rs_oci *in, json_t *args)
{
    long uid, gid;
    const char *cwd = rs_json_str(in->container, "workingDir");
    const json_t *groups = rs_json_at(in->pod, "spec", "securityContext", "supplementalGroups");
    const json_t *fs = rs_json_at(in->pod, "spec", "securityContext", "fsGroup"), *nnp = rs_json_at(in->container, "securityContext", "allowPrivilegeEscalation");
    RS_AUTO(json_t) *env = json_array();
    RS_AUTO(json_t) *more = json_is_array(groups) ? json_copy((json_t *)groups) : json_array();
    bool path = false, home = false;
    size_t i;
    json_t *v;

    rs_oci_user(in->pod, in->container, &uid, &gid);
    if (json_is_integer(fs))
        json_array_append(more, (json_t *)fs);
    json_array_foreach(in->env, i, v) {
        path |= rs_starts(json_string_value(v), "PATH=");
        home |= rs_starts(json_string_value(v), "HOME=");
    }
    if (!path)
        json_array_append_new(env, json_string("PATH=" BIN ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    if (!home)
        json_array_append_new(env, json_string(uid == 0 ? "HOME=/root" : "HOME=/"));
    RS_AUTO(rs_chars) *host = rs_printf("HOSTNAME=%s", in->hostname);
    json_array_append_new(env, json_string(host));
    /* The API's address in every cluster of ours (Service default/kubernetes); what the pod says comes later and wins. */
    json_array_append_new(env, json_string("KUBERNETES_SERVICE_HOST=10.96.0.1"));
    json_array_append_new(env, json_string("KUBERNETES_SERVICE_PORT=443"));
    json_array_append_new(env, json_string("KUBERNETES_SERVICE_PORT_HTTPS=443"));
    json_array_extend(env, (json_t *)in->env);
    json_t *user = rs_json_pack("{s:I, s:I}", "uid", (json_int_t)uid, "gid", (json_int_t)gid);
    if (json_array_size(more) > 0)
        json_object_set(user, "additionalGids", more);
    return rs_json_pack("{s:b, s:o, s:O, s:O, s:s, s:b, s:o}", "terminal", 0, "user", user, "args", args, "env", env,
                        "cwd", cwd && *cwd ? cwd : "/", "noNewPrivileges", json_is_false(nnp), "capabilities", capabilities(in, uid));
}

static void mount(json_t *list, const char *target, const char *type, const char *source, const char *const *options)
{
    json_t *o = json_array();

    for (; *options; options++)
        json_array_append_new(o, json_string(*options));
    json_array_append_new(list, rs_json_pack("{s:s, s:s, s:s, s:o}", "destination", target, "type", type, "source", source, "options", o));
}
#define MOUNT(list, target, type, source, ...) mount((list), (target), (type), (source), (const char *const[]){ __VA_ARGS__, NULL })

static bool covered(const struct rs_oci *in, const char *path)
{
    for (size_t i = 0; i < in->n_mounts; i++) {
        size_t n = strlen(in->mounts[i].target);
        if (strncmp(path, in->mounts[i].target, n) == 0 && (path[n] == '\0' || path[n] == '/'))
            return true;
    }
    return rs_starts(path, "/usr") || rs_starts(path, "/proc") || rs_starts(path, "/dev") || rs_streq(path, "/") || rs_starts(path, "/tmp");
}

static int by_length(const void *a, const void *b)
{
    const struct rs_oci_mount *x = a, *y = b;
    size_t m = strlen(x->target), n = strlen(y->target);

    return m < n ? -1 : m > n;
}

static json_t *mounts(const struct rs_oci *in, bool read_only, long uid, long gid)
{
    static const char *const from_host[] = { "/etc/ssl", "/etc/alternatives", "/etc/ld.so.cache", "/etc/services", "/etc/protocols", NULL };
    const char *cwd = rs_json_str(in->container, "workingDir"), *log = rs_json_str(in->container, "terminationMessagePath");
    json_t *l = json_array();

    MOUNT(l, "/proc", "proc", "proc", "nosuid", "noexec", "nodev");
    MOUNT(l, "/sys", "sysfs", "sysfs", "ro", "nosuid", "noexec", "nodev");
    MOUNT(l, "/usr", "bind", "/usr", "rbind", "ro", "nosuid", "nodev");
    for (const char *const *p = from_host; *p; p++)
        if (rs_file_exists(*p))
            MOUNT(l, *p, "bind", *p, "rbind", "ro", "nosuid", "nodev");
    MOUNT(l, BIN, "bind", in->bin_dir, "rbind", "ro", "nosuid", "nodev");
    MOUNT(l, "/dev", "tmpfs", "tmpfs", "nosuid", "mode=755", "size=65536k");
    MOUNT(l, "/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620");
    MOUNT(l, "/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777");
    if (read_only)
        MOUNT(l, "/tmp", "tmpfs", "tmpfs", "nosuid", "nodev", "mode=1777");
    if (read_only && cwd && *cwd == '/' && !covered(in, cwd)) {
        RS_AUTO(rs_chars) *u = rs_printf("uid=%ld", uid), *g = rs_printf("gid=%ld", gid);
        MOUNT(l, cwd, "tmpfs", "tmpfs", "nosuid", "nodev", "mode=755", u, g);
    }
    struct rs_oci_mount *sorted = rs_new_array(struct rs_oci_mount, in->n_mounts + 1);
    if (in->n_mounts > 0)
        memcpy(sorted, in->mounts, in->n_mounts * sizeof(*sorted));
    qsort(sorted, in->n_mounts, sizeof(*sorted), by_length);
    for (size_t i = 0; i < in->n_mounts; i++)
        MOUNT(l, sorted[i].target, "bind", sorted[i].source, "rbind", sorted[i].read_only ? "ro" : "rw");
    free(sorted);
    if (in->termination_log)
        MOUNT(l, log && *log == '/' ? log : "/dev/termination-log", "bind", in->termination_log, "bind", "rw");
    return l;
}

int rs_oci_config(json_t **ret, const struct rs_oci *in, struct rs_err *e)
{
    RS_AUTO(json_t) *args = NULL;
    bool read_only = json_is_true(rs_json_at(in->container, "securityContext", "readOnlyRootFilesystem"));
    long uid, gid;
    size_t i;
    json_t *v;

    if (rs_oci_args(&args, in, e) < 0)
        return -1;
    rs_oci_user(in->pod, in->container, &uid, &gid);
    if (uid == 0 && json_is_true(security(in->pod, in->container, "runAsNonRoot")))
        return RS_FAIL(e, RS_INVALID, "container has runAsNonRoot and would run as root");
    json_t *spaces = rs_json_pack("[{s:s}, {s:s}, {s:s}, {s:s}]", "type", "pid", "type", "mount", "type", "ipc", "type", "uts");
    if (in->netns)
        json_array_append_new(spaces, rs_json_pack("{s:s, s:s}", "type", "network", "path", in->netns));
    json_t *linux_part = rs_json_pack("{s:o}", "namespaces", spaces), *sysctl = json_object();
    json_array_foreach(rs_json_at(in->pod, "spec", "securityContext", "sysctls"), i, v)
        if (rs_json_str(v, "name") && rs_json_str(v, "value") && in->netns)
            json_object_set_new(sysctl, rs_json_str(v, "name"), json_string(rs_json_str(v, "value")));
    json_object_set_new(linux_part, "sysctl", sysctl);
    *ret = rs_json_pack("{s:s, s:o, s:{s:s, s:b}, s:s, s:o, s:o}", "ociVersion", "1.0.2", "process", process(in, args),
                        "root", "path", "rootfs", "readonly", read_only, "hostname", in->hostname,
                        "mounts", mounts(in, read_only, uid, gid), "linux", linux_part);
    return 0;
}

char *rs_oci_resolv_conf(const json_t *pod, const char *cluster_dns)
{
    const char *policy = rs_json_str(pod, "spec", "dnsPolicy"), *ns = rs_object_namespace(pod);
    bool host = rs_json_true(pod, "spec", "hostNetwork");
    const json_t *config = rs_json_at(pod, "spec", "dnsConfig");
    struct rs_err ignored;
    RS_AUTO_BUF b;
    char *text;
    size_t i;
    json_t *v;

    rs_buf_init(&b, 64 * 1024);
    if (rs_streq(policy, "Default") || (host && !rs_streq(policy, "ClusterFirstWithHostNet")))
        return rs_file_read("/etc/resolv.conf", 64 * 1024, &text, NULL, &ignored) < 0 ? rs_strdup("") : text;
    if (!rs_streq(policy, "None"))
        rs_buf_addf(&b, "search %s.svc.cluster.local svc.cluster.local cluster.local\nnameserver %s\noptions ndots:5\n", ns, cluster_dns);
    json_array_foreach(json_object_get(config, "nameservers"), i, v)
        rs_buf_addf(&b, "nameserver %s\n", json_string_value(v));
    json_array_foreach(json_object_get(config, "searches"), i, v)
        rs_buf_addf(&b, "%s%s", i ? " " : "search ", json_string_value(v));
    if (i > 0)
        rs_buf_adds(&b, "\n");
    json_array_foreach(json_object_get(config, "options"), i, v)
        rs_buf_addf(&b, "options %s%s%s\n", rs_json_str(v, "name"), rs_json_str(v, "value") ? ":" : "", rs_json_str(v, "value") ? rs_json_str(v, "value") : "");
    return rs_buf_take(&b);
}

char *rs_oci_hosts(const json_t *pod, const char *hostname, const char *ip)
{
    RS_AUTO_BUF b;
    size_t i, k;
    json_t *alias, *name;

    rs_buf_init(&b, 64 * 1024);
    rs_buf_addf(&b, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n%s\t%s\n", ip, hostname);
    json_array_foreach(rs_json_at(pod, "spec", "hostAliases"), i, alias) {
        rs_buf_adds(&b, rs_json_str(alias, "ip") ? rs_json_str(alias, "ip") : "#");
        json_array_foreach(json_object_get(alias, "hostnames"), k, name)
            rs_buf_addf(&b, "\t%s", json_string_value(name));
        rs_buf_adds(&b, "\n");
    }
    return rs_buf_take(&b);
}

static int put(const char *root, const char *path, const char *text, struct rs_err *e)
{
    RS_AUTO(rs_chars) *full = rs_printf("%s/%s", root, path);
    FILE *f = fopen(full, "we");

    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        return RS_FAIL_ERRNO(e, "write %s", full);
    return 0;
}

static int make_root(const char *root, const struct rs_oci *in, struct rs_err *e)
{
    static const char *const dirs[] = { "usr", "etc", "proc", "dev", "tmp", "sys", "run", "var", "var/tmp", "var/run", "root", "opt/rootshift/bin", NULL };
    static const char *const links[] = { "bin", "sbin", "lib", "lib32", "lib64", "libx32", NULL };
    long uid, gid;

    for (const char *const *d = dirs; *d; d++) {
        RS_AUTO(rs_chars) *path = rs_printf("%s/%s", root, *d);
        if (rs_mkdirs(path, 0755, e) < 0)
            return -1;
        if ((rs_ends(*d, "tmp") && chmod(path, 01777) < 0) || (rs_streq(*d, "root") && chmod(path, 0700) < 0))
            return RS_FAIL_ERRNO(e, "chmod %s", path);
    }
    for (const char *const *l = links; *l; l++) {
        RS_AUTO(rs_chars) *host = rs_printf("/%s", *l), *path = rs_printf("%s/%s", root, *l), *to = rs_printf("usr/%s", *l);
        if (rs_file_exists(host) && symlink(to, path) < 0 && errno != EEXIST)
            return RS_FAIL_ERRNO(e, "link %s", path);
    }
    rs_oci_user(in->pod, in->container, &uid, &gid);
    bool known = uid == 0 || uid == 1337 || uid == 65534;
    RS_AUTO(rs_chars) *own_user = known ? rs_strdup("") : rs_printf("user%ld:x:%ld:%ld::/:/usr/sbin/nologin\n", uid, uid, gid);
    RS_AUTO(rs_chars) *passwd = rs_printf("root:x:0:0:root:/root:/bin/bash\nistio-proxy:x:1337:1337::/:/usr/sbin/nologin\n%s"
                                          "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n", own_user);
    RS_AUTO(rs_chars) *resolv = rs_oci_resolv_conf(in->pod, in->cluster_dns), *hosts = rs_oci_hosts(in->pod, in->hostname, in->ip);
    RS_AUTO(rs_chars) *hostname = rs_printf("%s\n", in->hostname);
    if (put(root, "etc/passwd", passwd, e) < 0 || put(root, "etc/group", "root:x:0:\nistio-proxy:x:1337:\nnogroup:x:65534:\n", e) < 0 ||
        put(root, "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n", e) < 0 ||
        put(root, "etc/resolv.conf", resolv, e) < 0 || put(root, "etc/hosts", hosts, e) < 0 || put(root, "etc/hostname", hostname, e) < 0)
        return -1;
    const char *cwd = rs_json_str(in->container, "workingDir");
    if (cwd && *cwd == '/' && !covered(in, cwd) && !strstr(cwd, "..")) {
        RS_AUTO(rs_chars) *path = rs_printf("%s%s", root, cwd);
        if (rs_mkdirs(path, 0755, e) < 0)
            return -1;
        if (chown(path, (uid_t)uid, (gid_t)gid) < 0)
            return RS_FAIL_ERRNO(e, "chown %s", path);
    }
    return 0;
}

int rs_oci_write(const char *bundle, const struct rs_oci *in, struct rs_err *e)
{
    RS_AUTO(json_t) *config = NULL;
    RS_AUTO(rs_chars) *root = rs_printf("%s/rootfs", bundle);

    if (rs_oci_config(&config, in, e) < 0 || rs_mkdirs(root, 0755, e) < 0 || make_root(root, in, e) < 0)
        return -1;
    RS_AUTO(rs_chars) *text = rs_json_text(config);
    return put(bundle, "config.json", text, e);
}
