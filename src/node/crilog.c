#include "node/crilog.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int rs_crilog_open(struct rs_crilog *l, const char *path, size_t max)
{
    struct stat st;

    l->path = path;
    l->max = max;
    l->part[0].n = l->part[1].n = 0;
    l->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (l->fd < 0)
        return -1;
    l->size = fstat(l->fd, &st) == 0 ? (size_t)st.st_size : 0;
    return 0;
}

static void rotate(struct rs_crilog *l)
{
    char old[4096];

    snprintf(old, sizeof(old), "%s.1", l->path);
    if (rename(l->path, old) < 0)
        return;
    int fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0)
        return;                                /* goes on in the old file */
    close(l->fd);
    l->fd = fd;
    l->size = 0;
}

static void emit(struct rs_crilog *l, int stream, bool partial, const char *p, size_t n)
{
    char line[RS_CRILOG_LINE + 64];
    struct timespec t;
    struct tm tm;

    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    size_t head = strftime(line, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    head += (size_t)snprintf(line + head, 48, ".%09ldZ %s %c ", t.tv_nsec, stream == 2 ? "stderr" : "stdout", partial ? 'P' : 'F');
    memcpy(line + head, p, n);
    line[head + n] = '\n';
    if (l->size + head + n + 1 > l->max && l->size > 0)
        rotate(l);
    ssize_t done = write(l->fd, line, head + n + 1);
    if (done > 0)
        l->size += (size_t)done;
}

void rs_crilog_write(struct rs_crilog *l, int stream, const char *p, size_t n)
{
    char *part = l->part[stream == 2].p;
    size_t *have = &l->part[stream == 2].n;

    while (n > 0) {
        const char *end = memchr(p, '\n', n);
        size_t take = end ? (size_t)(end - p) : n, room = RS_CRILOG_LINE - *have;
        if (take > room) {
            memcpy(part + *have, p, room);
            emit(l, stream, true, part, RS_CRILOG_LINE);
            *have = 0;
            p += room;
            n -= room;
            continue;
        }
        if (!end) {
            memcpy(part + *have, p, take);
            *have += take;
            return;
        }
        memcpy(part + *have, p, take);
        emit(l, stream, false, part, *have + take);
        *have = 0;
        p = end + 1;
        n -= take + 1;
    }
}

void rs_crilog_close(struct rs_crilog *l)
{
    for (int i = 0; i < 2; i++)
        if (l->part[i].n > 0)
            emit(l, i + 1, false, l->part[i].p, l->part[i].n);
    close(l->fd);
    l->fd = -1;
}

bool rs_crilog_parse(const char *p, size_t n, struct rs_crilog_line *ret)
{
    const char *end = p + n, *space = memchr(p, ' ', n);

    if (!space || end - space < 10 || space == p)
        return false;
    ret->time = p;
    ret->time_n = (size_t)(space - p);
    if (memcmp(space + 1, "stdout ", 7) == 0)
        ret->stream = 1;
    else if (memcmp(space + 1, "stderr ", 7) == 0)
        ret->stream = 2;
    else
        return false;
    const char *tag = space + 8;
    if ((*tag != 'F' && *tag != 'P') || tag[1] != ' ')
        return false;
    ret->partial = *tag == 'P';
    ret->text = tag + 2;
    ret->text_n = (size_t)(end - ret->text);
    return true;
}
