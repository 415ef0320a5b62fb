/* Phase distribute: a revision that still signs by the old CA gives every proxy the new root as well. */
#include "migrate/steps_int.h"

#define W(g) (g)->world
#define CTX(g) (g)->world->ctx

/* Nothing is changed: every proxy can be read, so the gates will be able to judge, and each speaks for the old root. */
static int preflight(struct rs_engine *g, const char *arg, struct rs_err *e)
{
    return rs_wait_wave(g, NULL, NULL, false, -1, e);
}

static int install_act(struct rs_engine *g, const char *arg, struct rs_err *e)
{
    return W(g)->install(CTX(g), rs_plan(g), 0, e);
}

/* Bringing the new root back out is a removal: nothing under it may be alive (design rule 2). */
static int install_undo(struct rs_engine *g, const char *arg, struct rs_err *e)
{
    if (rs_wait_removal_gate(g, true, e) < 0 || W(g)->uninstall(CTX(g), rs_plan_revision(g, 0), e) < 0)
        return -1;
    return rs_wait_gone(g, true, e);
}

static int move_namespace(struct rs_engine *g, const char *namespace, const char *revision, bool undo, struct rs_err *e)
{
    RS_AUTO(rs_chars) *token = rs_step_token(g, "distribute", namespace, undo);
    if (W(g)->label_namespace(CTX(g), namespace, revision, e) < 0)
        return -1;
    return W(g)->restart_namespace(CTX(g), namespace, token, e);
}

static int namespace_act(struct rs_engine *g, const char *namespace, struct rs_err *e)
{
    if (move_namespace(g, namespace, rs_plan_revision(g, 0), false, e) < 0)
        return -1;
    return rs_wait_wave(g, namespace, rs_plan_revision(g, 0), true, -1, e);
}

static int namespace_undo(struct rs_engine *g, const char *namespace, struct rs_err *e)
{
    if (rs_wait_removal_gate(g, true, e) < 0)
        return -1;
    return move_namespace(g, namespace, rs_plan_old_revision(g, "namespaces", namespace), true, e);
}

static int gateway_act(struct rs_engine *g, const char *gateway, struct rs_err *e)
{
    return W(g)->gateway_canary(CTX(g), gateway, rs_plan_revision(g, 0), e);
}

static int gateway_undo(struct rs_engine *g, const char *gateway, struct rs_err *e)
{
    if (rs_wait_removal_gate(g, true, e) < 0)
        return -1;
    return W(g)->gateway_canary_undo(CTX(g), gateway, rs_plan_revision(g, 0), e);
}

static int prove(struct rs_engine *g, const char *arg, struct rs_err *e)
{
    return rs_wait_switch_gate(g, e);
}

const struct rs_step_ops rs_steps_distribute[] = {
    { "preflight", preflight, NULL, NULL },
    { "install-distribute", install_act, install_undo, NULL },
    { "distribute", namespace_act, namespace_undo, NULL },
    { "gateway-distribute", gateway_act, gateway_undo, NULL },
    { "prove-distribute", prove, NULL, NULL },
    { NULL, NULL, NULL, NULL },
};
