#include "http/h1.h"

#include <ctype.h>
#include <strings.h>

#define REFUSE(status, ...) (*ret_status = (status), RS_FAIL(e, RS_INVALID, __VA_ARGS__))

void rs_h1_head_done(struct rs_h1_head *h)
{
    free(h->method);
    free(h->target);
    rs_http_headers_done(&h->headers);
    *h = (struct rs_h1_head){ 0 };
}

static bool token_char(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(rs_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!token_char(s.p[i]))
            return false;
    return s.n > 0;
}

/* Field values: visible, blanks, and bytes beyond ASCII. */
static bool is_value(rs_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return true;
}

/* Takes the next line off in, without its CRLF. False when a CR or LF stands alone. in holds a whole head. */
static bool next_line(rs_str *in, rs_str *line)
{
    const char *lf = memchr(in->p, '\n', in->n);
    if (!lf || lf == in->p || lf[-1] != '\r')
        return false;
    *line = (rs_str){ in->p, (size_t)(lf - in->p) - 1 };
    in->n -= (size_t)(lf + 1 - in->p);
    in->p = lf + 1;
    return !memchr(line->p, '\r', line->n);
}

/* 1 with the head's size, its empty line included; 0 when that has not come; -1 past the limit. */
static int head_size(rs_str in, size_t *ret)
{
    const char *end = memmem(in.p, in.n < RS_H1_HEAD_MAX ? in.n : RS_H1_HEAD_MAX, "\r\n\r\n", 4);
    if (end) {
        *ret = (size_t)(end - in.p) + 4;
        return 1;
    }
    return in.n >= RS_H1_HEAD_MAX ? -1 : 0;
}

/* A head that is refused whatever follows need not be waited for: a lone LF would let it never end. */
static bool lone_lf(rs_str in)
{
    for (const char *p = in.p, *end = in.p + in.n; (p = memchr(p, '\n', (size_t)(end - p))); p++)
        if (p == in.p || p[-1] != '\r')
            return true;
    return false;
}

static int parse_fields(struct rs_h1_head *h, rs_str in, struct rs_err *e, int *ret_status)
{
    rs_str line;
    for (;;) {
        if (!next_line(&in, &line))
            return REFUSE(400, "a CR or LF stands alone in the head");
        if (line.n == 0)
            return 0;
        const char *colon = memchr(line.p, ':', line.n);
        rs_str name = { line.p, colon ? (size_t)(colon - line.p) : 0 };
        if (!is_token(name))
            return REFUSE(400, "malformed header line");
        rs_str value = rs_str_trim((rs_str){ colon + 1, line.n - name.n - 1 });
        if (!is_value(value))
            return REFUSE(400, "control characters in header %.*s", (int)(name.n < 64 ? name.n : 64), name.p);
        if (h->headers.n >= RS_H1_HEADERS_MAX)
            return REFUSE(431, "more than %d headers", RS_H1_HEADERS_MAX);
        RS_AUTO(rs_chars) *n = rs_strndup(name.p, name.n), *v = rs_strndup(value.p, value.n);
        rs_http_headers_add(&h->headers, n, v);
    }
}

static size_t count(const struct rs_http_headers *h, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < h->n; i++)
        n += rs_streq(h->v[i].name, name);
    return n;
}

/* How long the body is, when that can be said in one way only. */
static int parse_framing(struct rs_h1_head *h, struct rs_err *e, int *ret_status)
{
    size_t lengths = count(&h->headers, "content-length"), codings = count(&h->headers, "transfer-encoding");
    h->keep_alive = h->minor == 1 && !rs_http_headers_has_token(&h->headers, "connection", "close");
    if (lengths + codings > 1)
        return REFUSE(400, "several Content-Length or Transfer-Encoding headers");
    if (codings) {
        const char *coding = rs_http_headers_get(&h->headers, "transfer-encoding");
        if (h->minor == 0)
            return REFUSE(400, "Transfer-Encoding in HTTP/1.0");
        if (strcasecmp(coding, "chunked") != 0)
            return REFUSE(501, "Transfer-Encoding other than chunked");
        h->body = RS_H1_BODY_CHUNKED;
    }
    if (lengths) {
        if (!rs_str_u64(rs_str_of(rs_http_headers_get(&h->headers, "content-length")), &h->length))
            return REFUSE(400, "malformed Content-Length");
        h->body = h->length ? RS_H1_BODY_LENGTH : RS_H1_BODY_NONE;
    }
    return 0;
}

/* METHOD SP target SP HTTP/1.x */
static int parse_request_line(struct rs_h1_head *h, rs_str line, struct rs_err *e, int *ret_status)
{
    const char *end = line.p + line.n, *sp = memchr(line.p, ' ', line.n);
    const char *sp2 = sp ? memchr(sp + 1, ' ', (size_t)(end - sp - 1)) : NULL;
    if (!sp2)
        return REFUSE(400, "malformed request line");
    rs_str method = { line.p, (size_t)(sp - line.p) }, target = { sp + 1, (size_t)(sp2 - sp - 1) };
    rs_str version = { sp2 + 1, (size_t)(end - sp2 - 1) };
    if (!is_token(method) || method.n > 32 || version.n != 8 || memcmp(version.p, "HTTP/", 5) != 0)
        return REFUSE(400, "malformed request line");
    if (!rs_str_is(version, "HTTP/1.1") && !rs_str_is(version, "HTTP/1.0"))
        return REFUSE(505, "%.8s", version.p);
    h->minor = version.p[7] - '0';
    for (size_t i = 0; i < target.n; i++)
        if (target.p[i] <= 0x20 || target.p[i] == 0x7f || target.p[i] == '#' || (target.p[i] & 0x80))
            return REFUSE(400, "malformed request target");
    h->method = rs_strndup(method.p, method.n);
    h->target = rs_strndup(target.p, target.n);
    return 0;
}

/* "http://host/path" is what proxies are sent; it means "/path" here. */
static int normalise_target(struct rs_h1_head *h, struct rs_err *e, int *ret_status)
{
    if (h->target[0] == '/' || (rs_streq(h->target, "*") && rs_streq(h->method, "OPTIONS")))
        return 0;
    size_t scheme = strncasecmp(h->target, "http://", 7) == 0 ? 7 : strncasecmp(h->target, "https://", 8) == 0 ? 8 : 0;
    if (!scheme)
        return REFUSE(400, "request target is not a path");
    const char *rest = h->target + scheme + strcspn(h->target + scheme, "/?");
    char *path = rs_printf("%s%s", *rest == '/' ? "" : "/", rest);
    free(h->target);
    h->target = path;
    return 0;
}

static bool host_valid(const char *host)
{
    for (const char *p = host; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("-._~:[]%!$&'()*+,;=", *p))
            return false;
    return true;
}

static int parse_request(struct rs_h1_head *h, rs_str in, struct rs_err *e, int *ret_status)
{
    rs_str line;
    if (!next_line(&in, &line))
        return REFUSE(400, "a CR or LF stands alone in the head");
    if (parse_request_line(h, line, e, ret_status) < 0 || parse_fields(h, in, e, ret_status) < 0 ||
        normalise_target(h, e, ret_status) < 0 || parse_framing(h, e, ret_status) < 0)
        return -1;
    size_t hosts = count(&h->headers, "host");
    if (hosts > 1 || (hosts == 0 && h->minor == 1) || (hosts == 1 && !host_valid(rs_http_headers_get(&h->headers, "host"))))
        return REFUSE(400, "Host must be given once");
    const char *expect = rs_http_headers_get(&h->headers, "expect");
    if (expect && strcasecmp(expect, "100-continue") != 0)
        return REFUSE(417, "Expect other than 100-continue");
    h->expect_continue = expect && h->minor == 1;
    return 0;
}

int rs_h1_request(struct rs_h1_head *h, rs_str in, size_t *used, int *ret_status, struct rs_err *e)
{
    /* RFC 9112 2.2: one empty line before a request line is let pass. */
    size_t skip = in.n >= 2 && memcmp(in.p, "\r\n", 2) == 0 ? 2 : 0, n = 0;
    in.p += skip;
    in.n -= skip;
    int whole = head_size(in, &n);
    if (whole < 0)
        return REFUSE(memchr(in.p, '\n', in.n) ? 431 : 414, "head of more than %d bytes", RS_H1_HEAD_MAX);
    if (whole == 0)
        return lone_lf(in) ? REFUSE(400, "a CR or LF stands alone in the head") : 0;
    if (parse_request(h, (rs_str){ in.p, n }, e, ret_status) < 0) {
        rs_h1_head_done(h);
        return -1;
    }
    *used = skip + n;
    return 1;
}

/* HTTP/1.x SP 3DIGIT SP reason */
static int parse_response(struct rs_h1_head *h, rs_str in, struct rs_err *e)
{
    int unused, *ret_status = &unused;
    rs_str line;
    uint64_t status;
    if (!next_line(&in, &line) || line.n < 12 || memcmp(line.p, "HTTP/1.", 7) != 0 || (line.p[7] != '0' && line.p[7] != '1') ||
        line.p[8] != ' ' || !rs_str_u64((rs_str){ line.p + 9, 3 }, &status) || status < 100 || (line.n > 12 && line.p[12] != ' '))
        return RS_FAIL(e, RS_INVALID, "malformed status line");
    h->minor = line.p[7] - '0';
    h->status = (int)status;
    h->body = RS_H1_BODY_TO_END;
    if (parse_fields(h, in, e, ret_status) < 0 || parse_framing(h, e, ret_status) < 0)
        return -1;
    if (status < 200 || status == 204 || status == 304)
        h->body = RS_H1_BODY_NONE;
    return 0;
}

int rs_h1_response(struct rs_h1_head *h, rs_str in, size_t *used, struct rs_err *e)
{
    size_t n = 0;
    int whole = head_size(in, &n);
    if (whole < 0)
        return RS_FAIL(e, RS_EXHAUSTED, "head of more than %d bytes", RS_H1_HEAD_MAX);
    if (whole == 0)
        return lone_lf(in) ? RS_FAIL(e, RS_INVALID, "a LF stands alone in the head") : 0;
    if (parse_response(h, (rs_str){ in.p, n }, e) < 0) {
        rs_h1_head_done(h);
        return -1;
    }
    *used = n;
    return 1;
}

/* ---- body ---- */

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, TRAILER_LINE, TRAILER_LF, LAST_LF };

void rs_h1_body_init(struct rs_h1_body *b, const struct rs_h1_head *h)
{
    *b = (struct rs_h1_body){ .kind = h->body, .state = SIZE, .left = h->body == RS_H1_BODY_LENGTH ? h->length : 0 };
}

static int size_digit(struct rs_h1_body *b, char c, struct rs_err *e)
{
    if (isxdigit((unsigned char)c)) {
        if (++b->digits > 15)
            return RS_FAIL(e, RS_INVALID, "chunk size has too many digits");
        c = (char)(c | 0x20);
        b->left = b->left << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
        return 0;
    }
    if (b->digits == 0 || (c != ';' && c != '\r'))
        return RS_FAIL(e, RS_INVALID, "malformed chunk size");
    b->state = c == ';' ? EXTENSION : SIZE_LF;
    return 0;
}

/* One byte outside of chunk data. 1 at the end of the body. */
static int chunk_byte(struct rs_h1_body *b, char c, struct rs_err *e)
{
    switch (b->state) {
    case SIZE:
        return size_digit(b, c, e);
    case EXTENSION:
        if (c == '\r')
            b->state = SIZE_LF;
        else if (!is_value((rs_str){ &c, 1 }) || ++b->extension > RS_H1_EXTENSION_MAX)
            return RS_FAIL(e, RS_INVALID, "malformed or long chunk extension");
        return 0;
    case DATA_CR:
        b->state = DATA_LF;
        return c == '\r' ? 0 : RS_FAIL(e, RS_INVALID, "chunk is longer than its size");
    case TRAILER:
        if (c == '\r') {
            b->state = LAST_LF;
            return 0;
        }
        b->state = TRAILER_LINE;
        if (!token_char(c))
            return RS_FAIL(e, RS_INVALID, "malformed trailer");
        __attribute__((fallthrough));
    case TRAILER_LINE:
        if (c == '\r')
            b->state = TRAILER_LF;
        else if (!is_value((rs_str){ &c, 1 }) || ++b->trailer > RS_H1_TRAILER_MAX)
            return RS_FAIL(e, RS_INVALID, "malformed or long trailer");
        return 0;
    default:
        break;
    }
    if (c != '\n')
        return RS_FAIL(e, RS_INVALID, "a CR stands alone in a chunked body");
    if (b->state == LAST_LF)
        return 1;
    if (b->state == SIZE_LF)
        b->state = b->left ? DATA : TRAILER;
    else
        b->state = b->state == DATA_LF ? SIZE : TRAILER;
    b->digits = 0;
    return 0;
}

static int take_data(struct rs_h1_body *b, rs_str in, size_t *used, struct rs_buf *out, struct rs_err *e)
{
    size_t n = in.n - *used;
    if (b->kind != RS_H1_BODY_TO_END && n > b->left)
        n = (size_t)b->left;
    rs_buf_add(out, in.p + *used, n);
    if (out->over)
        return RS_FAIL(e, RS_EXHAUSTED, "body of more than %zu bytes", out->max);
    *used += n;
    if (b->kind != RS_H1_BODY_TO_END)
        b->left -= n;
    return 0;
}

int rs_h1_body_feed(struct rs_h1_body *b, rs_str in, size_t *used, struct rs_buf *out, struct rs_err *e)
{
    *used = 0;
    if (b->kind != RS_H1_BODY_CHUNKED) {
        if (take_data(b, in, used, out, e) < 0)
            return -1;
        return b->kind != RS_H1_BODY_TO_END && b->left == 0;
    }
    while (*used < in.n) {
        if (b->state == DATA) {
            if (take_data(b, in, used, out, e) < 0)
                return -1;
            if (b->left == 0)
                b->state = DATA_CR;
            continue;
        }
        int rc = chunk_byte(b, in.p[(*used)++], e);
        if (rc != 0)
            return rc;
    }
    return 0;
}
