/* Installing a revision of the plan: by the program's own `install`, as the guide does it, in a directory per revision. */
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/proc.h"
#include "cmd/rootshift/world_kube.h"

enum { ARGS_MAX = 160 };

struct args { const char *v[ARGS_MAX]; size_t n; };

static void add(struct args *a, const char *name, const char *value)
{
    rs_assert(a->n + 3 < ARGS_MAX);
    a->v[a->n++] = name;
    if (value)
        a->v[a->n++] = value;
}

int rs_world_install(void *ctx, const json_t *plan, int second, struct rs_err *e)
{
    struct rs_world_kube *w = ctx;
    const char *revision = json_string_value(json_array_get(rs_json_at(plan, "revisions"), (size_t)second));
    RS_AUTO(rs_chars) *dir = rs_program_dir();
    RS_AUTO(rs_chars) *self = rs_printf("%s/rootshift", dir);
    RS_AUTO(rs_chars) *output = rs_printf("%s/%s", rs_json_str(plan, "outputDir"), revision);
    struct args a = { 0 };
    add(&a, self, "install");
    add(&a, "--fleet_id", rs_json_str(plan, "fleetID"));
    add(&a, "--ca", second ? "mesh_ca" : "citadel");
    add(&a, "--option", second ? "ca-migration-meshca" : "ca-migration-citadel");
    add(&a, "--revision_name", revision);
    add(&a, "--output_dir", output);
    add(&a, "--enable_all", NULL);
    if (w->kubeconfig)
        add(&a, "--kubeconfig", w->kubeconfig);
    if (w->context)
        add(&a, "--context", w->context);
    size_t i;
    json_t *overlay;
    json_array_foreach(rs_json_at(plan, "overlays"), i, overlay)
        add(&a, "--custom_overlay", json_string_value(overlay));

    pid_t pid;
    int status;
    struct rs_proc_spec spec = { .argv = a.v, .fd_in = -1, .fd_out = w->quiet ? -1 : STDERR_FILENO, .fd_err = STDERR_FILENO, .die_with_parent = true };
    if (rs_proc_start(&spec, &pid, e) < 0)
        return -1;
    while (waitpid(pid, &status, WNOHANG) == 0)
        w->world.pause(w);                   /* which also renews the lock */
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return RS_FAIL(e, WIFEXITED(status) && WEXITSTATUS(status) == 4 ? RS_PRECONDITION : RS_INTERNAL,
                   "revision %s was not installed; the reason stands above and in %s/logs.txt", revision, output);
}
