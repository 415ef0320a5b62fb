#include "node/rules.h"
#include <arpa/inet.h>
#include <stdarg.h>
#include "base/buf.h"
#include "kube/object.h"

enum { TEXT_MAX = 8 * 1024 * 1024 };

struct text { struct rs_buf one, many, none, hairpin, chains; size_t n_chains; };

static bool is_ipv4(const char *s)
{
    struct in_addr a;

    return s && inet_pton(AF_INET, s, &a) == 1;
}

static void element(struct rs_buf *b, const char *fmt, ...) RS_PRINTF(2, 3);
static void element(struct rs_buf *b, const char *fmt, ...)
{
    char line[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    rs_buf_addf(b, "%s\n  %s", b->n ? "," : "", line);
}

/* Ready when told so; unknown counts as ready, as for kube-proxy. */
static bool usable(const json_t *endpoint)
{
    const json_t *ready = rs_json_at(endpoint, "conditions", "ready");

    return !ready || json_is_null(ready) || json_is_true(ready);
}

/* "ip . port" of every ready endpoint of this service port, sorted, without duplicates. New array. */
static json_t *targets(const json_t *slices, const json_t *service, const char *port_name, const char *proto)
{
    json_t *list = json_array(), *slice, *port, *ep, *addr;
    size_t i, k, m, a;

    json_array_foreach(slices, i, slice) {
        const char *of = rs_object_label(slice, "kubernetes.io/service-name");
        if (!rs_streq(of, rs_object_name(service)) || !rs_streq(rs_object_namespace(slice), rs_object_namespace(service)))
            continue;
        json_array_foreach(json_object_get(slice, "ports"), k, port) {
            const char *name = rs_json_str(port, "name"), *p = rs_json_str(port, "protocol");
            json_int_t number = rs_json_int(port, 0, "port");
            if (!rs_streq(name ? name : "", port_name) || !rs_streq(p ? p : "TCP", proto) || number < 1 || number > 65535)
                continue;
            json_array_foreach(json_object_get(slice, "endpoints"), m, ep)
                json_array_foreach(json_object_get(ep, "addresses"), a, addr) {
                    if (!usable(ep) || !is_ipv4(json_string_value(addr)))
                        continue;
                    RS_AUTO(rs_chars) *text = rs_printf("%s . %lld", json_string_value(addr), (long long)number);
                    size_t at = 0;
                    while (at < json_array_size(list) && strcmp(json_string_value(json_array_get(list, at)), text) < 0)
                        at++;
                    if (!rs_streq(json_string_value(json_array_get(list, at)), text))
                        json_array_insert_new(list, at, json_string(text));
                }
        }
    }
    return list;
}

static void add_port(struct text *t, const json_t *service, const json_t *port, const json_t *slices, json_t *pods)
{
    const char *ip = rs_json_str(service, "spec", "clusterIP"), *name = rs_json_str(port, "name"), *p = rs_json_str(port, "protocol");
    const char *proto = rs_streq(p, "UDP") ? "udp" : "tcp";
    json_int_t number = rs_json_int(port, 0, "port");
    if (number < 1 || number > 65535 || rs_streq(p, "SCTP"))
        return;

    RS_AUTO(json_t) *list = targets(slices, service, name ? name : "", p ? p : "TCP");
    size_t n = json_array_size(list);
    if (n == 0)
        element(&t->none, "%s . %s . %lld", ip, proto, (long long)number);
    else if (n == 1)
        element(&t->one, "%s . %s . %lld : %s", ip, proto, (long long)number, json_string_value(json_array_get(list, 0)));
    else
        element(&t->many, "%s . %s . %lld : goto c%zu", ip, proto, (long long)number, t->n_chains);
    if (n > 1)
        rs_buf_addf(&t->chains, " chain c%zu {\n  meta l4proto %s dnat ip to numgen random mod %zu map {", t->n_chains++, proto, n);
    for (size_t i = 0; i < n; i++) {
        const char *to = json_string_value(json_array_get(list, i));
        RS_AUTO(rs_chars) *pod = rs_strndup(to, strcspn(to, " "));
        json_object_set_new(pods, pod, json_true());
        if (n > 1)
            rs_buf_addf(&t->chains, "%s %zu : %s", i == 0 ? "" : ",", i, to);
    }
    if (n > 1)
        rs_buf_adds(&t->chains, " }\n }\n");
}

static void table(struct rs_buf *b, const char *cidr, const struct text *t)
{
    rs_buf_adds(b, "table ip rootshift\ndelete table ip rootshift\ntable ip rootshift {\n");
    rs_buf_addf(b, " map one { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service\n");
    if (t->one.n)
        rs_buf_addf(b, " elements = { %s }\n", t->one.p);
    rs_buf_adds(b, " }\n map many { type ipv4_addr . inet_proto . inet_service : verdict\n");
    if (t->many.n)
        rs_buf_addf(b, " elements = { %s }\n", t->many.p);
    rs_buf_adds(b, " }\n set none { type ipv4_addr . inet_proto . inet_service\n");
    if (t->none.n)
        rs_buf_addf(b, " elements = { %s }\n", t->none.p);
    rs_buf_adds(b, " }\n set hairpin { type ipv4_addr . ipv4_addr\n");
    if (t->hairpin.n)
        rs_buf_addf(b, " elements = { %s }\n", t->hairpin.p);
    rs_buf_adds(b, " }\n");
    rs_buf_add(b, t->chains.p ? t->chains.p : "", t->chains.n);
    rs_buf_addf(b,
        " chain choose {\n  ip daddr . meta l4proto . th dport vmap @many\n  dnat ip to ip daddr . meta l4proto . th dport map @one\n }\n"
        " chain in { type nat hook prerouting priority dstnat;\n  ip daddr %s jump choose\n }\n"
        " chain out { type nat hook output priority -100;\n  ip daddr %s jump choose\n }\n"
        " chain back { type nat hook postrouting priority srcnat;\n  ct status dnat ip saddr . ip daddr @hairpin masquerade\n }\n"
        " chain refuse {\n  fib daddr type local return\n  ip daddr . meta l4proto . th dport @none reject\n }\n"
        " chain refuse_forward { type filter hook forward priority 0;\n  ip daddr %s jump refuse\n }\n"
        " chain refuse_output { type filter hook output priority 0;\n  ip daddr %s jump refuse\n }\n}\n", cidr, cidr, cidr, cidr);
}

char *rs_rules_text(const json_t *services, const json_t *slices, const char *cidr)
{
    struct text t = { 0 };
    struct rs_buf *const parts[] = { &t.one, &t.many, &t.none, &t.hairpin, &t.chains };
    RS_AUTO(json_t) *pods = json_object();
    RS_AUTO_BUF b;
    size_t i, k;
    json_t *service, *port, *v;
    const char *pod;

    rs_buf_init(&b, TEXT_MAX);
    for (i = 0; i < RS_COUNT(parts); i++)
        rs_buf_init(parts[i], TEXT_MAX);
    json_array_foreach(services, i, service)
        if (is_ipv4(rs_json_str(service, "spec", "clusterIP")) && !rs_streq(rs_json_str(service, "spec", "type"), "ExternalName"))
            json_array_foreach(rs_json_at(service, "spec", "ports"), k, port)
                add_port(&t, service, port, slices, pods);
    json_object_foreach(pods, pod, v)
        element(&t.hairpin, "%s . %s", pod, pod);
    table(&b, cidr, &t);
    for (i = 0; i < RS_COUNT(parts); i++)
        rs_buf_done(parts[i]);
    return b.over ? NULL : rs_buf_take(&b);
}

static void headless(struct rs_buf *b, const json_t *service, const json_t *slices, const char *domain)
{
    const char *ns = rs_object_namespace(service), *name = rs_object_name(service);
    bool all = rs_json_true(service, "spec", "publishNotReadyAddresses");
    RS_AUTO(json_t) *seen = json_object();
    size_t i, k, a;
    json_t *slice, *ep, *addr;

    json_array_foreach(slices, i, slice) {
        if (!rs_streq(rs_object_label(slice, "kubernetes.io/service-name"), name) || !rs_streq(rs_object_namespace(slice), ns))
            continue;
        json_array_foreach(json_object_get(slice, "endpoints"), k, ep)
            json_array_foreach(json_object_get(ep, "addresses"), a, addr) {
                const char *ip = json_string_value(addr), *host = rs_json_str(ep, "hostname");
                if (!is_ipv4(ip) || (!all && !usable(ep)) || json_object_get(seen, ip))
                    continue;
                json_object_set_new(seen, ip, json_true());
                rs_buf_addf(b, "%s %s.%s.svc.%s", ip, name, ns, domain);
                if (host)
                    rs_buf_addf(b, " %s.%s.%s.svc.%s", host, name, ns, domain);
                rs_buf_adds(b, "\n");
            }
    }
}

json_t *rs_rules_hosts(const json_t *services, const json_t *slices, const char *domain)
{
    json_t *files = json_object(), *service;
    size_t i;

    json_array_foreach(services, i, service) {
        const char *ip = rs_json_str(service, "spec", "clusterIP"), *ns = rs_object_namespace(service), *name = rs_object_name(service);
        RS_AUTO_BUF b;
        rs_buf_init(&b, TEXT_MAX);
        if (rs_streq(ip, "None"))
            headless(&b, service, slices, domain);
        else if (is_ipv4(ip))
            rs_buf_addf(&b, "%s %s.%s.svc.%s\n", ip, name, ns, domain);
        RS_AUTO(rs_chars) *file = rs_printf("%s.%s", ns, name);
        if (b.n)
            json_object_set_new(files, file, json_string(b.p));
    }
    return files;
}
