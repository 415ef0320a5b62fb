#include "control/config_int.h"

json_t *rs_config_prefix_all(void)
{
    return rs_json_pack("{ss}", "prefix", "/");
}

json_t *rs_config_route(const char *name, const char *operation, json_t *match, json_t *action)
{
    return rs_json_pack("{ss so so s{ss}}", "name", name, "match", match, "route", action, "decorator", "operation", operation);
}

/* Istio's default retries; attempts -1 is the default, 0 none. */
static json_t *retry_policy(int attempts)
{
    if (attempts == 0)
        return json_null();
    return rs_json_pack("{ss si s[i] s[{ss s{ss}}] si}",
        "retry_on", "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries", attempts < 0 ? 2 : attempts, "retriable_status_codes", 503,
        "retry_host_predicate", "name", "envoy.retry_host_predicates.previous_hosts",
            "typed_config", "@type", RS_EXT "retry.host.previous_hosts.v3.PreviousHostsPredicate",
        "host_selection_retry_max_attempts", 5);
}

static json_t *action_base(int64_t timeout_ms, int attempts)
{
    RS_AUTO(rs_chars) *timeout = rs_printf("%lld.%03llds", (long long)(timeout_ms / 1000), (long long)(timeout_ms % 1000));
    return rs_json_pack("{ss so s{ss ss}}", "timeout", timeout, "retry_policy", retry_policy(attempts),
        "max_stream_duration", "max_stream_duration", "0s", "grpc_timeout_header_max", "0s");
}

/* ---- VirtualServices ---- */

static int port_of(const struct rs_config *c, const struct rs_model_destination *d)
{
    const struct rs_model_service *s = rs_model_service_by_host(c->m, d->host);
    return d->port ? d->port : s && s->n_ports ? s->ports[0].number : 0;
}

static json_t *action_of(const struct rs_config *c, const struct rs_model_route *r)
{
    json_t *action = action_base(r->timeout_ms, r->retries);
    json_t *weighted = json_array();
    for (size_t i = 0; i < r->n_to; i++) {
        RS_AUTO(rs_chars) *cluster = rs_config_outbound_name(r->to[i].host, port_of(c, &r->to[i]));
        if (r->n_to == 1)
            json_object_set_new(action, "cluster", json_string(cluster));
        else if (r->to[i].weight > 0)
            json_array_append_new(weighted, rs_json_pack("{ss si}", "name", cluster, "weight", r->to[i].weight));
    }
    if (json_array_size(weighted))
        json_object_set_new(action, "weighted_clusters", rs_json_pack("{sO}", "clusters", weighted));
    json_decref(weighted);
    return action;
}

static json_t *match_of(const struct rs_model_uri *u)
{
    if (u->kind == RS_URI_REGEX)
        return rs_json_pack("{s{ss}}", "safe_regex", "regex", u->value);
    return rs_json_pack("{ss}", u->kind == RS_URI_EXACT ? "path" : "prefix", u->value);
}

static void rewrite(json_t *action, const struct rs_model_uri *u, const char *to)
{
    if (!to)
        return;
    if (!u || u->kind != RS_URI_REGEX)     /* an exact match is swapped as a whole */
        json_object_set_new(action, "prefix_rewrite", json_string(to));
    else
        json_object_set_new(action, "regex_rewrite", rs_json_pack("{s{ss} ss}", "pattern", "regex", u->value, "substitution", to));
}

static bool goes_somewhere(const json_t *action)
{
    return json_object_get(action, "cluster") || json_object_get(action, "weighted_clusters");
}

static json_t *one_route(const struct rs_config *c, const struct rs_model_route *r, const struct rs_model_uri *u, const char *operation)
{
    json_t *match = u ? match_of(u) : rs_config_prefix_all(), *action = action_of(c, r);
    if (goes_somewhere(action)) {
        rewrite(action, u, r->rewrite_uri);
        return rs_config_route("default", operation, match, action);
    }
    json_decref(action);
    return rs_json_pack("{ss so s{si}}", "name", "no-destination", "match", match, "direct_response", "status", 503);
}

static json_t *default_route(const char *host, int port)
{
    RS_AUTO(rs_chars) *cluster = rs_config_outbound_name(host, port), *operation = rs_printf("%s:%d/*", host, port);
    json_t *action = action_base(0, -1);
    json_object_set_new(action, "cluster", json_string(cluster));
    return rs_config_route("default", operation, rs_config_prefix_all(), action);
}

json_t *rs_config_routes_of(struct rs_config *c, const struct rs_model_virtual_service *vs, const char *fallback_host, int fallback_port)
{
    json_t *routes = json_array();
    for (size_t i = 0; i < vs->n_http; i++) {
        const struct rs_model_route *r = &vs->http[i];
        RS_AUTO(rs_chars) *operation = rs_printf("%s.%s/*", vs->name, vs->namespace);
        for (size_t j = 0; j < r->n_uris; j++)
            json_array_append_new(routes, one_route(c, r, &r->uris[j], operation));
        if (r->n_uris == 0) {
            json_array_append_new(routes, one_route(c, r, NULL, operation));
            return routes;         /* takes everything: what follows is never reached */
        }
    }
    if (vs->n_http == 0 && fallback_host)
        json_array_append_new(routes, default_route(fallback_host, fallback_port));
    return routes;
}

/* ---- outbound route configurations ---- */

static bool in_mesh(const struct rs_model_virtual_service *vs)
{
    for (size_t i = 0; i < vs->gateways.n; i++)
        if (rs_streq(vs->gateways.v[i], "mesh"))
            return true;
    return false;
}

static const struct rs_model_virtual_service *virtual_service_for(const rs_model *m, const char *host)
{
    for (size_t i = 0; i < m->n_virtual_services; i++) {
        const struct rs_model_virtual_service *vs = &m->virtual_services[i];
        if (!in_mesh(vs))
            continue;
        for (size_t j = 0; j < vs->hosts.n; j++) {
            const char *h = vs->hosts.v[j];
            if (rs_streq(h, host) || (h[0] == '*' && rs_ends(host, h + 1)))
                return vs;
        }
    }
    return NULL;
}

/* Names under which the proxy's app may call the service, each once in the whole configuration. */
static json_t *domains(const struct rs_config *c, const struct rs_model_service *s, json_t *taken)
{
    RS_AUTO(rs_chars) *with_svc = rs_printf("%s.%s.svc", s->name, s->namespace), *with_ns = rs_printf("%s.%s", s->name, s->namespace);
    bool same = rs_streq(s->namespace, c->proxy->namespace);
    const char *const names[] = { s->host, with_svc, with_ns, same ? s->name : NULL, s->address };
    json_t *list = json_array();
    for (size_t i = 0; i < RS_COUNT(names); i++) {
        if (!names[i] || json_object_get(taken, names[i]))
            continue;
        json_object_set_new(taken, names[i], json_true());
        json_array_append_new(list, json_string(names[i]));
    }
    return list;
}

static json_t *virtual_host(struct rs_config *c, const struct rs_model_service *s, int port, json_t *taken)
{
    RS_AUTO(rs_chars) *name = rs_printf("%s:%d", s->host, port);
    const struct rs_model_virtual_service *vs = virtual_service_for(c->m, s->host);
    json_t *routes = vs ? rs_config_routes_of(c, vs, s->host, port) : rs_json_pack("[o]", default_route(s->host, port));
    return rs_json_pack("{ss so so sb}", "name", name, "domains", domains(c, s, taken), "routes", routes, "include_request_attempt_count", 1);
}

static json_t *everything_else(const struct rs_config *c)
{
    if (rs_streq(rs_json_str(c->m->mesh_config, "outboundTrafficPolicy", "mode"), "REGISTRY_ONLY"))
        return rs_json_pack("{ss s[s] s[{ss so s{si}}]}", "name", "block_all", "domains", "*", "routes",
            "name", "block_all", "match", rs_config_prefix_all(), "direct_response", "status", 502);
    return rs_json_pack("{ss s[s] s[{ss so s{ss ss}}] sb}", "name", "allow_any", "domains", "*", "routes",
        "name", "allow_any", "match", rs_config_prefix_all(), "route", "cluster", "PassthroughCluster", "timeout", "0s",
        "include_request_attempt_count", 1);
}

static void route_configuration(struct rs_config *c, int port)
{
    RS_AUTO(rs_chars) *name = rs_printf("%d", port);
    json_t *hosts = json_array(), *taken = json_object();
    for (size_t i = 0; i < c->m->n_services; i++) {
        const struct rs_model_service *s = &c->m->services[i];
        for (size_t j = 0; j < s->n_ports; j++)
            if (s->ports[j].number == port && (s->ports[j].protocol == RS_PROTO_HTTP || s->ports[j].protocol == RS_PROTO_HTTP2)) {
                json_array_append_new(hosts, virtual_host(c, s, port, taken));
                break;
            }
    }
    json_array_append_new(hosts, everything_else(c));
    json_decref(taken);
    rs_config_emit(c, rs_json_pack("{ss ss so sb sb}", "@type", RS_TYPE_ROUTE, "name", name, "virtual_hosts", hosts,
        "validate_clusters", 0, "ignore_port_in_host_matching", 1));
}

void rs_config_routes(struct rs_config *c)
{
    json_t *seen = json_object();
    for (size_t i = 0; i < c->m->n_services; i++)
        for (size_t j = 0; j < c->m->services[i].n_ports; j++) {
            const struct rs_model_port *p = &c->m->services[i].ports[j];
            char key[16];
            snprintf(key, sizeof key, "%d", p->number);
            if ((p->protocol != RS_PROTO_HTTP && p->protocol != RS_PROTO_HTTP2) || json_object_get(seen, key))
                continue;
            json_object_set_new(seen, key, json_true());
            route_configuration(c, p->number);
        }
    json_decref(seen);
}
