#include "base/opt.h"

#include "base/time.h"

static bool has_alias(const struct rs_opt *o, rs_str name)
{
    for (const char *p = o->aliases; p && *p; ) {
        size_t n = strcspn(p, " ");
        if (rs_str_eq((rs_str){ p, n }, name))
            return true;
        p += n + (p[n] == ' ');
    }
    return false;
}

static struct rs_opt *by_name(struct rs_opt *table, size_t n, rs_str name)
{
    for (size_t i = 0; i < n; i++)
        if (rs_str_is(name, table[i].name) || has_alias(&table[i], name))
            return &table[i];
    return NULL;
}

static struct rs_opt *by_letter(struct rs_opt *table, size_t n, char c)
{
    for (size_t i = 0; i < n; i++)
        if (table[i].letter == c)
            return &table[i];
    return NULL;
}

static int set_value(struct rs_opt *o, const char *text, struct rs_err *e)
{
    if (o->seen && o->kind != RS_OPT_LIST)
        return RS_FAIL(e, RS_INVALID, "option --%s is given twice; give it once", o->name);
    o->seen = true;
    switch (o->kind) {
    case RS_OPT_FLAG:
        *(bool *)o->value = true;
        return 0;
    case RS_OPT_TEXT:
        *(const char **)o->value = text;
        return 0;
    case RS_OPT_LIST: {
        struct rs_opt_list *l = o->value;
        if (l->n == RS_OPT_LIST_MAX)
            return RS_FAIL(e, RS_INVALID, "option --%s is given more than %d times", o->name, RS_OPT_LIST_MAX);
        l->v[l->n++] = text;
        return 0;
    }
    case RS_OPT_INT: {
        char *end;
        errno = 0;
        long long v = strtoll(text, &end, 10);
        if (errno || end == text || *end || v < o->min || v > o->max)
            return RS_FAIL(e, RS_INVALID, "option --%s: \"%s\" is not a number from %lld to %lld", o->name, text,
                           (long long)o->min, (long long)o->max);
        *(int64_t *)o->value = v;
        return 0;
    }
    case RS_OPT_DURATION:
        if (!rs_duration_parse(text, o->value))
            return RS_FAIL(e, RS_INVALID, "option --%s: \"%s\" is not a duration such as 90s or 24h", o->name, text);
        return 0;
    }
    return 0;
}

static int parse_long(struct rs_opt *table, size_t n, char **argv, int argc, int *i, struct rs_err *e)
{
    const char *arg = argv[*i] + 2, *eq = strchr(arg, '=');
    rs_str name = { arg, eq ? (size_t)(eq - arg) : strlen(arg) };
    struct rs_opt *o = by_name(table, n, name);
    if (!o)
        return RS_FAIL(e, RS_INVALID, "unknown option --%.*s; see --help", (int)name.n, name.p);
    if (o->kind == RS_OPT_FLAG) {
        if (eq)
            return RS_FAIL(e, RS_INVALID, "option --%s takes no value", o->name);
        return set_value(o, NULL, e);
    }
    if (eq)
        return set_value(o, eq + 1, e);
    if (*i + 1 >= argc)
        return RS_FAIL(e, RS_INVALID, "option --%s needs a value (%s)", o->name, o->arg ? o->arg : "VALUE");
    return set_value(o, argv[++*i], e);
}

static int parse_letters(struct rs_opt *table, size_t n, char **argv, int argc, int *i, struct rs_err *e)
{
    for (const char *p = argv[*i] + 1; *p; p++) {
        struct rs_opt *o = by_letter(table, n, *p);
        if (!o)
            return RS_FAIL(e, RS_INVALID, "unknown option -%c; see --help", *p);
        if (o->kind == RS_OPT_FLAG) {
            if (set_value(o, NULL, e) < 0)
                return -1;
            continue;
        }
        if (p[1])
            return set_value(o, p + 1 + (p[1] == '='), e);
        if (*i + 1 >= argc)
            return RS_FAIL(e, RS_INVALID, "option -%c needs a value (%s)", *p, o->arg ? o->arg : "VALUE");
        return set_value(o, argv[++*i], e);
    }
    return 0;
}

int rs_opt_parse(struct rs_opt *table, size_t n, int argc, char **argv, int *ret_positional, struct rs_err *e)
{
    int kept = 0;
    bool ended = false;
    for (int i = 1; i < argc; i++) {
        char *a = argv[i];
        if (ended || a[0] != '-' || !a[1]) {
            argv[1 + kept++] = a;
        } else if (rs_streq(a, "--")) {
            ended = true;
        } else if ((rs_streq(a, "--help") && !by_name(table, n, RS_STR("help"))) ||
                   (rs_streq(a, "-h") && !by_letter(table, n, 'h'))) {
            return 1;
        } else if ((a[1] == '-' ? parse_long : parse_letters)(table, n, argv, argc, &i, e) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < n; i++) {
        const char *v = table[i].env && !table[i].seen ? getenv(table[i].env) : NULL;
        if (v && *v && !(table[i].kind == RS_OPT_FLAG && !rs_streq(v, "1")) && set_value(&table[i], v, e) < 0)
            return rs_err_wrap(e, "environment variable %s", table[i].env);
    }
    *ret_positional = kept;
    return 0;
}

void rs_opt_help(FILE *out, const struct rs_opt *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct rs_opt *o = &table[i];
        if (!o->help)
            continue;
        char left[128];
        int m = snprintf(left, sizeof(left), "  %c%c%s--%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                         o->letter ? ", " : "  ", o->name);
        if (o->kind != RS_OPT_FLAG && m > 0 && (size_t)m < sizeof(left))
            snprintf(left + m, sizeof(left) - (size_t)m, " %s", o->arg ? o->arg : "VALUE");
        if (strlen(left) > 32)
            fprintf(out, "%s\n%-34s%s\n", left, "", o->help);
        else
            fprintf(out, "%-34s%s\n", left, o->help);
    }
}
