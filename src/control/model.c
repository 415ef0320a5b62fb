#include "control/model.h"

#include <stdarg.h>
#include <strings.h>

#include "control/model_int.h"
#include "kube/object.h"

void *model_alloc(struct model *m, size_t n)
{
    if (m->n_own == m->cap_own) {
        m->cap_own = m->cap_own ? 2 * m->cap_own : 256;
        m->own = rs_realloc(m->own, m->cap_own * sizeof(*m->own));
    }
    return m->own[m->n_own++] = rs_alloc(n ? n : 1);
}

char *model_text(struct model *m, const char *s)
{
    return s ? memcpy(model_alloc(m, strlen(s) + 1), s, strlen(s) + 1) : NULL;
}

char *model_printf(struct model *m, const char *fmt, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    rs_assert(n >= 0);
    char *kept = model_text(m, text);
    free(text);
    return kept;
}

const char *model_str(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* Room doubles at powers of two; the old array stays with the model's other allocations. */
void model_texts_add(struct model *m, struct rs_texts *t, const char *s)
{
    if ((t->n & (t->n - 1)) == 0) {
        char **more = model_array(m, char *, t->n ? 2 * t->n : 1);
        if (t->n)
            memcpy(more, t->v, t->n * sizeof(*more));
        t->v = more;
    }
    t->v[t->n++] = model_text(m, s);
}

void model_texts_from(struct model *m, struct rs_texts *t, const json_t *array)
{
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)(uintptr_t)array, i, v)
        if (json_is_string(v))
            model_texts_add(m, t, json_string_value(v));
}

static int by_age(const void *a, const void *b)
{
    const json_t *x = *(const json_t *const *)a, *y = *(const json_t *const *)b;
    const char *tx = rs_json_str(x, "metadata", "creationTimestamp"), *ty = rs_json_str(y, "metadata", "creationTimestamp");
    int d = strcmp(tx ? tx : "", ty ? ty : "");
    if (d == 0)
        d = strcmp(rs_object_namespace(x), rs_object_namespace(y));
    return d ? d : strcmp(rs_object_name(x), rs_object_name(y));
}

const json_t *model_by_age(struct model *m, const json_t *objects)
{
    size_t n = json_array_size(objects);
    json_t **v = model_array(m, json_t *, n), *sorted = json_array();
    for (size_t i = 0; i < n; i++)
        v[i] = json_array_get(objects, i);
    qsort(v, n, sizeof(*v), by_age);
    for (size_t i = 0; i < n; i++)
        json_array_append(sorted, v[i]);
    json_array_append_new(m->keep, sorted);
    return sorted;
}

/* ---- pods ---- */

static void read_pod(struct model *m, struct rs_model_pod *p, const json_t *o)
{
    static const char *const names[] = { "service.istio.io/canonical-name", "app.kubernetes.io/name", "app" };
    static const char *const revisions[] = { "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version" };
    const json_t *spec = json_object_get(o, "spec"), *labels = rs_json_at(o, "metadata", "labels");
    const char *name = "", *revision = "", *account = rs_json_str(spec, "serviceAccountName"), *ip = rs_pod_ip(o);
    for (size_t i = 0; i < RS_COUNT(names) && !*name; i++)
        name = model_str(labels, names[i]);
    for (size_t i = 0; i < RS_COUNT(revisions) && !*revision; i++)
        revision = model_str(labels, revisions[i]);
    if (!labels) {
        labels = json_object();
        json_array_append_new(m->keep, (json_t *)(uintptr_t)labels);
    }
    const json_t *owner = rs_object_owner(o);
    const char *workload = owner ? model_str(owner, "name") : rs_object_name(o), *hash = model_str(labels, "pod-template-hash");
    char *w = model_text(m, workload);
    size_t wn = strlen(w), hn = strlen(hash);
    if (hn && wn > hn + 1 && w[wn - hn - 1] == '-' && strcmp(w + wn - hn, hash) == 0)
        w[wn - hn - 1] = '\0';
    *p = (struct rs_model_pod){
        .name = model_text(m, rs_object_name(o)), .namespace = model_text(m, rs_object_namespace(o)), .uid = model_text(m, rs_object_uid(o)),
        .ip = *ip ? model_text(m, ip) : NULL, .service_account = model_text(m, account && *account ? account : "default"),
        .node = model_text(m, model_str(spec, "nodeName")), .labels = labels,
        .mesh = rs_streq(rs_object_label(o, "security.istio.io/tlsMode"), "istio"), .ready = rs_pod_ready(o),
        .terminating = rs_object_deleting(o), .canonical_name = model_text(m, *name ? name : w),
        .canonical_revision = model_text(m, *revision ? revision : "latest"), .workload = w, .containers = json_object_get(spec, "containers"),
    };
}

static bool ended(const json_t *pod)
{
    const char *phase = rs_json_str(pod, "status", "phase");
    return rs_streq(phase, "Succeeded") || rs_streq(phase, "Failed");
}

static int pod_order(const void *a, const void *b)
{
    const struct rs_model_pod *x = a, *y = b;
    int d = strcmp(x->namespace, y->namespace);
    return d ? d : strcmp(x->name, y->name);
}

static int ip_order(const void *a, const void *b)
{
    const struct rs_model_pod *x = *(const struct rs_model_pod *const *)a, *y = *(const struct rs_model_pod *const *)b;
    int d = strcmp(x->ip, y->ip);
    return d ? d : x->terminating - y->terminating;      /* an address that was given anew belongs to the living pod */
}

static void add_pods(struct model *m, const json_t *pods)
{
    size_t n = 0, i;
    json_t *o;
    m->pub.pods = model_array(m, struct rs_model_pod, json_array_size(pods));
    json_array_foreach((json_t *)(uintptr_t)pods, i, o)
        if (!ended(o))
            read_pod(m, &m->pub.pods[n++], o);
    m->pub.n_pods = n;
    qsort(m->pub.pods, n, sizeof(*m->pub.pods), pod_order);
    json_t *host = json_object();                        /* ns/name of pods in the host's network */
    json_array_append_new(m->keep, host);
    json_array_foreach((json_t *)(uintptr_t)pods, i, o)
        if (rs_json_true(o, "spec", "hostNetwork"))
            json_object_set_new(host, model_printf(m, "%s/%s", rs_object_namespace(o), rs_object_name(o)), json_true());
    m->by_ip = model_array(m, const struct rs_model_pod *, n);
    for (i = 0; i < n; i++) {
        const struct rs_model_pod *p = &m->pub.pods[i];
        if (p->ip && (json_object_size(host) == 0 || !json_object_get(host, model_printf(m, "%s/%s", p->namespace, p->name))))
            m->by_ip[m->n_by_ip++] = p;
    }
    qsort(m->by_ip, m->n_by_ip, sizeof(*m->by_ip), ip_order);
}

/* ---- services ---- */

enum rs_protocol model_protocol(const char *name, const char *app)
{
    static const struct { const char *name; enum rs_protocol protocol; } table[] = {
        { "http", RS_PROTO_HTTP }, { "http2", RS_PROTO_HTTP2 }, { "grpc", RS_PROTO_HTTP2 }, { "grpc-web", RS_PROTO_HTTP2 },
        { "kubernetes.io/h2c", RS_PROTO_HTTP2 }, { "https", RS_PROTO_TLS }, { "tls", RS_PROTO_TLS },
    };
    if (app && *app) {
        for (size_t i = 0; i < RS_COUNT(table); i++)
            if (strcasecmp(app, table[i].name) == 0)
                return table[i].protocol;
        return RS_PROTO_TCP;
    }
    if (rs_starts(name, "grpc-web"))
        return RS_PROTO_HTTP2;
    size_t n = strcspn(name, "-");
    for (size_t i = 0; i < RS_COUNT(table); i++)
        if (strlen(table[i].name) == n && strncasecmp(name, table[i].name, n) == 0)
            return table[i].protocol;
    return RS_PROTO_TCP;
}

static void read_service(struct model *m, struct rs_model_service *s, const json_t *o)
{
    const char *ip = rs_json_str(o, "spec", "clusterIP");
    const json_t *ports = rs_json_at(o, "spec", "ports"), *selector = rs_json_at(o, "spec", "selector");
    *s = (struct rs_model_service){
        .name = model_text(m, rs_object_name(o)), .namespace = model_text(m, rs_object_namespace(o)),
        .host = model_printf(m, "%s.%s.svc.%s", rs_object_name(o), rs_object_namespace(o), m->pub.cluster_domain),
        .address = ip && *ip && strcmp(ip, "None") != 0 ? model_text(m, ip) : NULL,
        .external_name = rs_streq(rs_json_str(o, "spec", "type"), "ExternalName"),
        .selector = json_object_size(selector) ? selector : NULL,
        .ports = model_array(m, struct rs_model_port, json_array_size(ports)),
    };
    size_t i;
    json_t *p;
    json_array_foreach((json_t *)(uintptr_t)ports, i, p) {
        const char *transport = rs_json_str(p, "protocol");
        if (s->external_name || (transport && strcmp(transport, "TCP") != 0))
            continue;
        s->ports[s->n_ports++] = (struct rs_model_port){
            .name = model_text(m, model_str(p, "name")), .number = (int)rs_json_int(p, 0, "port"),
            .protocol = model_protocol(model_str(p, "name"), rs_json_str(p, "appProtocol")),
        };
    }
}

static int service_order(const void *a, const void *b)
{
    return strcmp(((const struct rs_model_service *)a)->host, ((const struct rs_model_service *)b)->host);
}

static int endpoint_order(const void *a, const void *b)
{
    const struct rs_model_endpoint *x = a, *y = b;
    int d = strcmp(x->address, y->address);
    return d ? d : x->port - y->port;
}

static void add_account(struct model *m, struct rs_model_service *s, const struct rs_model_pod *p)
{
    char *account = model_printf(m, "%s/%s", p->namespace, p->service_account);
    for (size_t i = 0; i < s->accounts.n; i++)
        if (strcmp(s->accounts.v[i], account) == 0)
            return;
    model_texts_add(m, &s->accounts, account);
}

static void add_endpoint(struct model *m, struct rs_model_service *s, struct rs_model_port *to, const char *address, int port, bool ready,
                         const struct rs_model_pod *pod)
{
    if (pod)
        add_account(m, s, pod);
    if (!ready)
        return;
    for (size_t i = 0; i < to->n_endpoints; i++)         /* slices may repeat an address while they are rearranged */
        if (to->endpoints[i].port == port && strcmp(to->endpoints[i].address, address) == 0)
            return;
    if ((to->n_endpoints & (to->n_endpoints - 1)) == 0) {
        struct rs_model_endpoint *more = model_array(m, struct rs_model_endpoint, to->n_endpoints ? 2 * to->n_endpoints : 1);
        if (to->n_endpoints)
            memcpy(more, to->endpoints, to->n_endpoints * sizeof(*more));
        to->endpoints = more;
    }
    bool mesh = pod && pod->mesh && rs_model_mtls(&m->pub, pod->namespace, pod->labels, port) != RS_MTLS_DISABLE;
    to->endpoints[to->n_endpoints++] = (struct rs_model_endpoint){ .address = model_text(m, address), .port = port, .mesh = mesh, .pod = pod };
}

static void add_slice(struct model *m, const json_t *slice)
{
    const char *name = rs_object_label(slice, "kubernetes.io/service-name"), *type = rs_json_str(slice, "addressType");
    RS_AUTO(rs_chars) *host = name ? rs_printf("%s.%s.svc.%s", name, rs_object_namespace(slice), m->pub.cluster_domain) : NULL;
    struct rs_model_service *s = host ? (struct rs_model_service *)(uintptr_t)rs_model_service_by_host(&m->pub, host) : NULL;
    if (!s || (type && strcmp(type, "IPv4") != 0))
        return;
    size_t i, j;
    json_t *e, *p;
    json_array_foreach(json_object_get(slice, "endpoints"), i, e) {
        const char *address = json_string_value(json_array_get(json_object_get(e, "addresses"), 0));
        if (!address)
            continue;
        const struct rs_model_pod *pod = rs_streq(rs_json_str(e, "targetRef", "kind"), "Pod") && rs_json_str(e, "targetRef", "name")
            ? rs_model_pod_by_name(&m->pub, rs_object_namespace(slice), rs_json_str(e, "targetRef", "name")) : rs_model_pod_by_ip(&m->pub, address);
        bool ready = !json_is_false(rs_json_at(e, "conditions", "ready"));
        json_array_foreach(json_object_get(slice, "ports"), j, p)
            for (size_t k = 0; k < s->n_ports; k++)
                if (strcmp(s->ports[k].name, model_str(p, "name")) == 0)
                    add_endpoint(m, s, &s->ports[k], address, (int)rs_json_int(p, 0, "port"), ready, pod);
    }
}

static int text_order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void add_services(struct model *m, const json_t *services, const json_t *slices)
{
    size_t i, n = 0;
    json_t *o;
    m->pub.services = model_array(m, struct rs_model_service, json_array_size(services));
    json_array_foreach((json_t *)(uintptr_t)services, i, o)
        read_service(m, &m->pub.services[n++], o);
    m->pub.n_services = n;
    qsort(m->pub.services, n, sizeof(*m->pub.services), service_order);
    json_array_foreach((json_t *)(uintptr_t)slices, i, o)
        add_slice(m, o);
    for (i = 0; i < n; i++) {
        struct rs_model_service *s = &m->pub.services[i];
        for (size_t j = 0; s->selector && j < m->pub.n_pods; j++)
            if (rs_model_selects(s, m->pub.pods[j].namespace, m->pub.pods[j].labels))
                add_account(m, s, &m->pub.pods[j]);
        if (s->accounts.n)
            qsort(s->accounts.v, s->accounts.n, sizeof(*s->accounts.v), text_order);
        for (size_t k = 0; k < s->n_ports; k++)
            if (s->ports[k].n_endpoints)
                qsort(s->ports[k].endpoints, s->ports[k].n_endpoints, sizeof(*s->ports[k].endpoints), endpoint_order);
    }
}

/* ---- the whole ---- */

static void add_trust_domains(struct model *m)
{
    const char *td = rs_json_str(m->pub.mesh_config, "trustDomain");
    m->pub.trust_domain = model_text(m, td && *td ? td : "cluster.local");
    model_texts_add(m, &m->pub.trust_domains, m->pub.trust_domain);
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(m->pub.mesh_config, "trustDomainAliases"), i, v) {
        bool known = !json_is_string(v) || !*json_string_value(v);
        for (size_t j = 0; j < m->pub.trust_domains.n && !known; j++)
            known = rs_streq(m->pub.trust_domains.v[j], json_string_value(v));
        if (!known)
            model_texts_add(m, &m->pub.trust_domains, json_string_value(v));
    }
}

static const json_t *keep(struct model *m, const json_t *o)
{
    if (o)
        json_array_append(m->keep, (json_t *)(uintptr_t)o);
    return o;
}

rs_model *rs_model_build(const struct rs_model_input *in)
{
    struct model *m = rs_new(struct model);
    m->refs = 1;
    m->keep = json_array();
    m->pub.revision = model_text(m, in->revision ? in->revision : "default");
    m->pub.root_namespace = model_text(m, in->root_namespace ? in->root_namespace : "istio-system");
    m->pub.cluster_domain = model_text(m, "cluster.local");
    json_t *none = json_object();
    m->pub.mesh_config = keep(m, in->mesh_config ? in->mesh_config : none);
    json_decref(none);
    add_trust_domains(m);
    model_add_peer_authentications(m, keep(m, in->peer_authentications));
    model_add_authorization_policies(m, keep(m, in->authorization_policies));
    add_pods(m, keep(m, in->pods));
    add_services(m, keep(m, in->services), keep(m, in->endpoint_slices));
    model_add_gateways(m, keep(m, in->gateways));
    model_add_virtual_services(m, keep(m, in->virtual_services));
    return &m->pub;
}

rs_model *rs_model_ref(rs_model *m)
{
    ((struct model *)m)->refs++;
    return m;
}

void rs_model_unref(rs_model *pub)
{
    struct model *m = (struct model *)pub;
    if (!m || --m->refs)
        return;
    for (size_t i = 0; i < m->n_own; i++)
        free(m->own[i]);
    free(m->own);
    json_decref(m->keep);
    free(m);
}
