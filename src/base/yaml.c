#include "base/yaml.h"

#include <ctype.h>
#include <math.h>

#include <yaml.h>

#include "base/buf.h"

enum { YAML_MAX = 16 * 1024 * 1024, DEPTH_MAX = 100, ALIAS_MAX = 1000, NODES_MAX = 1000000 };

struct reader {
    yaml_document_t *doc;
    int aliases, nodes;
};

static bool one_of(const char *s, const char *words)
{
    size_t n = strlen(s);
    for (const char *p = words; *p; p += strcspn(p, " "), p += *p == ' ')
        if (strcspn(p, " ") == n && memcmp(p, s, n) == 0)
            return true;
    return false;
}

static json_t *number(const char *s)
{
    const char *p = s + (*s == '-' || *s == '+');
    if (!isdigit((unsigned char)*p) && *p != '.')
        return NULL;
    char *end;
    if (p[0] == '0' && isdigit((unsigned char)p[1]))
        return NULL;
    errno = 0;
    long long v = strtoll(s, &end, p[0] == '0' && p[1] == 'x' ? 16 : 10);
    if (!*end && errno == 0)
        return json_integer(v);
    for (const char *c = p; *c; c++)
        if (!strchr("0123456789.eE+-", *c))
            return NULL;
    double d = strtod(s, &end);
    return *end || !isfinite(d) ? NULL : json_real(d);
}

/* Kubernetes manifests use the YAML 1.1 boolean words (sigs.k8s.io/yaml does too). */
static json_t *plain(const char *s)
{
    if (!*s || one_of(s, "~ null Null NULL"))
        return json_null();
    if (one_of(s, "true True TRUE yes Yes YES on On ON y Y"))
        return json_true();
    if (one_of(s, "false False FALSE no No NO off Off OFF n N"))
        return json_false();
    json_t *n = number(s);
    return n ? n : json_string(s);
}

static json_t *read_node(struct reader *r, int index, int depth, struct rs_err *e)
{
    yaml_node_t *node = yaml_document_get_node(r->doc, index);
    if (!node || depth > DEPTH_MAX || ++r->nodes > NODES_MAX) {
        RS_FAIL(e, RS_EXHAUSTED, "YAML nested or repeated beyond the limits");
        return NULL;
    }
    int line = (int)node->start_mark.line + 1;
    if (node->type == YAML_SCALAR_NODE) {
        const char *s = (const char *)node->data.scalar.value;
        json_t *v = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain(s)
                                                                      : json_stringn(s, node->data.scalar.length);
        if (!v)
            RS_FAIL(e, RS_INVALID, "YAML line %d: not UTF-8 text", line);
        return v;
    }
    if (node->type == YAML_SEQUENCE_NODE) {
        RS_AUTO(json_t) *a = json_array();
        for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
            json_t *v = read_node(r, *i, depth + 1, e);
            if (!v)
                return NULL;
            json_array_append_new(a, v);
        }
        return rs_take(a);
    }
    RS_AUTO(json_t) *o = json_object();
    for (yaml_node_pair_t *i = node->data.mapping.pairs.start; i < node->data.mapping.pairs.top; i++) {
        yaml_node_t *key = yaml_document_get_node(r->doc, i->key);
        if (!key || key->type != YAML_SCALAR_NODE) {
            RS_FAIL(e, RS_INVALID, "YAML line %d: a key must be plain text", line);
            return NULL;
        }
        const char *name = (const char *)key->data.scalar.value;
        if (json_object_get(o, name)) {
            RS_FAIL(e, RS_INVALID, "YAML line %d: key \"%s\" appears twice", (int)key->start_mark.line + 1, name);
            return NULL;
        }
        json_t *v = read_node(r, i->value, depth + 1, e);
        if (!v)
            return NULL;
        if (json_object_set_new(o, name, v) < 0) {
            RS_FAIL(e, RS_INVALID, "YAML line %d: not UTF-8 text", line);
            return NULL;
        }
    }
    return rs_take(o);
}

int rs_yaml_parse_all(json_t **ret_array, rs_str text, struct rs_err *e)
{
    if (text.n > YAML_MAX)
        return RS_FAIL(e, RS_EXHAUSTED, "YAML of %zu bytes; at most %d", text.n, YAML_MAX);
    yaml_parser_t parser;
    rs_assert(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
    RS_AUTO(json_t) *all = json_array();
    int rc = 0;
    for (bool more = true; more && rc == 0; ) {
        yaml_document_t doc;
        if (!yaml_parser_load(&parser, &doc)) {
            rc = RS_FAIL(e, RS_INVALID, "YAML line %zu: %s", parser.problem_mark.line + 1,
                         parser.problem ? parser.problem : "unreadable");
            break;
        }
        more = yaml_document_get_root_node(&doc) != NULL;
        if (more) {
            struct reader r = { .doc = &doc };
            json_t *v = read_node(&r, 1, 0, e);
            if (!v)
                rc = -1;
            else if (json_is_null(v))
                json_decref(v);
            else
                json_array_append_new(all, v);
        }
        yaml_document_delete(&doc);
    }
    yaml_parser_delete(&parser);
    if (rc == 0)
        *ret_array = rs_take(all);
    return rc;
}

int rs_yaml_parse(json_t **ret, rs_str text, struct rs_err *e)
{
    RS_AUTO(json_t) *all = NULL;
    if (rs_yaml_parse_all(&all, text, e) < 0)
        return -1;
    if (json_array_size(all) != 1)
        return RS_FAIL(e, RS_INVALID, "%zu YAML documents where one is expected", json_array_size(all));
    *ret = json_incref(json_array_get(all, 0));
    return 0;
}

static void indent(struct rs_buf *b, int depth)
{
    for (int i = 0; i < depth; i++)
        rs_buf_adds(b, "  ");
}

static bool needs_quotes(const char *s)
{
    RS_AUTO(json_t) *v = plain(s);
    if (!json_is_string(v) || strpbrk(s, ":#{}[],&*!|>'\"%@`\n\t\r\\") || isspace((unsigned char)*s) || strchr("-?", *s))
        return true;
    return s[strlen(s) - 1] == ' ';
}

static void write_scalar(struct rs_buf *b, const json_t *o)
{
    const char *s = json_string_value(o);
    if (s && !needs_quotes(s)) {
        rs_buf_adds(b, s);
        return;
    }
    RS_AUTO(rs_chars) *text = rs_json_text(o);       /* a JSON scalar is a YAML scalar */
    rs_buf_adds(b, text);
}

/* Literal block scalars keep PEM readable. */
static bool literal_block(struct rs_buf *b, const json_t *o, int depth)
{
    const char *s = json_string_value(o);
    if (!s || !strchr(s, '\n') || isspace((unsigned char)*s) || strpbrk(s, "\t\r") || !rs_ends(s, "\n") || rs_ends(s, "\n\n"))
        return false;
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p < 0x20 && *p != '\n')
            return false;
    rs_buf_adds(b, " |\n");
    for (const char *p = s; *p; ) {
        const char *end = strchrnul(p, '\n');
        if (end > p) {
            indent(b, depth);
            rs_buf_add(b, p, (size_t)(end - p));
        }
        rs_buf_adds(b, "\n");
        p = *end ? end + 1 : end;
    }
    return true;
}

static void write_node(struct rs_buf *b, const json_t *o, int depth, bool inline_start);

static void write_value(struct rs_buf *b, const json_t *v, int depth)
{
    bool nested = (json_is_object(v) && json_object_size(v)) || (json_is_array(v) && json_array_size(v));
    if (nested) {
        rs_buf_adds(b, "\n");
        write_node(b, v, json_is_array(v) ? depth : depth + 1, false);
    } else if (!literal_block(b, v, depth + 1)) {
        rs_buf_adds(b, " ");
        write_scalar(b, v);
        rs_buf_adds(b, "\n");
    }
}

static void write_node(struct rs_buf *b, const json_t *o, int depth, bool inline_start)
{
    if (json_is_object(o) && json_object_size(o)) {
        const char *key;
        json_t *v;
        json_object_foreach((json_t *)o, key, v) {
            if (!inline_start)
                indent(b, depth);
            inline_start = false;
            RS_AUTO(json_t) *k = json_string(key);
            write_scalar(b, k);
            rs_buf_adds(b, ":");
            write_value(b, v, depth);
        }
    } else if (json_is_array(o) && json_array_size(o)) {
        size_t i;
        json_t *v;
        json_array_foreach((json_t *)o, i, v) {
            if (!inline_start)
                indent(b, depth);
            inline_start = false;
            rs_buf_adds(b, "-");
            if ((json_is_object(v) && json_object_size(v)) || (json_is_array(v) && json_array_size(v))) {
                rs_buf_adds(b, " ");
                write_node(b, v, depth + 1, true);
            } else if (!literal_block(b, v, depth + 1)) {
                rs_buf_adds(b, " ");
                write_scalar(b, v);
                rs_buf_adds(b, "\n");
            }
        }
    } else {
        write_scalar(b, o);
        rs_buf_adds(b, "\n");
    }
}

char *rs_yaml_text(const json_t *o)
{
    struct rs_buf b;
    rs_buf_init(&b, SIZE_MAX / 2);
    write_node(&b, o, 0, false);
    return rs_buf_take(&b);
}
