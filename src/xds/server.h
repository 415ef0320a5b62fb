/* Discovery streams of a gRPC server: one session per stream, snapshots from the owner. Serves ADS
 * (StreamAggregatedResources) and SDS (StreamSecrets). Loop thread only. */
#pragma once
#include "grpc/server.h"
#include "xds/session.h"

#define RS_ADS_PATH "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
#define RS_SDS_PATH "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"

typedef struct rs_xds_server rs_xds_server;
typedef struct rs_xds_client rs_xds_client;              /* one stream */

struct rs_xds_server_ops {
    /* A stream was opened: must lead, now or later, to rs_xds_client_accept or _refuse. Until then nothing is sent.
     * NULL: accepted at once. */
    void (*on_open)(void *ctx, rs_xds_client *c);
    /* What this client shall have: a new reference, or NULL (nothing yet; refresh later). Called when it is accepted and has
     * named its node, and at each refresh. It may refuse the client instead. */
    rs_xds_snapshot *(*snapshot)(void *ctx, rs_xds_client *c);
    void (*on_answer)(void *ctx, rs_xds_client *c);      /* after an ACK or NACK and what it let go; may be NULL */
    void (*on_close)(void *ctx, rs_xds_client *c);       /* always last; may be NULL */
};
rs_xds_server *rs_xds_server_new(const struct rs_xds_server_ops *ops, void *ctx);
/* Method for a grpc server's table. The xds server must outlive that grpc server. */
struct rs_grpc_method rs_xds_server_method(rs_xds_server *s, const char *path);
void rs_xds_server_free(rs_xds_server *s);               /* after the grpc server */

void rs_xds_client_accept(rs_xds_client *c);
void rs_xds_client_refuse(rs_xds_client *c, enum rs_code code, const char *message);
void rs_xds_client_refresh(rs_xds_client *c);
void rs_xds_server_refresh(rs_xds_server *s);            /* every client */
void rs_xds_server_each(rs_xds_server *s, void (*fn)(void *ctx, rs_xds_client *c), void *ctx);

rs_grpc_call *rs_xds_client_call(const rs_xds_client *c);            /* metadata, peer */
const rs_xds_session *rs_xds_client_session(const rs_xds_client *c); /* node, state */
void rs_xds_client_set_user(rs_xds_client *c, void *user);
void *rs_xds_client_user(const rs_xds_client *c);
