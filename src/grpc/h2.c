#include "grpc/h2.h"

#include <nghttp2/nghttp2.h>
#include <utlist.h>

#include "grpc/wire.h"

enum { PARTIAL_MAX_FACTOR = 16, CONTENT_FIELDS = 2 };

struct field { char *name, *value; };

struct rs_h2_stream {
    rs_h2 *h2;
    int32_t id;
    void *user;
    rs_h2_stream *prev, *next;               /* all streams */
    rs_h2_stream *touched_prev, *touched_next;
    bool is_touched;

    struct field *fields;
    size_t n_fields, field_bytes;
    struct rs_buf in;                        /* bytes of messages not yet delivered from in_at on */
    size_t in_at;
    bool headers_in, headers_told, end_in, end_told, deaf;

    struct rs_buf out;
    size_t out_at;
    bool answered;                           /* server: response headers submitted */
    bool half_closed;                        /* client: END_STREAM after what is queued */
    bool finished, trailers_sent;            /* server */
    bool deferred;
    enum rs_code finish_code;
    char *finish_message;

    bool closed, told;
    uint32_t reset_code;
    bool failed;
    struct rs_err failure;
};

struct rs_h2 {
    nghttp2_session *session;
    bool server;
    size_t message_max, partial;             /* partial: bytes in all streams' `in` */
    rs_h2_stream *streams, *touched, *gone;
    size_t n_streams;
    uint64_t pongs;
    bool draining, goaway_in, drain_ping;
};

static void touch(rs_h2_stream *s)
{
    if (s->is_touched)
        return;
    s->is_touched = true;
    DL_APPEND2(s->h2->touched, s, touched_prev, touched_next);
}

static void untouch(rs_h2_stream *s)
{
    if (!s->is_touched)
        return;
    s->is_touched = false;
    DL_DELETE2(s->h2->touched, s, touched_prev, touched_next);
}

static rs_h2_stream *stream_new(rs_h2 *h, int32_t id)
{
    rs_h2_stream *s = rs_new(rs_h2_stream);
    s->h2 = h;
    s->id = id;
    rs_buf_init(&s->in, h->message_max + RS_GRPC_PREFIX + RS_H2_FEED_MAX);
    rs_buf_init(&s->out, RS_H2_QUEUE_MAX);
    DL_APPEND(h->streams, s);
    h->n_streams++;
    return s;
}

static void drop_input(rs_h2_stream *s)
{
    s->h2->partial -= s->in.n;
    rs_buf_done(&s->in);
    s->in_at = 0;
}

static void fields_clear(rs_h2_stream *s)
{
    for (size_t i = 0; i < s->n_fields; i++) {
        free(s->fields[i].name);
        free(s->fields[i].value);
    }
    s->n_fields = 0;
}

static void stream_free(rs_h2_stream *s)
{
    untouch(s);
    DL_DELETE(s->h2->streams, s);
    s->h2->n_streams--;
    drop_input(s);
    fields_clear(s);
    free(s->fields);
    rs_buf_done(&s->out);
    free(s->finish_message);
    free(s);
}

/* Ends the stream from our side with a reason of our own. */
static void fail(rs_h2_stream *s, const struct rs_err *why, uint32_t h2_error)
{
    if (s->closed || s->failed)
        return;
    s->failed = true;
    s->failure = *why;
    s->deaf = true;
    nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, h2_error);
}

/* ---- nghttp2's callbacks: they only write down what happened ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    rs_h2 *h = ctx;
    if (h->server && frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, stream_new(h, frame->hd.stream_id));
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *ctx)
{
    rs_h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!s || frame->hd.type != NGHTTP2_HEADERS || s->deaf)
        return 0;
    if (s->h2->server && s->headers_in)
        return 0;                            /* trailers of a request mean nothing in gRPC */
    s->field_bytes += name_n + value_n + 32;
    if (s->field_bytes > RS_H2_HEADERS_MAX)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    s->fields = rs_realloc(s->fields, (s->n_fields + 1) * sizeof *s->fields);
    s->fields[s->n_fields++] = (struct field){ rs_strndup((const char *)name, name_n), rs_strndup((const char *)value, value_n) };
    return 0;
}

static void headers_received(rs_h2_stream *s)
{
    const char *status = rs_h2_field(s, ":status");
    if (!s->h2->server && !s->headers_in && status && status[0] == '1') {
        fields_clear(s);                     /* informational; the real ones follow */
        return;
    }
    s->headers_in = true;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    rs_h2 *h = ctx;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        h->goaway_in = true;
    if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK) {
        h->pongs++;
        if (h->drain_ping) {
            h->drain_ping = false;
            nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session), NGHTTP2_NO_ERROR, NULL, 0);
        }
    }
    rs_h2_stream *s = frame->hd.stream_id ? nghttp2_session_get_stream_user_data(session, frame->hd.stream_id) : NULL;
    if (!s)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        headers_received(s);
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        s->end_in = true;
    touch(s);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *ctx)
{
    rs_h2 *h = ctx;
    rs_h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (!s || s->deaf || s->closed)
        return 0;
    if (h->partial + n > PARTIAL_MAX_FACTOR * (h->message_max + RS_GRPC_PREFIX) + RS_H2_FEED_MAX) {
        struct rs_err e;
        (void)RS_FAIL(&e, RS_EXHAUSTED, "too many unfinished gRPC messages on one connection");
        fail(s, &e, NGHTTP2_ENHANCE_YOUR_CALM);
        return 0;
    }
    rs_buf_add(&s->in, p, n);
    rs_assert(!s->in.over);                  /* feed and next bound it */
    h->partial += n;
    touch(s);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *ctx)
{
    rs_h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    if (!s)
        return 0;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    s->closed = true;
    s->reset_code = error_code;
    touch(s);
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    rs_h2 *h = ctx;
    if (!h->server || frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    rs_h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!s)
        return 0;
    s->trailers_sent = true;
    if (!s->end_in)                          /* the client may talk on for ever; the answer is complete */
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
    return 0;
}

/* ---- sending ---- */

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){ (uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE };
}

static size_t status_fields(rs_h2_stream *s, char code[16], nghttp2_nv *ret)
{
    snprintf(code, 16, "%d", (int)s->finish_code);
    ret[0] = nv("grpc-status", code);
    if (!s->finish_message)
        return 1;
    ret[1] = nv("grpc-message", s->finish_message);
    return 2;
}

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *buf, size_t n, uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
    rs_h2_stream *s = source->ptr;
    size_t left = s->out.n - s->out_at;
    if (n > left)
        n = left;
    if (n)
        memcpy(buf, s->out.p + s->out_at, n);
    s->out_at += n;
    if (s->out_at == s->out.n || s->out_at > s->out.n / 2) {
        rs_buf_drop(&s->out, s->out_at);
        s->out_at = 0;
    }
    if (s->out.n > 0)
        return (ssize_t)n;
    if (s->finished) {
        char code[16];
        nghttp2_nv fields[CONTENT_FIELDS];
        size_t count = status_fields(s, code, fields);
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session, id, fields, count);
    } else if (s->half_closed) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (n == 0) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

static void resume(rs_h2_stream *s)
{
    if (!s->deferred)
        return;
    s->deferred = false;
    nghttp2_session_resume_data(s->h2->session, s->id);
}

static void answer(rs_h2_stream *s)
{
    if (!s->h2->server || s->answered)
        return;
    s->answered = true;
    nghttp2_nv fields[] = { nv(":status", "200"), nv("content-type", "application/grpc") };
    nghttp2_data_provider from = { .source.ptr = s, .read_callback = read_out };
    nghttp2_submit_response(s->h2->session, s->id, fields, RS_COUNT(fields), &from);
}

static bool mute(const rs_h2_stream *s)
{
    return s->closed || s->failed || s->finished || s->half_closed;
}

void rs_h2_send(rs_h2_stream *s, rs_str message)
{
    if (mute(s))
        return;
    rs_grpc_frame_add(&s->out, message);
    if (s->out.over) {
        struct rs_err e;
        (void)RS_FAIL(&e, RS_EXHAUSTED, "the peer does not read: more than %d bytes are waiting", RS_H2_QUEUE_MAX);
        fail(s, &e, NGHTTP2_ENHANCE_YOUR_CALM);
        return;
    }
    answer(s);
    resume(s);
}

size_t rs_h2_pending(const rs_h2_stream *s)
{
    return s->out.n - s->out_at;
}

void rs_h2_half_close(rs_h2_stream *s)
{
    if (mute(s))
        return;
    s->half_closed = true;
    resume(s);
}

void rs_h2_finish(rs_h2_stream *s, enum rs_code code, const char *message)
{
    if (mute(s))
        return;
    s->finished = s->deaf = true;
    s->finish_code = code;
    s->finish_message = message && *message ? rs_grpc_message_encode(message) : NULL;
    if (s->answered) {
        resume(s);
        return;
    }
    s->answered = true;
    char text[16];
    nghttp2_nv fields[2 + CONTENT_FIELDS] = { nv(":status", "200"), nv("content-type", "application/grpc") };
    size_t n = 2 + status_fields(s, text, fields + 2);
    nghttp2_submit_response(s->h2->session, s->id, fields, n, NULL);
}

void rs_h2_reset(rs_h2_stream *s)
{
    struct rs_err e;
    (void)RS_FAIL(&e, RS_CANCELLED, "call cancelled");
    fail(s, &e, NGHTTP2_CANCEL);
}

rs_h2_stream *rs_h2_request(rs_h2 *h, const struct rs_h2_field *fields, size_t n, void *user)
{
    rs_assert(!h->server && n <= 64);
    if (rs_h2_draining(h))
        return NULL;
    nghttp2_nv nvs[64];
    for (size_t i = 0; i < n; i++)
        nvs[i] = nv(fields[i].name, fields[i].value);
    rs_h2_stream *s = stream_new(h, 0);
    nghttp2_data_provider from = { .source.ptr = s, .read_callback = read_out };
    s->id = nghttp2_submit_request(h->session, NULL, nvs, n, &from, s);
    if (s->id < 0) {
        stream_free(s);
        return NULL;
    }
    s->user = user;
    return s;
}

/* ---- events ---- */

static bool next_message(rs_h2_stream *s, rs_str *ret)
{
    struct rs_err e;
    rs_str rest = { s->in.p + s->in_at, s->in.n - s->in_at };
    int rc = s->deaf ? 0 : rs_grpc_frame_peek(rest, s->h2->message_max, ret, &e);
    if (rc > 0) {
        s->in_at += RS_GRPC_PREFIX + ret->n;
        return true;
    }
    if (rc < 0 && s->h2->server)
        rs_h2_finish(s, e.code, e.msg);
    else if (rc < 0)
        fail(s, &e, NGHTTP2_CANCEL);
    return false;
}

/* What the stream has to tell next. */
static bool stream_next(rs_h2_stream *s, struct rs_h2_event *ret)
{
    *ret = (struct rs_h2_event){ .stream = s };
    if (s->headers_in && !s->headers_told && !s->deaf) {
        s->headers_told = true;
        ret->kind = RS_H2_HEADERS;
        return true;
    }
    if (s->headers_told && next_message(s, &ret->message)) {
        ret->kind = RS_H2_MESSAGE;
        return true;
    }
    if (s->deaf) {
        drop_input(s);
    } else if (s->in_at) {
        s->h2->partial -= s->in_at;
        rs_buf_drop(&s->in, s->in_at);
        s->in_at = 0;
    }
    if (s->end_in && s->in.n && !s->deaf) {
        struct rs_err e;
        (void)RS_FAIL(&e, RS_INTERNAL, "stream ended inside a message");
        if (s->h2->server)
            rs_h2_finish(s, e.code, e.msg);
        else
            fail(s, &e, NGHTTP2_CANCEL);
        drop_input(s);
    }
    if (s->end_in && !s->end_told && !s->deaf) {
        s->end_told = true;
        ret->kind = RS_H2_END;
        return true;
    }
    if (s->closed && !s->told) {
        s->told = true;
        ret->kind = RS_H2_CLOSED;
        return true;
    }
    return false;
}

bool rs_h2_next(rs_h2 *h, struct rs_h2_event *ret)
{
    if (h->gone) {
        stream_free(h->gone);
        h->gone = NULL;
    }
    while (h->touched) {
        rs_h2_stream *s = h->touched;
        if (stream_next(s, ret)) {
            if (ret->kind == RS_H2_CLOSED) {
                untouch(s);
                h->gone = s;
            }
            return true;
        }
        untouch(s);
    }
    return false;
}

/* ---- the connection ---- */

rs_h2 *rs_h2_new(bool server, size_t message_max)
{
    rs_h2 *h = rs_new(rs_h2);
    h->server = server;
    h->message_max = message_max;

    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    rs_assert(nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&option) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_option_set_no_closed_streams(option, 1);
    rs_assert((server ? nghttp2_session_server_new2 : nghttp2_session_client_new2)(&h->session, cb, h, option) == 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);

    nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, RS_H2_WINDOW },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, RS_H2_HEADERS_MAX },
        { server ? NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS : NGHTTP2_SETTINGS_ENABLE_PUSH, server ? RS_H2_STREAMS_MAX : 0 },
    };
    rs_assert(nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, RS_COUNT(settings)) == 0);
    rs_assert(nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, RS_H2_WINDOW_CONNECTION) == 0);
    return h;
}

void rs_h2_free(rs_h2 *h)
{
    if (!h)
        return;
    nghttp2_session_del(h->session);
    while (h->streams)
        stream_free(h->streams);
    free(h);
}

int rs_h2_feed(rs_h2 *h, rs_str bytes, struct rs_err *e)
{
    rs_assert(bytes.n <= RS_H2_FEED_MAX);
    ssize_t n = nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes.p, bytes.n);
    if (n == NGHTTP2_ERR_NOMEM)
        abort();
    if (n < 0)
        return RS_FAIL(e, RS_UNAVAILABLE, "HTTP/2: %s", nghttp2_strerror((int)n));
    return 0;
}

rs_str rs_h2_pull(rs_h2 *h)
{
    const uint8_t *p = NULL;
    ssize_t n = nghttp2_session_mem_send(h->session, &p);
    rs_assert(n != NGHTTP2_ERR_NOMEM);
    return (rs_str){ (const char *)p, n > 0 ? (size_t)n : 0 };
}

bool rs_h2_over(const rs_h2 *h)
{
    return !nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session);
}

void rs_h2_abort(rs_h2 *h, const struct rs_err *why)
{
    for (rs_h2_stream *s = h->streams; s; s = s->next) {
        if (s->closed)
            continue;
        nghttp2_session_set_stream_user_data(h->session, s->id, NULL);
        s->closed = s->deaf = true;
        if (!s->failed) {
            s->failed = true;
            s->failure = *why;
        }
        touch(s);
    }
}

void rs_h2_ping(rs_h2 *h)
{
    nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL);
}

uint64_t rs_h2_pongs(const rs_h2 *h)
{
    return h->pongs;
}

void rs_h2_drain(rs_h2 *h)
{
    if (h->draining)
        return;
    h->draining = true;
    h->drain_ping = h->server;
    nghttp2_submit_shutdown_notice(h->session);
    rs_h2_ping(h);
}

bool rs_h2_draining(const rs_h2 *h)
{
    return h->draining || h->goaway_in || !nghttp2_session_check_request_allowed(h->session);
}

size_t rs_h2_streams(const rs_h2 *h)
{
    return h->n_streams;
}

const char *rs_h2_field(const rs_h2_stream *s, const char *name)
{
    for (size_t i = 0; i < s->n_fields; i++)
        if (rs_streq(s->fields[i].name, name))
            return s->fields[i].value;
    return NULL;
}

void rs_h2_set_user(rs_h2_stream *s, void *user)
{
    s->user = user;
}

void *rs_h2_user(const rs_h2_stream *s)
{
    return s->user;
}

/* Client: what the headers and trailers say. */
static void status_of_answer(const rs_h2_stream *s, struct rs_err *ret)
{
    const char *status = rs_h2_field(s, "grpc-status"), *http = rs_h2_field(s, ":status");
    uint64_t v;
    if (status && s->end_in) {
        bool known = rs_str_u64(rs_str_of(status), &v) && v <= RS_UNAUTHENTICATED;
        ret->code = known ? (enum rs_code)v : RS_UNKNOWN;
        if (ret->code == RS_OK)
            return;
        const char *text = rs_h2_field(s, "grpc-message");
        RS_AUTO(rs_chars) *message = rs_grpc_message_decode(text ? text : "");
        (void)RS_FAIL(ret, ret->code, "%s", *message ? message : rs_code_name(ret->code));
    } else if (http && !rs_streq(http, "200")) {
        (void)RS_FAIL(ret, rs_grpc_code_of_http(atoi(http)), "HTTP status %s instead of a gRPC answer", http);
    } else if (s->end_in) {
        (void)RS_FAIL(ret, RS_UNKNOWN, "answer without grpc-status");
    } else if (!s->headers_in && s->h2->goaway_in) {
        (void)RS_FAIL(ret, RS_UNAVAILABLE, "the server is going away");
    } else {
        (void)RS_FAIL(ret, rs_grpc_code_of_reset(s->reset_code), "stream reset: %s", nghttp2_http2_strerror(s->reset_code));
    }
}

void rs_h2_status(const rs_h2_stream *s, struct rs_err *ret)
{
    *ret = (struct rs_err){ .code = RS_OK };
    if (s->failed)
        *ret = s->failure;
    else if (!s->h2->server)
        status_of_answer(s, ret);
    else if (!s->trailers_sent)
        (void)RS_FAIL(ret, RS_CANCELLED, "stream reset by the client: %s", nghttp2_http2_strerror(s->reset_code));
}
