#include "agent/envoy_stats.h"

/* Next "name: number" line; false at the end. */
static bool next(const char **p, rs_str *name, uint64_t *value)
{
    while (**p) {
        size_t n = strcspn(*p, "\n");
        const char *line = *p, *colon = memchr(line, ':', n);
        *p += n + ((*p)[n] == '\n');
        if (!colon)
            continue;
        *name = (rs_str){ line, (size_t)(colon - line) };
        if (rs_str_u64(rs_str_trim((rs_str){ colon + 1, n - name->n - 1 }), value))
            return true;
    }
    return false;
}

static bool starts(rs_str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

static bool ends(rs_str s, const char *suffix)
{
    size_t n = strlen(suffix);
    return s.n >= n && memcmp(s.p + s.n - n, suffix, n) == 0;
}

bool rs_readiness_look(struct rs_readiness *r, const char *stats, char why[256])
{
    uint64_t cds = 0, lds = 0, cds_bad = 0, lds_bad = 0, state = 99, workers = 0, v;
    rs_str name;
    for (const char *p = stats; next(&p, &name, &v); ) {
        if (rs_str_is(name, "cluster_manager.cds.update_success"))
            cds = v;
        else if (rs_str_is(name, "listener_manager.lds.update_success"))
            lds = v;
        else if (rs_str_is(name, "cluster_manager.cds.update_rejected"))
            cds_bad = v;
        else if (rs_str_is(name, "listener_manager.lds.update_rejected"))
            lds_bad = v;
        else if (rs_str_is(name, "server.state"))
            state = v;
        else if (rs_str_is(name, "listener_manager.workers_started"))
            workers = v;
    }
    r->configured |= cds > 0 && lds > 0;
    if (!r->configured)
        snprintf(why, 256, "config not received from XDS server (is Istiod running?): cds updates: %llu successful, %llu rejected; "
                 "lds updates: %llu successful, %llu rejected", (unsigned long long)cds, (unsigned long long)cds_bad,
                 (unsigned long long)lds, (unsigned long long)lds_bad);
    else if (state != 0)
        snprintf(why, 256, "server is not live, current state is: %llu", (unsigned long long)state);
    else if (workers != 1)
        snprintf(why, 256, "workers have not yet started");
    else
        return true;
    return false;
}

void rs_active_look(struct rs_active *a, const char *stats, int ready_port, int prometheus_port)
{
    static const char *const own_clusters[] = { "cluster.xds-grpc.", "cluster.sds-grpc.", "cluster.agent.", "cluster.prometheus_stats." };
    RS_AUTO(rs_chars) *ready = rs_printf("listener.0.0.0.0_%d.", ready_port), *prometheus = rs_printf("listener.0.0.0.0_%d.", prometheus_port);
    uint64_t v;
    rs_str name;
    *a = (struct rs_active){ 0 };
    for (const char *p = stats; next(&p, &name, &v); ) {
        if (starts(name, "listener.") && ends(name, ".downstream_cx_active")) {
            if (!starts(name, "listener.admin.") && !starts(name, ready) && !starts(name, prometheus) && !memmem(name.p, name.n, ".worker_", 8))
                a->connections += v;
        } else if (starts(name, "cluster.") && ends(name, ".upstream_rq_active")) {
            bool own = false;
            for (size_t i = 0; i < RS_COUNT(own_clusters); i++)
                own |= starts(name, own_clusters[i]);
            a->requests += own ? 0 : v;
        }
    }
}

bool rs_drain_over(struct rs_drain *d, const struct rs_active *a, int64_t now_ms)
{
    int64_t waited = now_ms - d->since_ms;
    if (!a || a->requests > 0 || d->busy_ms == 0)
        d->busy_ms = now_ms;
    if (waited >= d->max_ms)
        return true;
    return a && waited >= d->min_ms && (a->connections == 0 || now_ms - d->busy_ms >= RS_DRAIN_QUIET_MS);
}
