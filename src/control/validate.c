#include "control/validate.h"

#include <ctype.h>

#include "base/time.h"
#include "control/validate_int.h"

/* ---- helpers for all kinds ---- */

bool valid_labels(const json_t *o, const char *where, struct rs_err *e)
{
    const char *key;
    json_t *v;
    if (o && !json_is_object(o))
        return RS_FAIL(e, RS_INVALID, "%s: must be a map of labels", where), false;
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        if (!*key)
            return RS_FAIL(e, RS_INVALID, "%s: empty label name", where), false;
        if (!json_is_string(v))
            return RS_FAIL(e, RS_INVALID, "%s.%s: the value must be text (quote it)", where, key), false;
        if (strchr(json_string_value(v), '*'))
            return RS_FAIL(e, RS_INVALID, "%s.%s: wildcard \"%s\" is not possible in a selector", where, key, json_string_value(v)), false;
    }
    return true;
}

int valid_array(const json_t *o, const char *where, struct rs_err *e)
{
    if (o && !json_is_array(o))
        return RS_FAIL(e, RS_INVALID, "%s: must be a list", where);
    return 0;
}

/* A DNS name, with a star as its first label when `wildcard`; "*" alone as well then. */
bool valid_host(const char *host, bool wildcard)
{
    if (wildcard && strcmp(host, "*") == 0)
        return true;
    if (wildcard && rs_starts(host, "*."))
        host += 2;
    size_t n = strlen(host);
    if (n == 0 || n > 253)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = host[i], before = i ? host[i - 1] : '.';
        if (!isalnum((unsigned char)c) && c != '-' && c != '.' && c != '_')
            return false;
        if ((c == '.' || c == '-') && before == '.')
            return false;
    }
    return host[n - 1] != '.' && host[n - 1] != '-';
}

static void warn_unknown(const json_t *spec, const char *const *known, json_t *warnings)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)spec, key, v) {
        bool found = false;
        for (const char *const *k = known; *k && !found; k++)
            found = strcmp(key, *k) == 0;
        if (!found) {
            RS_AUTO(rs_chars) *text = rs_printf("unknown field \"spec.%s\"", key);
            json_array_append_new(warnings, json_string(text));
        }
    }
}

/* ---- PeerAuthentication ---- */

static int check_mode(const char *mode, const char *where, struct rs_err *e)
{
    static const char *const modes[] = { "UNSET", "DISABLE", "PERMISSIVE", "STRICT" };
    for (size_t i = 0; i < RS_COUNT(modes); i++)
        if (!mode || strcmp(mode, modes[i]) == 0)
            return 0;
    return RS_FAIL(e, RS_INVALID, "%s: \"%s\" is no mode; use UNSET, DISABLE, PERMISSIVE or STRICT", where, mode);
}

static int peer_authentication(const json_t *spec, json_t *warnings, struct rs_err *e)
{
    const json_t *mode = rs_json_at(spec, "mtls", "mode"), *selector = rs_json_at(spec, "selector", "matchLabels");
    if (mode && !json_is_string(mode))
        return RS_FAIL(e, RS_INVALID, "spec.mtls.mode: must be text");
    if (check_mode(json_string_value(mode), "spec.mtls.mode", e) < 0 || !valid_labels(selector, "spec.selector.matchLabels", e))
        return -1;
    const json_t *ports = json_object_get(spec, "portLevelMtls");
    const char *key;
    json_t *v;
    if (json_object_size(ports) && !json_object_size(selector))
        return RS_FAIL(e, RS_INVALID, "spec.portLevelMtls: works only together with spec.selector");
    json_object_foreach((json_t *)(uintptr_t)ports, key, v) {
        uint64_t n;
        RS_AUTO(rs_chars) *where = rs_printf("spec.portLevelMtls.%s", key);
        if (!rs_str_u64(rs_str_of(key), &n) || n < 1 || n > 65535)
            return RS_FAIL(e, RS_INVALID, "%s: not a port", where);
        if (check_mode(rs_json_str(v, "mode"), where, e) < 0)
            return -1;
    }
    static const char *const known[] = { "selector", "mtls", "portLevelMtls", NULL };
    warn_unknown(spec, known, warnings);
    return 0;
}

/* ---- AuthorizationPolicy ---- */

/* A star is possible at one end only; five parts when it looks like a SPIFFE path. */
static int check_principal(const char *s, const char *where, struct rs_err *e)
{
    if (!*s)
        return RS_FAIL(e, RS_INVALID, "%s: empty principal", where);
    if (rs_starts(s, "spiffe://"))
        return RS_FAIL(e, RS_INVALID, "%s: \"%s\": leave out spiffe://; principals are TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT", where, s);
    size_t stars = 0, n = strlen(s);
    for (size_t i = 0; i < n; i++)
        stars += s[i] == '*';
    bool ends = s[0] == '*' || s[n - 1] == '*';
    if (stars > 1 || (stars == 1 && !ends))
        return RS_FAIL(e, RS_INVALID, "%s: \"%s\": one star at the beginning or at the end is possible", where, s);
    if (stars == 0 && (!strstr(s, "/ns/") || !strstr(s, "/sa/")))
        return RS_FAIL(e, RS_INVALID, "%s: \"%s\" is no principal; they are TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT", where, s);
    return 0;
}

static int check_source(const json_t *source, const char *where, struct rs_err *e)
{
    const char *key;
    json_t *list, *v;
    size_t i;
    if (json_object_size(source) == 0)
        return RS_FAIL(e, RS_INVALID, "%s: a source needs at least one of principals, notPrincipals, namespaces, notNamespaces", where);
    json_object_foreach((json_t *)(uintptr_t)source, key, list) {
        bool principals = strcmp(key, "principals") == 0 || strcmp(key, "notPrincipals") == 0;
        if (!principals && strcmp(key, "namespaces") != 0 && strcmp(key, "notNamespaces") != 0)
            return RS_FAIL(e, RS_INVALID, "%s.%s: this control plane doesn't evaluate it; it knows principals, notPrincipals, namespaces, notNamespaces", where, key);
        if (!json_is_array(list) || json_array_size(list) == 0)
            return RS_FAIL(e, RS_INVALID, "%s.%s: must be a list with at least one value", where, key);
        json_array_foreach(list, i, v) {
            RS_AUTO(rs_chars) *at = rs_printf("%s.%s[%zu]", where, key, i);
            if (!json_is_string(v) || !*json_string_value(v))
                return RS_FAIL(e, RS_INVALID, "%s: must be text", at);
            if (principals && check_principal(json_string_value(v), at, e) < 0)
                return -1;
        }
    }
    return 0;
}

static int check_rule(const json_t *rule, size_t number, struct rs_err *e)
{
    const char *key;
    json_t *v;
    size_t i;
    if (!json_is_object(rule))
        return RS_FAIL(e, RS_INVALID, "spec.rules[%zu]: must be an object ({} matches everyone)", number);
    json_object_foreach((json_t *)(uintptr_t)rule, key, v) {
        if (strcmp(key, "from") == 0)
            continue;
        if (strcmp(key, "to") == 0 || strcmp(key, "when") == 0)
            return RS_FAIL(e, RS_INVALID, "spec.rules[%zu].%s: this control plane doesn't evaluate it yet; use rules with `from` only", number, key);
        return RS_FAIL(e, RS_INVALID, "spec.rules[%zu]: unknown field \"%s\"", number, key);
    }
    const json_t *from = json_object_get(rule, "from");
    RS_AUTO(rs_chars) *list = rs_printf("spec.rules[%zu].from", number);
    if (valid_array(from, list, e) < 0)
        return -1;
    if (from && json_array_size(from) == 0)
        return RS_FAIL(e, RS_INVALID, "%s: must not be empty; leave it out to match everyone", list);
    json_array_foreach((json_t *)(uintptr_t)from, i, v) {
        RS_AUTO(rs_chars) *where = rs_printf("%s[%zu].source", list, i);
        if (check_source(json_object_get(v, "source"), where, e) < 0)
            return -1;
    }
    return 0;
}

static int authorization_policy(const json_t *spec, json_t *warnings, struct rs_err *e)
{
    const json_t *action = json_object_get(spec, "action"), *rules = json_object_get(spec, "rules");
    const char *a = json_string_value(action);
    if (action && (!a || (strcmp(a, "ALLOW") != 0 && strcmp(a, "DENY") != 0)))
        return RS_FAIL(e, RS_INVALID, "spec.action: \"%s\" is not possible; use ALLOW or DENY", a ? a : "(no text)");
    if (!valid_labels(rs_json_at(spec, "selector", "matchLabels"), "spec.selector.matchLabels", e) || valid_array(rules, "spec.rules", e) < 0)
        return -1;
    if (rs_streq(a, "DENY") && json_array_size(rules) == 0)
        json_array_append_new(warnings, json_string("a DENY policy without rules denies nothing"));
    size_t i;
    json_t *rule;
    json_array_foreach((json_t *)(uintptr_t)rules, i, rule)
        if (check_rule(rule, i, e) < 0)
            return -1;
    static const char *const known[] = { "selector", "action", "rules", NULL };
    warn_unknown(spec, known, warnings);
    return 0;
}

/* ---- all ---- */

int rs_validate(const json_t *object, json_t *warnings, struct rs_err *e)
{
    static const struct {
        const char *kind;
        int (*check)(const json_t *spec, json_t *warnings, struct rs_err *e);
    } kinds[] = {
        { "PeerAuthentication", peer_authentication }, { "AuthorizationPolicy", authorization_policy },
        { "Gateway", validate_gateway }, { "VirtualService", validate_virtual_service },
    };
    const char *kind = rs_json_str(object, "kind");
    const json_t *spec = json_object_get(object, "spec");
    if (spec && !json_is_object(spec))
        return RS_FAIL(e, RS_INVALID, "spec: must be an object");
    RS_AUTO(json_t) *none = json_object();
    for (size_t i = 0; i < RS_COUNT(kinds); i++)
        if (rs_streq(kind, kinds[i].kind)) {
            if (kinds[i].check(spec ? spec : none, warnings, e) < 0)
                return rs_err_wrap(e, "configuration is invalid");
            return 0;
        }
    RS_AUTO(rs_chars) *text = rs_printf("%s is stored, but this control plane doesn't act on it", kind ? kind : "this kind");
    json_array_append_new(warnings, json_string(text));
    return 0;
}

void validate_unknown(const json_t *spec, const char *const *known, json_t *warnings) { warn_unknown(spec, known, warnings); }
