#include <stdint.h>

#include "base/buf.h"
#include "xds/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Requests of a proxy, each after a byte with its length; every answer is taken, and a second snapshot comes half way. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static rs_xds_snapshot *snapshots[2];
    static const char *const names[2][2] = { { "a", "b" }, { "b", "c" } };
    struct rs_err e;
    for (size_t i = 0; i < 2 && !snapshots[1]; i++) {
        snapshots[i] = rs_xds_snapshot_new();
        for (size_t j = 0; j < 2; j++) {
            RS_AUTO(json_t) *o = rs_json_pack("{ss ss}", "@type", rs_xds_type_url(RS_XDS_CLUSTER), "name", names[i][j]);
            RS_AUTO(json_t) *r = rs_json_pack("{ss ss}", "@type", rs_xds_type_url(RS_XDS_ROUTE), "name", names[i][j]);
            rs_assert(rs_xds_snapshot_add(snapshots[i], o, &e) == 0 && rs_xds_snapshot_add(snapshots[i], r, &e) == 0);
        }
    }
    RS_AUTO(rs_xds_session) *s = rs_xds_session_new();
    RS_AUTO_BUF out;
    rs_buf_init(&out, 16 * 1024 * 1024);
    rs_xds_session_set(s, snapshots[0]);
    size_t count = 0;
    while (size > 0) {
        size_t n = data[0] < size ? data[0] : size - 1;
        if (rs_xds_session_request(s, (rs_str){ (const char *)data + 1, n }, &e) < 0)
            break;
        for (int i = 0; rs_xds_session_next(s, &out); i++)
            rs_assert(i < 32);
        if (++count == 6)
            rs_xds_session_set(s, snapshots[1]);
        data += n + 1;
        size -= n + 1;
    }
    (void)rs_xds_session_settled(s);
    return 0;
}
