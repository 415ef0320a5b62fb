/* Questions to a built model, and the proxy that asks. */
#include "control/model_int.h"

#include "kube/object.h"

const struct rs_model_service *rs_model_service_by_host(const rs_model *m, const char *host)
{
    size_t lo = 0, hi = m->n_services;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int d = strcmp(host, m->services[mid].host);
        if (d == 0)
            return &m->services[mid];
        *(d < 0 ? &hi : &lo) = d < 0 ? mid : mid + 1;
    }
    return NULL;
}

const struct rs_model_pod *rs_model_pod_by_ip(const rs_model *pub, const char *ip)
{
    const struct model *m = model_of(pub);
    size_t lo = 0, hi = m->n_by_ip;
    while (lo < hi) {                                    /* first of equals: the one that isn't terminating */
        size_t mid = (lo + hi) / 2;
        if (strcmp(m->by_ip[mid]->ip, ip) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < m->n_by_ip && strcmp(m->by_ip[lo]->ip, ip) == 0 ? m->by_ip[lo] : NULL;
}

const struct rs_model_pod *rs_model_pod_by_name(const rs_model *m, const char *namespace, const char *name)
{
    size_t lo = 0, hi = m->n_pods;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int d = strcmp(namespace, m->pods[mid].namespace);
        d = d ? d : strcmp(name, m->pods[mid].name);
        if (d == 0)
            return &m->pods[mid];
        *(d < 0 ? &hi : &lo) = d < 0 ? mid : mid + 1;
    }
    return NULL;
}

bool rs_model_selects(const struct rs_model_service *s, const char *namespace, const json_t *labels)
{
    return s->selector && strcmp(s->namespace, namespace) == 0 && rs_labels_include(labels, s->selector);
}

/* The service object itself, kept by the model, tells target ports. */
static const json_t *service_object(const struct model *m, const struct rs_model_service *s)
{
    size_t i, j;
    json_t *list, *o;
    json_array_foreach(m->keep, i, list)
        json_array_foreach(list, j, o)
            if (json_is_array(rs_json_at(o, "spec", "ports")) && strcmp(rs_object_name(o), s->name) == 0 &&
                strcmp(rs_object_namespace(o), s->namespace) == 0)
                return o;
    return NULL;
}

static int named_port(const struct rs_model_pod *pod, const char *name)
{
    size_t i, j;
    json_t *c, *p;
    json_array_foreach((json_t *)(uintptr_t)pod->containers, i, c)
        json_array_foreach(json_object_get(c, "ports"), j, p)
            if (rs_streq(rs_json_str(p, "name"), name))
                return (int)rs_json_int(p, 0, "containerPort");
    return 0;
}

int rs_model_target_port(const rs_model *m, const struct rs_model_service *s, const struct rs_model_port *port, const struct rs_model_pod *pod)
{
    for (size_t i = 0; pod->ip && i < port->n_endpoints; i++)
        if (strcmp(port->endpoints[i].address, pod->ip) == 0)
            return port->endpoints[i].port;
    size_t i;
    json_t *p;
    json_array_foreach(rs_json_at(service_object(model_of(m), s), "spec", "ports"), i, p) {
        if (rs_json_int(p, 0, "port") != port->number || strcmp(model_str(p, "name"), port->name) != 0)
            continue;
        const json_t *target = json_object_get(p, "targetPort");
        if (json_is_string(target))
            return named_port(pod, json_string_value(target));
        return json_integer_value(target) ? (int)json_integer_value(target) : port->number;
    }
    return 0;
}

static bool pattern_matches(const char *pattern, const char *s)
{
    size_t n = strlen(pattern), m = strlen(s);
    if (n && pattern[n - 1] == '*')
        return m >= n - 1 && strncmp(pattern, s, n - 1) == 0;
    if (pattern[0] == '*')
        return rs_ends(s, pattern + 1);
    return strcmp(pattern, s) == 0;
}

void rs_model_expand_principal(const rs_model *m, const char *principal, struct rs_texts *ret)
{
    char **part = rs_split(principal, '/');
    size_t n = 0;
    while (part[n])
        n++;
    bool ours = false;
    if (n == 5 && strcmp(part[0], "*") != 0) {
        ours = strcmp(part[0], "cluster.local") == 0;
        for (size_t i = 0; i < m->trust_domains.n && !ours; i++)
            ours = pattern_matches(part[0], m->trust_domains.v[i]);
        ours = ours && part[0][0] != '*';                /* a leading star already takes in every trust domain that ends so */
    }
    if (!ours)
        rs_texts_add(ret, principal);
    for (size_t i = 0; ours && i < m->trust_domains.n; i++) {
        RS_AUTO(rs_chars) *s = rs_printf("%s/%s/%s/%s/%s", m->trust_domains.v[i], part[1], part[2], part[3], part[4]);
        rs_texts_add(ret, s);
    }
    rs_strv_free(part);
}

void rs_model_sans(const rs_model *m, const struct rs_texts *accounts, struct rs_texts *ret)
{
    for (size_t i = 0; i < accounts->n; i++) {
        const char *slash = strchr(accounts->v[i], '/');
        for (size_t j = 0; slash && j < m->trust_domains.n; j++) {
            RS_AUTO(rs_chars) *s = rs_printf("spiffe://%s/ns/%.*s/sa/%s", m->trust_domains.v[j], (int)(slash - accounts->v[i]), accounts->v[i], slash + 1);
            rs_texts_add(ret, s);
        }
    }
    rs_texts_sort_unique(ret);
}

void rs_texts_add(struct rs_texts *t, const char *s)
{
    t->v = rs_realloc(t->v, (t->n + 1) * sizeof(*t->v));
    t->v[t->n++] = rs_strdup(s);
}

static int text_order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void rs_texts_sort_unique(struct rs_texts *t)
{
    size_t kept = 0;
    if (t->n)
        qsort(t->v, t->n, sizeof(*t->v), text_order);
    for (size_t i = 0; i < t->n; i++)
        if (kept && strcmp(t->v[kept - 1], t->v[i]) == 0)
            free(t->v[i]);
        else
            t->v[kept++] = t->v[i];
    t->n = kept;
}

void rs_texts_done(struct rs_texts *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->v[i]);
    free(t->v);
    *t = (struct rs_texts){ 0 };
}

/* type~ip~pod.namespace~dnsDomain; the namespace follows the last dot, since pod names may hold dots. */
int rs_envoy_new(rs_envoy **ret, const char *node_id, const json_t *metadata, struct rs_err *e)
{
    char **part = rs_split(node_id, '~');
    size_t n = 0;
    while (part[n])
        n++;
    const char *dot = n == 4 ? strrchr(part[2], '.') : NULL;
    bool sidecar = n == 4 && strcmp(part[0], "sidecar") == 0, router = n == 4 && strcmp(part[0], "router") == 0;
    int rc = 0;
    if ((!sidecar && !router) || !dot || dot == part[2] || !dot[1]) {
        rc = RS_FAIL(e, RS_INVALID, "node id \"%.200s\" is not sidecar|router~IP~POD.NAMESPACE~DOMAIN", node_id);
    } else {
        rs_envoy *p = rs_new(rs_envoy);
        const char *account = rs_json_str(metadata, "SERVICE_ACCOUNT"), *revision = rs_json_str(metadata, "ISTIO_REVISION");
        json_t *labels = json_object_get(metadata, "LABELS");
        *p = (rs_envoy){
            .router = router, .id = rs_strdup(node_id), .ip = rs_strdup(part[1]), .pod = rs_strndup(part[2], (size_t)(dot - part[2])),
            .namespace = rs_strdup(dot + 1), .dns_domain = rs_strdup(part[3]), .service_account = rs_strdup(account ? account : ""),
            .revision = rs_strdup(revision ? revision : ""), .metadata = metadata ? json_deep_copy(metadata) : json_object(),
            .labels = json_is_object(labels) ? json_deep_copy(labels) : json_object(),
        };
        *ret = p;
    }
    rs_strv_free(part);
    return rc;
}

void rs_envoy_free(rs_envoy *p)
{
    if (!p)
        return;
    char *const texts[] = { p->id, p->ip, p->pod, p->namespace, p->dns_domain, p->service_account, p->revision };
    for (size_t i = 0; i < RS_COUNT(texts); i++)
        free(texts[i]);
    json_decref(p->metadata);
    json_decref(p->labels);
    free(p);
}
