#include <ctype.h>

#include "kube/object.h"

enum op { OP_IN, OP_NOT_IN, OP_EXISTS, OP_NOT_EXISTS };
struct requirement { char *key; enum op op; char **v; size_t n; };
struct rs_selector { struct requirement *r; size_t n; };

enum { TERMS_MAX = 256 };                  /* requirements, and values of one */

void rs_selector_free(rs_selector *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++) {
        for (size_t j = 0; j < s->r[i].n; j++)
            free(s->r[i].v[j]);
        free(s->r[i].v);
        free(s->r[i].key);
    }
    free(s->r);
    free(s);
}

/* [A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?, at most 63. */
static bool name_part(rs_str s)
{
    if (s.n == 0 || s.n > 63 || !isalnum((unsigned char)s.p[0]) || !isalnum((unsigned char)s.p[s.n - 1]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && !memchr("-_.", s.p[i], 3))
            return false;
    return true;
}

static bool valid_key(rs_str key)
{
    const char *slash = memchr(key.p, '/', key.n);
    if (!slash)
        return name_part(key);
    size_t n = (size_t)(slash - key.p);
    RS_AUTO(rs_chars) *prefix = rs_strndup(key.p, n);
    return rs_dns_subdomain(prefix) && name_part((rs_str){ slash + 1, key.n - n - 1 });
}

static int add_requirement(rs_selector *s, rs_str key, enum op op, struct rs_err *e)
{
    if (s->n == TERMS_MAX)
        return RS_FAIL(e, RS_INVALID, "unable to parse requirement: more than %d", TERMS_MAX);
    if (!valid_key(key))
        return RS_FAIL(e, RS_INVALID, "unable to parse requirement: invalid label key \"%.*s\"", (int)key.n, key.p);
    s->r = rs_realloc(s->r, (s->n + 1) * sizeof(*s->r));
    s->r[s->n++] = (struct requirement){ .key = rs_strndup(key.p, key.n), .op = op };
    return 0;
}

static int add_value(rs_selector *s, rs_str value, struct rs_err *e)
{
    struct requirement *r = &s->r[s->n - 1];
    if (r->n == TERMS_MAX)
        return RS_FAIL(e, RS_INVALID, "unable to parse requirement: more than %d values", TERMS_MAX);
    if (value.n && !name_part(value))
        return RS_FAIL(e, RS_INVALID, "unable to parse requirement: invalid label value \"%.*s\"", (int)value.n, value.p);
    r->v = rs_realloc(r->v, (r->n + 1) * sizeof(*r->v));
    r->v[r->n++] = rs_strndup(value.p, value.n);
    return 0;
}

/* The query grammar: words, and the marks ! ( ) , = == != between them. */
struct lexer { const char *p; rs_str token; };

static void advance(struct lexer *l)
{
    static const char marks[] = "=!(),<>";
    while (*l->p && isspace((unsigned char)*l->p))
        l->p++;
    l->token = (rs_str){ l->p, 0 };
    if (!*l->p)
        return;
    if (strchr(marks, *l->p)) {
        l->token.n = (*l->p == '=' || *l->p == '!') && l->p[1] == '=' ? 2 : 1;
    } else {
        while (l->p[l->token.n] && !strchr(marks, l->p[l->token.n]) && !isspace((unsigned char)l->p[l->token.n]))
            l->token.n++;
    }
    l->p += l->token.n;
}

static bool take(struct lexer *l, const char *mark)
{
    bool is = rs_str_is(l->token, mark);
    if (is)
        advance(l);
    return is;
}

static rs_str take_word(struct lexer *l)
{
    rs_str word = { l->token.p, 0 };
    if (l->token.n && !strchr("=!(),<>", *l->token.p)) {
        word = l->token;
        advance(l);
    }
    return word;
}

static int unexpected(const struct lexer *l, const char *wanted, struct rs_err *e)
{
    if (l->token.n == 0)
        return RS_FAIL(e, RS_INVALID, "unable to parse requirement: found end of string, expected: %s", wanted);
    return RS_FAIL(e, RS_INVALID, "unable to parse requirement: found '%.*s', expected: %s", (int)l->token.n, l->token.p, wanted);
}

static int parse_set(rs_selector *s, struct lexer *l, struct rs_err *e)
{
    if (!take(l, "("))
        return unexpected(l, "'('", e);
    do {
        if (add_value(s, take_word(l), e) < 0)
            return -1;
    } while (take(l, ","));
    return take(l, ")") ? 0 : unexpected(l, "',' or ')'", e);
}

static int parse_requirement(rs_selector *s, struct lexer *l, struct rs_err *e)
{
    bool not = take(l, "!");
    rs_str key = take_word(l);
    if (key.n == 0)
        return unexpected(l, "identifier", e);
    if (not || l->token.n == 0 || rs_str_is(l->token, ","))
        return add_requirement(s, key, not ? OP_NOT_EXISTS : OP_EXISTS, e);
    if (take(l, "=") || take(l, "=="))
        return add_requirement(s, key, OP_IN, e) < 0 ? -1 : add_value(s, take_word(l), e);
    if (take(l, "!="))
        return add_requirement(s, key, OP_NOT_IN, e) < 0 ? -1 : add_value(s, take_word(l), e);
    if (take(l, "in"))
        return add_requirement(s, key, OP_IN, e) < 0 ? -1 : parse_set(s, l, e);
    if (take(l, "notin"))
        return add_requirement(s, key, OP_NOT_IN, e) < 0 ? -1 : parse_set(s, l, e);
    return unexpected(l, "in, notin, =, ==, !=", e);
}

int rs_selector_parse(rs_selector **ret, const char *text, struct rs_err *e)
{
    RS_AUTO(rs_selector) *s = rs_new(rs_selector);
    struct lexer l = { .p = text ? text : "" };
    advance(&l);
    while (l.token.n) {
        if (parse_requirement(s, &l, e) < 0)
            return -1;
        if (l.token.n == 0)
            break;
        if (!take(&l, ","))
            return unexpected(&l, "',' or end of string", e);
        if (l.token.n == 0)
            return unexpected(&l, "identifier after ','", e);
    }
    *ret = rs_take(s);
    return 0;
}

static int add_expression(rs_selector *s, const json_t *x, struct rs_err *e)
{
    static const char *const names[] = { "In", "NotIn", "Exists", "DoesNotExist" };
    const char *key = rs_json_str(x, "key"), *op = rs_json_str(x, "operator");
    const json_t *values = rs_json_at(x, "values");
    size_t i, which;
    json_t *v;
    for (which = 0; which < RS_COUNT(names) && !rs_streq(op, names[which]); which++)
        ;
    if (which == RS_COUNT(names))
        return RS_FAIL(e, RS_INVALID, "\"%s\" is not a valid label selector operator", op ? op : "");
    bool set = which == OP_IN || which == OP_NOT_IN;
    if (set != (json_array_size(values) > 0))
        return RS_FAIL(e, RS_INVALID, "label selector operator %s: values must be %s", op, set ? "given" : "empty");
    if (add_requirement(s, rs_str_of(key), (enum op)which, e) < 0)
        return -1;
    json_array_foreach(values, i, v)
        if (add_value(s, rs_str_of(json_string_value(v)), e) < 0)
            return -1;
    return 0;
}

int rs_selector_from_json(rs_selector **ret, const json_t *label_selector, struct rs_err *e)
{
    RS_AUTO(rs_selector) *s = rs_new(rs_selector);
    const char *key;
    json_t *v;
    size_t i;
    json_object_foreach(rs_json_at(label_selector, "matchLabels"), key, v)
        if (add_requirement(s, rs_str_of(key), OP_IN, e) < 0 || add_value(s, rs_str_of(json_string_value(v)), e) < 0)
            return -1;
    json_array_foreach(rs_json_at(label_selector, "matchExpressions"), i, v)
        if (add_expression(s, v, e) < 0)
            return -1;
    *ret = rs_take(s);
    return 0;
}

static bool requirement_holds(const struct requirement *r, const char *value)
{
    if (r->op == OP_EXISTS || r->op == OP_NOT_EXISTS || !value)
        return r->op == OP_EXISTS ? value != NULL : r->op != OP_IN && !value;
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->v[i], value) == 0)
            return r->op == OP_IN;
    return r->op == OP_NOT_IN;
}

bool rs_selector_matches(const rs_selector *s, const json_t *labels)
{
    for (size_t i = 0; i < s->n; i++)
        if (!requirement_holds(&s->r[i], json_string_value(json_object_get(labels, s->r[i].key))))
            return false;
    return true;
}
