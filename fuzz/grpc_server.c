#include <stdint.h>

#include "grpc/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes of a client, with its preface put in front so that mutation starts behind it. First byte: size of the pieces they
 * come in. Every message is echoed, every call finished when the client ends it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    struct rs_err e;
    struct rs_h2_event ev;
    if (size < 1)
        return 0;
    size_t step = (size_t)data[0] * 4 + 1, open = 0;
    rs_h2 *h = rs_h2_new(true, 4096);
    int rc = rs_h2_feed(h, (rs_str){ preface, sizeof preface - 1 }, &e);
    for (size_t at = 1; rc == 0 && at < size; at += step) {
        rc = rs_h2_feed(h, (rs_str){ (const char *)data + at, size - at < step ? size - at : step }, &e);
        while (rs_h2_next(h, &ev)) {
            open += ev.kind == RS_H2_HEADERS && !rs_h2_field(ev.stream, "never");
            rs_assert(ev.kind != RS_H2_MESSAGE || ev.message.n <= 4096);
            if (ev.kind == RS_H2_MESSAGE)
                rs_h2_send(ev.stream, ev.message);
            else if (ev.kind == RS_H2_END)
                rs_h2_finish(ev.stream, RS_OK, "fine");
        }
        while (rc == 0 && rs_h2_pull(h).n)
            continue;
    }
    (void)RS_FAIL(&e, RS_UNAVAILABLE, "gone");
    rs_h2_abort(h, &e);
    while (rs_h2_next(h, &ev))
        rs_assert(ev.kind == RS_H2_CLOSED);
    rs_assert(rs_h2_streams(h) == 0);
    rs_h2_free(h);
    return 0;
}
