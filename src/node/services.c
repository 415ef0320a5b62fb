#include "node/services.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "base/proc.h"
#include "node/rules.h"

enum { DEBOUNCE_MS = 10, RETRY_MS = 1000 };

struct rs_services {
    rs_loop *loop;
    struct rs_services_config config;
    rs_informer *services, *slices;
    rs_timer *timer;
    char *loaded, *loading;            /* rules in force; rules under way */
    bool again;
    json_t *hosts;                     /* what the files hold */
};

static void load(rs_services *s);

static void on_loaded(void *ctx, pid_t pid, int status)
{
    rs_services *s = ctx;

    free(s->loaded);
    s->loaded = NULL;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        s->loaded = rs_take(s->loading);
    } else {
        rs_log_error("nft refused the rules of the services (status %d)", status);
        free(rs_take(s->loading));
        rs_timer_set(s->timer, RETRY_MS);
    }
    if (s->again)
        load(s);
}

static int start_nft(rs_services *s, const char *text, struct rs_err *e)
{
    const char *const argv[] = { "nft", "-f", "-", NULL };
    int RS_AUTO_FD fd = memfd_create("rules", MFD_CLOEXEC);
    size_t n = strlen(text);
    pid_t pid;

    if (fd < 0 || write(fd, text, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) < 0)
        return RS_FAIL_ERRNO(e, "hand rules to nft");
    struct rs_proc_spec spec = { .argv = argv, .fd_in = fd, .fd_out = -1, .fd_err = STDERR_FILENO };
    if (rs_proc_start(&spec, &pid, e) < 0)
        return -1;
    rs_loop_on_child(s->loop, pid, on_loaded, s);
    return 0;
}

static void load(rs_services *s)
{
    struct rs_err e;

    s->again = s->loading != NULL;
    if (s->again)
        return;
    RS_AUTO(json_t) *services = rs_informer_list(s->services);
    RS_AUTO(json_t) *slices = rs_informer_list(s->slices);
    RS_AUTO(rs_chars) *text = rs_rules_text(services, slices, s->config.cidr);
    if (!text || rs_streq(text, s->loaded))
        return;
    if (start_nft(s, text, &e) < 0) {
        rs_log_error("%s", e.msg);
        rs_timer_set(s->timer, RETRY_MS);
        return;
    }
    s->loading = rs_take(text);
}

/* ---- names ---- */

/* Files are written elsewhere and moved in, so that the DNS server reads each only whole. */
static int write_hosts(const rs_services *s, const char *name, const char *text, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s", s->config.hosts_dir, name), *tmp = rs_printf("%s/.%s", s->config.hosts_dir, name);
    int RS_AUTO_FD fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0 || write(fd, text, strlen(text)) < 0 || rename(tmp, path) < 0)
        return RS_FAIL_ERRNO(e, "write %s", path);
    return 0;
}

static void update_hosts(rs_services *s)
{
    RS_AUTO(json_t) *services = rs_informer_list(s->services);
    RS_AUTO(json_t) *slices = rs_informer_list(s->slices);
    json_t *now = rs_rules_hosts(services, slices, s->config.domain), *v;
    const char *name;
    struct rs_err e;

    json_object_foreach(s->hosts, name, v)
        if (!json_object_get(now, name)) {
            RS_AUTO(rs_chars) *path = rs_printf("%s/%s", s->config.hosts_dir, name);
            unlink(path);
        }
    json_object_foreach(now, name, v)
        if (!json_equal(v, json_object_get(s->hosts, name)) && write_hosts(s, name, json_string_value(v), &e) < 0)
            rs_log_error("%s", e.msg);
    json_decref(s->hosts);
    s->hosts = now;
}

/* Names that an earlier node left: they count as written with unknown content. */
static json_t *hosts_found(const char *dir)
{
    json_t *o = json_object();
    DIR *d = opendir(dir);

    if (!d)
        return o;
    for (struct dirent *it; (it = readdir(d));)
        if (it->d_name[0] != '.')
            json_object_set_new(o, it->d_name, json_null());
    closedir(d);
    return o;
}

static void on_timer(void *ctx)
{
    rs_services *s = ctx;

    if (!rs_informer_synced(s->services) || !rs_informer_synced(s->slices))
        return;
    load(s);
    if (s->config.hosts_dir)
        update_hosts(s);
}

static void on_synced(void *ctx)
{
    rs_services *s = ctx;

    rs_timer_set(s->timer, 0);
}

static void on_change(void *ctx, const json_t *old, const json_t *now, bool final)
{
    rs_services *s = ctx;

    rs_timer_set(s->timer, DEBOUNCE_MS);
}

rs_services *rs_services_new(rs_kube *k, const struct rs_services_config *config)
{
    static const struct rs_informer_ops ops = { on_change, on_synced };
    rs_services *s = rs_new(rs_services);

    s->loop = rs_kube_loop(k);
    s->config = *config;
    s->timer = rs_timer_new(s->loop, on_timer, s);
    s->hosts = config->hosts_dir ? hosts_found(config->hosts_dir) : json_object();
    s->services = rs_informer_new(k, "/api/v1/services", NULL, NULL, &ops, s);
    s->slices = rs_informer_new(k, "/apis/discovery.k8s.io/v1/endpointslices", NULL, NULL, &ops, s);
    return s;
}

void rs_services_free(rs_services *s)
{
    if (!s)
        return;
    rs_informer_free(s->services);
    rs_informer_free(s->slices);
    rs_timer_free(s->timer);
    free(s->loaded);
    free(s->loading);
    json_decref(s->hosts);
    free(s);
}
