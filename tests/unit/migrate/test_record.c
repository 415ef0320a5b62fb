#include "unit.h"

#include "migrate/record.h"

static json_t *fresh(void)
{
    return unit_json("{'plan':{'namespaces':[{'name':'a'},{'name':'b'}],'gateways':[{'name':'x.gw'}]}}");
}

static void note_until(json_t *record, enum rs_phase until)
{
    for (;;) {
        struct rs_err e;
        struct rs_next next;
        RS_AUTO_STEPS s = rs_record_steps(record);
        ASSERT_OK(rs_next_forward(&s, until, &next, &e));
        if (next.kind == RS_NEXT_NOTHING)
            return;
        rs_record_note(record, s.v[next.step].name, RS_STEP_DONE, 1, "t");
    }
}

static const char *next_name(const json_t *record, enum rs_phase until, char *buf)
{
    struct rs_err e;
    struct rs_next next;
    RS_AUTO_STEPS s = rs_record_steps(record);
    ASSERT_OK(rs_next_forward(&s, until, &next, &e));
    return strcpy(buf, next.kind == RS_NEXT_NOTHING ? "nothing" : s.v[next.step].name);
}

static void goes_forward_in_order(void **state)
{
    char name[128];
    RS_AUTO(json_t) *r = fresh();
    static const char *const want[] = { "preflight", "install-distribute", "distribute/a", "distribute/b", "gateway-distribute/x.gw", "prove-distribute",
                                        "install-switch", "switch/a", "switch/b", "gateway-switch/x.gw", "prove-switch", "nothing" };
    for (size_t i = 0; i < RS_COUNT(want); i++) {
        assert_string_equal(next_name(r, RS_PHASE_SWITCH, name), want[i]);
        rs_record_note(r, name, RS_STEP_DONE, 1, "t");
    }
}

/* A crash leaves a step intended: it is done again, nothing after it is. */
static void an_intended_step_is_next(void **state)
{
    char name[128];
    RS_AUTO(json_t) *r = fresh();
    rs_record_note(r, "preflight", RS_STEP_DONE, 1, "t");
    rs_record_note(r, "install-distribute", RS_STEP_INTENDED, 2, "t");
    assert_string_equal(next_name(r, RS_PHASE_SWITCH, name), "install-distribute");
}

static void completion_comes_in_its_place(void **state)
{
    char name[128];
    struct rs_err e;
    struct rs_next next;
    RS_AUTO(json_t) *r = fresh();
    {
        RS_AUTO_STEPS s = rs_record_steps(r);
        ASSERT_FAILS(RS_PRECONDITION, "phase switch is not done", rs_next_forward(&s, RS_PHASE_RETIRE, &next, &e));
        ASSERT_FAILS(RS_PRECONDITION, "phase distribute is not done", rs_next_forward(&s, RS_PHASE_COMPLETE_DISTRIBUTE, &next, &e));
    }
    note_until(r, RS_PHASE_SWITCH);
    assert_string_equal(next_name(r, RS_PHASE_COMPLETE_SWITCH, name), "complete-distribute");
    note_until(r, RS_PHASE_RETIRE);
    assert_string_equal(next_name(r, RS_PHASE_RETIRE, name), "nothing");
}

static void goes_back_phase_by_phase(void **state)
{
    struct rs_err e;
    struct rs_next next;
    enum rs_phase phase;
    RS_AUTO(json_t) *r = fresh();
    note_until(r, RS_PHASE_SWITCH);
    static const char *const want[] = { "prove-switch", "gateway-switch/x.gw", "switch/b", "switch/a", "install-switch", "prove-distribute",
                                        "gateway-distribute/x.gw", "distribute/b", "distribute/a", "install-distribute", "preflight" };
    for (size_t i = 0; i < RS_COUNT(want); i++) {
        RS_AUTO_STEPS s = rs_record_steps(r);
        ASSERT_OK(rs_next_back(&s, &next, &phase, &e));
        assert_int_equal(next.kind, RS_NEXT_UNDO);
        assert_int_equal(phase, i < 5 ? RS_PHASE_SWITCH : RS_PHASE_DISTRIBUTE);
        assert_string_equal(s.v[next.step].name, want[i]);
        rs_record_note(r, want[i], RS_STEP_OPEN, 1, "t");
    }
    RS_AUTO_STEPS s = rs_record_steps(r);
    ASSERT_OK(rs_next_back(&s, &next, &phase, &e));
    assert_int_equal(next.kind, RS_NEXT_NOTHING);
}

static void what_was_completed_stays(void **state)
{
    struct rs_err e;
    struct rs_next next;
    enum rs_phase phase;
    RS_AUTO(json_t) *r = fresh();
    note_until(r, RS_PHASE_DISTRIBUTE);
    note_until(r, RS_PHASE_COMPLETE_DISTRIBUTE);
    {
        RS_AUTO_STEPS s = rs_record_steps(r);
        ASSERT_FAILS(RS_PRECONDITION, "completed", rs_next_back(&s, &next, &phase, &e));
    }
    rs_record_note(r, "install-switch", RS_STEP_INTENDED, 1, "t");
    {
        RS_AUTO_STEPS s = rs_record_steps(r);
        ASSERT_OK(rs_next_back(&s, &next, &phase, &e));
        assert_int_equal(phase, RS_PHASE_SWITCH);
    }
    rs_record_note(r, "complete-switch", RS_STEP_INTENDED, 1, "t");
    RS_AUTO_STEPS s = rs_record_steps(r);
    ASSERT_FAILS(RS_PRECONDITION, "completed", rs_next_back(&s, &next, &phase, &e));
}

static void an_undo_under_way_blocks_going_forward(void **state)
{
    struct rs_err e;
    struct rs_next next;
    RS_AUTO(json_t) *r = fresh();
    note_until(r, RS_PHASE_DISTRIBUTE);
    rs_record_note(r, "distribute/b", RS_STEP_UNDOING, 1, "t");
    RS_AUTO_STEPS s = rs_record_steps(r);
    ASSERT_FAILS(RS_PRECONDITION, "being undone", rs_next_forward(&s, RS_PHASE_SWITCH, &next, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_forward_in_order), cmocka_unit_test(an_intended_step_is_next), cmocka_unit_test(completion_comes_in_its_place),
        cmocka_unit_test(goes_back_phase_by_phase), cmocka_unit_test(what_was_completed_stays), cmocka_unit_test(an_undo_under_way_blocks_going_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
