/* PeerAuthentication and AuthorizationPolicy in the model. */
#include "control/model_int.h"

#include "kube/object.h"

static const json_t *match_labels(const json_t *object)
{
    const json_t *labels = rs_json_at(object, "spec", "selector", "matchLabels");
    return json_object_size(labels) ? labels : NULL;
}

void model_add_peer_authentications(struct model *m, const json_t *objects)
{
    const json_t *sorted = model_by_age(m, objects);
    size_t i;
    json_t *o;
    m->peers = model_array(m, struct peer_auth, json_array_size(sorted));
    json_array_foreach((json_t *)(uintptr_t)sorted, i, o)
        m->peers[m->n_peers++] = (struct peer_auth){
            .namespace = rs_object_namespace(o), .mode = rs_json_str(o, "spec", "mtls", "mode"), .selector = match_labels(o),
            .ports = rs_json_at(o, "spec", "portLevelMtls"),
        };
}

static bool mode_of(const char *text, enum rs_mtls *ret)
{
    static const struct { const char *text; enum rs_mtls mode; } table[] = {
        { "STRICT", RS_MTLS_STRICT }, { "PERMISSIVE", RS_MTLS_PERMISSIVE }, { "DISABLE", RS_MTLS_DISABLE },
    };
    for (size_t i = 0; i < RS_COUNT(table); i++)
        if (rs_streq(text, table[i].text))
            return *ret = table[i].mode, true;
    return false;                                        /* UNSET or missing: inherited */
}

enum rs_mtls rs_model_mtls(const rs_model *pub, const char *namespace, const json_t *labels, int port)
{
    const struct model *m = model_of(pub);
    const struct peer_auth *workload = NULL, *space = NULL, *mesh = NULL;
    for (size_t i = 0; i < m->n_peers; i++) {
        const struct peer_auth *p = &m->peers[i];
        if (!workload && p->selector && strcmp(p->namespace, namespace) == 0 && rs_labels_include(labels, p->selector))
            workload = p;
        if (!space && !p->selector && strcmp(p->namespace, namespace) == 0)
            space = p;
        if (!mesh && !p->selector && strcmp(p->namespace, pub->root_namespace) == 0)
            mesh = p;
    }
    enum rs_mtls mode;
    if (workload && port) {
        char number[16];
        snprintf(number, sizeof(number), "%d", port);
        if (mode_of(rs_json_str(json_object_get(workload->ports, number), "mode"), &mode))
            return mode;
    }
    const struct peer_auth *const levels[] = { workload, space, mesh };
    for (size_t i = 0; i < RS_COUNT(levels); i++)
        if (levels[i] && mode_of(levels[i]->mode, &mode))
            return mode;
    return RS_MTLS_PERMISSIVE;
}

static void read_source(struct model *m, struct rs_model_source *s, const json_t *o, bool *unsupported)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        struct rs_texts *to = rs_streq(key, "principals") ? &s->principals : rs_streq(key, "notPrincipals") ? &s->not_principals
            : rs_streq(key, "namespaces") ? &s->namespaces : rs_streq(key, "notNamespaces") ? &s->not_namespaces : NULL;
        if (to)
            model_texts_from(m, to, v);
        else if (json_array_size(v))
            *unsupported = true;
    }
}

static void read_rule(struct model *m, struct rs_model_rule *r, const json_t *o)
{
    const json_t *from = json_object_get(o, "from");
    size_t i;
    json_t *f;
    r->from = model_array(m, struct rs_model_source, json_array_size(from));
    json_array_foreach((json_t *)(uintptr_t)from, i, f)
        read_source(m, &r->from[r->n_from++], json_object_get(f, "source"), &r->unsupported);
    if (json_array_size(json_object_get(o, "to")) || json_array_size(json_object_get(o, "when")))
        r->unsupported = true;
}

void model_add_authorization_policies(struct model *m, const json_t *objects)
{
    const json_t *sorted = model_by_age(m, objects);
    size_t i, j;
    json_t *o, *rule;
    m->pub.authz = model_array(m, struct rs_model_authz, json_array_size(sorted));
    json_array_foreach((json_t *)(uintptr_t)sorted, i, o) {
        const char *action = rs_json_str(o, "spec", "action");
        bool deny = rs_streq(action, "DENY");
        if (action && *action && !deny && strcmp(action, "ALLOW") != 0)
            continue;
        const json_t *rules = rs_json_at(o, "spec", "rules");
        struct rs_model_authz *a = &m->pub.authz[m->pub.n_authz++];
        *a = (struct rs_model_authz){
            .name = model_text(m, rs_object_name(o)), .namespace = model_text(m, rs_object_namespace(o)), .deny = deny,
            .selector = match_labels(o), .rules = model_array(m, struct rs_model_rule, json_array_size(rules)),
        };
        json_array_foreach((json_t *)(uintptr_t)rules, j, rule)
            read_rule(m, &a->rules[a->n_rules++], rule);
    }
}

void rs_model_each_authz(const rs_model *m, const char *namespace, const json_t *labels, void (*fn)(void *ctx, const struct rs_model_authz *a), void *ctx)
{
    for (int deny = 1; deny >= 0; deny--)
        for (size_t i = 0; i < m->n_authz; i++) {
            const struct rs_model_authz *a = &m->authz[i];
            bool here = strcmp(a->namespace, namespace) == 0 || strcmp(a->namespace, m->root_namespace) == 0;
            if (here && a->deny == (deny == 1) && (!a->selector || rs_labels_include(labels, a->selector)))
                fn(ctx, a);
        }
}
