#include "migrate/gate.h"

#include <stdarg.h>

#include "base/buf.h"
#include "base/time.h"

void rs_gate_done(struct rs_gate *g)
{
    for (size_t i = 0; i < g->n; i++) {
        free(g->v[i].object);
        free(g->v[i].reason);
    }
    free(g->v);
    *g = (struct rs_gate){ 0 };
}

static void add_reason(struct rs_gate *g, char *object, char *reason)
{
    g->v = rs_realloc(g->v, (g->n + 1) * sizeof(*g->v));
    g->v[g->n++] = (struct rs_gate_reason){ object, reason };
}

static void RS_PRINTF(3, 4) blame(struct rs_gate *g, const struct rs_proxy *p, const char *fmt, ...)
{
    va_list ap;
    char *reason = NULL;
    va_start(ap, fmt);
    rs_assert(vasprintf(&reason, fmt, ap) >= 0);
    va_end(ap);
    add_reason(g, rs_printf("%s/%s", p->namespace, p->pod), reason);
}

char *rs_gate_text(const struct rs_gate *g)
{
    struct rs_buf b;
    rs_buf_init(&b, 16384);
    for (size_t i = 0; i < g->n && i < 3; i++)
        rs_buf_addf(&b, "%s%s: %s", i ? "; " : "", g->v[i].object, g->v[i].reason);
    if (g->n > 3)
        rs_buf_addf(&b, "; and %zu more", g->n - 3);
    return rs_buf_take(&b);
}

json_t *rs_gate_json(const struct rs_gate *g)
{
    json_t *reasons = json_array();
    for (size_t i = 0; i < g->n; i++)
        json_array_append_new(reasons, rs_json_pack("{s:s, s:s}", "object", g->v[i].object, "reason", g->v[i].reason));
    return rs_json_pack("{s:b, s:I, s:I, s:o}", "open", g->open, "ready", (json_int_t)g->ready, "total", (json_int_t)g->total,
                        "reasons", reasons);
}

/* First 12 digits: enough to tell roots apart on a terminal. */
static const char *brief(const rs_digest *d, char buf[RS_DIGEST_TEXT])
{
    rs_digest_text(d, buf);
    buf[12] = 0;
    return buf;
}

/* What every gate asks first: was it read, after the decision began, and does it still belong to the living? */
static bool readable(struct rs_gate *g, const struct rs_proxy *p, int64_t decided_ms)
{
    if (!p->known)
        blame(g, p, "unknown: %s", p->why ? p->why : "not read");
    else if (p->read_at_ms < decided_ms)
        blame(g, p, "unknown: the answer is older than the decision");
    else if (!p->roots || p->chain.n == 0)
        blame(g, p, "unknown: no trust bundle or no certificate");
    else
        return true;
    return false;
}

static bool holds_root(struct rs_gate *g, const struct rs_proxy *p, const rs_digest *root, const char *which)
{
    char text[RS_DIGEST_TEXT];
    if (rs_bundle_has(p->roots, root))
        return true;
    blame(g, p, "its Envoy has not loaded the %s root %s; restart it under the new revision or wait for the push", which, brief(root, text));
    return false;
}

static bool holds_required(struct rs_gate *g, const struct rs_proxy *p, const struct rs_required *required, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!rs_streq(required[i].revision, p->revision))
            continue;
        for (size_t k = 0; k < rs_bundle_count(required[i].roots); k++)
            if (!holds_root(g, p, rs_cert_digest(rs_bundle_root(required[i].roots, k)), "distributed"))
                return false;
    }
    return true;
}

static struct rs_gate finish(struct rs_gate g)
{
    g.open = g.n == 0;
    return g;
}

struct rs_gate rs_gate_switch(const struct rs_scan *scan, const rs_digest *old_root, const rs_digest *new_root,
                              const struct rs_required *required, size_t n_required, int64_t decided_ms)
{
    struct rs_gate g = { .total = scan->n };
    for (size_t i = 0; i < scan->n; i++) {
        const struct rs_proxy *p = scan->v[i];
        if (!readable(&g, p, decided_ms))
            continue;
        if (!holds_root(&g, p, old_root, "old") || !holds_root(&g, p, new_root, "new") || !holds_required(&g, p, required, n_required))
            continue;
        if (p->warming)
            blame(&g, p, "its Envoy has a newer secret that is not in force yet");
        else if (!p->issuing_root)
            blame(&g, p, "its own certificate does not verify under the roots that it holds");
        else
            g.ready++;
    }
    if (scan->n == 0)
        add_reason(&g, rs_strdup("mesh"), rs_strdup("no running proxy was found; nothing is proven"));
    return finish(g);
}

/* The anchor itself counts too: a chain may carry the root, or verify under it with the root outside the proxy's own bundle. */
static bool presents(const struct rs_proxy *p, const rs_digest *root)
{
    if (p->issuing_root && rs_digest_eq(rs_cert_digest(p->issuing_root), root))
        return true;
    for (size_t i = 0; i < p->chain.n; i++)
        if (rs_digest_eq(rs_cert_digest(p->chain.v[i]), root))
            return true;
    return false;
}

struct rs_gate rs_gate_removal(const struct rs_scan *scan, const rs_digest *root, const struct rs_living_leaf *living, size_t n_living,
                               const char *records_why, int64_t decided_ms)
{
    struct rs_gate g = { .total = scan->n };
    char when[RS_TIME_TEXT], text[RS_DIGEST_TEXT];
    if (records_why)
        add_reason(&g, rs_strdup("issuance records"),
                   rs_printf("can't be read: %s; the root stays until issuing has stopped for the longest lifetime", records_why));
    for (size_t i = 0; i < n_living; i++)
        add_reason(&g, rs_strdup(living[i].pod && *living[i].pod ? living[i].pod : living[i].identity),
                   rs_printf("a certificate of %s under root %s may be alive until %s", living[i].identity, brief(root, text),
                             rs_time_text(living[i].not_after_ms, when)));
    for (size_t i = 0; i < scan->n; i++) {
        const struct rs_proxy *p = scan->v[i];
        if (!readable(&g, p, decided_ms))
            continue;
        if (presents(p, root))
            blame(&g, p, "presents a certificate under root %s", brief(root, text));
        else if (!p->issuing_root)
            blame(&g, p, "presents a certificate whose root is not known");
        else
            g.ready++;
    }
    return finish(g);
}

struct rs_gate rs_gate_wave(const struct rs_scan *scan, const char *namespace, const char *revision, const rs_digest *holds,
                            size_t n_holds, const rs_digest *issued_under, int64_t decided_ms)
{
    struct rs_gate g = { 0 };
    char text[RS_DIGEST_TEXT];
    for (size_t i = 0; i < scan->n; i++) {
        const struct rs_proxy *p = scan->v[i];
        if (namespace && !rs_streq(namespace, p->namespace))
            continue;
        if (p->terminating)
            continue;
        g.total++;
        if (!readable(&g, p, decided_ms))
            continue;
        bool all = true;
        for (size_t k = 0; k < n_holds && all; k++)
            all = holds_root(&g, p, &holds[k], k == 0 ? "old" : "new");
        if (!all)
            continue;
        if (revision && !rs_streq(p->revision, revision))
            blame(&g, p, "runs under revision %s, not %s", p->revision, revision);
        else if (issued_under && !(p->issuing_root && rs_digest_eq(rs_cert_digest(p->issuing_root), issued_under)))
            blame(&g, p, "does not present a certificate under root %s", brief(issued_under, text));
        else
            g.ready++;
    }
    if (!namespace && g.total == 0)
        add_reason(&g, rs_strdup("mesh"), rs_strdup("no running proxy was found; nothing is proven"));
    return finish(g);
}

struct rs_gate rs_gate_gone(const struct rs_scan *scan, const rs_digest *root, int64_t decided_ms)
{
    struct rs_gate g = { .total = scan->n };
    char text[RS_DIGEST_TEXT];
    for (size_t i = 0; i < scan->n; i++) {
        const struct rs_proxy *p = scan->v[i];
        if (!readable(&g, p, decided_ms))
            continue;
        if (rs_bundle_has(p->roots, root))
            blame(&g, p, "still trusts root %s", brief(root, text));
        else
            g.ready++;
    }
    return finish(g);
}
