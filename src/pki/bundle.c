#include "pki/bundle.h"

#include <stdatomic.h>

#include "base/buf.h"

struct rs_bundle {
    atomic_int refs;
    size_t n;
    char *pem;
    rs_cert *root[RS_BUNDLE_MAX_ROOTS];        /* sorted by digest */
};

static rs_bundle *bundle_new(void)
{
    rs_bundle *b = rs_new(rs_bundle);
    atomic_init(&b->refs, 1);
    return b;
}

/* Place of the digest, or where it belongs. */
static size_t place(const rs_bundle *b, const rs_digest *d, bool *found)
{
    size_t i = 0;
    int cmp = 1;
    while (i < b->n && (cmp = memcmp(rs_cert_digest(b->root[i])->b, d->b, sizeof(d->b))) < 0)
        i++;
    *found = i < b->n && cmp == 0;
    return i;
}

/* Takes its own reference; a duplicate changes nothing. */
static int add(rs_bundle *b, rs_cert *root, struct rs_err *e)
{
    bool found;
    size_t i = place(b, rs_cert_digest(root), &found);
    if (found)
        return 0;
    if (b->n == RS_BUNDLE_MAX_ROOTS)
        return RS_FAIL(e, RS_EXHAUSTED, "more than %d roots", RS_BUNDLE_MAX_ROOTS);
    memmove(&b->root[i + 1], &b->root[i], (b->n - i) * sizeof(b->root[0]));
    b->root[i] = rs_cert_ref(root);
    b->n++;
    return 0;
}

/* Writes the text; the set does not change any more after this. */
static rs_bundle *seal(rs_bundle *b)
{
    b->pem = rs_certs_pem(&(rs_certs){ b->root, b->n });
    return b;
}

int rs_bundle_parse(rs_bundle **ret, rs_str pem, struct rs_err *e)
{
    RS_AUTO_CERTS certs = { 0 };
    if (rs_certs_parse(&certs, pem, e) < 0)
        return -1;
    RS_AUTO(rs_bundle) *b = bundle_new();
    for (size_t i = 0; i < certs.n; i++) {
        if (!rs_cert_is_ca(certs.v[i]))
            return RS_FAIL(e, RS_INVALID, "certificate %zu (%s) is not a CA", i + 1, rs_cert_subject(certs.v[i]));
        if (add(b, certs.v[i], e) < 0)
            return -1;
    }
    *ret = seal(rs_take(b));
    return 0;
}

rs_bundle *rs_bundle_empty(void)
{
    return seal(bundle_new());
}

rs_bundle *rs_bundle_of(rs_cert *root)
{
    rs_bundle *b = bundle_new();
    b->root[b->n++] = rs_cert_ref(root);
    return seal(b);
}

int rs_bundle_union(rs_bundle **ret, const rs_bundle *a, const rs_bundle *b, struct rs_err *e)
{
    RS_AUTO(rs_bundle) *u = bundle_new();
    for (size_t i = 0; i < a->n; i++)
        if (add(u, a->root[i], e) < 0)
            return -1;
    for (size_t i = 0; i < b->n; i++)
        if (add(u, b->root[i], e) < 0)
            return -1;
    *ret = seal(rs_take(u));
    return 0;
}

rs_bundle *rs_bundle_without(const rs_bundle *a, const rs_digest *roots, size_t n)
{
    rs_bundle *b = bundle_new();
    for (size_t i = 0; i < a->n; i++) {
        bool out = false;
        for (size_t k = 0; k < n; k++)
            out |= rs_digest_eq(rs_cert_digest(a->root[i]), &roots[k]);
        if (!out)
            b->root[b->n++] = rs_cert_ref(a->root[i]);
    }
    return seal(b);
}

bool rs_bundle_has(const rs_bundle *b, const rs_digest *root)
{
    bool found;
    place(b, root, &found);
    return found;
}

bool rs_bundle_covers(const rs_bundle *b, const rs_bundle *part)
{
    for (size_t i = 0; i < part->n; i++)
        if (!rs_bundle_has(b, rs_cert_digest(part->root[i])))
            return false;
    return true;
}

bool rs_bundle_eq(const rs_bundle *a, const rs_bundle *b)
{
    return a->n == b->n && rs_bundle_covers(a, b);
}

size_t rs_bundle_count(const rs_bundle *b) { return b->n; }
rs_cert *rs_bundle_root(const rs_bundle *b, size_t i) { rs_assert(i < b->n); return b->root[i]; }
const char *rs_bundle_pem(const rs_bundle *b) { return b->pem; }

rs_bundle *rs_bundle_ref(rs_bundle *b)
{
    atomic_fetch_add(&b->refs, 1);
    return b;
}

void rs_bundle_unref(rs_bundle *b)
{
    if (!b || atomic_fetch_sub(&b->refs, 1) > 1)
        return;
    for (size_t i = 0; i < b->n; i++)
        rs_cert_unref(b->root[i]);
    free(b->pem);
    free(b);
}
