#include "base/time.h"
#include "node/pod.h"
#include "unit.h"

#define POD(policy, more) "{'metadata':{'name':'p','namespace':'n','uid':'u'},'spec':{'restartPolicy':'" policy "','terminationGracePeriodSeconds':10," more "}}"
#define ONE "'containers':[{'name':'a','image':'i'}]"

static int64_t wake;

static rs_pod *make(const char *text)
{
    RS_AUTO(json_t) *o = unit_json(text);
    return rs_pod_new(o, "10.244.0.1", 1000);
}

static void expect(rs_pod *p, int64_t now, enum rs_pod_act act, size_t i)
{
    struct rs_pod_action a = rs_pod_next(p, now, &wake);
    assert_int_equal(a.act, act);
    if (act == RS_POD_START || act == RS_POD_STOP)
        assert_int_equal(a.i, i);
}

/* Sets up and starts container 0. */
static void up(rs_pod *p)
{
    expect(p, 1000, RS_POD_SETUP, 0);
    expect(p, 1000, RS_POD_NOTHING, 0);
    rs_pod_setup_done(p, "10.244.1.2");
    expect(p, 1000, RS_POD_START, 0);
    expect(p, 1000, RS_POD_NOTHING, 0);
    rs_pod_started(p, 0, "id0", 1000, 1000);
}

static const char *phase(const rs_pod *p, int64_t now, json_t **ret)
{
    json_decref(*ret);
    *ret = rs_pod_status(p, now);
    return rs_json_str(*ret, "phase");
}

static const json_t *status_of(const json_t *s, const char *list, size_t i) { return json_array_get(json_object_get(s, list), i); }

static const char *condition(const json_t *s, const char *type)
{
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(s, "conditions"), i, c)
        if (rs_streq(rs_json_str(c, "type"), type))
            return rs_json_str(c, "status");
    return NULL;
}

static void init_containers_run_in_order(void **state)
{
    RS_AUTO(rs_pod) *p = make(POD("Always", "'initContainers':[{'name':'x'},{'name':'y'}]," ONE));
    RS_AUTO(json_t) *s = NULL;

    up(p);
    expect(p, 1100, RS_POD_NOTHING, 0);
    assert_string_equal(phase(p, 1100, &s), "Pending");
    assert_string_equal(rs_json_str(status_of(s, "containerStatuses", 0), "state", "waiting", "reason"), "PodInitializing");
    rs_pod_ended(p, 0, 0, "Completed", NULL, 1000, 1200);
    expect(p, 1200, RS_POD_START, 1);
    rs_pod_started(p, 1, "id1", 1200, 1200);
    rs_pod_ended(p, 1, 1, "Error", NULL, 1200, 1300);
    expect(p, 1300, RS_POD_START, 1);                      /* the first restart is at once */
    rs_pod_started(p, 1, "id1b", 1300, 1300);
    rs_pod_ended(p, 1, 0, "Completed", NULL, 1300, 1400);
    assert_string_equal(phase(p, 1400, &s), "Pending");
    assert_string_equal(condition(s, "Initialized"), "True");
    expect(p, 1400, RS_POD_START, 2);
    rs_pod_started(p, 2, "id2", 1400, 1400);
    assert_string_equal(phase(p, 1400, &s), "Running");
    assert_string_equal(condition(s, "Ready"), "True");
    assert_int_equal(rs_json_int(status_of(s, "initContainerStatuses", 1), -1, "restartCount"), 1);
    assert_int_equal(rs_json_int(status_of(s, "initContainerStatuses", 0), -1, "restartCount"), 0);
}

static void restarts_back_off(void **state)
{
    RS_AUTO(rs_pod) *p = make(POD("Always", ONE));
    RS_AUTO(json_t) *s = NULL;
    int64_t now = 2000, pauses[] = { 0, 10000, 20000, 40000, 80000, 160000, 300000, 300000 };

    up(p);
    for (size_t i = 0; i < RS_COUNT(pauses); i++) {
        rs_pod_ended(p, 0, 1, "Error", "last words", now - 500, now);
        if (pauses[i] > 0) {
            expect(p, now + pauses[i] - 1, RS_POD_NOTHING, 0);
            assert_int_equal(wake, now + pauses[i]);
            assert_string_equal(phase(p, now, &s), "Running");
            assert_string_equal(rs_json_str(status_of(s, "containerStatuses", 0), "state", "waiting", "reason"), "CrashLoopBackOff");
            assert_string_equal(rs_json_str(status_of(s, "containerStatuses", 0), "lastState", "terminated", "message"), "last words");
        }
        now += pauses[i];
        expect(p, now, RS_POD_START, 0);
        rs_pod_started(p, 0, "idn", now, now);
        phase(p, now, &s);
        assert_int_equal(rs_json_int(status_of(s, "containerStatuses", 0), -1, "restartCount"), (int)i + 1);
        now += 600;
    }
    rs_pod_ended(p, 0, 0, "Completed", NULL, now - 700000, now);       /* a long run is forgiven */
    expect(p, now, RS_POD_START, 0);
}

static void policies(void **state)
{
    RS_AUTO(json_t) *s = NULL;
    RS_AUTO(rs_pod) *never = make(POD("Never", ONE));
    up(never);
    rs_pod_ended(never, 0, 3, "Error", NULL, 1000, 1500);
    expect(never, 1500, RS_POD_TEARDOWN, 0);
    expect(never, 1500, RS_POD_GONE, 0);
    expect(never, 1500, RS_POD_NOTHING, 0);
    assert_string_equal(phase(never, 1500, &s), "Failed");

    RS_AUTO(rs_pod) *on_failure = make(POD("OnFailure", ONE));
    up(on_failure);
    rs_pod_ended(on_failure, 0, 3, "Error", NULL, 1000, 1500);
    expect(on_failure, 1500, RS_POD_START, 0);
    rs_pod_started(on_failure, 0, "b", 1500, 1500);
    rs_pod_ended(on_failure, 0, 0, "Completed", NULL, 1500, 1600);
    expect(on_failure, 1600, RS_POD_TEARDOWN, 0);
    assert_string_equal(phase(on_failure, 1600, &s), "Succeeded");
    assert_string_equal(condition(s, "Ready"), "False");

    RS_AUTO(rs_pod) *init = make(POD("Never", "'initContainers':[{'name':'x'}]," ONE));
    up(init);
    rs_pod_ended(init, 0, 1, "Error", NULL, 1000, 1500);
    expect(init, 1500, RS_POD_TEARDOWN, 0);
    assert_string_equal(phase(init, 1500, &s), "Failed");
}

#define PROBED "'containers':[{'name':'a','startupProbe':{'periodSeconds':1,'failureThreshold':5}," \
               "'readinessProbe':{'periodSeconds':2,'failureThreshold':2},'livenessProbe':{'initialDelaySeconds':3,'periodSeconds':1,'failureThreshold':2}}]"

static void probes(void **state)
{
    RS_AUTO(rs_pod) *p = make(POD("Always", PROBED));
    RS_AUTO(json_t) *s = NULL;
    struct rs_container *c = &p->c[0];

    up(p);
    assert_int_equal(c->startup.next, 1000);                /* at once */
    assert_true(c->readiness.next > 1000000 && c->liveness.next > 1000000);
    rs_pod_probed(p, 0, &c->startup, false, 1010);
    assert_int_equal(c->startup.next, 2010);
    assert_false(rs_container_started(c));
    rs_pod_probed(p, 0, &c->startup, true, 2010);
    assert_true(rs_container_started(c));
    assert_int_equal(c->startup.next, INT64_MAX);
    assert_int_equal(c->readiness.next, 2010);
    assert_int_equal(c->liveness.next, 4000);
    assert_false(rs_container_ready(c));
    rs_pod_probed(p, 0, &c->readiness, true, 2020);
    assert_true(rs_container_ready(c));
    rs_pod_probed(p, 0, &c->readiness, false, 4020);
    assert_true(rs_container_ready(c));                     /* one failure of two */
    rs_pod_probed(p, 0, &c->readiness, false, 6020);
    assert_false(rs_container_ready(c));
    phase(p, 6020, &s);
    assert_string_equal(condition(s, "ContainersReady"), "False");
    rs_pod_probed(p, 0, &c->liveness, false, 6100);
    expect(p, 6100, RS_POD_NOTHING, 0);
    rs_pod_probed(p, 0, &c->liveness, false, 7100);
    expect(p, 7100, RS_POD_STOP, 0);
    expect(p, 7100, RS_POD_NOTHING, 0);
    rs_pod_ended(p, 0, 137, "Error", NULL, 1000, 8000);
    expect(p, 8000, RS_POD_START, 0);
    rs_pod_started(p, 0, "b", 8000, 8000);
    assert_false(rs_container_started(c));
    assert_int_equal(c->startup.next, 8000);
}

static void deletion(void **state)
{
    RS_AUTO(rs_pod) *p = make(POD("Always", "'containers':[{'name':'a'},{'name':'b'}]"));
    RS_AUTO(json_t) *s = NULL;

    expect(p, 1000, RS_POD_SETUP, 0);
    rs_pod_setup_done(p, "10.244.1.2");
    expect(p, 1000, RS_POD_START, 0);
    expect(p, 1000, RS_POD_START, 1);
    rs_pod_started(p, 0, "a", 1000, 1000);
    RS_AUTO(json_t) *gone = json_deep_copy(p->object);
    json_object_set_new(rs_json_need(gone, "metadata"), "deletionTimestamp", json_string("1970-01-01T00:00:12Z"));
    json_object_set_new(rs_json_need(gone, "metadata"), "deletionGracePeriodSeconds", json_integer(10));
    rs_pod_update(p, gone, 2500);
    assert_int_equal(p->kill_deadline, 12500);              /* whole seconds of the API do not shorten the grace period */
    struct rs_pod_action a = rs_pod_next(p, 2600, &wake);
    assert_int_equal(a.act, RS_POD_STOP);
    assert_int_equal(a.i, 0);
    assert_int_equal(a.grace_ms, 9900);
    expect(p, 2600, RS_POD_NOTHING, 0);                     /* b is still starting */
    rs_pod_started(p, 1, "b", 2700, 2700);
    expect(p, 2700, RS_POD_STOP, 1);
    json_object_set_new(rs_json_need(gone, "metadata"), "deletionGracePeriodSeconds", json_integer(1));
    rs_pod_update(p, gone, 3000);
    assert_int_equal(p->kill_deadline, 4000);
    rs_pod_ended(p, 0, 0, "Completed", NULL, 1000, 3100);
    expect(p, 3100, RS_POD_NOTHING, 0);                     /* no restart, and not over yet */
    assert_string_equal(phase(p, 3100, &s), "Running");
    rs_pod_ended(p, 1, 143, "Error", NULL, 2700, 3200);
    expect(p, 3200, RS_POD_TEARDOWN, 0);
    expect(p, 3200, RS_POD_GONE, 0);
    expect(p, 3300, RS_POD_NOTHING, 0);
    assert_string_equal(phase(p, 3300, &s), "Failed");
    assert_int_equal(rs_json_int(status_of(s, "containerStatuses", 0), -1, "state", "terminated", "exitCode"), 0);
    assert_int_equal(rs_json_int(status_of(s, "containerStatuses", 1), -1, "state", "terminated", "exitCode"), 143);
}

static void deletion_before_the_ground_is_there(void **state)
{
    RS_AUTO(rs_pod) *p = make(POD("Always", ONE));

    expect(p, 1000, RS_POD_SETUP, 0);
    rs_pod_vanished(p, 1100);
    expect(p, 1100, RS_POD_NOTHING, 0);
    rs_pod_setup_failed(p, 0);
    expect(p, 1100, RS_POD_TEARDOWN, 0);
    expect(p, 1100, RS_POD_GONE, 0);
}

static void failing_starts(void **state)
{
    RS_AUTO(rs_pod) *p = make(POD("Always", ONE));
    RS_AUTO(json_t) *s = NULL;

    expect(p, 1000, RS_POD_SETUP, 0);
    rs_pod_setup_failed(p, 3000);
    expect(p, 2000, RS_POD_NOTHING, 0);
    assert_int_equal(wake, 3000);
    expect(p, 3000, RS_POD_SETUP, 0);
    rs_pod_setup_done(p, "10.244.1.2");
    expect(p, 3000, RS_POD_START, 0);
    rs_pod_start_failed(p, 0, "RunContainerError", "no such program", 3100);
    expect(p, 3200, RS_POD_NOTHING, 0);
    assert_string_equal(phase(p, 3200, &s), "Pending");
    assert_string_equal(rs_json_str(status_of(s, "containerStatuses", 0), "state", "waiting", "reason"), "RunContainerError");
    assert_string_equal(rs_json_str(status_of(s, "containerStatuses", 0), "state", "waiting", "message"), "no such program");
    expect(p, wake, RS_POD_START, 0);
}

static void times_of_conditions_stay(void **state)
{
    RS_AUTO(rs_pod) *p = make(POD("Always", ONE));

    up(p);
    RS_AUTO(json_t) *first = rs_pod_status(p, 1000);
    p->reported = json_incref(first);
    RS_AUTO(json_t) *later = rs_pod_status(p, 99000);
    assert_true(json_equal(first, later));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_containers_run_in_order), cmocka_unit_test(restarts_back_off), cmocka_unit_test(policies), cmocka_unit_test(probes),
        cmocka_unit_test(deletion), cmocka_unit_test(deletion_before_the_ground_is_there), cmocka_unit_test(failing_starts),
        cmocka_unit_test(times_of_conditions_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
