#include "node/node.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "kube/object.h"
#include "node/node_int.h"
#include "node/register.h"
#include "node/server.h"
#include "node/services.h"

enum { PROGRAMS_MAX = 64 };

/* ---- programs ---- */

/* One program made visible in a directory that everybody in the cluster may read, wherever it really lies (a link to
 * another place, a home directory that is closed to others). */
static int show_program(const char *from, const char *onto, struct rs_err *e)
{
    struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };
    int RS_AUTO_FD fd = open(onto, O_RDONLY | O_CREAT | O_CLOEXEC, 0755);

    if (fd < 0)
        return RS_FAIL_ERRNO(e, "create %s", onto);
    umount2(onto, MNT_DETACH);                         /* of an earlier node: an older build, perhaps */
    if (mount(from, onto, NULL, MS_BIND, NULL) < 0)
        return RS_FAIL_ERRNO(e, "bind %s", from);
    if (mount_setattr(AT_FDCWD, onto, 0, &ro, sizeof(ro)) < 0)
        return RS_FAIL_ERRNO(e, "make %s read-only", onto);
    return 0;
}

static int show_programs(rs_node *n, struct rs_err *e)
{
    DIR *d = opendir(n->args->bin_dir);
    int shown = 0, r = 0;

    n->bin_mount = rs_printf("%s/bin", n->args->run);
    if (!d)
        return RS_FAIL_ERRNO(e, "programs in %s", n->args->bin_dir);
    if (rs_mkdirs(n->bin_mount, 0755, e) < 0) {
        closedir(d);
        return -1;
    }
    for (struct dirent *it; r == 0 && (it = readdir(d));) {
        RS_AUTO(rs_chars) *link = rs_printf("%s/%s", n->args->bin_dir, it->d_name), *real = realpath(link, NULL);
        RS_AUTO(rs_chars) *onto = rs_printf("%s/%s", n->bin_mount, it->d_name);
        struct stat st;
        if (it->d_name[0] == '.' || !real || stat(real, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0111) || ++shown > PROGRAMS_MAX)
            continue;
        r = show_program(real, onto, e);
    }
    closedir(d);
    return r;
}

/* ---- pods ---- */

static bool over(const json_t *pod)
{
    const char *phase = rs_json_str(pod, "status", "phase");

    return rs_streq(phase, "Succeeded") || rs_streq(phase, "Failed");
}

static void ended_deleted(void *ctx, json_t *answer, const struct rs_err *why)
{
    if (why && why->code != RS_NOT_FOUND)
        rs_log_warning("remove ended pod: %s", why->msg);
}

/* A pod that ended under an earlier node and left nothing here: only its object remains to be removed. */
static void remove_ended(rs_node *n, const json_t *pod)
{
    RS_AUTO(rs_chars) *path = rs_object_path(pod, true);
    RS_AUTO(json_t) *body = rs_json_pack("{s:s, s:s, s:i, s:{s:s}}", "apiVersion", "v1", "kind", "DeleteOptions", "gracePeriodSeconds", 0,
                                         "preconditions", "uid", rs_object_uid(pod));

    rs_kube_start(n->kube, "DELETE", path, NULL, body, ended_deleted, NULL);
}

static void on_pod(void *ctx, const json_t *old, const json_t *now, bool final)
{
    rs_node *n = ctx;
    const char *uid = rs_object_uid(now ? now : old);
    rs_worker *w;

    if (old && now && !rs_streq(rs_object_uid(old), uid)) {    /* replaced between two sights */
        on_pod(ctx, old, NULL, false);
        old = NULL;
    }
    HASH_FIND_STR(n->workers, uid, w);
    if (!now) {
        if (w)
            rs_worker_vanished(w);
        return;
    }
    if (w) {
        rs_worker_update(w, now);
        return;
    }
    RS_AUTO(rs_chars) *dir = rs_printf("%s/pods/%s", n->args->run, uid);
    if (over(now) && !rs_file_exists(dir)) {
        if (rs_object_deleting(now))
            remove_ended(n, now);
        return;
    }
    rs_worker_pump(rs_worker_new(n, now));
}

static void on_pods_synced(void *ctx) { rs_worker_adopt_orphans(ctx); }

static void on_object(void *ctx, const char *kind, const char *ns, const char *name)
{
    rs_node *n = ctx;
    rs_worker *w, *next;

    HASH_ITER(hh, n->workers, w, next)
        if (rs_streq(w->ns, ns))
            rs_worker_object_changed(w, kind, name);
}

/* ---- start ---- */

static int read_cidr(rs_node *n, struct rs_err *e)
{
    const char *slash = strchr(n->args->pod_cidr, '/');
    RS_AUTO(rs_chars) *base = rs_strndup(n->args->pod_cidr, slash ? (size_t)(slash - n->args->pod_cidr) : 0);
    struct in_addr in;
    uint64_t bits;
    char text[INET_ADDRSTRLEN];

    if (!slash || inet_pton(AF_INET, base, &in) != 1 || !rs_str_u64(rs_str_of(slash + 1), &bits) || bits < 8 || bits > 22)
        return RS_FAIL(e, RS_INVALID, "--pod-cidr %s: want an IPv4 range between /8 and /22", n->args->pod_cidr);
    n->mask = ~0U << (32 - bits);
    n->net = ntohl(in.s_addr) & n->mask;
    n->next_ip = n->net + 258;
    in.s_addr = htonl(n->net + 1);
    n->host_ip = rs_strdup(inet_ntop(AF_INET, &in, text, sizeof(text)));
    return 0;
}

static int make_dirs(rs_node *n, struct rs_err *e)
{
    static const char *const below[] = { "pods", "s", NULL };

    umask(022);
    for (const char *const *b = below; *b; b++) {
        RS_AUTO(rs_chars) *dir = rs_printf("%s/%s", n->args->run, *b);
        if (rs_mkdirs(dir, 0755, e) < 0)
            return -1;
    }
    RS_AUTO(rs_chars) *logs = rs_printf("%s/logs", n->args->state);
    if (rs_mkdirs(logs, 0755, e) < 0 || rs_mkdirs("/run/netns", 0755, e) < 0 || rs_mkdirs(n->args->runc_root, 0700, e) < 0)
        return -1;
    return n->args->dns_dir ? rs_mkdirs(n->args->dns_dir, 0755, e) : 0;
}

static void on_registered(void *ctx)
{
    rs_node *n = ctx;

    rs_log_info("node %s is registered", n->args->name);
    if (n->args->ready_fd < 0)
        return;
    if (write((int)n->args->ready_fd, "ready\n", 6) < 0)
        rs_log_debug("nobody waits for readiness");
    close((int)n->args->ready_fd);
}

static void on_end(void *ctx, int signo)
{
    rs_log_info("ends; the pods go on");
    rs_loop_stop(ctx);
}

static int run(rs_node *n, const struct rs_kube_config *config, struct rs_err *e)
{
    static const struct rs_informer_ops pod_ops = { on_pod, on_pods_synced };
    RS_AUTO(rs_chars) *mine = rs_printf("spec.nodeName=%s", n->args->name);
    rs_server *server;

    if (rs_kube_new(&n->kube, n->loop, config, e) < 0 || rs_server_new(&server, n, e) < 0)
        return -1;
    n->http = rs_http_client_new(n->loop);
    n->events = rs_events_new(n->kube, n->args->name);
    n->objects = rs_objects_new(n->kube, on_object, n);
    struct rs_services_config sc = { n->args->service_cidr, n->args->cluster_domain, n->args->dns_dir };
    rs_services *services = rs_services_new(n->kube, &sc);
    struct rs_register_config rc = { n->args->name, n->host_ip, n->args->pod_cidr, rs_server_port(server) };
    rs_register *reg = rs_register_new(n->kube, &rc, on_registered, n);
    n->pods = rs_informer_new(n->kube, "/api/v1/pods", NULL, mine, &pod_ops, n);
    rs_loop_on_signal(n->loop, SIGTERM, on_end, n->loop);
    rs_loop_on_signal(n->loop, SIGINT, on_end, n->loop);
    rs_loop_run(n->loop);
    rs_register_free(reg);
    rs_services_free(services);
    return 0;                                          /* the pods' workers end with the process; their shims do not */
}

int rs_node_main(const struct rs_node_args *args)
{
    struct rs_err e;
    struct rs_kube_config config = { 0 };
    rs_node n = { .args = args, .loop = rs_loop_new() };

    if (rs_kube_config_load(&config, args->kubeconfig, NULL, &e) < 0 || read_cidr(&n, &e) < 0 || make_dirs(&n, &e) < 0 ||
        show_programs(&n, &e) < 0 || run(&n, &config, &e) < 0) {
        rs_log_error("%s", e.msg);
        return rs_code_exit(e.code);
    }
    return 0;
}
