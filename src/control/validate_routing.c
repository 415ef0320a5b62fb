/* Gateway and VirtualService. */
#include "control/validate_int.h"

#include <strings.h>

#include "base/time.h"

static bool is_port(const json_t *o) { return json_is_integer(o) && json_integer_value(o) >= 1 && json_integer_value(o) <= 65535; }

static int check_server(const json_t *server, size_t number, json_t *warnings, struct rs_err *e)
{
    static const char *const protocols[] = { "HTTP", "HTTP2", "GRPC", "HTTPS", "TLS", "TCP", "MONGO" };
    const char *protocol = rs_json_str(server, "port", "protocol"), *name = rs_json_str(server, "port", "name");
    if (!is_port(rs_json_at(server, "port", "number")))
        return RS_FAIL(e, RS_INVALID, "spec.servers[%zu].port.number: must be 1 to 65535", number);
    if (!name || !*name)
        return RS_FAIL(e, RS_INVALID, "spec.servers[%zu].port.name: must be given", number);
    bool known = false;
    for (size_t i = 0; protocol && i < RS_COUNT(protocols); i++)
        known = known || strcasecmp(protocol, protocols[i]) == 0;
    if (!known)
        return RS_FAIL(e, RS_INVALID, "spec.servers[%zu].port.protocol: \"%s\" is not known; use HTTP, HTTP2 or GRPC", number, protocol ? protocol : "");
    if (strcasecmp(protocol, "HTTP") != 0 && strcasecmp(protocol, "HTTP2") != 0 && strcasecmp(protocol, "GRPC") != 0) {
        RS_AUTO(rs_chars) *text = rs_printf("spec.servers[%zu]: protocol %s is stored, but this control plane serves HTTP at gateways only", number, protocol);
        json_array_append_new(warnings, json_string(text));
    }
    const json_t *hosts = json_object_get(server, "hosts");
    if (json_array_size(hosts) == 0)
        return RS_FAIL(e, RS_INVALID, "spec.servers[%zu].hosts: at least one host is needed", number);
    size_t i;
    json_t *h;
    json_array_foreach((json_t *)(uintptr_t)hosts, i, h) {
        const char *host = json_string_value(h), *slash = host ? strchr(host, '/') : NULL;
        if (!host || !valid_host(slash ? slash + 1 : host, true))
            return RS_FAIL(e, RS_INVALID, "spec.servers[%zu].hosts[%zu]: \"%s\" is no host name", number, i, host ? host : "(no text)");
    }
    return 0;
}

int validate_gateway(const json_t *spec, json_t *warnings, struct rs_err *e)
{
    const json_t *servers = json_object_get(spec, "servers");
    if (valid_array(servers, "spec.servers", e) < 0 || !valid_labels(json_object_get(spec, "selector"), "spec.selector", e))
        return -1;
    if (json_array_size(servers) == 0)
        return RS_FAIL(e, RS_INVALID, "spec.servers: at least one server is needed");
    size_t i, k;
    json_t *s, *other;
    json_array_foreach((json_t *)(uintptr_t)servers, i, s) {
        if (check_server(s, i, warnings, e) < 0)
            return -1;
        json_array_foreach((json_t *)(uintptr_t)servers, k, other)
            if (k < i && rs_streq(rs_json_str(s, "port", "name"), rs_json_str(other, "port", "name")))
                return RS_FAIL(e, RS_INVALID, "spec.servers[%zu].port.name: \"%s\" is used twice", i, rs_json_str(s, "port", "name"));
    }
    static const char *const known[] = { "selector", "servers", NULL };
    validate_unknown(spec, known, warnings);
    return 0;
}

/* ---- VirtualService ---- */

static int check_match(const json_t *match, const char *where, struct rs_err *e)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)match, key, v) {
        if (strcmp(key, "name") == 0)
            continue;
        if (strcmp(key, "uri") != 0)
            return RS_FAIL(e, RS_INVALID, "%s.%s: this control plane doesn't evaluate it; it matches by uri only", where, key);
        const char *kind = json_object_iter_key(json_object_iter(v));
        if (json_object_size(v) != 1 || (!rs_streq(kind, "prefix") && !rs_streq(kind, "exact") && !rs_streq(kind, "regex")) ||
            !json_is_string(json_object_get(v, kind)))
            return RS_FAIL(e, RS_INVALID, "%s.uri: exactly one of prefix, exact, regex is needed, as text", where);
    }
    return 0;
}

static int check_destinations(const json_t *routes, const char *where, struct rs_err *e)
{
    size_t i;
    json_t *r;
    json_int_t total = 0;
    json_array_foreach((json_t *)(uintptr_t)routes, i, r) {
        const char *host = rs_json_str(r, "destination", "host");
        const json_t *port = rs_json_at(r, "destination", "port", "number"), *weight = json_object_get(r, "weight");
        if (!host || !valid_host(host, false))
            return RS_FAIL(e, RS_INVALID, "%s.route[%zu].destination.host: \"%s\" is no host name", where, i, host ? host : "");
        if (port && !is_port(port))
            return RS_FAIL(e, RS_INVALID, "%s.route[%zu].destination.port.number: must be 1 to 65535", where, i);
        if (rs_json_at(r, "destination", "subset"))
            return RS_FAIL(e, RS_INVALID, "%s.route[%zu].destination.subset: this control plane has no subsets", where, i);
        if (weight && (!json_is_integer(weight) || json_integer_value(weight) < 0 || json_integer_value(weight) > 100))
            return RS_FAIL(e, RS_INVALID, "%s.route[%zu].weight: must be 0 to 100", where, i);
        total += json_integer_value(weight);
    }
    if (json_array_size(routes) > 1 && total == 0)
        return RS_FAIL(e, RS_INVALID, "%s.route: weights add up to 0", where);
    return 0;
}

static int check_http(const json_t *http, size_t number, struct rs_err *e)
{
    static const char *const known[] = { "name", "match", "route", "timeout", "retries", "rewrite", NULL };
    RS_AUTO(rs_chars) *where = rs_printf("spec.http[%zu]", number);
    const char *key, *timeout = rs_json_str(http, "timeout");
    json_t *v;
    int64_t ms;
    json_object_foreach((json_t *)(uintptr_t)http, key, v) {
        bool found = false;
        for (const char *const *k = known; *k && !found; k++)
            found = strcmp(key, *k) == 0;
        if (!found)
            return RS_FAIL(e, RS_INVALID, "%s.%s: this control plane doesn't act on it", where, key);
    }
    if (timeout && !rs_duration_parse(timeout, &ms))
        return RS_FAIL(e, RS_INVALID, "%s.timeout: \"%s\" is no duration (\"2s\")", where, timeout);
    const json_t *routes = json_object_get(http, "route"), *matches = json_object_get(http, "match");
    if (json_array_size(routes) == 0)
        return RS_FAIL(e, RS_INVALID, "%s.route: at least one destination is needed", where);
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)matches, i, v) {
        RS_AUTO(rs_chars) *at = rs_printf("%s.match[%zu]", where, i);
        if (check_match(v, at, e) < 0)
            return -1;
    }
    return check_destinations(routes, where, e);
}

int validate_virtual_service(const json_t *spec, json_t *warnings, struct rs_err *e)
{
    const json_t *hosts = json_object_get(spec, "hosts"), *http = json_object_get(spec, "http");
    size_t i;
    json_t *v;
    if (json_array_size(hosts) == 0)
        return RS_FAIL(e, RS_INVALID, "spec.hosts: at least one host is needed");
    json_array_foreach((json_t *)(uintptr_t)hosts, i, v)
        if (!json_is_string(v) || !valid_host(json_string_value(v), true))
            return RS_FAIL(e, RS_INVALID, "spec.hosts[%zu]: \"%s\" is no host name", i, json_is_string(v) ? json_string_value(v) : "(no text)");
    if (json_array_size(json_object_get(spec, "tcp")) || json_array_size(json_object_get(spec, "tls")))
        return RS_FAIL(e, RS_INVALID, "spec.tcp and spec.tls: this control plane routes http only");
    if (json_array_size(http) == 0)
        return RS_FAIL(e, RS_INVALID, "spec.http: at least one route is needed");
    json_array_foreach((json_t *)(uintptr_t)http, i, v)
        if (check_http(v, i, e) < 0)
            return -1;
    static const char *const known[] = { "hosts", "gateways", "http", "exportTo", NULL };
    validate_unknown(spec, known, warnings);
    return 0;
}
