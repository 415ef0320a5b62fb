#include "migrate/engine.h"

#include "base/random.h"
#include "base/time.h"
#include "migrate/steps_int.h"

const json_t *rs_plan(const struct rs_engine *g)
{
    return json_object_get(g->record, "plan");
}

const char *rs_plan_revision(const struct rs_engine *g, int second)
{
    return json_string_value(json_array_get(rs_json_at(rs_plan(g), "revisions"), (size_t)second));
}

rs_digest rs_plan_root(const struct rs_engine *g, bool new_root)
{
    rs_digest d = { 0 };
    const char *text = rs_json_str(rs_plan(g), new_root ? "newRoot" : "oldRoot");
    rs_assert(text && rs_digest_parse(text, &d) == 0);
    return d;
}

const char *rs_plan_old_revision(const struct rs_engine *g, const char *list, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(rs_json_at(rs_plan(g), list), i, item)
        if (rs_streq(rs_json_str(item, "name"), name))
            return rs_json_str(item, "revision");
    return NULL;
}

char *rs_step_token(const struct rs_engine *g, const char *kind, const char *arg, bool undo)
{
    return rs_printf("%s.%lld.%s.%s%s", rs_json_str(g->record, "id"), (long long)rs_json_int(g->record, 0, "round"), kind,
                     arg ? arg : "", undo ? ".undo" : "");
}

json_t *rs_record_new(const json_t *plan, int64_t now_ms, const char *actor)
{
    char id[RS_UUID_TEXT], when[RS_TIME_TEXT];
    json_t *record = rs_json_pack("{s:i, s:s, s:s, s:s, s:i, s:{}, s:[]}", "version", 1, "id", rs_uuid4(id), "startedAt",
                                  rs_time_text(now_ms, when), "by", actor, "round", 0, "steps", "history");
    json_object_set_new(record, "plan", json_deep_copy(plan));
    return record;
}

static const struct rs_step_ops *ops_of(const char *kind)
{
    static const struct rs_step_ops *const tables[] = { rs_steps_distribute, rs_steps_switch, rs_steps_complete };
    for (size_t t = 0; t < RS_COUNT(tables); t++)
        for (const struct rs_step_ops *o = tables[t]; o->kind; o++)
            if (rs_streq(o->kind, kind))
                return o;
    rs_assert(!"every step has its ops");
    return NULL;
}

static int note(struct rs_engine *g, const char *step, enum rs_step_state state, struct rs_err *e)
{
    rs_record_note(g->record, step, state, g->world->now_ms(g->world->ctx), g->actor);
    if (g->world->save(g->world->ctx, g->record, e) < 0)
        return rs_err_wrap(e, "record of the migration");
    return 0;
}

static void say_step(struct rs_engine *g, const char *what, const char *step, int64_t took_ms)
{
    RS_AUTO(rs_chars) *line = took_ms < 0 ? rs_printf("%s %s", what, step)
                                          : rs_printf("%s %s (%.1f s)", what, step, (double)took_ms / 1000);
    g->world->say(g->world->ctx, line);
}

int rs_engine_forward(struct rs_engine *g, enum rs_phase until, struct rs_err *e)
{
    for (;;) {
        RS_AUTO_STEPS steps = rs_record_steps(g->record);
        struct rs_next next;
        if (rs_next_forward(&steps, until, &next, e) < 0)
            return -1;
        if (next.kind == RS_NEXT_NOTHING)
            return 0;
        const struct rs_step *s = &steps.v[next.step];
        int64_t start = g->world->now_ms(g->world->ctx);
        const struct rs_step_ops *ops = ops_of(s->kind);
        say_step(g, "start", s->name, -1);
        if (s->state == RS_STEP_OPEN && ops->gate && ops->gate(g, s->arg, e) < 0)
            return rs_err_wrap(e, "step %s", s->name);
        if (note(g, s->name, RS_STEP_INTENDED, e) < 0)
            return -1;
        if (ops->act(g, s->arg, e) < 0)
            return rs_err_wrap(e, "step %s", s->name);
        if (note(g, s->name, RS_STEP_DONE, e) < 0)
            return -1;
        say_step(g, "done", s->name, g->world->now_ms(g->world->ctx) - start);
    }
}

/* A rolled-back phase starts a new round: the same steps done again must restart the pods again. */
static int finish_back(struct rs_engine *g, struct rs_err *e)
{
    json_object_set_new(g->record, "round", json_integer(rs_json_int(g->record, 0, "round") + 1));
    return g->world->save(g->world->ctx, g->record, e);
}

int rs_engine_back(struct rs_engine *g, enum rs_phase *ret_phase, struct rs_err *e)
{
    enum rs_phase phase = RS_PHASES;
    for (;;) {
        RS_AUTO_STEPS steps = rs_record_steps(g->record);
        struct rs_next next;
        enum rs_phase now;
        if (rs_next_back(&steps, &next, &now, e) < 0)
            return phase == RS_PHASES ? -1 : finish_back(g, e);
        if (phase == RS_PHASES)
            *ret_phase = phase = now;
        if (next.kind == RS_NEXT_NOTHING || now != phase)
            return finish_back(g, e);
        const struct rs_step *s = &steps.v[next.step];
        const struct rs_step_ops *ops = ops_of(s->kind);
        int64_t start = g->world->now_ms(g->world->ctx);
        if (ops->undo) {
            say_step(g, "undo", s->name, -1);
            if (note(g, s->name, RS_STEP_UNDOING, e) < 0)
                return -1;
            if (ops->undo(g, s->arg, e) < 0)
                return rs_err_wrap(e, "undo of step %s", s->name);
        }
        if (note(g, s->name, RS_STEP_OPEN, e) < 0)
            return -1;
        if (ops->undo)
            say_step(g, "undone", s->name, g->world->now_ms(g->world->ctx) - start);
    }
}
