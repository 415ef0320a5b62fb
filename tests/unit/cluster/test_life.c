#include "unit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/life.h"

static struct rs_err e;

static pid_t sleeper(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGTERM, SIG_DFL);
        for (;;)
            pause();
    }
    assert_true(pid > 0);
    return pid;
}

static void another_start_is_another_process(void **state)
{
    struct rs_life l;
    ASSERT_OK(rs_life_of(&l, getpid(), &e));
    assert_true(rs_life_alive(&l));
    l.start++;
    assert_false(rs_life_alive(&l));
    ASSERT_OK(rs_life_end(&l, SIGKILL, 0, &e));        /* it is not us: nothing is sent */
    l.start--;
    l.boot[0] ^= 1;
    assert_false(rs_life_alive(&l));
}

static void json_round_trip(void **state)
{
    struct rs_life a, b;
    ASSERT_OK(rs_life_of(&a, getpid(), &e));
    RS_AUTO(json_t) *o = rs_life_json(&a);
    assert_true(rs_life_from_json(&b, o));
    assert_true(a.pid == b.pid && a.start == b.start && strcmp(a.boot, b.boot) == 0);
    static const char *const bad[] = { "{}", "[]", "{'pid':1}", "{'pid':0,'start':5,'boot':'x'}", "{'pid':-1,'start':5,'boot':'x'}",
                                       "{'pid':5,'start':0,'boot':'x'}", "{'pid':'5','start':5,'boot':'x'}",
                                       "{'pid':5000000000,'start':5,'boot':'x'}" };
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        RS_AUTO(json_t) *damaged = unit_json(bad[i]);
        assert_false(rs_life_from_json(&b, damaged));
    }
    assert_false(rs_life_from_json(&b, NULL));
}

static void ending(void **state)
{
    struct rs_life l;
    pid_t pid = sleeper();
    ASSERT_OK(rs_life_of(&l, pid, &e));
    assert_false(rs_life_wait(&l, 0));
    ASSERT_FAILS(RS_DEADLINE, "did not end", rs_life_end(&l, 0, 1, &e));
    ASSERT_OK(rs_life_end(&l, SIGTERM, 10000, &e));
    assert_false(rs_life_alive(&l));                   /* a zombie still */
    assert_true(rs_life_wait(&l, 0));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_false(rs_life_alive(&l));
    ASSERT_OK(rs_life_end(&l, SIGTERM, 0, &e));
    ASSERT_FAILS(RS_NOT_FOUND, "ended", rs_life_of(&l, pid, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_start_is_another_process),
        cmocka_unit_test(json_round_trip),
        cmocka_unit_test(ending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
