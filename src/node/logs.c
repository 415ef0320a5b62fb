#include "node/logs.h"
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/file.h"
#include "base/time.h"
#include "node/crilog.h"

enum { READ_MAX = 64 * 1024 * 1024, LOOK_MS = 250, CHUNK = 256 * 1024 };

struct rs_logs {
    rs_loop *loop;
    char *path;
    struct rs_logs_options o;
    struct rs_logs_ops ops;
    void *ctx;
    int fd, inotify;
    rs_fd_watch *watch;
    rs_timer *timer;
    struct rs_buf line;                /* the unfinished one */
    bool begun, done;
    bool *freed;                       /* set by rs_logs_free while a turn runs */
};

size_t rs_logs_tail(const char *p, size_t n, int64_t tail)
{
    int64_t seen = 0;

    if (tail == 0)
        return n;
    for (size_t i = n; i-- > 0;)
        if (p[i] == '\n' && i + 1 < n && ++seen == tail)
            return i + 1;
    return 0;
}

/* One line to the reader; false when the limit is reached or the reader was freed. */
static bool give(rs_logs *l, const char *p, size_t n)
{
    struct rs_crilog_line line;

    if (!rs_crilog_parse(p, n, &line))
        return true;
    if (l->o.since_ms > 0) {
        RS_AUTO(rs_chars) *time = rs_strndup(line.time, line.time_n);
        int64_t at;
        if (rs_time_parse(time, &at) && at < l->o.since_ms)
            return true;
    }
    RS_AUTO_BUF out;
    rs_buf_init(&out, RS_CRILOG_LINE * 2);
    if (l->o.timestamps) {
        rs_buf_add(&out, line.time, line.time_n);
        rs_buf_adds(&out, " ");
    }
    rs_buf_add(&out, line.text, line.text_n);
    if (!line.partial)
        rs_buf_adds(&out, "\n");
    size_t take = out.n;
    if (l->o.limit >= 0 && (int64_t)take > l->o.limit)
        take = (size_t)l->o.limit;
    bool *freed = l->freed;
    if (take > 0)
        l->ops.on_text(l->ctx, line.stream, (rs_str){ out.p, take });
    if (*freed)
        return false;
    if (l->o.limit >= 0)
        l->o.limit -= (int64_t)take;
    return l->o.limit != 0;
}

/* Whole lines of the text; what is left over waits in l->line. */
static bool give_all(rs_logs *l, const char *p, size_t n)
{
    while (n > 0) {
        const char *end = memchr(p, '\n', n);
        if (!end) {
            rs_buf_add(&l->line, p, n);
            return true;
        }
        size_t len = (size_t)(end - p);
        bool more;
        if (l->line.n > 0) {
            rs_buf_add(&l->line, p, len);
            size_t whole_n = l->line.n;
            RS_AUTO(rs_chars) *whole = rs_buf_take(&l->line);
            more = give(l, whole, whole_n);
        } else
            more = give(l, p, len);
        if (!more)
            return false;
        p = end + 1;
        n -= len + 1;
    }
    return true;
}

static void finish(rs_logs *l)
{
    if (l->done)
        return;
    l->done = true;
    rs_timer_cancel(l->timer);
    rs_fd_watch_free(l->watch);
    l->watch = NULL;
    l->ops.on_end(l->ctx);
}

/* What was there at the start. */
static bool first(rs_logs *l)
{
    RS_AUTO(rs_chars) *old_path = rs_printf("%s.1", l->path), *old = NULL, *now = NULL;
    struct rs_err e;
    struct rs_buf all;
    size_t n_old = 0, n = 0;

    rs_buf_init(&all, READ_MAX);
    if (rs_file_read(old_path, READ_MAX / 4, &old, &n_old, &e) == 0)
        rs_buf_add(&all, old, n_old);
    if (rs_file_read(l->path, READ_MAX / 2, &now, &n, &e) == 0)
        rs_buf_add(&all, now, n);
    l->fd = open(l->path, O_RDONLY | O_CLOEXEC);       /* opened after it was read: what came between is read again from n on */
    if (l->fd >= 0)
        lseek(l->fd, (off_t)n, SEEK_SET);
    size_t from = l->o.tail >= 0 ? rs_logs_tail(all.p ? all.p : "", all.n, l->o.tail) : 0;
    size_t left = all.n - from;
    RS_AUTO(rs_chars) *text = rs_buf_take(&all);
    return give_all(l, text + from, left);
}

/* The rest of the open file, then of the one that took its place. */
static bool further(rs_logs *l)
{
    for (;;) {
        RS_AUTO(rs_chars) *bytes = rs_alloc(CHUNK);
        struct stat mine, named;
        ssize_t n;
        while (l->fd >= 0 && (n = read(l->fd, bytes, CHUNK)) > 0)
            if (!give_all(l, bytes, (size_t)n))
                return false;
        if (l->fd >= 0 && (fstat(l->fd, &mine) < 0 || stat(l->path, &named) < 0 || mine.st_ino == named.st_ino))
            return true;
        int fd = open(l->path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return true;
        if (l->fd >= 0)
            close(l->fd);
        l->fd = fd;
    }
}

static void turn(void *ctx)
{
    rs_logs *l = ctx;
    bool ended = !l->o.follow || l->ops.ended(l->ctx), freed = false;

    l->freed = &freed;                 /* a callback may free l */
    bool more = l->begun || first(l);
    if (freed)
        return;
    l->begun = true;
    if (more)
        more = further(l);
    if (freed)
        return;
    l->freed = NULL;
    if (!more || ended)
        finish(l);
    else
        rs_timer_set(l->timer, LOOK_MS);
}

static void on_notice(void *ctx, bool readable, bool writable)
{
    rs_logs *l = ctx;
    char events[4096];

    while (read(l->inotify, events, sizeof(events)) > 0)
        ;
    turn(l);
}

rs_logs *rs_logs_start(rs_loop *loop, const char *path, const struct rs_logs_options *options, const struct rs_logs_ops *ops, void *ctx)
{
    rs_logs *l = rs_new(rs_logs);

    *l = (rs_logs){ .loop = loop, .path = rs_strdup(path), .o = *options, .ops = *ops, .ctx = ctx, .fd = -1, .inotify = -1 };
    rs_buf_init(&l->line, RS_CRILOG_LINE * 4);
    l->timer = rs_timer_new(loop, turn, l);
    if (l->o.follow) {
        RS_AUTO(rs_chars) *dir = rs_strndup(path, (size_t)(strrchr(path, '/') - path));
        l->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (l->inotify >= 0 && inotify_add_watch(l->inotify, dir, IN_MODIFY | IN_CREATE | IN_CLOSE_WRITE) >= 0)
            l->watch = rs_fd_watch_new(loop, l->inotify, true, false, on_notice, l);
    }
    rs_timer_set(l->timer, 0);
    return l;
}

void rs_logs_free(rs_logs *l)
{
    if (!l)
        return;
    if (l->freed)
        *l->freed = true;
    rs_timer_free(l->timer);
    rs_fd_watch_free(l->watch);
    if (l->fd >= 0)
        close(l->fd);
    if (l->inotify >= 0)
        close(l->inotify);
    rs_buf_done(&l->line);
    free(l->path);
    free(l);
}
