#include "agent/identity.h"

#include "agent/renewal.h"
#include "base/log.h"
#include "base/random.h"
#include "base/time.h"

enum { LOOK_MS = 60 * 1000 };            /* the wall clock may jump; so it is looked at that often */

struct rs_identity {
    rs_loop *loop;
    const struct rs_agent_config *config;
    const struct rs_identity_ops *ops;
    void *ctx;
    struct rs_ca_answer held;
    rs_roots *roots;
    rs_ca_request *request;
    rs_timer *timer;
    int64_t renew_at_ms;                 /* wall clock */
    unsigned failures;                   /* since the last answer */
    uint64_t issued;
    char last_error[512];
};

static double random_unit(void)
{
    return (double)rs_random_below(1 << 30) / (1 << 30);
}

static void answered(void *ctx, struct rs_ca_answer *a, const struct rs_err *why);

static void look(void *ctx)
{
    rs_identity *i = ctx;
    int64_t left = i->renew_at_ms - rs_now_ms();
    if (left > 0)
        rs_timer_set(i->timer, left < LOOK_MS ? left : LOOK_MS);
    else if (!i->request)
        i->request = rs_ca_ask(i->loop, i->config, answered, i);
}

static void try_again(rs_identity *i, const struct rs_err *why)
{
    int64_t wait = rs_retry_delay(i->failures++, random_unit());
    snprintf(i->last_error, sizeof(i->last_error), "%s: %.400s", rs_code_name(why->code), why->msg);
    rs_log_warning("no certificate: %s; next try in %lld ms", i->last_error, (long long)wait);
    i->renew_at_ms = rs_now_ms() + wait;
    rs_timer_set(i->timer, wait);
}

static void answered(void *ctx, struct rs_ca_answer *a, const struct rs_err *why)
{
    rs_identity *i = ctx;
    struct rs_err e;
    bool roots_changed = false;
    char when[RS_TIME_TEXT];
    i->request = NULL;
    if (!a) {
        try_again(i, why);
        return;
    }
    if (rs_roots_from_ca(i->roots, rs_str_of(a->roots), &roots_changed, &e) < 0) {
        try_again(i, &e);
        return;
    }
    rs_ca_answer_done(&i->held);
    i->held = *a;
    *a = (struct rs_ca_answer){ 0 };
    i->failures = 0;
    i->last_error[0] = '\0';
    i->issued++;
    int64_t now = rs_now_ms(), until = rs_cert_not_after(i->held.leaf);
    i->renew_at_ms = now + rs_renewal_delay(now, until, now, i->config->renew_ratio, i->config->renew_jitter, random_unit());
    rs_log_info("certificate identity=%s root=%.40s until=%s", rs_cert_uri(i->held.leaf), i->held.issuer_root, rs_time_text(until, when));
    rs_timer_set(i->timer, 1);
    i->ops->on_leaf(i->ctx);
    if (roots_changed)
        i->ops->on_roots(i->ctx);
}

rs_identity *rs_identity_new(rs_loop *loop, const struct rs_agent_config *config, const struct rs_identity_ops *ops, void *ctx)
{
    rs_identity *i = rs_new(rs_identity);
    i->loop = loop;
    i->config = config;
    i->ops = ops;
    i->ctx = ctx;
    i->roots = rs_roots_new();
    i->timer = rs_timer_new(loop, look, i);
    rs_timer_set(i->timer, 0);
    return i;
}

void rs_identity_free(rs_identity *i)
{
    if (!i)
        return;
    rs_ca_cancel(i->request);
    rs_timer_free(i->timer);
    rs_ca_answer_done(&i->held);
    rs_roots_free(i->roots);
    free(i);
}

const char *rs_identity_chain(const rs_identity *i)
{
    return i->held.chain;
}

const rs_secret *rs_identity_key(const rs_identity *i)
{
    return i->held.key;
}

const rs_cert *rs_identity_leaf(const rs_identity *i)
{
    return i->held.leaf;
}

const rs_bundle *rs_identity_roots(const rs_identity *i)
{
    return rs_roots_bundle(i->roots);
}

int rs_identity_bundle(rs_identity *i, rs_str pem, const char *retired, struct rs_err *e)
{
    bool changed = false;
    RS_AUTO(json_t) *before = rs_roots_status(i->roots), *after = NULL;
    int rc = rs_roots_from_bundle(i->roots, pem, retired, &changed, e);
    after = rs_roots_status(i->roots);
    if (rs_json_int(after, 0, "refusedShrinkings") > rs_json_int(before, 0, "refusedShrinkings"))
        rs_log_warning("kept roots that a bundle would have dropped: %s", rs_json_str(after, "lastRefusal"));
    if (changed) {
        rs_log_info("roots held=%zu", rs_bundle_count(rs_roots_bundle(i->roots)));
        i->ops->on_roots(i->ctx);
    }
    return rc;
}

json_t *rs_identity_status(const rs_identity *i)
{
    json_t *o = rs_roots_status(i->roots);
    char text[RS_TIME_TEXT], digest[RS_DIGEST_TEXT];
    json_object_set_new(o, "certificatesReceived", json_integer((json_int_t)i->issued));
    rs_json_set_str(o, "lastError", i->last_error[0] ? i->last_error : NULL);
    if (!i->held.leaf)
        return o;
    json_t *leaf = rs_json_pack("{s:s}", "sha256", rs_digest_text(rs_cert_digest(i->held.leaf), digest));
    rs_json_set_str(leaf, "identity", rs_cert_uri(i->held.leaf));
    rs_json_set_str(leaf, "root", i->held.issuer_root);
    rs_json_set_str(leaf, "notAfter", rs_time_text(rs_cert_not_after(i->held.leaf), text));
    rs_json_set_str(leaf, "renewAt", rs_time_text(i->renew_at_ms, text));
    json_object_set_new(o, "leaf", leaf);
    return o;
}
