#include "base/buf.h"
#include "control/config_int.h"

/* AuthorizationPolicies as Envoy RBAC (facts istio-wire 4.6): one filter for DENY, one for ALLOW. */

/* StringMatcher of a principal as written in a policy ("td/ns/x/sa/y", "td*", "*suffix", "*"). */
static json_t *principal_matcher(const char *p)
{
    size_t n = strlen(p);
    if (rs_streq(p, "*"))
        return rs_json_pack("{s{ss}}", "safe_regex", "regex", ".+");
    if (p[0] == '*')
        return rs_json_pack("{ss}", "suffix", p + 1);
    bool prefix = p[n - 1] == '*';
    RS_AUTO(rs_chars) *text = rs_printf("spiffe://%.*s", (int)(prefix ? n - 1 : n), p);
    return rs_json_pack("{ss}", prefix ? "prefix" : "exact", text);
}

static json_t *authenticated(json_t *matcher)
{
    return rs_json_pack("{s{so}}", "authenticated", "principal_name", matcher);
}

static json_t *not_of(json_t *id)
{
    return rs_json_pack("{so}", "not_id", id);
}

static json_t *any_of(json_t *ids)
{
    if (json_array_size(ids))
        return rs_json_pack("{s{so}}", "or_ids", "ids", ids);
    json_decref(ids);              /* Envoy refuses an empty list */
    return not_of(rs_json_pack("{sb}", "any", 1));
}

static json_t *principals(const rs_model *m, const struct rs_texts *list)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < list->n; i++) {
        struct rs_texts expanded = { 0 };
        rs_model_expand_principal(m, list->v[i], &expanded);
        for (size_t j = 0; j < expanded.n; j++)
            if (*expanded.v[j])
                json_array_append_new(ids, authenticated(principal_matcher(expanded.v[j])));
        rs_texts_done(&expanded);
    }
    return any_of(ids);
}

/* A namespace, with '*' for any part of it. */
static json_t *namespaces(const struct rs_texts *list)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < list->n; i++) {
        RS_AUTO_BUF regex;
        rs_buf_init(&regex, 4096);
        rs_buf_adds(&regex, ".*/ns/");
        for (const char *p = list->v[i]; *p; p++)
            if (*p == '*')
                rs_buf_adds(&regex, "[^/]*");
            else
                rs_buf_addf(&regex, "%s%c", strchr("abcdefghijklmnopqrstuvwxyz0123456789-", *p) ? "" : "\\", *p);
        rs_buf_adds(&regex, "/.*");
        json_array_append_new(ids, authenticated(rs_json_pack("{s{ss}}", "safe_regex", "regex", rs_buf_str(&regex).p)));
    }
    return any_of(ids);
}

static json_t *source(const rs_model *m, const struct rs_model_source *s)
{
    json_t *all = json_array();
    if (s->principals.n)
        json_array_append_new(all, principals(m, &s->principals));
    if (s->namespaces.n)
        json_array_append_new(all, namespaces(&s->namespaces));
    if (s->not_principals.n)
        json_array_append_new(all, not_of(principals(m, &s->not_principals)));
    if (s->not_namespaces.n)
        json_array_append_new(all, not_of(namespaces(&s->not_namespaces)));
    if (json_array_size(all) == 0)
        json_array_append_new(all, rs_json_pack("{sb}", "any", 1));
    return rs_json_pack("{s{so}}", "and_ids", "ids", all);
}

static json_t *rule_policy(const rs_model *m, const struct rs_model_rule *r)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < r->n_from; i++)
        json_array_append_new(ids, source(m, &r->from[i]));
    if (r->n_from == 0)
        json_array_append_new(ids, rs_json_pack("{sb}", "any", 1));
    return rs_json_pack("{s[{sb}] so}", "permissions", "any", 1, "principals", ids);
}

struct gather { const rs_model *m; json_t *allow, *deny; };

static void gather(void *ctx, const struct rs_model_authz *a)
{
    struct gather *g = ctx;
    json_t **set = a->deny ? &g->deny : &g->allow;
    if (!*set)
        *set = json_object();
    for (size_t i = 0; i < a->n_rules; i++) {
        if (a->rules[i].unsupported && !a->deny)
            continue;              /* an ALLOW rule that we can't judge allows nobody */
        RS_AUTO(rs_chars) *name = rs_printf("ns[%s]-policy[%s]-rule[%zu]", a->namespace, a->name, i);
        json_object_set_new(*set, name, rule_policy(g->m, &a->rules[i]));
    }
}

static void add_filter(bool http, const char *action, json_t *policies, json_t *filters)
{
    if (!policies)
        return;
    json_t *config = rs_json_pack("{ss s{ss so}}", "@type", http ? RS_EXT "filters.http.rbac.v3.RBAC" : RS_EXT "filters.network.rbac.v3.RBAC",
        "rules", "action", action, "policies", policies);
    if (!http)
        json_object_set_new(config, "stat_prefix", json_string("tcp."));
    json_array_append_new(filters, rs_json_pack("{ss so}", "name", http ? "envoy.filters.http.rbac" : "envoy.filters.network.rbac", "typed_config", config));
}

void rs_config_rbac(struct rs_config *c, bool http, json_t *filters)
{
    struct gather g = { .m = c->m };
    rs_model_each_authz(c->m, c->proxy->namespace, c->labels, gather, &g);
    add_filter(http, "DENY", g.deny, filters);
    add_filter(http, "ALLOW", g.allow, filters);
}
