/* One state-of-the-world discovery stream (ADS or SDS) as a pure core: requests and snapshots in, answers out. Keeps what is
 * subscribed, sent, acknowledged and rejected. Pushes make before break: CDS (old clusters kept), EDS, LDS, RDS, SDS, and only
 * when the proxy has acknowledged listeners and routes, CDS once more without the clusters that are gone. A type is not
 * pushed again while its last answer is unacknowledged (but for PCDS, which agents may leave unanswered). */
#pragma once
#include "base/buf.h"
#include "xds/snapshot.h"

typedef struct rs_xds_session rs_xds_session;

rs_xds_session *rs_xds_session_new(void);
void rs_xds_session_free(rs_xds_session *s);
RS_DEFINE_AUTO(rs_xds_session, rs_xds_session_free)

/* Bytes of a DiscoveryRequest. RS_INVALID ends the stream (malformed, no node in the first one). Unknown types are ignored. */
RS_MUST_USE int rs_xds_session_request(rs_xds_session *s, rs_str bytes, struct rs_err *e);
void rs_xds_session_set(rs_xds_session *s, rs_xds_snapshot *snapshot);                  /* takes its own reference */
/* Writes the next DiscoveryResponse into out (cleared first); false when there is nothing to send now. */
bool rs_xds_session_next(rs_xds_session *s, struct rs_buf *out);

const char *rs_xds_session_node_id(const rs_xds_session *s);                            /* NULL before the first request */
const json_t *rs_xds_session_node_metadata(const rs_xds_session *s);                    /* object; {} when absent */

struct rs_xds_state {
    bool subscribed;
    size_t names;                  /* subscribed by name */
    char sent[24], acked[24];      /* versions; "" none */
    bool rejected;                 /* the last answer was NACKed */
    char error[512];               /* with what */
    uint64_t acks, nacks;          /* so far on this stream */
};
void rs_xds_session_state(const rs_xds_session *s, enum rs_xds_type t, struct rs_xds_state *ret);
/* Everything the snapshot holds for this proxy was sent and acknowledged. */
bool rs_xds_session_settled(const rs_xds_session *s);
