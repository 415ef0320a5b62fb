/* rootshift check-root-cert | check-workload-cert | check-trustdomain: the formats of the published checker (also as
 * migrate_ca), with right verdicts: whole bundles by SHA-256, every proxy, non-zero exit unless all are as the migration wants. */
#include "cmd/rootshift/session.h"
#include "kube/object.h"

enum what { ROOTS, CERTS, DOMAINS };

/* SHA-256 of Google's published Mesh CA root. */
static const char google_root[] = "614849a4aa1a7ce593c04443862ad43b5364814d5e7d5125b07408dad2c526f0";

struct known { rs_bundle *mesh_ca, *citadel; };      /* NULL: not found in the cluster */

static rs_bundle *bundle_at(rs_kube *k, const char *path, const char *const *keys)
{
    struct rs_err e;
    RS_AUTO(json_t) *o = NULL;
    rs_bundle *b = NULL;
    if (rs_kube_get(k, path, &o, &e) < 0)
        return NULL;
    for (; *keys && !b; keys++) {
        RS_AUTO(rs_chars) *pem = rs_streq(rs_json_str(o, "kind"), "Secret") ? rs_secret_value(o, *keys, NULL) : rs_strdup(rs_configmap_value(o, *keys));
        if (pem && rs_bundle_parse(&b, rs_str_of(pem), &e) < 0)
            b = NULL;
    }
    return b;
}

static void know(rs_kube *k, struct known *ret)
{
    static const char *const root[] = { "root-cert.pem", NULL }, *const self_signed[] = { "root-cert.pem", "ca-cert.pem", NULL };
    ret->mesh_ca = bundle_at(k, "/api/v1/namespaces/mesh-ca/configmaps/mesh-ca-root", root);
    ret->citadel = bundle_at(k, "/api/v1/namespaces/istio-system/secrets/cacerts", root);
    if (!ret->citadel)
        ret->citadel = bundle_at(k, "/api/v1/namespaces/istio-system/secrets/istio-ca-secret", self_signed);
}

/* CITADEL or MESHCA; any other root by its digest, unless the cluster doesn't tell which root Istio CA has. */
static const char *name_of(const struct known *k, const rs_cert *root, char buf[RS_DIGEST_TEXT])
{
    rs_digest_text(rs_cert_digest(root), buf);
    if (rs_streq(buf, google_root) || (k->mesh_ca && rs_bundle_has(k->mesh_ca, rs_cert_digest(root))))
        return "MESHCA";
    if (!k->citadel || rs_bundle_has(k->citadel, rs_cert_digest(root)))
        return "CITADEL";
    buf[12] = 0;
    return buf;
}

static bool has(const json_t *names, const char *name)
{
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)names, i, v)
        if (rs_streq(json_string_value(v), name))
            return true;
    return false;
}

static void add_name(json_t *names, const char *name)
{
    if (!has(names, name))
        json_array_append_new(names, json_string(name));
}

/* CITADEL first, then MESHCA, then others: as the published checker prints. */
static json_t *roots_of(const struct known *k, const struct rs_proxy *p)
{
    char buf[RS_DIGEST_TEXT];
    json_t *names = json_array();
    static const char *const first[] = { "CITADEL", "MESHCA" };
    for (size_t f = 0; f <= RS_COUNT(first); f++)
        for (size_t i = 0; i < rs_bundle_count(p->roots); i++) {
            const char *name = name_of(k, rs_bundle_root(p->roots, i), buf);
            if (f == RS_COUNT(first) || rs_streq(name, first[f]))
                add_name(names, name);
        }
    return names;
}

static json_t *domains_of(const struct rs_proxy *p)
{
    json_t *names = json_array();
    for (int google = 0; google < 2; google++)
        for (char **d = p->trust_domains; d && *d; d++)
            if (rs_ends(*d, "id.goog") == google)
                add_name(names, google ? "MESHCA" : "CITADEL");
    return names;
}

static char *joined(const json_t *names)
{
    char *text = rs_strdup("");
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)names, i, v) {
        char *more = rs_printf("%s%s%s", text, i ? " " : "", json_string_value(v));
        free(text);
        text = more;
    }
    return text;
}

/* One pod: its verdict as JSON and its line. Returns whether it is as it should be. */
static bool judge(enum what what, const struct known *k, const struct rs_proxy *p, json_t *item, char **ret_line)
{
    char buf[RS_DIGEST_TEXT];
    if (!p->known) {
        *ret_line = rs_printf(" - [WARNING] %s.%s cannot find certificate information", p->pod, p->namespace);
        rs_json_set_str(item, "unknown", p->why);
        return false;
    }
    json_t *names = json_array();
    json_object_set_new(item, what == CERTS ? "issuer" : "trusts", names);
    if (what == ROOTS) {
        RS_AUTO(json_t) *roots = roots_of(k, p);
        json_array_extend(names, roots);
        RS_AUTO(rs_chars) *text = joined(names);
        *ret_line = rs_printf(" - %s.%s trusts [%s]", p->pod, p->namespace, text);
        return has(names, "CITADEL") && has(names, "MESHCA");
    }
    if (what == CERTS) {
        if (!p->issuing_root) {
            *ret_line = rs_printf(" - %s.%s is using the mTLS certificate issued by []", p->pod, p->namespace);
            return false;
        }
        const char *name = name_of(k, p->issuing_root, buf);
        add_name(names, name);
        rs_json_set_str(item, "identity", p->identity);
        rs_json_set_str(item, "serial", rs_cert_serial(p->chain.v[0]));
        *ret_line = rs_printf(" - %s.%s is using the mTLS certificate issued by [%s]", p->pod, p->namespace, name);
        return rs_streq(name, "CITADEL") || rs_streq(name, "MESHCA");
    }
    RS_AUTO(json_t) *domains = domains_of(p);
    json_array_extend(names, domains);
    bool citadel = has(names, "CITADEL"), mesh_ca = has(names, "MESHCA");
    if (citadel && mesh_ca)
        *ret_line = rs_printf("%s.%s trusts trust domains for [CITADEL MESHCA]", p->pod, p->namespace);
    else
        *ret_line = rs_printf("%s.%s is MISSING trust domain for [%s]", p->pod, p->namespace,
                              citadel ? "MESHCA" : mesh_ca ? "CITADEL" : "CITADEL MESHCA");
    return citadel && mesh_ca;
}

static const char *const headings[] = {
    "Checking the root certificates loaded on each pod...",
    "Checking the mTLS certificates loaded on each pod...",
    "Checking the trust domain configuration for each pod...",
};

static bool skipped(const char *namespace)
{
    return rs_streq(namespace, "kube-system") || rs_streq(namespace, "kube-public") || rs_streq(namespace, "kube-node-lease");
}

static size_t print_namespace(enum what what, const struct known *k, const struct rs_scan *scan, const char *namespace, enum rs_output out, json_t *items)
{
    size_t bad = 0;
    if (out == RS_OUTPUT_TABLE)
        printf("\nNamespace: %s\n", namespace);
    for (size_t i = 0; i < scan->n; i++) {
        const struct rs_proxy *p = scan->v[i];
        if (!rs_streq(p->namespace, namespace))
            continue;
        json_t *item = rs_json_pack("{s:s, s:s, s:s}", "namespace", p->namespace, "pod", p->pod, "revision", p->revision);
        RS_AUTO(rs_chars) *line = NULL;
        bool ok = judge(what, k, p, item, &line);
        json_object_set_new(item, "ok", json_boolean(ok));
        json_array_append_new(items, item);
        bad += !ok;
        if (out == RS_OUTPUT_TABLE)
            puts(line);
    }
    return bad;
}

static int check(enum what what, struct rs_session *s, enum rs_output out, struct rs_err *e)
{
    if (rs_session_open(s, e) < 0)
        return -1;
    RS_AUTO(json_t) *namespaces = NULL;
    RS_AUTO(rs_scan) *scan = NULL;
    struct known known;
    struct rs_scan_options options = { .secrets = what != DOMAINS, .clusters = what == DOMAINS };
    if (rs_kube_list(s->kube, "/api/v1/namespaces", NULL, &namespaces, NULL, e) < 0)
        return -1;
    if (out == RS_OUTPUT_TABLE) {
        printf("\n%s\n", headings[what]);
        fflush(stdout);
    }
    if (rs_scan_run(s->kube, &options, &scan, e) < 0)
        return -1;
    know(s->kube, &known);
    RS_AUTO(json_t) *items = json_array();
    size_t bad = 0, i;
    json_t *ns;
    json_array_foreach(namespaces, i, ns)
        if (!skipped(rs_object_name(ns)))
            bad += print_namespace(what, &known, scan, rs_object_name(ns), out, items);
    if (out == RS_OUTPUT_JSON) {
        RS_AUTO(json_t) *all = rs_json_pack("{s:I, s:I, s:O}", "total", (json_int_t)scan->n, "failed", (json_int_t)bad, "pods", items);
        RS_AUTO(rs_chars) *text = rs_json_pretty(all);
        fputs(text, stdout);
    }
    rs_bundle_unref(known.mesh_ca);
    rs_bundle_unref(known.citadel);
    return bad ? 1 : 0;
}

static int run(enum what what, int argc, char **argv)
{
    RS_AUTO_SESSION s = { 0 };
    struct rs_err e;
    const char *output = "table";
    struct rs_opt table[] = {
        { .name = "output", .letter = 'o', .kind = RS_OPT_TEXT, .value = &output, .arg = "FORMAT", .help = "table or json" },
        RS_SESSION_OPTIONS(&s),
    };
    int positional;
    enum rs_output out;
    int rc = rs_opt_parse(table, RS_COUNT(table), argc, argv, &positional, &e);
    if (rc > 0)
        return rs_cmd_help("rootshift check-root-cert | check-workload-cert | check-trustdomain [OPTION]...",
                           "Reads every running proxy and says which roots it trusts, who issued its certificate, which trust domains it\n"
                           "accepts. Exit status 1 unless every proxy was read and is as a migration between the two CAs needs it.", table, RS_COUNT(table));
    if (rc == 0)
        rc = rs_output_parse(output, &out, &e);
    if (rc == 0)
        rc = check(what, &s, out, &e);
    return rc < 0 ? rs_cmd_fail(&e) : rc;
}

int rs_cmd_check_root_cert(int argc, char **argv) { return run(ROOTS, argc, argv); }
int rs_cmd_check_workload_cert(int argc, char **argv) { return run(CERTS, argc, argv); }
int rs_cmd_check_trustdomain(int argc, char **argv) { return run(DOMAINS, argc, argv); }
