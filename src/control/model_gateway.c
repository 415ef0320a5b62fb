/* Gateway and VirtualService in the model. */
#include "control/model_int.h"

#include "base/time.h"
#include "kube/object.h"

void model_add_gateways(struct model *m, const json_t *objects)
{
    const json_t *sorted = model_by_age(m, objects);
    size_t i, j;
    json_t *o, *s;
    m->pub.gateways = model_array(m, struct rs_model_gateway, json_array_size(sorted));
    json_array_foreach((json_t *)(uintptr_t)sorted, i, o) {
        const json_t *servers = rs_json_at(o, "spec", "servers"), *selector = rs_json_at(o, "spec", "selector");
        struct rs_model_gateway *g = &m->pub.gateways[m->pub.n_gateways++];
        *g = (struct rs_model_gateway){
            .name = model_text(m, rs_object_name(o)), .namespace = model_text(m, rs_object_namespace(o)),
            .selector = json_object_size(selector) ? selector : NULL, .servers = model_array(m, struct rs_model_server, json_array_size(servers)),
        };
        json_array_foreach((json_t *)(uintptr_t)servers, j, s) {
            struct rs_model_server *to = &g->servers[g->n_servers++];
            const char *name = rs_json_str(s, "port", "name");
            to->port = (int)rs_json_int(s, 0, "port", "number");
            to->port_name = model_text(m, name ? name : "");
            to->protocol = model_protocol("", rs_json_str(s, "port", "protocol"));
            to->tls = json_object_get(s, "tls");
            size_t k;
            json_t *host;
            json_array_foreach(json_object_get(s, "hosts"), k, host)
                if (json_is_string(host)) {              /* "NS/host", "./host", "*" + "/host": the part before says who may bind */
                    const char *slash = strchr(json_string_value(host), '/');
                    model_texts_add(m, &to->hosts, slash ? slash + 1 : json_string_value(host));
                }
        }
    }
}

static char *resolved(struct model *m, const char *host, const char *namespace)
{
    if (!*host || strchr(host, '.') || strchr(host, '*'))
        return model_text(m, host);
    return model_printf(m, "%s.%s.svc.%s", host, namespace, m->pub.cluster_domain);
}

/* False when the route has conditions that we don't evaluate: it is left out rather than taken for everything. */
static bool read_matches(struct model *m, struct rs_model_route *r, const json_t *matches)
{
    size_t i;
    json_t *match;
    r->uris = model_array(m, struct rs_model_uri, json_array_size(matches));
    bool everything = false;
    json_array_foreach((json_t *)(uintptr_t)matches, i, match) {
        const char *key;
        json_t *v;
        json_object_foreach(match, key, v)
            if (strcmp(key, "uri") != 0 && strcmp(key, "name") != 0)
                return false;
        const json_t *uri = json_object_get(match, "uri");
        const char *prefix = rs_json_str(uri, "prefix"), *exact = rs_json_str(uri, "exact"), *regex = rs_json_str(uri, "regex");
        if (!uri)
            everything = true;
        else if (prefix)
            r->uris[r->n_uris++] = (struct rs_model_uri){ RS_URI_PREFIX, model_text(m, prefix) };
        else if (exact)
            r->uris[r->n_uris++] = (struct rs_model_uri){ RS_URI_EXACT, model_text(m, exact) };
        else if (regex)
            r->uris[r->n_uris++] = (struct rs_model_uri){ RS_URI_REGEX, model_text(m, regex) };
        else
            return false;
    }
    if (everything)
        r->n_uris = 0;
    return true;
}

static bool read_route(struct model *m, struct rs_model_route *r, const json_t *http, const char *namespace)
{
    const json_t *routes = json_object_get(http, "route");
    const char *timeout = rs_json_str(http, "timeout"), *rewrite = rs_json_str(http, "rewrite", "uri");
    *r = (struct rs_model_route){ .retries = (int)rs_json_int(http, -1, "retries", "attempts"), .rewrite_uri = model_text(m, rewrite) };
    if (!read_matches(m, r, json_object_get(http, "match")) || json_array_size(routes) == 0)
        return false;
    if (timeout && !rs_duration_parse(timeout, &r->timeout_ms))
        r->timeout_ms = 0;
    r->to = model_array(m, struct rs_model_destination, json_array_size(routes));
    size_t i;
    json_t *d;
    json_array_foreach((json_t *)(uintptr_t)routes, i, d) {
        const char *host = rs_json_str(d, "destination", "host");
        int weight = (int)rs_json_int(d, json_array_size(routes) == 1 ? 100 : 0, "weight");
        if (host && weight > 0)
            r->to[r->n_to++] = (struct rs_model_destination){ resolved(m, host, namespace), (int)rs_json_int(d, 0, "destination", "port", "number"), weight };
    }
    return r->n_to > 0;
}

void model_add_virtual_services(struct model *m, const json_t *objects)
{
    const json_t *sorted = model_by_age(m, objects);
    size_t i, j;
    json_t *o, *v;
    m->pub.virtual_services = model_array(m, struct rs_model_virtual_service, json_array_size(sorted));
    json_array_foreach((json_t *)(uintptr_t)sorted, i, o) {
        const json_t *http = rs_json_at(o, "spec", "http"), *hosts = rs_json_at(o, "spec", "hosts"), *gateways = rs_json_at(o, "spec", "gateways");
        const char *namespace = rs_object_namespace(o);
        struct rs_model_virtual_service *s = &m->pub.virtual_services[m->pub.n_virtual_services++];
        *s = (struct rs_model_virtual_service){ .name = model_text(m, rs_object_name(o)), .namespace = model_text(m, namespace) };
        bool mesh = json_array_size(gateways) == 0;
        json_array_foreach((json_t *)(uintptr_t)gateways, j, v) {
            const char *g = json_string_value(v);
            mesh = mesh || rs_streq(g, "mesh");
            if (g)
                model_texts_add(m, &s->gateways, strcmp(g, "mesh") == 0 || strchr(g, '/') ? g : model_printf(m, "%s/%s", namespace, g));
        }
        if (s->gateways.n == 0)
            model_texts_add(m, &s->gateways, "mesh");
        json_array_foreach((json_t *)(uintptr_t)hosts, j, v)
            if (json_is_string(v))
                model_texts_add(m, &s->hosts, mesh ? resolved(m, json_string_value(v), namespace) : json_string_value(v));
        s->http = model_array(m, struct rs_model_route, json_array_size(http));
        json_array_foreach((json_t *)(uintptr_t)http, j, v)
            if (read_route(m, &s->http[s->n_http], v, namespace))
                s->n_http++;
    }
}
