#include <stdint.h>

#include "http/spdy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_stream(void *ctx, rs_spdy *s, uint32_t id, const char *const *names, const char *const *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        rs_assert(names[i][0] && strlen(values[i]) <= 65536);
    if (n == 3)
        rs_spdy_reset(s, id, 3);
    else
        rs_spdy_accept(s, id);
}

static void on_data(void *ctx, rs_spdy *s, uint32_t id, rs_str data, bool fin)
{
    rs_spdy_data(s, id, data, fin);
}

static void on_reset(void *ctx, rs_spdy *s, uint32_t id)
{
    rs_spdy_data(s, id, RS_STR("x"), true);
}

static void on_output(void *ctx, rs_spdy *s, rs_str bytes)
{
    rs_assert(bytes.n >= 8);
}

static void on_goaway(void *ctx, rs_spdy *s)
{
    *(bool *)ctx = true;
}

/* The first byte says into how large pieces the rest is cut. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rs_spdy_ops ops = { on_stream, on_data, on_reset, on_output, on_goaway };
    struct rs_err e;
    bool gone = false;
    if (size == 0)
        return 0;
    size_t step = data[0] ? data[0] : 65536;
    rs_spdy *s = rs_spdy_new(&ops, &gone);
    for (size_t i = 1; i < size && !gone; i += step)
        if (rs_spdy_input(s, (rs_str){ (const char *)data + i, size - i < step ? size - i : step }, &e) < 0)
            break;
    rs_spdy_free(s);
    return 0;
}
