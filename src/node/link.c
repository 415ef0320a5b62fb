#include "node/link.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

struct message { struct nlmsghdr h; char body[1024]; };

static void *tail(struct message *m) { return (char *)m + NLMSG_ALIGN(m->h.nlmsg_len); }

static void *put_raw(struct message *m, size_t n)
{
    void *at = tail(m);

    rs_assert(NLMSG_ALIGN(m->h.nlmsg_len) + n <= sizeof(*m));
    m->h.nlmsg_len = (uint32_t)(NLMSG_ALIGN(m->h.nlmsg_len) + n);
    return at;
}

static struct rtattr *put(struct message *m, unsigned short type, const void *p, size_t n)
{
    struct rtattr *a = put_raw(m, RTA_LENGTH(n));

    a->rta_type = type;
    a->rta_len = (unsigned short)RTA_LENGTH(n);
    if (n > 0)
        memcpy(RTA_DATA(a), p, n);
    return a;
}

static void nest_end(struct message *m, struct rtattr *a) { a->rta_len = (unsigned short)((char *)tail(m) - (char *)a); }

static struct message begin(unsigned short type, unsigned short flags)
{
    return (struct message){ .h = { .nlmsg_len = NLMSG_LENGTH(0), .nlmsg_type = type, .nlmsg_flags = (unsigned short)(NLM_F_REQUEST | NLM_F_ACK | flags) } };
}

static int netlink_open(struct rs_err *e)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    return fd < 0 ? RS_FAIL_ERRNO(e, "netlink socket") : fd;
}

static int talk(int fd, struct message *m, const char *what, struct rs_err *e)
{
    char answer[4096] __attribute__((aligned(NLMSG_ALIGNTO)));

    if (send(fd, m, m->h.nlmsg_len, 0) < 0)
        return RS_FAIL_ERRNO(e, "netlink: %s", what);
    ssize_t n = recv(fd, answer, sizeof(answer), 0);
    const struct nlmsghdr *h = (const struct nlmsghdr *)answer;
    if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || h->nlmsg_type != NLMSG_ERROR)
        return RS_FAIL(e, RS_INTERNAL, "netlink: %s: unexpected answer", what);
    int code = ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
    if (code == 0)
        return 0;
    errno = -code;
    return RS_FAIL_ERRNO(e, "netlink: %s", what);
}

static int veth(int fd, const char *host_name, int peer_ns, struct rs_err *e)
{
    struct message m = begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    put_raw(&m, sizeof(struct ifinfomsg));
    put(&m, IFLA_IFNAME, host_name, strlen(host_name) + 1);
    struct rtattr *info = put(&m, IFLA_LINKINFO, NULL, 0);
    put(&m, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = put(&m, IFLA_INFO_DATA, NULL, 0), *peer = put(&m, VETH_INFO_PEER, NULL, 0);
    put_raw(&m, sizeof(struct ifinfomsg));
    put(&m, IFLA_IFNAME, "eth0", 5);
    put(&m, IFLA_NET_NS_FD, &peer_ns, sizeof(peer_ns));
    nest_end(&m, peer);
    nest_end(&m, data);
    nest_end(&m, info);
    return talk(fd, &m, "make veth pair", e);
}

static int set_up(int fd, const char *name, int index, struct rs_err *e)
{
    struct message m = begin(RTM_NEWLINK, 0);
    struct ifinfomsg *i = put_raw(&m, sizeof(*i));

    i->ifi_index = index;
    i->ifi_flags = i->ifi_change = IFF_UP;
    RS_AUTO(rs_chars) *what = rs_printf("set %s up", name);
    return talk(fd, &m, what, e);
}

static int address(int fd, int index, const char *ip, struct rs_err *e)
{
    struct message m = begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
    struct ifaddrmsg *a = put_raw(&m, sizeof(*a));
    struct in_addr in;

    if (inet_pton(AF_INET, ip, &in) != 1)
        return RS_FAIL(e, RS_INVALID, "\"%s\" is no address", ip);
    a->ifa_family = AF_INET;
    a->ifa_prefixlen = 32;
    a->ifa_index = (unsigned)index;
    put(&m, IFA_LOCAL, &in, sizeof(in));
    put(&m, IFA_ADDRESS, &in, sizeof(in));
    return talk(fd, &m, "add address", e);
}

/* to NULL: default. via NULL: directly reachable on the link. */
static int route(int fd, int index, const char *to, const char *via, struct rs_err *e)
{
    struct message m = begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
    struct rtmsg *r = put_raw(&m, sizeof(*r));
    struct in_addr in;

    r->rtm_family = AF_INET;
    r->rtm_dst_len = to ? 32 : 0;
    r->rtm_table = RT_TABLE_MAIN;
    r->rtm_protocol = RTPROT_BOOT;
    r->rtm_scope = via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    r->rtm_type = RTN_UNICAST;
    if (to && inet_pton(AF_INET, to, &in) == 1)
        put(&m, RTA_DST, &in, sizeof(in));
    if (via && inet_pton(AF_INET, via, &in) == 1)
        put(&m, RTA_GATEWAY, &in, sizeof(in));
    put(&m, RTA_OIF, &index, sizeof(index));
    return talk(fd, &m, "add route", e);
}

static int index_of(const char *name, struct rs_err *e)
{
    struct ifreq r = { 0 };
    int RS_AUTO_FD fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);      /* of the thread's namespace */

    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    if (fd < 0 || ioctl(fd, SIOCGIFINDEX, &r) < 0)
        return RS_FAIL_ERRNO(e, "index of %s", name);
    return r.ifr_ifindex;
}

static void sysctl(const char *path, const char *value)
{
    int RS_AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, value, strlen(value)) < 0)
        return;                                         /* a convenience only */
}

/* Runs on a thread that is in the new namespace. */
static int inside(const struct rs_link *l, int home, struct rs_err *e)
{
    int RS_AUTO_FD here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    int RS_AUTO_FD nl = netlink_open(e);
    if (here < 0 || nl < 0)
        return here < 0 ? RS_FAIL_ERRNO(e, "open own network namespace") : -1;
    if (mount("/proc/thread-self/ns/net", l->netns, NULL, MS_BIND, NULL) < 0)
        return RS_FAIL_ERRNO(e, "hold network namespace at %s", l->netns);
    sysctl("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    sysctl("/proc/sys/net/ipv4/ping_group_range", "0 65535");
    if (set_up(nl, "lo", 1, e) < 0)
        return -1;

    /* The pair is made from the node's side; the end that lands here is called eth0. */
    if (setns(home, CLONE_NEWNET) < 0)
        return RS_FAIL_ERRNO(e, "go back to the node's network");
    int RS_AUTO_FD out = netlink_open(e);
    if (out < 0 || veth(out, l->host_name, here, e) < 0)
        return -1;
    int host = index_of(l->host_name, e);
    if (host < 0 || address(out, host, l->gateway, e) < 0 || set_up(out, l->host_name, host, e) < 0 || route(out, host, l->ip, NULL, e) < 0)
        return -1;
    if (setns(here, CLONE_NEWNET) < 0)
        return RS_FAIL_ERRNO(e, "enter the pod's network");
    int pod = index_of("eth0", e);
    if (pod < 0 || address(nl, pod, l->ip, e) < 0 || set_up(nl, "eth0", pod, e) < 0 || route(nl, pod, l->gateway, NULL, e) < 0 ||
        route(nl, pod, NULL, l->gateway, e) < 0)
        return -1;
    return 0;
}

int rs_link_up(const struct rs_link *l, struct rs_err *e)
{
    int RS_AUTO_FD home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home < 0)
        return RS_FAIL_ERRNO(e, "open the node's network namespace");
    rs_link_down(l->netns, l->host_name);
    int RS_AUTO_FD file = open(l->netns, O_RDONLY | O_CREAT | O_CLOEXEC, 0444);
    if (file < 0)
        return RS_FAIL_ERRNO(e, "create %s", l->netns);
    if (unshare(CLONE_NEWNET) < 0)
        return RS_FAIL_ERRNO(e, "make a network namespace");
    int r = inside(l, home, e);
    rs_assert(setns(home, CLONE_NEWNET) == 0);          /* a thread lost in a pod's network must not go on */
    if (r < 0)
        rs_link_down(l->netns, l->host_name);
    return r;
}

void rs_link_down(const char *netns, const char *host_name)
{
    struct rs_err ignored;
    struct message m = begin(RTM_DELLINK, 0);
    int RS_AUTO_FD nl = netlink_open(&ignored);

    put_raw(&m, sizeof(struct ifinfomsg));
    put(&m, IFLA_IFNAME, host_name, strlen(host_name) + 1);
    if (nl >= 0)
        (void)!talk(nl, &m, "remove link", &ignored);   /* there may be none */
    umount2(netns, MNT_DETACH);
    unlink(netns);
}

static int connecting_socket(int port, struct rs_err *e)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int RS_AUTO_FD fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS))
        return RS_FAIL_ERRNO(e, "connect to port %d in the pod", port);
    int taken = fd;
    fd = -1;
    return taken;
}

int rs_link_connect(const char *netns, int port, struct rs_err *e)
{
    if (!netns)
        return connecting_socket(port, e);
    int RS_AUTO_FD home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    int RS_AUTO_FD there = open(netns, O_RDONLY | O_CLOEXEC);
    if (home < 0 || there < 0)
        return RS_FAIL_ERRNO(e, "open network namespace %s", netns);
    if (setns(there, CLONE_NEWNET) < 0)
        return RS_FAIL_ERRNO(e, "enter network namespace %s", netns);
    int fd = connecting_socket(port, e);
    rs_assert(setns(home, CLONE_NEWNET) == 0);
    return fd;
}
