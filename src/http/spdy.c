#include "http/spdy.h"

#include <ctype.h>
#include <uthash.h>
#include <zlib.h>

#include "http/spdy_dictionary.h"

enum {
    CONTROL_MAX = 64 * 1024,           /* of a control frame, and of its header block inflated */
    HEADERS_MAX = 256,
    STREAMS_MAX = 4096,                /* open at a time */
    DATA_MAX = 32 * 1024,              /* of a frame we send */
};
enum { SYN_STREAM = 1, SYN_REPLY = 2, RST_STREAM = 3, PING = 6, GOAWAY = 7, HEADERS = 8 };
enum { FLAG_FIN = 1 };
enum { REFUSED_STREAM = 3, STREAM_ALREADY_CLOSED = 9 };

struct stream { uint32_t id; bool theirs_ended, ours_ended; UT_hash_handle hh; };

struct rs_spdy {
    const struct rs_spdy_ops *ops;
    void *ctx;
    z_stream in, out;                  /* one compression context per direction and connection */
    struct rs_buf frame;               /* header, and payload of a control frame, so far */
    uint32_t data_id;                  /* DATA under way */
    size_t data_left;
    bool in_data, data_fin;
    struct stream *streams;
    uint32_t last_id;
    int busy;
    bool freed;
};

static uint32_t get32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static void add32(struct rs_buf *b, uint32_t v)
{
    const unsigned char bytes[] = { (unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v };
    rs_buf_add(b, bytes, sizeof(bytes));
}

/* ---- life ---- */

rs_spdy *rs_spdy_new(const struct rs_spdy_ops *ops, void *ctx)
{
    rs_spdy *s = rs_new(rs_spdy);
    s->ops = ops;
    s->ctx = ctx;
    rs_buf_init(&s->frame, CONTROL_MAX + 8);
    rs_assert(inflateInit(&s->in) == Z_OK);
    /* The smallest window that holds the dictionary: what we send is tiny. */
    rs_assert(deflateInit2(&s->out, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 11, 1, Z_DEFAULT_STRATEGY) == Z_OK);
    rs_assert(deflateSetDictionary(&s->out, (const Bytef *)spdy_dictionary, sizeof(spdy_dictionary) - 1) == Z_OK);
    return s;
}

static struct stream *stream_find(rs_spdy *s, uint32_t id)
{
    struct stream *t;
    HASH_FIND(hh, s->streams, &id, sizeof(id), t);
    return t;
}

static void stream_drop(rs_spdy *s, struct stream *t)
{
    HASH_DEL(s->streams, t);
    free(t);
}

static void leave(rs_spdy *s)
{
    if (--s->busy > 0 || !s->freed)
        return;
    struct stream *t, *next;
    HASH_ITER(hh, s->streams, t, next)
        stream_drop(s, t);
    inflateEnd(&s->in);
    deflateEnd(&s->out);
    rs_buf_done(&s->frame);
    free(s);
}

void rs_spdy_free(rs_spdy *s)
{
    if (!s || s->freed)
        return;
    s->freed = true;
    s->busy++;
    leave(s);
}

/* ---- sending ---- */

static void begin_control(struct rs_buf *b, uint32_t type, uint32_t flags, size_t n)
{
    add32(b, 0x80030000u | type);
    add32(b, flags << 24 | (uint32_t)n);
}

static void output(rs_spdy *s, const struct rs_buf *b)
{
    s->busy++;
    if (!s->freed)
        s->ops->on_output(s->ctx, s, rs_buf_str(b));
    leave(s);
}

void rs_spdy_accept(rs_spdy *s, uint32_t id)
{
    if (!stream_find(s, id))
        return;
    unsigned char none[4] = { 0 }, block[64];      /* a header block that holds no header */
    s->out.next_in = none;
    s->out.avail_in = sizeof(none);
    s->out.next_out = block;
    s->out.avail_out = sizeof(block);
    rs_assert(deflate(&s->out, Z_SYNC_FLUSH) == Z_OK && s->out.avail_in == 0 && s->out.avail_out > 0);
    size_t n = sizeof(block) - s->out.avail_out;
    RS_AUTO_BUF b;
    rs_buf_init(&b, 128);
    begin_control(&b, SYN_REPLY, 0, 4 + n);
    add32(&b, id);
    rs_buf_add(&b, block, n);
    output(s, &b);
}

static void send_reset(rs_spdy *s, uint32_t id, uint32_t status)
{
    RS_AUTO_BUF b;
    rs_buf_init(&b, 16);
    begin_control(&b, RST_STREAM, 0, 8);
    add32(&b, id);
    add32(&b, status);
    output(s, &b);
}

void rs_spdy_reset(rs_spdy *s, uint32_t id, uint32_t status)
{
    struct stream *t = stream_find(s, id);
    if (!t)
        return;
    stream_drop(s, t);
    send_reset(s, id, status);
}

void rs_spdy_data(rs_spdy *s, uint32_t id, rs_str data, bool fin)
{
    struct stream *t = stream_find(s, id);
    if (!t || t->ours_ended)
        return;
    if (fin) {
        t->ours_ended = true;
        if (t->theirs_ended)
            stream_drop(s, t);
    }
    s->busy++;
    do {
        size_t n = data.n < DATA_MAX ? data.n : DATA_MAX;
        bool last = n == data.n;
        if (n == 0 && !fin)
            break;
        RS_AUTO_BUF b;
        rs_buf_init(&b, DATA_MAX + 8);
        add32(&b, id);
        add32(&b, (last && fin ? (uint32_t)FLAG_FIN << 24 : 0) | (uint32_t)n);
        rs_buf_add(&b, data.p, n);
        output(s, &b);
        data.p += n;
        data.n -= n;
    } while (data.n > 0 && !s->freed);
    leave(s);
}

/* ---- header blocks ---- */

/* Every block has to pass through here, wanted or not: it moves the connection's compression context on. */
static int inflate_block(rs_spdy *s, rs_str in, struct rs_buf *out, struct rs_err *e)
{
    char piece[4096];
    s->in.next_in = (Bytef *)(uintptr_t)in.p;
    s->in.avail_in = (uInt)in.n;
    for (;;) {
        s->in.next_out = (Bytef *)piece;
        s->in.avail_out = sizeof(piece);
        int rc = inflate(&s->in, Z_SYNC_FLUSH);
        if (rc == Z_NEED_DICT)
            rc = inflateSetDictionary(&s->in, (const Bytef *)spdy_dictionary, sizeof(spdy_dictionary) - 1);
        if (rc != Z_OK && rc != Z_BUF_ERROR)
            return RS_FAIL(e, RS_INVALID, "SPDY: header block does not decompress");
        rs_buf_add(out, piece, sizeof(piece) - s->in.avail_out);
        if (out->over)
            return RS_FAIL(e, RS_EXHAUSTED, "SPDY: header block of more than %zu bytes", out->max);
        if (rc == Z_BUF_ERROR || (s->in.avail_in == 0 && s->in.avail_out > 0))
            return 0;
    }
}

static bool take32(rs_str *in, uint32_t *v)
{
    if (in->n < 4)
        return false;
    *v = get32(in->p);
    in->p += 4;
    in->n -= 4;
    return true;
}

/* A length and so many bytes; several values of one name are parted by NULs: the first counts. */
static char *take_text(rs_str *in)
{
    uint32_t n;
    if (!take32(in, &n) || n > in->n)
        return NULL;
    char *text = rs_strndup(in->p, n);
    in->p += n;
    in->n -= n;
    return text;
}

typedef struct fields { char *names[HEADERS_MAX], *values[HEADERS_MAX]; size_t n; } fields;

static void fields_free(fields *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->names[i]);
        free(f->values[i]);
    }
    free(f);
}
RS_DEFINE_AUTO(fields, fields_free)

static int parse_block(fields *f, rs_str in, struct rs_err *e)
{
    uint32_t n;
    if (!take32(&in, &n) || n > HEADERS_MAX)
        return RS_FAIL(e, RS_INVALID, "SPDY: malformed header block");
    while (f->n < n) {
        RS_AUTO(rs_chars) *name = take_text(&in), *value = name ? take_text(&in) : NULL;
        if (!value || !name[0])
            return RS_FAIL(e, RS_INVALID, "SPDY: malformed header block");
        for (char *p = name; *p; p++)
            *p = (char)tolower((unsigned char)*p);
        f->names[f->n] = rs_take(name);
        f->values[f->n++] = rs_take(value);
    }
    return in.n == 0 ? 0 : RS_FAIL(e, RS_INVALID, "SPDY: malformed header block");
}

/* ---- receiving ---- */

static void give_data(rs_spdy *s, uint32_t id, rs_str data, bool fin)
{
    struct stream *t = stream_find(s, id);
    if (!t)
        return;                        /* reset meanwhile: what was under way is void */
    if (t->theirs_ended) {
        if (fin || data.n)
            rs_spdy_reset(s, id, STREAM_ALREADY_CLOSED);
        return;
    }
    if (fin) {
        t->theirs_ended = true;
        if (t->ours_ended)
            stream_drop(s, t);
    }
    s->ops->on_data(s->ctx, s, id, data, fin);
}

static int on_syn_stream(rs_spdy *s, rs_str payload, uint32_t flags, struct rs_err *e)
{
    RS_AUTO_BUF text;
    rs_buf_init(&text, CONTROL_MAX);
    if (payload.n < 10)
        return RS_FAIL(e, RS_INVALID, "SPDY: short SYN_STREAM");
    uint32_t id = get32(payload.p) & 0x7fffffffu;
    if (inflate_block(s, (rs_str){ payload.p + 10, payload.n - 10 }, &text, e) < 0)
        return -1;
    if (id % 2 == 0 || id <= s->last_id)
        return RS_FAIL(e, RS_INVALID, "SPDY: stream id %u out of order", id);
    s->last_id = id;
    if (HASH_COUNT(s->streams) >= STREAMS_MAX) {
        send_reset(s, id, REFUSED_STREAM);
        return 0;
    }
    RS_AUTO(fields) *f = rs_new(fields);
    if (parse_block(f, rs_buf_str(&text), e) < 0)
        return -1;
    struct stream *t = rs_new(struct stream);
    t->id = id;
    HASH_ADD(hh, s->streams, id, sizeof(t->id), t);
    s->ops->on_stream(s->ctx, s, id, (const char *const *)f->names, (const char *const *)f->values, f->n);
    if (!s->freed && flags & FLAG_FIN)
        give_data(s, id, RS_STR(""), true);
    return 0;
}

static int on_control(rs_spdy *s, struct rs_err *e)
{
    uint32_t head = get32(s->frame.p), flags = get32(s->frame.p + 4) >> 24, type = head & 0xffff;
    rs_str payload = { s->frame.p + 8, s->frame.n - 8 };
    RS_AUTO_BUF ignored;
    rs_buf_init(&ignored, CONTROL_MAX);
    if ((head >> 16 & 0x7fff) != 3)
        return RS_FAIL(e, RS_INVALID, "SPDY: version %u", head >> 16 & 0x7fff);
    switch (type) {
    case SYN_STREAM:
        return on_syn_stream(s, payload, flags, e);
    case SYN_REPLY:
    case HEADERS:
        if (payload.n < 4)
            return RS_FAIL(e, RS_INVALID, "SPDY: short frame of type %u", type);
        return inflate_block(s, (rs_str){ payload.p + 4, payload.n - 4 }, &ignored, e);
    case RST_STREAM:
        if (payload.n != 8)
            return RS_FAIL(e, RS_INVALID, "SPDY: malformed RST_STREAM");
        struct stream *t = stream_find(s, get32(payload.p) & 0x7fffffffu);
        if (t) {
            uint32_t id = t->id;
            stream_drop(s, t);
            s->ops->on_reset(s->ctx, s, id);
        }
        return 0;
    case PING:
        if (payload.n != 4)
            return RS_FAIL(e, RS_INVALID, "SPDY: malformed PING");
        if (get32(payload.p) & 1)
            output(s, &s->frame);
        return 0;
    case GOAWAY:
        s->ops->on_goaway(s->ctx, s);
        return 0;
    default:
        return 0;                      /* SETTINGS, WINDOW_UPDATE: nobody who speaks to us uses flow control */
    }
}

/* Adds to the frame's header or a control frame's payload until there are n bytes. */
static bool gather(rs_spdy *s, rs_str *in, size_t n)
{
    size_t missing = n - s->frame.n, take = missing < in->n ? missing : in->n;
    rs_buf_add(&s->frame, in->p, take);
    in->p += take;
    in->n -= take;
    return s->frame.n == n;
}

static void pass_data(rs_spdy *s, rs_str *in)
{
    size_t n = in->n < s->data_left ? in->n : s->data_left;
    rs_str piece = { in->p, n };
    in->p += n;
    in->n -= n;
    s->data_left -= n;
    s->in_data = s->data_left > 0;
    bool fin = !s->in_data && s->data_fin;
    if (n > 0 || fin)
        give_data(s, s->data_id, piece, fin);
}

/* One step; sets *stuck when more bytes are needed. */
static int step(rs_spdy *s, rs_str *in, bool *stuck, struct rs_err *e)
{
    if (s->in_data) {
        pass_data(s, in);
        return 0;
    }
    if (s->frame.n < 8 && !gather(s, in, 8)) {
        *stuck = true;
        return 0;
    }
    uint32_t head = get32(s->frame.p), rest = get32(s->frame.p + 4), n = rest & 0xffffff;
    if (!(head & 0x80000000u)) {
        rs_buf_clear(&s->frame);
        s->data_id = head;
        s->data_left = n;
        s->data_fin = rest >> 24 & FLAG_FIN;
        s->in_data = true;
        if (n == 0)
            pass_data(s, in);
        return 0;
    }
    if (n > CONTROL_MAX)
        return RS_FAIL(e, RS_EXHAUSTED, "SPDY: control frame of %u bytes", n);
    if (!gather(s, in, 8 + (size_t)n)) {
        *stuck = true;
        return 0;
    }
    int rc = on_control(s, e);
    rs_buf_clear(&s->frame);
    return rc;
}

int rs_spdy_input(rs_spdy *s, rs_str bytes, struct rs_err *e)
{
    int rc = 0;
    bool stuck = false;
    s->busy++;
    while (rc == 0 && !s->freed && !stuck && bytes.n > 0)
        rc = step(s, &bytes, &stuck, e);
    leave(s);
    return rc;
}
