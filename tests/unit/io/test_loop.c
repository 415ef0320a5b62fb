#include "unit.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/proc.h"
#include "base/time.h"
#include "io/loop.h"
#include "io/resolve.h"

static void count(void *ctx)
{
    ++*(int *)ctx;
}

static void set(void *ctx)
{
    *(bool *)ctx = true;
}

struct self { rs_timer *timer; bool fired; };

static void free_self(void *ctx)
{
    struct self *s = ctx;
    rs_timer_free(s->timer);
    s->fired = true;
}

static void timers(void **state)
{
    rs_loop *loop = rs_loop_new();
    int n = 0;
    bool done = false;
    RS_AUTO(rs_timer) *a = rs_timer_new(loop, count, &n), *b = rs_timer_new(loop, set, &done), *never = rs_timer_new(loop, count, &n);
    struct self s = { 0 };
    s.timer = rs_timer_new(loop, free_self, &s);
    rs_timer_set(s.timer, 5);
    rs_timer_set(never, 1);
    rs_timer_cancel(never);
    rs_timer_set(a, 1);
    rs_timer_set(a, 10);               /* re-arming moves it: it fires once */
    rs_timer_set(b, 40);
    int64_t from = rs_mono_ms();
    assert_true(rs_loop_run_until(loop, &done, 5000));
    assert_true(rs_mono_ms() - from >= 30);
    assert_int_equal(n, 1);
    assert_true(s.fired);
    done = false;
    assert_false(rs_loop_run_until(loop, &done, 10));
    rs_timer_free(rs_take(a));
    rs_timer_free(rs_take(b));
    rs_timer_free(rs_take(never));
    rs_loop_free(loop);
}

struct posting { rs_loop *loop; int n; pthread_t where; bool done; };

static void posted(void *ctx)
{
    struct posting *p = ctx;
    assert_true(pthread_equal(pthread_self(), p->where));
    if (++p->n == 1000)
        p->done = true;
}

static void *poster(void *ctx)
{
    struct posting *p = ctx;
    for (int i = 0; i < 250; i++)
        rs_loop_post(p->loop, posted, p);
    return NULL;
}

static void post_from_threads(void **state)
{
    struct posting p = { .loop = rs_loop_new(), .where = pthread_self() };
    pthread_t t[4];
    for (size_t i = 0; i < RS_COUNT(t); i++)
        pthread_create(&t[i], NULL, poster, &p);
    assert_true(rs_loop_run_until(p.loop, &p.done, 5000));
    for (size_t i = 0; i < RS_COUNT(t); i++)
        pthread_join(t[i], NULL);
    rs_loop_post(p.loop, posted, &p);  /* never run: dropped with the loop */
    rs_loop_free(p.loop);
}

struct job { struct posting *p; bool worked_elsewhere; };

static void job_work(void *ctx)
{
    struct job *j = ctx;
    j->worked_elsewhere = !pthread_equal(pthread_self(), j->p->where);
}

static void job_done(void *ctx)
{
    struct job *j = ctx;
    assert_true(j->worked_elsewhere);
    assert_true(pthread_equal(pthread_self(), j->p->where));
    if (++j->p->n == 50)
        j->p->done = true;
}

static void pool(void **state)
{
    struct posting p = { .loop = rs_loop_new(), .where = pthread_self() };
    struct job jobs[50] = { 0 };
    for (size_t i = 0; i < RS_COUNT(jobs); i++) {
        jobs[i].p = &p;
        rs_loop_work(p.loop, job_work, job_done, &jobs[i]);
    }
    assert_true(rs_loop_run_until(p.loop, &p.done, 5000));
    rs_loop_free(p.loop);
}

struct child { pid_t pid; int status; bool done; };

static void child_ended(void *ctx, pid_t pid, int status)
{
    struct child *c = ctx;
    c->pid = pid;
    c->status = status;
    c->done = true;
}

static void children(void **state)
{
    struct rs_err e;
    rs_loop *loop = rs_loop_new();
    const char *const argv[] = { "sh", "-c", "exit 3", NULL };
    struct rs_proc_spec spec = { .argv = argv, .fd_in = -1, .fd_out = -1, .fd_err = -1 };
    pid_t pid;
    struct child c = { 0 };
    ASSERT_OK(rs_proc_start(&spec, &pid, &e));
    rs_loop_on_child(loop, pid, child_ended, &c);
    assert_true(rs_loop_run_until(loop, &c.done, 5000));
    assert_int_equal(c.pid, pid);
    assert_true(WIFEXITED(c.status) && WEXITSTATUS(c.status) == 3);
    rs_loop_free(loop);
}

static void on_signal(void *ctx, int signo)
{
    if (signo == SIGUSR1)
        *(bool *)ctx = true;
}

static void signals(void **state)
{
    rs_loop *loop = rs_loop_new();
    bool got = false;
    rs_loop_on_signal(loop, SIGUSR1, on_signal, &got);
    kill(getpid(), SIGUSR1);
    assert_true(rs_loop_run_until(loop, &got, 5000));
    rs_loop_free(loop);
}

struct answer { char *address; enum rs_code code; bool done; };

static void resolved(void *ctx, const char *address, const struct rs_err *why)
{
    struct answer *a = ctx;
    free(a->address);
    a->address = rs_strdup(address);
    a->code = why ? why->code : RS_OK;
    a->done = true;
}

static void resolving(void **state)
{
    static const char *const cases[][2] = { { "localhost", "127.0.0.1:80" }, { "10.1.2.3", "10.1.2.3:80" }, { "::1", "[::1]:80" } };
    rs_loop *loop = rs_loop_new();
    for (size_t i = 0; i < RS_COUNT(cases); i++) {
        struct answer a = { 0 };
        rs_resolve(loop, cases[i][0], 80, resolved, &a);
        assert_false(a.done);
        assert_true(rs_loop_run_until(loop, &a.done, 5000));
        assert_string_equal(a.address, cases[i][1]);
        free(a.address);
    }
    struct answer a = { 0 };
    rs_resolve(loop, "no such host", 80, resolved, &a);
    assert_true(rs_loop_run_until(loop, &a.done, 20000));
    assert_null(a.address);
    assert_int_not_equal(a.code, RS_OK);
    rs_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers), cmocka_unit_test(post_from_threads), cmocka_unit_test(pool), cmocka_unit_test(children),
        cmocka_unit_test(signals), cmocka_unit_test(resolving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
