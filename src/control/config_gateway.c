#include "control/config_int.h"
#include "kube/object.h"

/* Port on which a gateway pod listens for a server port: what a Service that selects it maps the port to. */
static int listen_port(const struct rs_config *c, int server_port)
{
    for (size_t i = 0; c->pod && i < c->m->n_services; i++) {
        const struct rs_model_service *s = &c->m->services[i];
        if (!rs_model_selects(s, c->proxy->namespace, c->labels))
            continue;
        for (size_t j = 0; j < s->n_ports; j++) {
            int target = s->ports[j].number == server_port ? rs_model_target_port(c->m, s, &s->ports[j], c->pod) : 0;
            if (target)
                return target;
        }
    }
    return server_port;
}

/* The narrower of two host patterns that overlap; NULL when they do not. */
static const char *narrower(const char *a, const char *b)
{
    if (rs_streq(a, "*") || (a[0] == '*' && rs_ends(b, a + 1)))
        return b;
    if (rs_streq(b, "*") || (b[0] == '*' && rs_ends(a, b + 1)))
        return a;
    return rs_streq(a, b) ? a : NULL;
}

static bool bound(const struct rs_model_virtual_service *vs, const struct rs_model_gateway *g)
{
    RS_AUTO(rs_chars) *name = rs_printf("%s/%s", g->namespace, g->name);
    for (size_t i = 0; i < vs->gateways.n; i++)
        if (rs_streq(vs->gateways.v[i], name))
            return true;
    return false;
}

static void add_host(json_t *list, json_t *taken, const char *host)
{
    if (!host || json_object_get(taken, host))
        return;                    /* the oldest VirtualService has it */
    json_object_set_new(taken, host, json_true());
    json_array_append_new(list, json_string(host));
}

static void add_virtual_hosts(struct rs_config *c, json_t *hosts, json_t *taken, const struct rs_model_gateway *g, const struct rs_model_server *server)
{
    for (size_t i = 0; i < c->m->n_virtual_services; i++) {
        const struct rs_model_virtual_service *vs = &c->m->virtual_services[i];
        if (!bound(vs, g))
            continue;
        json_t *domains = json_array();
        for (size_t j = 0; j < vs->hosts.n; j++)
            for (size_t k = 0; k < server->hosts.n; k++)
                add_host(domains, taken, narrower(vs->hosts.v[j], server->hosts.v[k]));
        if (json_array_size(domains)) {
            RS_AUTO(rs_chars) *name = rs_printf("%s:%d", json_string_value(json_array_get(domains, 0)), server->port);
            json_array_append_new(hosts, rs_json_pack("{ss sO so sb}", "name", name, "domains", domains,
                "routes", rs_config_routes_of(c, vs, NULL, 0), "include_request_attempt_count", 1));
        }
        json_decref(domains);
    }
}

static void emit_port(struct rs_config *c, int port, json_t *hosts)
{
    RS_AUTO(rs_chars) *listener = rs_printf("0.0.0.0_%d", port), *route = rs_printf("http.%d", port), *prefix = rs_printf("outbound_0.0.0.0_%d", port);
    json_t *http = json_array();
    rs_config_rbac(c, true, http);
    rs_config_emit(c, rs_json_pack("{ss ss so ss s[{s[o]}]}", "@type", RS_TYPE_LISTENER, "name", listener, "address", rs_config_address("0.0.0.0", port),
        "traffic_direction", "OUTBOUND", "filter_chains",
        "filters", rs_config_http_filter(c, RS_HCM_GATEWAY, prefix, rs_config_rds(route), http)));
    rs_config_emit(c, rs_json_pack("{ss ss sO sb sb}", "@type", RS_TYPE_ROUTE, "name", route, "virtual_hosts", hosts,
        "validate_clusters", 0, "ignore_port_in_host_matching", 1));
}

void rs_config_gateway(struct rs_config *c)
{
    json_t *ports = json_object();     /* "8080" -> {hosts, taken}, in order of appearance */
    for (size_t i = 0; i < c->m->n_gateways; i++) {
        const struct rs_model_gateway *g = &c->m->gateways[i];
        if (g->selector && !rs_labels_include(c->labels, g->selector))
            continue;
        for (size_t j = 0; j < g->n_servers; j++) {
            const struct rs_model_server *server = &g->servers[j];
            if ((server->protocol != RS_PROTO_HTTP && server->protocol != RS_PROTO_HTTP2) || server->tls)
                continue;          /* plain HTTP ingress only: no listener rather than a wrong one */
            char key[16];
            snprintf(key, sizeof key, "%d", listen_port(c, server->port));
            if (!json_object_get(ports, key))
                json_object_set_new(ports, key, rs_json_pack("{s[] s{}}", "hosts", "taken"));
            json_t *port = json_object_get(ports, key);
            add_virtual_hosts(c, json_object_get(port, "hosts"), json_object_get(port, "taken"), g, server);
        }
    }
    const char *key;
    json_t *port;
    json_object_foreach(ports, key, port)
        emit_port(c, atoi(key), json_object_get(port, "hosts"));
    json_decref(ports);
}
