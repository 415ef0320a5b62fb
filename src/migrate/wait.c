#include "migrate/steps_int.h"

#include "base/time.h"

typedef struct rs_gate (*judge_fn)(struct rs_engine *g, const struct rs_scan *s, const void *what, int64_t decided_ms, struct rs_err *e, int *rc);

/* Scans and judges until the gate opens or the time is over. What is asked again is the running mesh, each time anew. */
static int wait_for(struct rs_engine *g, const char *name, judge_fn judge, const void *what, struct rs_err *e)
{
    const struct rs_world *w = g->world;
    int64_t deadline = w->now_ms(w->ctx) + g->gate_wait_ms;
    bool told = false;
    for (;;) {
        int64_t decided = w->now_ms(w->ctx);
        RS_AUTO(rs_scan) *scan = NULL;
        int rc = 0;
        if (w->scan(w->ctx, &scan, e) < 0)
            return rs_err_wrap(e, "%s", name);
        RS_AUTO_GATE gate = judge(g, scan, what, decided, e, &rc);
        if (rc < 0)
            return rs_err_wrap(e, "%s", name);
        if (gate.open)
            return 0;
        RS_AUTO(rs_chars) *text = rs_gate_text(&gate);
        if (w->now_ms(w->ctx) >= deadline)
            return RS_FAIL(e, RS_PRECONDITION, "%s is shut (%zu of %zu ready): %s", name, gate.ready, gate.total, text);
        if (!told) {
            RS_AUTO(rs_chars) *line = rs_printf("waiting for %s (%zu of %zu ready): %s", name, gate.ready, gate.total, text);
            w->say(w->ctx, line);
            told = true;
        }
        w->pause(w->ctx);
    }
}

static struct rs_gate judge_switch(struct rs_engine *g, const struct rs_scan *s, const void *what, int64_t decided_ms, struct rs_err *e, int *rc)
{
    rs_digest old_root = rs_plan_root(g, false), new_root = rs_plan_root(g, true);
    struct rs_required *required = NULL;
    size_t n = 0;
    *rc = g->world->required(g->world->ctx, &required, &n, e);
    if (*rc < 0)
        return (struct rs_gate){ 0 };
    struct rs_gate gate = rs_gate_switch(s, &old_root, &new_root, required, n, decided_ms);
    g->world->required_done(g->world->ctx, required, n);
    return gate;
}

static struct rs_gate judge_removal(struct rs_engine *g, const struct rs_scan *s, const void *what, int64_t decided_ms, struct rs_err *e, int *rc)
{
    const rs_digest *root = what;
    struct rs_living_list living = { 0 };
    *rc = g->world->living(g->world->ctx, root, &living, e);
    if (*rc < 0)
        return (struct rs_gate){ 0 };
    struct rs_gate gate = rs_gate_removal(s, root, living.v, living.n, living.unreadable, decided_ms);
    g->world->living_done(g->world->ctx, &living);
    return gate;
}

struct wave { const char *namespace, *revision; rs_digest holds[2]; size_t n_holds; rs_digest under; bool check_issuer; };

static struct rs_gate judge_wave(struct rs_engine *g, const struct rs_scan *s, const void *what, int64_t decided_ms, struct rs_err *e, int *rc)
{
    const struct wave *v = what;
    return rs_gate_wave(s, v->namespace, v->revision, v->holds, v->n_holds, v->check_issuer ? &v->under : NULL, decided_ms);
}

static struct rs_gate judge_gone(struct rs_engine *g, const struct rs_scan *s, const void *what, int64_t decided_ms, struct rs_err *e, int *rc)
{
    return rs_gate_gone(s, what, decided_ms);
}

int rs_wait_switch_gate(struct rs_engine *g, struct rs_err *e)
{
    return wait_for(g, "the switch gate", judge_switch, NULL, e);
}

int rs_wait_removal_gate(struct rs_engine *g, bool new_root, struct rs_err *e)
{
    rs_digest root = rs_plan_root(g, new_root);
    return wait_for(g, new_root ? "the removal gate of the new root" : "the removal gate of the old root", judge_removal, &root, e);
}

int rs_wait_wave(struct rs_engine *g, const char *namespace, const char *revision, bool both_roots, int issued_under, struct rs_err *e)
{
    struct wave v = { .namespace = namespace, .revision = revision, .holds = { rs_plan_root(g, false), rs_plan_root(g, true) },
                      .n_holds = both_roots ? 2 : 1, .check_issuer = issued_under >= 0 };
    if (v.check_issuer)
        v.under = rs_plan_root(g, issued_under == 1);
    RS_AUTO(rs_chars) *name = rs_printf("proof from the proxies of %s", namespace ? namespace : "the mesh");
    return wait_for(g, name, judge_wave, &v, e);
}

int rs_wait_gone(struct rs_engine *g, bool new_root, struct rs_err *e)
{
    rs_digest root = rs_plan_root(g, new_root);
    return wait_for(g, "proof that the root is gone from every proxy", judge_gone, &root, e);
}

static int ask(struct rs_engine *g, judge_fn judge, const void *what, struct rs_gate *ret, struct rs_err *e)
{
    int64_t decided = g->world->now_ms(g->world->ctx);
    RS_AUTO(rs_scan) *scan = NULL;
    int rc = 0;
    if (g->world->scan(g->world->ctx, &scan, e) < 0)
        return -1;
    struct rs_gate gate = judge(g, scan, what, decided, e, &rc);
    if (rc < 0)
        return -1;
    *ret = gate;
    return 0;
}

int rs_engine_ask_switch(struct rs_engine *g, struct rs_gate *ret, struct rs_err *e)
{
    return ask(g, judge_switch, NULL, ret, e);
}

int rs_engine_ask_removal(struct rs_engine *g, const rs_digest *root, struct rs_gate *ret, struct rs_err *e)
{
    return ask(g, judge_removal, root, ret, e);
}
