#include "agent/redirect.h"

#include <arpa/inet.h>

#include "base/buf.h"
#include "base/str.h"

/* Ports that belong to the proxy itself: admin, HBONE, agent, readiness, Prometheus. */
static const char own_ports[] = "15000, 15008, 15020, 15021, 15090";

static bool is_port(const char *s)
{
    uint64_t v;
    return rs_str_u64(rs_str_of(s), &v) && v >= 1 && v <= 65535;
}

static bool is_range(const char *s)
{
    char address[INET_ADDRSTRLEN];
    const char *slash = strchr(s, '/');
    size_t n = slash ? (size_t)(slash - s) : strlen(s);
    struct in_addr ignored;
    uint64_t bits = 32;
    if (n >= sizeof(address) || (slash && (!rs_str_u64(rs_str_of(slash + 1), &bits) || bits > 32)))
        return false;
    memcpy(address, s, n);
    address[n] = 0;
    return inet_pton(AF_INET, address, &ignored) == 1;
}

/* "a, b" of a comma list, each item checked; "" for an empty or missing one. malloc'ed, NULL when an item is wrong. */
static char *set_of(const char *list, bool (*valid)(const char *), const char *what, struct rs_err *e)
{
    struct rs_buf b;
    rs_buf_init(&b, 65536);
    char **items = rs_split(list ? list : "", ',');
    bool ok = true;
    for (char **i = items; *i && ok; i++) {
        rs_str item = rs_str_trim(rs_str_of(*i));
        if (item.n == 0)
            continue;
        RS_AUTO(rs_chars) *text = rs_strndup(item.p, item.n);
        ok = valid(text);
        if (!ok)
            RS_FAIL(e, RS_INVALID, "\"%s\" is not a %s", text, what);
        rs_buf_addf(&b, "%s%s", b.n ? ", " : "", text);
    }
    rs_strv_free(items);
    if (!ok) {
        rs_buf_done(&b);
        return NULL;
    }
    return rs_buf_take(&b);
}

int rs_redirect_rules(char **ret, const struct rs_redirect *r, struct rs_err *e)
{
    bool all_in = !r->inbound_ports || rs_streq(r->inbound_ports, "*"), all_out = !r->include_ranges || rs_streq(r->include_ranges, "*");
    RS_AUTO(rs_chars) *in = set_of(all_in ? NULL : r->inbound_ports, is_port, "port", e);
    RS_AUTO(rs_chars) *not_in = set_of(r->exclude_inbound, is_port, "port", e), *not_out = set_of(r->exclude_outbound, is_port, "port", e);
    RS_AUTO(rs_chars) *ranges = set_of(all_out ? NULL : r->include_ranges, is_range, "range of addresses", e);
    RS_AUTO(rs_chars) *not_ranges = set_of(r->exclude_ranges, is_range, "range of addresses", e);
    if (!in || !not_in || !not_out || !ranges || !not_ranges)
        return -1;
    struct rs_buf b;
    rs_buf_init(&b, 262144);
    rs_buf_adds(&b, "table ip rootshift {\n}\ndelete table ip rootshift\ntable ip rootshift {\n");
    rs_buf_addf(&b, " chain inbound { type nat hook prerouting priority -100;\n  tcp dport { %s, %d } return\n", own_ports, r->inbound_to);
    if (*not_in)
        rs_buf_addf(&b, "  tcp dport { %s } return\n", not_in);
    if (all_in)
        rs_buf_addf(&b, "  meta l4proto tcp redirect to :%d\n", r->inbound_to);
    else if (*in)
        rs_buf_addf(&b, "  tcp dport { %s } redirect to :%d\n", in, r->inbound_to);
    rs_buf_adds(&b, " }\n chain outbound { type nat hook output priority -100;\n");
    /* From 127.0.0.6 the proxy hands to the app what came in, and the agent probes it. */
    rs_buf_adds(&b, "  oif lo ip saddr 127.0.0.6 return\n");
    /* The proxy calling its own pod by the pod's address goes through inbound, as when another pod calls. */
    rs_buf_addf(&b, "  meta l4proto tcp oif lo ip daddr != 127.0.0.0/8 tcp dport != 15008 meta skuid %u redirect to :%d\n", r->proxy_uid, r->inbound_to);
    rs_buf_addf(&b, "  meta skuid %u return\n  meta skgid %u return\n", r->proxy_uid, r->proxy_gid);
    rs_buf_adds(&b, "  oif lo return\n  ip daddr 127.0.0.0/8 return\n");
    if (*not_out)
        rs_buf_addf(&b, "  tcp dport { %s } return\n", not_out);
    if (*not_ranges)
        rs_buf_addf(&b, "  ip daddr { %s } return\n", not_ranges);
    if (all_out)
        rs_buf_addf(&b, "  meta l4proto tcp redirect to :%d\n", r->outbound_to);
    else if (*ranges)
        rs_buf_addf(&b, "  meta l4proto tcp ip daddr { %s } redirect to :%d\n", ranges, r->outbound_to);
    rs_buf_adds(&b, " }\n}\n");
    *ret = rs_buf_take(&b);
    return 0;
}
