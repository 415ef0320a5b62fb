#include "io/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "base/str.h"

static int parse_unix(struct rs_address *ret, const char *path, struct rs_err *e)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&ret->sa;
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof(un->sun_path))
        return RS_FAIL(e, RS_INVALID, "socket path \"%s\" is empty or too long", path);
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, n + 1);
    ret->n = sizeof(*un);
    return 0;
}

int rs_address_parse(struct rs_address *ret, const char *text, struct rs_err *e)
{
    memset(ret, 0, sizeof(*ret));
    if (rs_starts(text, "unix:"))
        return parse_unix(ret, text + 5, e);
    const char *colon = strrchr(text, ':');
    uint64_t port;
    char host[INET6_ADDRSTRLEN];
    bool v6 = text[0] == '[';
    size_t n = colon ? (size_t)(colon - text) : 0;
    if (v6 && (n < 2 || text[n - 1] != ']'))
        n = 0;
    else if (v6) {
        text++;
        n -= 2;
    }
    if (n == 0 || n >= sizeof(host) || !rs_str_u64(rs_str_of(colon + 1), &port) || port > 65535)
        return RS_FAIL(e, RS_INVALID, "\"%s\" is not IP:PORT or unix:PATH", text);
    memcpy(host, text, n);
    host[n] = '\0';
    if (v6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->sa;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)port);
        ret->n = sizeof(*in6);
        if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1)
            return 0;
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)&ret->sa;
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        ret->n = sizeof(*in);
        if (inet_pton(AF_INET, host, &in->sin_addr) == 1)
            return 0;
    }
    return RS_FAIL(e, RS_INVALID, "\"%s\" is not an IP address", host);
}

const char *rs_address_text(const struct rs_address *a, char buf[RS_ADDRESS_TEXT])
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (a->sa.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&a->sa;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(buf, RS_ADDRESS_TEXT, "%s:%u", host, ntohs(in->sin_port));
    } else if (a->sa.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->sa;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(buf, RS_ADDRESS_TEXT, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else if (a->sa.ss_family == AF_UNIX && a->n > offsetof(struct sockaddr_un, sun_path)) {
        snprintf(buf, RS_ADDRESS_TEXT, "unix:%s", ((const struct sockaddr_un *)&a->sa)->sun_path);
    } else {
        snprintf(buf, RS_ADDRESS_TEXT, "unix:");
    }
    return buf;
}
