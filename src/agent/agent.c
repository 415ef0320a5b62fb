#include "agent/agent.h"

#include <libgen.h>
#include <sys/wait.h>

#include "agent/ads_proxy.h"
#include "agent/envoy_stats.h"
#include "agent/sds.h"
#include "agent/status.h"
#include "base/file.h"
#include "base/log.h"
#include "base/time.h"

enum { DRAIN_LOOK_MS = 250 };

struct rs_agent {
    rs_loop *loop;
    const struct rs_agent_config *config;
    void (*on_end)(void *ctx, bool ok);
    void *ctx;
    rs_http_client *http;
    rs_identity *identity;
    rs_sds *sds;
    rs_ads_proxy *ads;
    rs_status *status;
    rs_envoy *envoy;                     /* NULL once it has ended */
    bool draining, ending;
    struct rs_drain drain;
    rs_timer *look;
};

/* ---- stop ---- */

static void end_envoy(rs_agent *a)
{
    if (a->ending || !a->envoy)
        return;
    a->ending = true;
    rs_log_info("drained after %lld ms", (long long)(rs_mono_ms() - a->drain.since_ms));
    rs_envoy_terminate(a->envoy);
}

static void active_answered(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    rs_agent *a = ctx;
    struct rs_active active;
    if (r) {
        RS_AUTO(rs_chars) *text = rs_strndup(r->body.p, r->body.n);
        rs_active_look(&active, text, a->config->ready_port, a->config->prometheus_port);
    }
    if (rs_drain_over(&a->drain, r ? &active : NULL, rs_mono_ms()))
        end_envoy(a);
    else
        rs_timer_set(a->look, DRAIN_LOOK_MS);
}

static void look(void *ctx)
{
    rs_agent *a = ctx;
    if (a->envoy && !a->ending)
        rs_envoy_ask(a->envoy, "GET", "/stats?filter=" RS_ACTIVE_FILTER, active_answered, a);
}

static void drain_answered(void *ctx, const struct rs_http_response *r, const struct rs_err *why)
{
    if (!r || r->status != 200)
        rs_log_warning("Envoy does not drain: %s", why ? why->msg : rs_http_reason(r->status));
    look(ctx);
}

void rs_agent_stop(rs_agent *a)
{
    if (a->draining || !a->envoy) {
        end_envoy(a);
        return;
    }
    a->draining = true;
    a->drain = (struct rs_drain){ .since_ms = rs_mono_ms(), .min_ms = a->config->drain_min_ms, .max_ms = a->config->drain_max_ms };
    rs_log_info("stopping: draining for %lld to %lld ms", (long long)a->drain.min_ms, (long long)a->drain.max_ms);
    rs_envoy_ask(a->envoy, "POST", "/drain_listeners?graceful&skip_exit", drain_answered, a);
}

static void envoy_ended(void *ctx, int status)
{
    rs_agent *a = ctx;
    if (WIFSIGNALED(status))
        rs_log_info("Envoy ended by signal %d", WTERMSIG(status));
    else
        rs_log_info("Envoy ended with status %d", WEXITSTATUS(status));
    rs_envoy_free(rs_take(a->envoy));
    a->on_end(a->ctx, a->ending);
}

/* ---- parts ---- */

static void on_leaf(void *ctx)
{
    rs_agent *a = ctx;
    if (a->sds)
        rs_sds_refresh(a->sds);
}

static int on_bundle(void *ctx, rs_str pem, const char *retired, struct rs_err *e)
{
    return rs_identity_bundle(((rs_agent *)ctx)->identity, pem, retired, e);
}

static json_t *trust(void *ctx)
{
    rs_agent *a = ctx;
    json_t *o = rs_identity_status(a->identity);
    json_object_set_new(o, "controlPlane", rs_ads_proxy_status(a->ads));
    return o;
}

static rs_envoy *envoy(void *ctx)
{
    return ((rs_agent *)ctx)->envoy;
}

static bool draining(void *ctx)
{
    return ((rs_agent *)ctx)->draining;
}

static int make_directories(const struct rs_agent_config *config, struct rs_err *e)
{
    RS_AUTO(rs_chars) *sds = rs_strdup(config->sds_path);
    return rs_mkdirs(config->config_dir, 0755, e) < 0 || rs_mkdirs(dirname(sds), 0755, e) < 0 ? -1 : 0;
}

int rs_agent_new(rs_agent **ret, rs_loop *loop, const struct rs_agent_config *config, void (*on_end)(void *ctx, bool ok), void *ctx, struct rs_err *e)
{
    static const struct rs_identity_ops identity_ops = { on_leaf, on_leaf };
    static const struct rs_ads_proxy_ops ads_ops = { on_bundle };
    static const struct rs_status_ops status_ops = { trust, envoy, draining };
    rs_agent *a = rs_new(rs_agent);
    a->loop = loop;
    a->config = config;
    a->on_end = on_end;
    a->ctx = ctx;
    a->look = rs_timer_new(loop, look, a);
    a->http = rs_http_client_new(loop);
    a->identity = rs_identity_new(loop, config, &identity_ops, a);
    if (make_directories(config, e) < 0 || rs_sds_new(&a->sds, loop, config->sds_path, a->identity, e) < 0 ||
        rs_ads_proxy_new(&a->ads, loop, config, &ads_ops, a, e) < 0 || rs_status_new(&a->status, loop, a->http, config, &status_ops, a, e) < 0 ||
        rs_envoy_start(&a->envoy, loop, a->http, config, envoy_ended, a, e) < 0) {
        rs_agent_free(a);
        return -1;
    }
    *ret = a;
    return 0;
}

void rs_agent_free(rs_agent *a)
{
    if (!a)
        return;
    rs_status_free(a->status);
    rs_http_client_free(a->http);
    rs_envoy_free(a->envoy);
    rs_ads_proxy_free(a->ads);
    rs_sds_free(a->sds);
    rs_identity_free(a->identity);
    rs_timer_free(a->look);
    free(a);
}
