#include "io/listen.h"

#include <fcntl.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/address.h"

enum { BACKLOG = 1024, ACCEPTS_PER_ROUND = 64, RETRY_MS = 100 };

struct rs_listener {
    rs_loop *loop;
    int fd;
    rs_fd_watch *watch;                /* NULL while waiting for descriptors to become free */
    rs_timer *retry;
    void (*fn)(void *ctx, int fd);
    void *ctx;
    bool accepting, freed;
};

int rs_listen(const char *address, struct rs_err *e)
{
    struct rs_address a;
    if (rs_address_parse(&a, address, e) < 0)
        return -1;
    RS_AUTO_FD int fd = socket(a.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return RS_FAIL_ERRNO(e, "listen on %s", address);
    struct stat st;
    int one = 1;
    if (a.sa.ss_family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    else if (lstat(address + 5, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(address + 5);
    if (bind(fd, (struct sockaddr *)&a.sa, a.n) < 0 || listen(fd, BACKLOG) < 0)
        return RS_FAIL_ERRNO(e, "listen on %s", address);
    int ret = fd;
    fd = -1;
    return ret;
}

int rs_listen_port(int fd)
{
    struct rs_address a = { .n = sizeof(a.sa) };
    if (getsockname(fd, (struct sockaddr *)&a.sa, &a.n) < 0)
        return -1;
    if (a.sa.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&a.sa)->sin6_port);
    return a.sa.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&a.sa)->sin_port) : 0;
}

static void listener_start(void *arg);

static void accept_ready(void *arg, bool readable, bool writable)
{
    rs_listener *l = arg;
    l->accepting = true;
    for (int i = 0; i < ACCEPTS_PER_ROUND && !l->freed; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            l->fn(l->ctx, fd);
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR)
            continue;
        if (errno != EAGAIN) {         /* out of descriptors or memory: trying at once would spin */
            rs_fd_watch_free(rs_take(l->watch));
            rs_timer_set(l->retry, RETRY_MS);
        }
        break;
    }
    l->accepting = false;
    if (l->freed)
        free(l);
}

static void listener_start(void *arg)
{
    rs_listener *l = arg;
    l->watch = rs_fd_watch_new(l->loop, l->fd, true, false, accept_ready, l);
}

rs_listener *rs_listener_new(rs_loop *loop, int fd, void (*fn)(void *ctx, int fd), void *ctx)
{
    rs_listener *l = rs_new(rs_listener);
    l->loop = loop;
    l->fd = fd;
    l->fn = fn;
    l->ctx = ctx;
    l->retry = rs_timer_new(loop, listener_start, l);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);     /* an inherited socket may block, and so would the loop */
    listener_start(l);
    return l;
}

void rs_listener_free(rs_listener *l)
{
    if (!l || l->freed)
        return;
    rs_fd_watch_free(l->watch);
    rs_timer_free(l->retry);
    close(l->fd);
    l->freed = true;
    if (!l->accepting)
        free(l);
}
