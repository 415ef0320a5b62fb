/* What ends a phase and has no undo: the control plane of before goes, and at the very end the old root. */
#include "migrate/steps_int.h"

#define W(g) (g)->world
#define CTX(g) (g)->world->ctx

/* Revisions that namespaces and gateways had before phase distribute, each once; malloc'ed array. */
static const char **old_revisions(struct rs_engine *g, size_t *ret_n)
{
    static const char *const lists[] = { "namespaces", "gateways" };
    const char **v = NULL;
    size_t n = 0;
    for (size_t l = 0; l < RS_COUNT(lists); l++) {
        size_t i;
        json_t *item;
        json_array_foreach(rs_json_at(rs_plan(g), lists[l]), i, item) {
            const char *revision = rs_json_str(item, "revision");
            bool seen = false;
            for (size_t k = 0; k < n; k++)
                seen = seen || rs_streq(v[k], revision);
            if (seen || !revision)
                continue;
            v = rs_realloc(v, (n + 1) * sizeof(*v));
            v[n++] = revision;
        }
    }
    *ret_n = n;
    return v;
}

/* The revision that the mesh runs under when phase distribute is completed: before or after the switch. */
static const char *current_revision(struct rs_engine *g)
{
    RS_AUTO_STEPS steps = rs_record_steps(g->record);
    return rs_plan_revision(g, rs_phase_is_done(&steps, RS_PHASE_SWITCH) ? 1 : 0);
}

static int complete_distribute_gate(struct rs_engine *g, const char *arg, struct rs_err *e)
{
    return rs_wait_wave(g, NULL, current_revision(g), true, -1, e);
}

static int complete_distribute(struct rs_engine *g, const char *arg, struct rs_err *e)
{
    const char *current = current_revision(g);
    if (W(g)->point_default_to(CTX(g), current, e) < 0)
        return -1;
    size_t i;
    json_t *gateway;
    json_array_foreach(rs_json_at(rs_plan(g), "gateways"), i, gateway)
        if (W(g)->gateway_remove_old(CTX(g), rs_json_str(gateway, "name"), e) < 0)
            return -1;
    size_t n;
    const char **old = old_revisions(g, &n);
    int rc = 0;
    for (size_t k = 0; k < n && rc == 0; k++)
        rc = W(g)->uninstall(CTX(g), old[k], e);
    free(old);
    return rc < 0 ? -1 : W(g)->point_default_to(CTX(g), current, e);
}

static int complete_switch_gate(struct rs_engine *g, const char *arg, struct rs_err *e)
{
    return rs_wait_wave(g, NULL, rs_plan_revision(g, 1), true, 1, e);
}

static int complete_switch(struct rs_engine *g, const char *arg, struct rs_err *e)
{
    const char *current = rs_plan_revision(g, 1);
    if (W(g)->point_default_to(CTX(g), current, e) < 0 || W(g)->uninstall(CTX(g), rs_plan_revision(g, 0), e) < 0)
        return -1;
    return W(g)->point_default_to(CTX(g), current, e);
}

static int retire_gate(struct rs_engine *g, const char *arg, struct rs_err *e)
{
    return rs_wait_removal_gate(g, false, e);
}

static int retire(struct rs_engine *g, const char *arg, struct rs_err *e)
{
    RS_AUTO(rs_chars) *token = rs_step_token(g, "retire", NULL, false);
    if (rs_wait_removal_gate(g, false, e) < 0 || W(g)->save_and_delete_ca_secrets(CTX(g), rs_plan(g), e) < 0)
        return -1;
    if (W(g)->restart_control_planes(CTX(g), token, e) < 0)
        return -1;
    return rs_wait_gone(g, false, e);
}

const struct rs_step_ops rs_steps_complete[] = {
    { "complete-distribute", complete_distribute, NULL, complete_distribute_gate },
    { "complete-switch", complete_switch, NULL, complete_switch_gate },
    { "retire", retire, NULL, retire_gate },
    { NULL, NULL, NULL, NULL },
};
