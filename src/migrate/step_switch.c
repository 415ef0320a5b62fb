/* Phase switch: a revision whose workloads are signed by the new CA; both roots are trusted all the while. The gate is asked
 * before the revision exists and again before every wave, in both directions. */
#include "migrate/steps_int.h"

#define W(g) (g)->world
#define CTX(g) (g)->world->ctx

static int install_act(struct rs_engine *g, const char *arg, struct rs_err *e)
{
    if (rs_wait_switch_gate(g, e) < 0)
        return -1;
    return W(g)->install(CTX(g), rs_plan(g), 1, e);
}

static int install_undo(struct rs_engine *g, const char *arg, struct rs_err *e)
{
    return W(g)->uninstall(CTX(g), rs_plan_revision(g, 1), e);
}

static int move_namespace(struct rs_engine *g, const char *namespace, bool undo, struct rs_err *e)
{
    RS_AUTO(rs_chars) *token = rs_step_token(g, "switch", namespace, undo);
    const char *revision = rs_plan_revision(g, undo ? 0 : 1);
    if (rs_wait_switch_gate(g, e) < 0)
        return -1;
    if (W(g)->label_namespace(CTX(g), namespace, revision, e) < 0 || W(g)->restart_namespace(CTX(g), namespace, token, e) < 0)
        return -1;
    return rs_wait_wave(g, namespace, revision, true, undo ? 0 : 1, e);
}

static int namespace_act(struct rs_engine *g, const char *namespace, struct rs_err *e)
{
    return move_namespace(g, namespace, false, e);
}

static int namespace_undo(struct rs_engine *g, const char *namespace, struct rs_err *e)
{
    return move_namespace(g, namespace, true, e);
}

static int gateway_act(struct rs_engine *g, const char *gateway, struct rs_err *e)
{
    if (rs_wait_switch_gate(g, e) < 0)
        return -1;
    return W(g)->gateway_in_place(CTX(g), gateway, rs_plan_revision(g, 0), rs_plan_revision(g, 1), e);
}

static int gateway_undo(struct rs_engine *g, const char *gateway, struct rs_err *e)
{
    if (rs_wait_switch_gate(g, e) < 0)
        return -1;
    return W(g)->gateway_in_place(CTX(g), gateway, rs_plan_revision(g, 0), rs_plan_revision(g, 0), e);
}

static int prove(struct rs_engine *g, const char *arg, struct rs_err *e)
{
    return rs_wait_wave(g, NULL, rs_plan_revision(g, 1), true, 1, e);
}

const struct rs_step_ops rs_steps_switch[] = {
    { "install-switch", install_act, install_undo, NULL },
    { "switch", namespace_act, namespace_undo, NULL },
    { "gateway-switch", gateway_act, gateway_undo, NULL },
    { "prove-switch", prove, NULL, NULL },
    { NULL, NULL, NULL, NULL },
};
