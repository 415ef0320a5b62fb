#include "agent/roots.h"

struct rs_roots {
    rs_bundle *held;
    rs_bundle *from_ca;                                  /* the issuer's own roots: never dropped by a bundle */
    rs_digest retired[RS_BUNDLE_MAX_ROOTS];
    size_t n_retired;
    unsigned long bundles, refused;
    char last_refusal[512];
};

rs_roots *rs_roots_new(void)
{
    rs_roots *r = rs_new(rs_roots);
    r->held = rs_bundle_empty();
    r->from_ca = rs_bundle_empty();
    return r;
}

void rs_roots_free(rs_roots *r)
{
    if (!r)
        return;
    rs_bundle_unref(r->held);
    rs_bundle_unref(r->from_ca);
    free(r);
}

static bool replace(rs_roots *r, rs_bundle *now)
{
    bool changed = !rs_bundle_eq(r->held, now);
    rs_bundle_unref(r->held);
    r->held = now;
    return changed;
}

int rs_roots_from_ca(rs_roots *r, rs_str pem, bool *ret_changed, struct rs_err *e)
{
    RS_AUTO(rs_bundle) *given = NULL;
    rs_bundle *all;
    if (rs_bundle_parse(&given, pem, e) < 0)
        return rs_err_wrap(e, "root in the CA's answer");
    if (rs_bundle_union(&all, r->held, given, e) < 0)
        return -1;
    rs_bundle_unref(r->from_ca);
    r->from_ca = rs_take(given);
    *ret_changed = replace(r, all);
    return 0;
}

static int parse_retired(rs_digest *out, size_t *ret_n, const char *text, struct rs_err *e)
{
    size_t n = 0;
    for (const char *p = text ? text : ""; *p; ) {
        size_t len = strcspn(p, ",");
        RS_AUTO(rs_chars) *one = rs_strndup(p, len);
        if (n == RS_BUNDLE_MAX_ROOTS || rs_digest_parse(one, &out[n]) < 0)
            return RS_FAIL(e, RS_INVALID, "list of retired roots is garbled");
        n++;
        p += len + (p[len] == ',');
    }
    *ret_n = n;
    return 0;
}

static bool named(const rs_digest *list, size_t n, const rs_digest *d)
{
    for (size_t i = 0; i < n; i++)
        if (rs_digest_eq(&list[i], d))
            return true;
    return false;
}

/* What is held, not in the new bundle, and not named as retired: somebody lost it, so it stays. */
static void note_refusals(rs_roots *r, const rs_bundle *given, const rs_digest *retired, size_t n_retired)
{
    for (size_t i = 0; i < rs_bundle_count(r->held); i++) {
        const rs_digest *d = rs_cert_digest(rs_bundle_root(r->held, i));
        char text[RS_DIGEST_TEXT];
        if (rs_bundle_has(given, d) || named(retired, n_retired, d) || rs_bundle_has(r->from_ca, d))
            continue;
        r->refused++;
        snprintf(r->last_refusal, sizeof(r->last_refusal), "a bundle without root %s, which it does not name as retired", rs_digest_text(d, text));
    }
}

int rs_roots_from_bundle(rs_roots *r, rs_str pem, const char *retired, bool *ret_changed, struct rs_err *e)
{
    RS_AUTO(rs_bundle) *given = NULL, *all = NULL;
    rs_digest drop[RS_BUNDLE_MAX_ROOTS];
    size_t n_named = 0, n_drop = 0;
    rs_digest names[RS_BUNDLE_MAX_ROOTS];
    if (rs_bundle_parse(&given, pem, e) < 0 || parse_retired(names, &n_named, retired, e) < 0 || rs_bundle_union(&all, r->held, given, e) < 0) {
        r->refused++;
        snprintf(r->last_refusal, sizeof(r->last_refusal), "distributed bundle: %.400s", e->msg);
        return rs_err_wrap(e, "distributed bundle");
    }
    r->bundles++;
    note_refusals(r, given, names, n_named);
    for (size_t i = 0; i < n_named; i++)
        if (!rs_bundle_has(given, &names[i]) && !rs_bundle_has(r->from_ca, &names[i]))
            drop[n_drop++] = names[i];
    memcpy(r->retired, names, sizeof(names));
    r->n_retired = n_named;
    *ret_changed = replace(r, rs_bundle_without(all, drop, n_drop));
    return 0;
}

const rs_bundle *rs_roots_bundle(const rs_roots *r)
{
    return r->held;
}

json_t *rs_roots_status(const rs_roots *r)
{
    char text[RS_DIGEST_TEXT];
    json_t *held = json_array(), *retired = json_array();
    for (size_t i = 0; i < rs_bundle_count(r->held); i++)
        json_array_append_new(held, json_string(rs_digest_text(rs_cert_digest(rs_bundle_root(r->held, i)), text)));
    for (size_t i = 0; i < r->n_retired; i++)
        json_array_append_new(retired, json_string(rs_digest_text(&r->retired[i], text)));
    return rs_json_pack("{s:o, s:o, s:I, s:s, s:I}", "roots", held, "retired", retired, "refusedShrinkings", (json_int_t)r->refused,
                        "lastRefusal", r->last_refusal, "bundlesSeen", (json_int_t)r->bundles);
}
