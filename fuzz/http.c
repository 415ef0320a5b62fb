#include <stdint.h>

#include "http/h1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads a connection's requests as the server does; what is read must not depend on how the bytes are cut. */
struct outcome { int rc; size_t used, body_n; char method[8]; };

static void run(rs_str in, size_t step, struct outcome *o)
{
    struct rs_err e;
    struct rs_h1_head h = { 0 };
    int status = 0;
    *o = (struct outcome){ 0 };
    for (size_t n = step < in.n ? step : in.n; ; n = n + step < in.n ? n + step : in.n) {
        o->rc = rs_h1_request(&h, (rs_str){ in.p, n }, &o->used, &status, &e);
        rs_assert(o->rc >= 0 || (status >= 400 && status < 600));
        if (o->rc != 0 || n == in.n)
            break;
    }
    if (o->rc <= 0)
        return;
    snprintf(o->method, sizeof(o->method), "%s", h.method);
    struct rs_h1_body b;
    RS_AUTO_BUF out;
    rs_buf_init(&out, 4096);
    rs_h1_body_init(&b, &h);
    int rc = h.body == RS_H1_BODY_NONE;
    while (rc == 0 && o->used < in.n) {
        size_t used, left = in.n - o->used;
        rc = rs_h1_body_feed(&b, (rs_str){ in.p + o->used, left < step ? left : step }, &used, &out, &e);
        o->used += used;
    }
    o->body_n = out.n;
    if (rc < 0)
        o->used = 0;                   /* how far a refused body got may differ */
    if (rc < 0 && e.code == RS_EXHAUSTED)
        o->body_n = 0;
    rs_h1_head_done(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rs_str in = { (const char *)data, size };
    struct outcome whole, bytes;
    struct rs_err e;
    struct rs_h1_head h = { 0 };
    size_t used;
    run(in, size ? size : 1, &whole);
    if (size < 4096) {
        run(in, 1, &bytes);
        if (whole.rc > 0)
            rs_assert(bytes.rc == whole.rc && bytes.used == whole.used && bytes.body_n == whole.body_n && rs_streq(bytes.method, whole.method));
    }
    if (rs_h1_response(&h, in, &used, &e) == 1)
        rs_h1_head_done(&h);
    return 0;
}
