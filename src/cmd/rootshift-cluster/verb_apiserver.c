#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/file.h"
#include "base/log.h"
#include "base/opt.h"
#include "base/time.h"
#include "cluster/api.h"
#include "cluster/pki.h"
#include "cmd/rootshift-cluster/verbs.h"
#include "io/listen.h"

enum { EVENT_TTL_MS = 3600 * 1000, DRAIN_MS = 2000, DRAIN_LOOK_MS = 20, FILES_MAX = 65536 };

struct args {
    const char *state, *listen, *cidr, *issuer, *name;
    int64_t listen_fd, inside_fd, ready_fd;
};

struct server { rs_loop *loop; rs_api *api; rs_listener *outside, *inside; rs_timer *end; int64_t end_ms; };

static void accepted(void *ctx, int fd)
{
    rs_api_add_connection(((struct server *)ctx)->api, fd);
}

/* As soon as nobody is connected, at the latest when draining has taken too long. */
static void stop(void *ctx)
{
    struct server *s = ctx;
    if (rs_api_connections(s->api) && rs_mono_ms() < s->end_ms)
        rs_timer_set(s->end, DRAIN_LOOK_MS);
    else
        rs_loop_stop(s->loop);
}

/* The listening sockets stay with whoever keeps them; what is under way gets its answer. */
static void on_term(void *ctx, int signo)
{
    struct server *s = ctx;
    (void)signo;
    rs_listener_free(s->outside);
    rs_listener_free(s->inside);
    s->outside = s->inside = NULL;
    rs_api_drain(s->api);
    s->end_ms = rs_mono_ms() + DRAIN_MS;
    rs_timer_set(s->end, 0);
}

/* A kubeconfig for the socket that fd listens on. */
static int write_kubeconfig(struct server *s, const struct args *a, const char *file, int fd, struct rs_err *e)
{
    struct sockaddr_in in = { 0 };
    socklen_t n = sizeof in;
    char ip[INET_ADDRSTRLEN];
    if (getsockname(fd, (struct sockaddr *)&in, &n) < 0 || in.sin_family != AF_INET)
        return RS_FAIL_ERRNO(e, "address of descriptor %d", fd);
    rs_assert(inet_ntop(AF_INET, &in.sin_addr, ip, sizeof ip));
    int port = ntohs(in.sin_port);
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s", a->state, file);
    RS_AUTO(rs_chars) *url = port == 443 ? rs_printf("https://%s", ip) : rs_printf("https://%s:%d", ip, port);
    return rs_api_write_kubeconfig(s->api, path, a->name, url, e);
}

/* An inherited socket may be a blocking one, on which accepting in a loop would hang. */
static int make_nonblocking(int64_t fd, struct rs_err *e)
{
    int flags = fd < 0 ? 0 : fcntl((int)fd, F_GETFL);
    if (fd >= 0 && (flags < 0 || fcntl((int)fd, F_SETFL, flags | O_NONBLOCK) < 0))
        return RS_FAIL_ERRNO(e, "descriptor %d", (int)fd);
    return 0;
}

/* Every watch is a connection of its own. */
static void allow_many_connections(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < FILES_MAX) {
        r.rlim_cur = r.rlim_max < FILES_MAX ? r.rlim_max : FILES_MAX;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static int tell_ready(int fd, struct rs_err *e)
{
    if (fd < 0)
        return 0;
    if (write(fd, "ready\n", 6) != 6)
        return RS_FAIL_ERRNO(e, "write to the ready descriptor");
    close(fd);
    return 0;
}

static int serve(struct server *s, const struct args *a, struct rs_err *e)
{
    struct rs_api_config config = { .state = a->state, .service_cidr = a->cidr, .issuer = a->issuer, .event_ttl_ms = EVENT_TTL_MS };
    if (make_nonblocking(a->listen_fd, e) < 0 || make_nonblocking(a->inside_fd, e) < 0)
        return -1;
    int outside = a->listen_fd >= 0 ? (int)a->listen_fd : rs_listen(a->listen, e);
    if (outside < 0 || rs_api_new(&s->api, s->loop, &config, e) < 0)
        return -1;
    if (write_kubeconfig(s, a, "kubeconfig", outside, e) < 0 ||
        (a->inside_fd >= 0 && write_kubeconfig(s, a, "kubeconfig.inside", (int)a->inside_fd, e) < 0))
        return -1;
    s->outside = rs_listener_new(s->loop, outside, accepted, s);
    if (a->inside_fd >= 0)
        s->inside = rs_listener_new(s->loop, (int)a->inside_fd, accepted, s);
    s->end = rs_timer_new(s->loop, stop, s);
    rs_loop_on_signal(s->loop, SIGTERM, on_term, s);
    rs_loop_on_signal(s->loop, SIGINT, on_term, s);
    if (tell_ready((int)a->ready_fd, e) < 0)
        return -1;
    rs_log_info("serving state=%s objects=%zu", a->state, rs_api_objects(s->api));
    rs_loop_run(s->loop);
    return 0;
}

int rs_verb_apiserver(int argc, char **argv)
{
    struct args a = { .listen_fd = -1, .inside_fd = -1, .ready_fd = -1, .cidr = "10.96.0.0/16", .name = "rootshift",
                      .issuer = "https://kubernetes.default.svc.cluster.local" };
    struct rs_opt options[] = {
        { .name = "state", .kind = RS_OPT_TEXT, .value = &a.state, .arg = "DIR", .help = "state directory: objects in DIR/api, keys in DIR/pki, DIR/kubeconfig" },
        { .name = "listen-fd", .kind = RS_OPT_INT, .value = &a.listen_fd, .min = 3, .max = 65535, .arg = "N", .help = "listening socket on the host's loopback" },
        { .name = "inside-fd", .kind = RS_OPT_INT, .value = &a.inside_fd, .min = 3, .max = 65535, .arg = "N",
          .help = "listening socket on the API's service address inside the cluster; writes DIR/kubeconfig.inside" },
        { .name = "ready-fd", .kind = RS_OPT_INT, .value = &a.ready_fd, .min = 3, .max = 65535, .arg = "N", .help = "gets \"ready\\n\" once requests are answered" },
        { .name = "listen", .kind = RS_OPT_TEXT, .value = &a.listen, .arg = "IP:PORT", .help = "bind here instead of --listen-fd (port 0: any)" },
        { .name = "service-cidr", .kind = RS_OPT_TEXT, .value = &a.cidr, .arg = "NETWORK", .help = "addresses of Services (default 10.96.0.0/16)" },
        { .name = "issuer", .kind = RS_OPT_TEXT, .value = &a.issuer, .arg = "URL", .help = "issuer of ServiceAccount tokens" },
        { .name = "name", .kind = RS_OPT_TEXT, .value = &a.name, .arg = "NAME", .help = "name of context, cluster and user in the kubeconfig files" },
    };
    struct rs_err e;
    int positional = 0, rc = rs_opt_parse(options, RS_COUNT(options), argc, argv, &positional, &e);
    if (rc > 0) {
        printf("usage: rootshift-cluster apiserver --state DIR (--listen-fd N | --listen IP:PORT) [OPTION]...\n\n");
        rs_opt_help(stdout, options, RS_COUNT(options));
        return 0;
    }
    if (rc < 0 || positional > 0 || !a.state || (a.listen_fd < 0) == !a.listen) {
        fprintf(stderr, "rootshift-cluster: apiserver: %s\n", rc < 0 ? e.msg : "--state and one of --listen-fd and --listen are needed");
        return 2;
    }
    allow_many_connections();
    struct server s = { .loop = rs_loop_new() };
    rc = serve(&s, &a, &e);
    if (rc < 0)
        rs_log_error("%s", e.msg);
    rs_listener_free(s.outside);
    rs_listener_free(s.inside);
    rs_timer_free(s.end);
    rs_api_free(s.api);
    rs_loop_free(s.loop);
    return rc < 0 ? rs_code_exit(e.code) : 0;
}
