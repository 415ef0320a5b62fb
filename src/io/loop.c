#include "io/loop.h"

#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

enum { POOL_THREADS = 4 };

struct call { void (*fn)(void *ctx); void *ctx; struct call *next; };
struct work { void (*work)(void *ctx), (*done)(void *ctx); void *ctx; struct work *next; };
struct signal_watch { struct event *event; void (*fn)(void *ctx, int signo); void *ctx; struct signal_watch *next; };

struct child_watch {
    struct event *event;
    int fd;
    pid_t pid;
    void (*fn)(void *ctx, pid_t pid, int status);
    void *ctx;
    rs_loop *loop;
    struct child_watch *prev, *next;
};

struct rs_loop {
    struct event_base *base;
    bool running, stopped;

    int wake_fd;
    struct event *wake;
    pthread_mutex_t lock;              /* guards posted and everything of the pool */
    struct call *posted;

    pthread_cond_t have_work;
    struct work *queue;
    pthread_t threads[POOL_THREADS];
    size_t n_threads, n_idle;
    bool pool_ends;

    struct signal_watch *signals;
    struct child_watch *children;
};

struct rs_timer { struct event *event; void (*fn)(void *ctx); void *ctx; };
struct rs_fd_watch { struct event *event; void (*fn)(void *ctx, bool readable, bool writable); void *ctx; };

/* Posted calls are taken off the list as a whole: what they post runs in the next round, so that other events get their turn. */
static void run_posted(evutil_socket_t fd, short what, void *arg)
{
    rs_loop *loop = arg;
    uint64_t count;
    if (read(loop->wake_fd, &count, sizeof(count)) < 0)
        return;
    pthread_mutex_lock(&loop->lock);
    struct call *list = loop->posted;
    loop->posted = NULL;
    pthread_mutex_unlock(&loop->lock);
    while (list) {
        struct call *c = list;
        LL_DELETE(list, c);
        c->fn(c->ctx);
        free(c);
    }
}

rs_loop *rs_loop_new(void)
{
    rs_loop *loop = rs_new(rs_loop);
    struct event_config *config = event_config_new();
    rs_assert(config);
    /* Timers count from when they are set, not from when the loop last woke; and no chain of callbacks that activate each
     * other keeps the loop from looking at its descriptors. */
    event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME);
    event_config_set_max_dispatch_interval(config, NULL, 64, 0);
    loop->base = event_base_new_with_config(config);
    event_config_free(config);
    rs_assert(loop->base);
    signal(SIGPIPE, SIG_IGN);
    pthread_mutex_init(&loop->lock, NULL);
    pthread_cond_init(&loop->have_work, NULL);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rs_assert(loop->wake_fd >= 0);
    loop->wake = event_new(loop->base, loop->wake_fd, EV_READ | EV_PERSIST, run_posted, loop);
    rs_assert(loop->wake && event_add(loop->wake, NULL) == 0);
    return loop;
}

static void pool_end(rs_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->pool_ends = true;
    pthread_cond_broadcast(&loop->have_work);
    pthread_mutex_unlock(&loop->lock);
    for (size_t i = 0; i < loop->n_threads; i++)
        pthread_join(loop->threads[i], NULL);
    struct work *w, *next;
    LL_FOREACH_SAFE(loop->queue, w, next)
        free(w);
}

void rs_loop_free(rs_loop *loop)
{
    if (!loop)
        return;
    rs_assert(!loop->running);
    pool_end(loop);
    struct call *c, *c_next;
    LL_FOREACH_SAFE(loop->posted, c, c_next)
        free(c);
    struct signal_watch *s, *s_next;
    LL_FOREACH_SAFE(loop->signals, s, s_next) {
        event_free(s->event);
        free(s);
    }
    struct child_watch *k, *k_next;
    DL_FOREACH_SAFE(loop->children, k, k_next) {
        event_free(k->event);
        close(k->fd);
        free(k);
    }
    event_free(loop->wake);
    close(loop->wake_fd);
    event_base_free(loop->base);
    pthread_cond_destroy(&loop->have_work);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

struct event_base *rs_loop_base(rs_loop *loop)
{
    return loop->base;
}

void rs_loop_run(rs_loop *loop)
{
    rs_assert(!loop->running);
    loop->running = true;
    while (!loop->stopped)
        rs_assert(event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY) >= 0);
    loop->stopped = false;
    loop->running = false;
}

static void set_true(void *flag)
{
    *(bool *)flag = true;
}

bool rs_loop_run_until(rs_loop *loop, const bool *done, int64_t timeout_ms)
{
    rs_assert(!loop->running);
    bool expired = false;
    RS_AUTO(rs_timer) *timer = rs_timer_new(loop, set_true, &expired);
    if (timeout_ms >= 0)
        rs_timer_set(timer, timeout_ms);
    loop->running = true;
    while (!*done && !expired && !loop->stopped)
        rs_assert(event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY) >= 0);
    loop->stopped = false;
    loop->running = false;
    return *done;
}

void rs_loop_stop(rs_loop *loop)
{
    loop->stopped = true;
    event_base_loopbreak(loop->base);
}

void rs_loop_post(rs_loop *loop, void (*fn)(void *ctx), void *ctx)
{
    struct call *c = rs_new(struct call);
    c->fn = fn;
    c->ctx = ctx;
    pthread_mutex_lock(&loop->lock);
    bool first = !loop->posted;
    LL_APPEND(loop->posted, c);
    pthread_mutex_unlock(&loop->lock);
    uint64_t one = 1;
    if (first)
        rs_assert(write(loop->wake_fd, &one, sizeof(one)) == sizeof(one));
}

static void timer_fired(evutil_socket_t fd, short what, void *arg)
{
    rs_timer *t = arg;
    t->fn(t->ctx);                     /* may free t */
}

rs_timer *rs_timer_new(rs_loop *loop, void (*fn)(void *ctx), void *ctx)
{
    rs_timer *t = rs_new(rs_timer);
    t->fn = fn;
    t->ctx = ctx;
    t->event = evtimer_new(loop->base, timer_fired, t);
    rs_assert(t->event);
    return t;
}

void rs_timer_set(rs_timer *t, int64_t ms)
{
    if (ms < 0)
        ms = 0;
    struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
    rs_assert(evtimer_add(t->event, &tv) == 0);
}

void rs_timer_cancel(rs_timer *t)
{
    evtimer_del(t->event);
}

void rs_timer_free(rs_timer *t)
{
    if (!t)
        return;
    event_free(t->event);
    free(t);
}

static void watch_fired(evutil_socket_t fd, short what, void *arg)
{
    rs_fd_watch *w = arg;
    w->fn(w->ctx, what & EV_READ, what & EV_WRITE);    /* may free w */
}

rs_fd_watch *rs_fd_watch_new(rs_loop *loop, int fd, bool readable, bool writable, void (*fn)(void *ctx, bool readable, bool writable), void *ctx)
{
    rs_fd_watch *w = rs_new(rs_fd_watch);
    w->fn = fn;
    w->ctx = ctx;
    short what = (short)(EV_PERSIST | (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
    w->event = event_new(loop->base, fd, what, watch_fired, w);
    rs_assert(w->event && event_add(w->event, NULL) == 0);
    return w;
}

void rs_fd_watch_free(rs_fd_watch *w)
{
    if (!w)
        return;
    event_free(w->event);
    free(w);
}

static void signal_fired(evutil_socket_t signo, short what, void *arg)
{
    struct signal_watch *s = arg;
    s->fn(s->ctx, signo);
}

void rs_loop_on_signal(rs_loop *loop, int signo, void (*fn)(void *ctx, int signo), void *ctx)
{
    struct signal_watch *s = rs_new(struct signal_watch);
    s->fn = fn;
    s->ctx = ctx;
    s->event = evsignal_new(loop->base, signo, signal_fired, s);
    rs_assert(s->event && event_add(s->event, NULL) == 0);
    LL_PREPEND(loop->signals, s);
}

static void child_fired(evutil_socket_t fd, short what, void *arg)
{
    struct child_watch *k = arg;
    int status = 0;
    pid_t got = waitpid(k->pid, &status, WNOHANG);
    if (got == 0)
        return;
    DL_DELETE(k->loop->children, k);
    event_free(k->event);
    if (k->fd >= 0)
        close(k->fd);
    k->fn(k->ctx, k->pid, got < 0 ? -1 : status);
    free(k);
}

void rs_loop_on_child(rs_loop *loop, pid_t pid, void (*fn)(void *ctx, pid_t pid, int status), void *ctx)
{
    struct child_watch *k = rs_new(struct child_watch);
    k->pid = pid;
    k->fn = fn;
    k->ctx = ctx;
    k->loop = loop;
    DL_APPEND(loop->children, k);
    k->fd = pidfd_open(pid, 0);        /* a pidfd becomes readable when the process ends: no SIGCHLD involved */
    if (k->fd >= 0) {
        k->event = event_new(loop->base, k->fd, EV_READ | EV_PERSIST, child_fired, k);
        rs_assert(k->event && event_add(k->event, NULL) == 0);
        return;
    }
    /* Somebody else reaped it already: still report, with status -1. */
    k->event = event_new(loop->base, -1, 0, child_fired, k);
    rs_assert(k->event);
    event_active(k->event, EV_TIMEOUT, 0);
}

static void *pool_thread(void *arg)
{
    rs_loop *loop = arg;
    pthread_mutex_lock(&loop->lock);
    for (;;) {
        while (!loop->queue && !loop->pool_ends) {
            loop->n_idle++;
            pthread_cond_wait(&loop->have_work, &loop->lock);
            loop->n_idle--;
        }
        if (loop->pool_ends)
            break;
        struct work *w = loop->queue;
        LL_DELETE(loop->queue, w);
        pthread_mutex_unlock(&loop->lock);
        w->work(w->ctx);
        if (w->done)
            rs_loop_post(loop, w->done, w->ctx);
        free(w);
        pthread_mutex_lock(&loop->lock);
    }
    pthread_mutex_unlock(&loop->lock);
    return NULL;
}

/* Signals belong to the loop's thread. */
static void pool_start_thread(rs_loop *loop)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(&loop->threads[loop->n_threads], NULL, pool_thread, loop) == 0)
        loop->n_threads++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    rs_assert(loop->n_threads > 0);
}

void rs_loop_work(rs_loop *loop, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx)
{
    struct work *w = rs_new(struct work);
    w->work = work;
    w->done = done;
    w->ctx = ctx;
    pthread_mutex_lock(&loop->lock);
    LL_APPEND(loop->queue, w);
    size_t waiting;
    struct work *counted;
    LL_COUNT(loop->queue, counted, waiting);
    if (waiting > loop->n_idle && loop->n_threads < POOL_THREADS)
        pool_start_thread(loop);
    pthread_cond_signal(&loop->have_work);
    pthread_mutex_unlock(&loop->lock);
}
