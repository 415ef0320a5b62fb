#include "io/resolve.h"

#include <netdb.h>
#include <netinet/in.h>

#include "base/str.h"
#include "io/address.h"

struct lookup {
    char *host;
    int port;
    void (*fn)(void *ctx, const char *address, const struct rs_err *why);
    void *ctx;
    char *address;
    struct rs_err e;
};

static int try_family(struct lookup *l, int family, int flags)
{
    struct addrinfo hints = { .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = flags }, *list = NULL;
    int rc = getaddrinfo(l->host, NULL, &hints, &list);
    if (rc != 0)
        return rc;
    struct rs_address a = { .n = list->ai_addrlen };
    memcpy(&a.sa, list->ai_addr, list->ai_addrlen);
    if (family == AF_INET)
        ((struct sockaddr_in *)&a.sa)->sin_port = htons((uint16_t)l->port);
    else
        ((struct sockaddr_in6 *)&a.sa)->sin6_port = htons((uint16_t)l->port);
    char text[RS_ADDRESS_TEXT];
    l->address = rs_strdup(rs_address_text(&a, text));
    freeaddrinfo(list);
    return 0;
}

static void look_up(void *arg)
{
    struct lookup *l = arg;
    int rc = try_family(l, AF_INET, 0);
    if (rc != 0 && try_family(l, AF_INET6, 0) != 0)
        (void)RS_FAIL(&l->e, rc == EAI_NONAME ? RS_NOT_FOUND : RS_UNAVAILABLE, "resolve %s: %s", l->host, gai_strerror(rc));
}

static void looked_up(void *arg)
{
    struct lookup *l = arg;
    l->fn(l->ctx, l->address, l->address ? NULL : &l->e);
    free(l->host);
    free(l->address);
    free(l);
}

void rs_resolve(rs_loop *loop, const char *host, int port, void (*fn)(void *ctx, const char *address, const struct rs_err *why), void *ctx)
{
    struct lookup *l = rs_new(struct lookup);
    l->host = rs_strdup(host);
    l->port = port;
    l->fn = fn;
    l->ctx = ctx;
    if (try_family(l, AF_INET, AI_NUMERICHOST) == 0 || try_family(l, AF_INET6, AI_NUMERICHOST) == 0)
        rs_loop_post(loop, looked_up, l);
    else
        rs_loop_work(loop, look_up, looked_up, l);
}
