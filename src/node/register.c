#include "node/register.h"
#include <sys/utsname.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "base/time.h"

enum { BEAT_MS = 10000, STATUS_MS = 300000, RETRY_MS = 300, LEASE_SECONDS = 40 };
#define LEASES "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

struct rs_register {
    rs_kube *k;
    struct rs_register_config config;
    void (*registered)(void *ctx);
    void *ctx;
    rs_timer *beat, *refresh;
    rs_kube_call *node_call, *lease_call;
    bool told, lease_missing, namespace_missing;
    char since[RS_TIME_TEXT];
};

static json_t *condition(const rs_register *r, const char *type, bool yes, const char *reason, const char *message)
{
    char now[RS_TIME_TEXT];

    return rs_json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "type", type, "status", yes ? "True" : "False", "reason", reason, "message", message,
                        "lastHeartbeatTime", rs_time_text(rs_now_ms(), now), "lastTransitionTime", r->since);
}

static json_t *info(void)
{
    struct utsname u;
    RS_AUTO(rs_chars) *boot = NULL, *machine = NULL;
    struct rs_err e;

    uname(&u);
    if (rs_file_read("/proc/sys/kernel/random/boot_id", 64, &boot, NULL, &e) == 0)
        boot[strcspn(boot, "\n")] = '\0';
    if (rs_file_read("/etc/machine-id", 64, &machine, NULL, &e) == 0)
        machine[strcspn(machine, "\n")] = '\0';
    return rs_json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "machineID", machine ? machine : "", "systemUUID", machine ? machine : "",
        "bootID", boot ? boot : "", "kernelVersion", u.release, "osImage", "Rootshift on the host's /usr", "containerRuntimeVersion", "runc://1.1",
        "kubeletVersion", "v1.26.0-rootshift-" RS_VERSION, "kubeProxyVersion", "v1.26.0-rootshift-" RS_VERSION, "operatingSystem", "linux",
        "architecture", rs_streq(u.machine, "x86_64") ? "amd64" : rs_streq(u.machine, "aarch64") ? "arm64" : u.machine);
}

static json_t *status(const rs_register *r)
{
    RS_AUTO(rs_chars) *cpu = rs_printf("%ld", sysconf(_SC_NPROCESSORS_ONLN));
    RS_AUTO(rs_chars) *memory = rs_printf("%lldKi", (long long)sysconf(_SC_PHYS_PAGES) * (sysconf(_SC_PAGESIZE) / 1024));
    RS_AUTO(json_t) *capacity = rs_json_pack("{s:s, s:s, s:s}", "cpu", cpu, "memory", memory, "pods", "250");
    json_t *conditions = json_array();

    json_array_append_new(conditions, condition(r, "MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"));
    json_array_append_new(conditions, condition(r, "DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"));
    json_array_append_new(conditions, condition(r, "PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"));
    json_array_append_new(conditions, condition(r, "Ready", true, "KubeletReady", "kubelet is posting ready status"));
    return rs_json_pack("{s:O, s:O, s:o, s:[{s:s, s:s}, {s:s, s:s}], s:{s:{s:i}}, s:o}", "capacity", capacity, "allocatable", capacity, "conditions", conditions,
        "addresses", "type", "InternalIP", "address", r->config.address, "type", "Hostname", "address", r->config.name,
        "daemonEndpoints", "kubeletEndpoint", "Port", r->config.port, "nodeInfo", info());
}

static void create_node(rs_register *r);

static void status_done(void *ctx, json_t *answer, const struct rs_err *why)
{
    rs_register *r = ctx;

    r->node_call = NULL;
    if (why && why->code == RS_NOT_FOUND) {
        create_node(r);
        return;
    }
    if (why)
        rs_log_warning("status of node %s: %s", r->config.name, why->msg);
    rs_timer_set(r->refresh, why ? RETRY_MS : STATUS_MS);
    if (!why && !r->told) {
        r->told = true;
        r->registered(r->ctx);
    }
}

static void send_status(void *ctx)
{
    rs_register *r = ctx;
    RS_AUTO(rs_chars) *path = rs_printf("/api/v1/nodes/%s/status", r->config.name);
    RS_AUTO(json_t) *patch = rs_json_pack("{s:o}", "status", status(r));

    if (!r->node_call)
        r->node_call = rs_kube_start(r->k, "PATCH", path, RS_MERGE_PATCH, patch, status_done, r);
}

static void created(void *ctx, json_t *answer, const struct rs_err *why)
{
    rs_register *r = ctx;

    r->node_call = NULL;
    if (why && why->code != RS_EXISTS) {
        rs_log_warning("register node %s: %s", r->config.name, why->msg);
        rs_timer_set(r->refresh, RETRY_MS);
        return;
    }
    send_status(r);
}

static void create_node(rs_register *r)
{
    RS_AUTO(json_t) *node = rs_json_pack("{s:s, s:s, s:{s:s, s:{s:s, s:s}}, s:{s:s, s:[s]}, s:o}", "apiVersion", "v1", "kind", "Node",
        "metadata", "name", r->config.name, "labels", "kubernetes.io/hostname", r->config.name, "kubernetes.io/os", "linux",
        "spec", "podCIDR", r->config.pod_cidr, "podCIDRs", r->config.pod_cidr, "status", status(r));

    r->node_call = rs_kube_start(r->k, "POST", "/api/v1/nodes", NULL, node, created, r);
}

/* ---- heartbeat ---- */

static void on_beat(void *ctx);

static void beaten(void *ctx, json_t *answer, const struct rs_err *why)
{
    rs_register *r = ctx;
    bool was_missing = r->lease_missing;

    r->lease_call = NULL;
    r->namespace_missing = why && was_missing && why->code == RS_NOT_FOUND && !r->namespace_missing;
    r->lease_missing = why && why->code == RS_NOT_FOUND;
    if (why && why->code != RS_NOT_FOUND && why->code != RS_EXISTS)
        rs_log_warning("lease of node %s: %s", r->config.name, why->msg);
    rs_timer_set(r->beat, why ? RETRY_MS : BEAT_MS);
}

static void on_beat(void *ctx)
{
    rs_register *r = ctx;
    char now[RS_TIME_TEXT];
    RS_AUTO(rs_chars) *path = rs_printf(LEASES "/%s", r->config.name);
    RS_AUTO(json_t) *lease = rs_json_pack("{s:s, s:s, s:{s:s}, s:{s:s, s:i, s:s}}", "apiVersion", "coordination.k8s.io/v1", "kind", "Lease",
        "metadata", "name", r->config.name, "spec", "holderIdentity", r->config.name, "leaseDurationSeconds", LEASE_SECONDS,
        "renewTime", rs_time_text_ms(rs_now_ms(), now));

    if (r->namespace_missing) {
        RS_AUTO(json_t) *ns = rs_json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind", "Namespace", "metadata", "name", "kube-node-lease");
        r->lease_call = rs_kube_start(r->k, "POST", "/api/v1/namespaces", NULL, ns, beaten, r);
    } else if (r->lease_missing)
        r->lease_call = rs_kube_start(r->k, "POST", LEASES, NULL, lease, beaten, r);
    else
        r->lease_call = rs_kube_start(r->k, "PATCH", path, RS_MERGE_PATCH, lease, beaten, r);
}

rs_register *rs_register_new(rs_kube *k, const struct rs_register_config *config, void (*registered)(void *ctx), void *ctx)
{
    rs_register *r = rs_new(rs_register);

    *r = (rs_register){ .k = k, .config = *config, .registered = registered, .ctx = ctx };
    rs_time_text(rs_now_ms(), r->since);
    r->beat = rs_timer_new(rs_kube_loop(k), on_beat, r);
    r->refresh = rs_timer_new(rs_kube_loop(k), send_status, r);
    send_status(r);
    rs_timer_set(r->beat, 0);
    return r;
}

void rs_register_free(rs_register *r)
{
    if (!r)
        return;
    rs_kube_cancel(r->node_call);
    rs_kube_cancel(r->lease_call);
    rs_timer_free(r->beat);
    rs_timer_free(r->refresh);
    free(r);
}
