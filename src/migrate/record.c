#include "migrate/record.h"

#include "base/time.h"

enum { HISTORY_MAX = 400 };

static const char *const phase_names[RS_PHASES] = { "distribute", "complete-distribute", "switch", "complete-switch", "retire" };
static const char *const state_names[] = { "open", "intended", "done", "undoing" };

const char *rs_phase_name(enum rs_phase p)
{
    return phase_names[p];
}

/* The order of a migration. `each` names the plan's list over which a step repeats. */
static const struct { enum rs_phase phase; const char *kind, *each; } order[] = {
    { RS_PHASE_DISTRIBUTE, "preflight", NULL },
    { RS_PHASE_DISTRIBUTE, "install-distribute", NULL },
    { RS_PHASE_DISTRIBUTE, "distribute", "namespaces" },
    { RS_PHASE_DISTRIBUTE, "gateway-distribute", "gateways" },
    { RS_PHASE_DISTRIBUTE, "prove-distribute", NULL },
    { RS_PHASE_COMPLETE_DISTRIBUTE, "complete-distribute", NULL },
    { RS_PHASE_SWITCH, "install-switch", NULL },
    { RS_PHASE_SWITCH, "switch", "namespaces" },
    { RS_PHASE_SWITCH, "gateway-switch", "gateways" },
    { RS_PHASE_SWITCH, "prove-switch", NULL },
    { RS_PHASE_COMPLETE_SWITCH, "complete-switch", NULL },
    { RS_PHASE_RETIRE, "retire", NULL },
};

static void add_step(struct rs_steps *s, const json_t *record, size_t at, const char *arg)
{
    struct rs_step step = { .phase = order[at].phase, .kind = order[at].kind, .arg = rs_strdup(arg) };
    step.name = arg ? rs_printf("%s/%s", step.kind, arg) : rs_strdup(step.kind);
    const char *state = rs_json_str(record, "steps", step.name, "state");
    for (size_t i = 0; state && i < RS_COUNT(state_names); i++)
        if (rs_streq(state, state_names[i]))
            step.state = (enum rs_step_state)i;
    s->v = rs_realloc(s->v, (s->n + 1) * sizeof(*s->v));
    s->v[s->n++] = step;
}

struct rs_steps rs_record_steps(const json_t *record)
{
    struct rs_steps s = { 0 };
    for (size_t at = 0; at < RS_COUNT(order); at++) {
        if (!order[at].each) {
            add_step(&s, record, at, NULL);
            continue;
        }
        size_t i;
        json_t *item;
        json_array_foreach(rs_json_at(record, "plan", order[at].each), i, item)
            if (rs_json_str(item, "name"))
                add_step(&s, record, at, rs_json_str(item, "name"));
    }
    return s;
}

void rs_steps_done(struct rs_steps *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->v[i].name);
        free(s->v[i].arg);
    }
    free(s->v);
    *s = (struct rs_steps){ 0 };
}

void rs_record_note(json_t *record, const char *step, enum rs_step_state state, int64_t now_ms, const char *actor)
{
    char when[RS_TIME_TEXT];
    rs_time_text_ms(now_ms, when);
    json_t *s = rs_json_need(record, "steps", step);
    rs_json_set_str(s, "state", state_names[state]);
    rs_json_set_str(s, "at", when);
    json_t *history = json_object_get(record, "history");
    if (!json_is_array(history)) {
        history = json_array();
        json_object_set_new(record, "history", history);
    }
    json_array_append_new(history, rs_json_pack("{s:s, s:s, s:s, s:s}", "at", when, "step", step, "state", state_names[state],
                                                "by", actor ? actor : ""));
    while (json_array_size(history) > HISTORY_MAX)
        json_array_remove(history, 0);
}

bool rs_phase_is_done(const struct rs_steps *s, enum rs_phase p)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].phase == p && s->v[i].state != RS_STEP_DONE)
            return false;
    return true;
}

bool rs_phase_is_open(const struct rs_steps *s, enum rs_phase p)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].phase == p && s->v[i].state != RS_STEP_OPEN)
            return false;
    return true;
}

bool rs_record_is_over(const json_t *record)
{
    RS_AUTO_STEPS steps = rs_record_steps(record);
    bool all_done = true, all_open = true;
    for (size_t i = 0; i < steps.n; i++) {
        all_done = all_done && steps.v[i].state == RS_STEP_DONE;
        all_open = all_open && steps.v[i].state == RS_STEP_OPEN;
    }
    return all_done || all_open;
}

int rs_next_forward(const struct rs_steps *s, enum rs_phase until, struct rs_next *ret, struct rs_err *e)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].state == RS_STEP_UNDOING)
            return RS_FAIL(e, RS_PRECONDITION, "step %s is being undone; finish with `rootshift rollback` first", s->v[i].name);
    if (until == RS_PHASE_COMPLETE_DISTRIBUTE && !rs_phase_is_done(s, RS_PHASE_DISTRIBUTE))
        return RS_FAIL(e, RS_PRECONDITION, "phase distribute is not done; run `rootshift migrate --phase distribute` first");
    if (until >= RS_PHASE_COMPLETE_SWITCH && !rs_phase_is_done(s, RS_PHASE_SWITCH))
        return RS_FAIL(e, RS_PRECONDITION, "phase switch is not done; run `rootshift migrate` first");
    for (size_t i = 0; i < s->n; i++) {
        if (s->v[i].state == RS_STEP_DONE || s->v[i].phase > until)
            continue;
        if (s->v[i].phase == RS_PHASE_COMPLETE_DISTRIBUTE && until == RS_PHASE_SWITCH && s->v[i].state == RS_STEP_OPEN)
            continue;
        *ret = (struct rs_next){ RS_NEXT_ACT, i };
        return 0;
    }
    *ret = (struct rs_next){ RS_NEXT_NOTHING, 0 };
    return 0;
}

int rs_next_back(const struct rs_steps *s, struct rs_next *ret, enum rs_phase *ret_phase, struct rs_err *e)
{
    *ret = (struct rs_next){ RS_NEXT_NOTHING, 0 };
    if (!rs_phase_is_open(s, RS_PHASE_COMPLETE_SWITCH) || !rs_phase_is_open(s, RS_PHASE_RETIRE))
        return RS_FAIL(e, RS_PRECONDITION, "phase switch was completed; there is nothing to roll back to: migrate to the other CA instead");
    enum rs_phase phase = !rs_phase_is_open(s, RS_PHASE_SWITCH) ? RS_PHASE_SWITCH : RS_PHASE_DISTRIBUTE;
    *ret_phase = phase;
    if (phase == RS_PHASE_DISTRIBUTE && !rs_phase_is_open(s, RS_PHASE_COMPLETE_DISTRIBUTE))
        return RS_FAIL(e, RS_PRECONDITION, "phase distribute was completed: the control plane before it is gone, so it can't be rolled back");
    for (size_t i = s->n; i-- > 0; )
        if (s->v[i].phase == phase && s->v[i].state != RS_STEP_OPEN) {
            *ret = (struct rs_next){ RS_NEXT_UNDO, i };
            return 0;
        }
    return 0;
}
