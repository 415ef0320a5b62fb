#include "pki/pem.h"

#include <openssl/evp.h>

static rs_str cut_line(rs_str *text)
{
    const char *nl = text->n ? memchr(text->p, '\n', text->n) : NULL;
    size_t n = nl ? (size_t)(nl - text->p) : text->n;
    rs_str line = { text->p, n };
    size_t used = nl ? n + 1 : n;
    text->p += used;
    text->n -= used;
    return rs_str_trim(line);
}

/* "-----BEGIN label-----" or "-----END label-----" */
static bool armour(rs_str line, const char *word, rs_str *label)
{
    size_t head = 5 + strlen(word) + 1, tail = 5;
    if (line.n < head + tail || memcmp(line.p, "-----", 5) != 0 || memcmp(line.p + 5, word, strlen(word)) != 0 ||
        line.p[head - 1] != ' ' || memcmp(line.p + line.n - tail, "-----", tail) != 0)
        return false;
    *label = (rs_str){ line.p + head, line.n - head - tail };
    return true;
}

int rs_pem_next(rs_str *text, struct rs_pem_block *ret, struct rs_err *e)
{
    rs_str label, end;
    while (text->n) {
        if (!armour(cut_line(text), "BEGIN", &label))
            continue;
        const char *start = text->p;
        while (text->n) {
            rs_str line = cut_line(text);
            if (armour(line, "BEGIN", &end))
                return RS_FAIL(e, RS_INVALID, "BEGIN %.*s has no END line", (int)(label.n < 64 ? label.n : 64), label.p);
            if (!armour(line, "END", &end))
                continue;
            if (!rs_str_eq(label, end))
                return RS_FAIL(e, RS_INVALID, "BEGIN and END lines do not match");
            *ret = (struct rs_pem_block){ .label = label, .body = { start, (size_t)(line.p - start) } };
            return 1;
        }
        return RS_FAIL(e, RS_INVALID, "BEGIN %.*s has no END line", (int)(label.n < 64 ? label.n : 64), label.p);
    }
    return 0;
}

int rs_pem_bytes(const struct rs_pem_block *b, unsigned char **ret, size_t *ret_n, struct rs_err *e)
{
    if (rs_unbase64(b->body, false, ret, ret_n) < 0)
        return RS_FAIL(e, RS_INVALID, "not base64 between the PEM lines");
    return 0;
}

char *rs_pem_text(const char *label, const void *der, size_t n)
{
    enum { LINE = 48 };                        /* bytes in 64 columns */
    size_t max = (n / LINE + 1) * 66 + 2 * strlen(label) + 64, used = 0;
    char *text = rs_alloc(max);                /* written once: keys must not leave copies behind */
    used += (size_t)snprintf(text, max, "-----BEGIN %s-----\n", label);
    for (size_t i = 0; i < n; i += LINE) {
        int part = (int)(n - i < LINE ? n - i : LINE);
        used += (size_t)EVP_EncodeBlock((unsigned char *)text + used, (const unsigned char *)der + i, part);
        text[used++] = '\n';
    }
    snprintf(text + used, max - used, "-----END %s-----\n", label);
    return text;
}
