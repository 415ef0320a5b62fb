#include "install/overlay.h"

#include <strings.h>

#include "base/yaml.h"
#include "install/data.h"
#include "install/revision.h"

int rs_ca_kind_parse(enum rs_ca_kind *ret, const char *text, struct rs_err *e)
{
    if (strcasecmp(text, "citadel") == 0)
        return *ret = RS_CA_CITADEL, 0;
    if (strcasecmp(text, "mesh_ca") == 0)
        return *ret = RS_CA_MESH_CA, 0;
    return RS_FAIL(e, RS_INVALID, "--ca %s is not known; use citadel or mesh_ca", text);
}

const char *rs_ca_kind_text(enum rs_ca_kind ca) { return ca == RS_CA_CITADEL ? "citadel" : "mesh_ca"; }

const char *rs_operator_options(void) { return "ca-migration-citadel, ca-migration-meshca"; }

static json_t *merge_union(const json_t *a, const json_t *b)
{
    json_t *out = json_array();
    const json_t *both[] = { a, b };
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < json_array_size(both[k]); i++) {
            json_t *item = json_array_get(both[k], i);
            bool known = false;
            for (size_t j = 0; j < json_array_size(out); j++)
                known = known || json_equal(json_array_get(out, j), item);
            if (!known)
                json_array_append(out, item);
        }
    return out;
}

static json_t *merge_named(const json_t *a, const json_t *b)
{
    json_t *out = json_deep_copy(a);
    for (size_t i = 0; i < json_array_size(b); i++) {
        json_t *item = json_array_get(b, i);
        size_t at = json_array_size(out);
        for (size_t j = 0; j < json_array_size(out); j++)
            if (rs_streq(rs_json_str(json_array_get(out, j), "name"), rs_json_str(item, "name")))
                at = j;
        if (at < json_array_size(out))
            json_array_set(out, at, item);
        else
            json_array_append(out, item);
    }
    return out;
}

static json_t *merge(const json_t *base, const json_t *over, const char *key, const char *parent)
{
    if (json_is_array(base) && json_is_array(over)) {
        if (rs_streq(key, "trustDomainAliases"))
            return merge_union(base, over);
        if (rs_streq(key, "env") && rs_streq(parent, "k8s"))
            return merge_named(base, over);
    }
    if (!json_is_object(base) || !json_is_object(over))
        return json_deep_copy(over);
    json_t *out = json_deep_copy(base), *v;
    const char *k;
    json_object_foreach((json_t *)(uintptr_t)over, k, v) {
        if (json_is_null(v))
            json_object_del(out, k);
        else
            json_object_set_new(out, k, merge(json_object_get(base, k), v, k, key));
    }
    return out;
}

json_t *rs_operator_merge(const json_t *base, const json_t *overlay) { return merge(base, overlay, "", ""); }

static json_t *places(const struct rs_operator_inputs *in)
{
    json_t *vars = rs_json_pack("{s:s, s:s, s:s, s:s}", "VERSION", RS_VERSION, "FLEET", in->fleet, "REVISION", in->revision,
                                "MESH_CA_ADDRESS", in->mesh_ca_address ? in->mesh_ca_address : "mesh-ca.mesh-ca.svc:443");
    if (in->mesh_ca_root)
        rs_json_set_str(vars, "MESH_CA_ROOT", in->mesh_ca_root);
    return vars;
}

/* Merges a document of ours over *op. */
static int add_data(json_t **op, const struct rs_operator_inputs *in, const char *file, struct rs_err *e)
{
    const char *text = rs_data_text(file);
    rs_assert(text);
    if (strstr(text, "${MESH_CA_ROOT}") && !in->mesh_ca_root)
        return RS_FAIL(e, RS_PRECONDITION, "%s needs Mesh CA's root certificate, and the cluster has no ConfigMap mesh-ca/mesh-ca-root; "
                       "run `rootshift mesh-ca install` first or give --mesh_ca_root FILE", file);
    RS_AUTO(json_t) *vars = places(in), *docs = rs_data_documents(file), *doc = NULL;
    if (rs_data_fill(&doc, json_array_get(docs, 0), vars, e) < 0)
        return rs_err_wrap(e, "%s", file);
    json_t *merged = rs_operator_merge(*op, doc);
    json_decref(*op);
    *op = merged;
    return 0;
}

static int add_option(json_t **op, const struct rs_operator_inputs *in, const char *name, struct rs_err *e)
{
    if (strcmp(name, "ca-migration-citadel") != 0 && strcmp(name, "ca-migration-meshca") != 0)
        return RS_FAIL(e, RS_INVALID, "Couldn't find yaml file %s.yaml for --option; there are %s", name, rs_operator_options());
    bool citadel = strcmp(name, "ca-migration-citadel") == 0;
    if (citadel != (in->ca == RS_CA_CITADEL))
        return RS_FAIL(e, RS_INVALID, "--option %s belongs to --ca %s, but --ca is %s", name, citadel ? "citadel" : "mesh_ca",
                       rs_ca_kind_text(in->ca));
    RS_AUTO(rs_chars) *file = rs_printf("options/%s.yaml", name);
    return add_data(op, in, file, e);
}

static int add_custom(json_t **op, const struct rs_overlay_text *o, struct rs_err *e)
{
    RS_AUTO(json_t) *docs = NULL;
    if (rs_yaml_parse_all(&docs, rs_str_of(o->text), e) < 0)
        return rs_err_wrap(e, "overlay %s", o->name);
    if (json_array_size(docs) == 0)
        return RS_FAIL(e, RS_INVALID, "overlay %s is empty", o->name);
    for (size_t i = 0; i < json_array_size(docs); i++) {
        json_t *doc = json_array_get(docs, i);
        const char *kind = rs_json_str(doc, "kind"), *version = rs_json_str(doc, "apiVersion");
        if (!rs_streq(kind, "IstioOperator") || !version || !rs_starts(version, "install.istio.io/"))
            return RS_FAIL(e, RS_INVALID, "overlay %s: document %zu is %s %s, not an IstioOperator (install.istio.io/v1alpha1)", o->name,
                           i + 1, version ? version : "(no apiVersion)", kind ? kind : "(no kind)");
        json_t *spec = json_object_get(doc, "spec");
        if (spec && !json_is_object(spec))
            return RS_FAIL(e, RS_INVALID, "overlay %s: document %zu: spec is no object", o->name, i + 1);
        RS_AUTO(json_t) *only = rs_json_pack("{s:O}", "spec", spec ? spec : *op);
        if (!spec)
            continue;
        json_t *merged = rs_operator_merge(*op, only);
        json_decref(*op);
        *op = merged;
    }
    return 0;
}

/* trustDomainAliases without duplicates; revision, hub and tag. */
static void finish(json_t *op, const struct rs_operator_inputs *in)
{
    json_t *spec = rs_json_need(op, "spec"), *mesh = rs_json_need(op, "spec", "meshConfig");
    json_t *aliases = json_object_get(mesh, "trustDomainAliases");
    if (json_is_array(aliases)) {
        json_t *none = json_array();
        json_object_set_new(mesh, "trustDomainAliases", merge_union(aliases, none));
        json_decref(none);
    }
    rs_json_set_str(spec, "revision", in->revision);
    if (in->hub)
        rs_json_set_str(spec, "hub", in->hub);
    if (in->tag)
        rs_json_set_str(spec, "tag", in->tag);
}

int rs_operator_compile(json_t **ret, const struct rs_operator_inputs *in, struct rs_err *e)
{
    RS_AUTO(json_t) *op = json_object();
    const char *ca_overlay = in->ca == RS_CA_CITADEL ? "options/citadel-ca.yaml" : "options/mesh-ca.yaml";
    if (add_data(&op, in, "istio-operator.yaml", e) < 0 || add_data(&op, in, ca_overlay, e) < 0)
        return -1;
    for (size_t i = 0; i < in->n_options; i++)
        if (add_option(&op, in, in->options[i], e) < 0)
            return -1;
    for (size_t i = 0; i < in->n_custom; i++)
        if (add_custom(&op, &in->custom[i], e) < 0)
            return -1;
    if (in->ca == RS_CA_CITADEL && add_data(&op, in, ca_overlay, e) < 0)
        return -1;
    finish(op, in);
    *ret = rs_take(op);
    return 0;
}

enum rs_ca_kind rs_operator_ca(const json_t *op)
{
    const char *provider = rs_json_str(op, "spec", "meshConfig", "defaultConfig", "proxyMetadata", "CA_PROVIDER");
    return rs_streq(provider, "GoogleCA") ? RS_CA_MESH_CA : RS_CA_CITADEL;
}

static void warn_keys(json_t *out, const json_t *o, const char *where, const char *const *known, bool only_enabled)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        bool found = false;
        for (const char *const *k = known; *k && !found; k++)
            found = strcmp(*k, key) == 0;
        bool off = json_is_object(v) ? json_is_false(json_object_get(v, "enabled")) : false;
        for (size_t i = 0; json_is_array(v) && i < json_array_size(v); i++)
            off = json_is_false(json_object_get(json_array_get(v, i), "enabled"));
        if (!found && !(only_enabled && off)) {
            RS_AUTO(rs_chars) *text = rs_printf("%s.%s of the overlays is recorded but not acted on", where, key);
            json_array_append_new(out, json_string(text));
        }
    }
}

json_t *rs_operator_warnings(const json_t *op)
{
    json_t *out = json_array();
    static const char *const spec[] = { "profile", "hub", "tag", "revision", "namespace", "meshConfig", "components", "values", NULL };
    static const char *const components[] = { "pilot", "base", NULL };
    static const char *const values[] = { "global", "pilot", NULL };
    warn_keys(out, rs_json_at(op, "spec"), "spec", spec, false);
    warn_keys(out, rs_json_at(op, "spec", "components"), "spec.components", components, true);
    warn_keys(out, rs_json_at(op, "spec", "values"), "spec.values", values, true);
    return out;
}
