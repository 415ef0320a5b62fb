/* The two signing services, istio.v1.auth.IstioCertificateService and google.security.meshca.v1.MeshCertificateService: authenticate
 * the caller, sign, write the record, answer; in this order. Lives inside somebody's gRPC server, whose methods
 * forward to the functions here. Loop thread only; signing runs on the loop's pool. */
#pragma once
#include "ca/callers.h"
#include "ca/authority.h"
#include "ca/records.h"
#include "grpc/server.h"

#define RS_ISTIO_CA_PATH "/istio.v1.auth.IstioCertificateService/CreateCertificate"
#define RS_MESH_CA_PATH "/google.security.meshca.v1.MeshCertificateService/CreateCertificate"
enum { RS_CA_MESSAGE_MAX = 64 * 1024 };

typedef struct rs_ca_service rs_ca_service;
struct rs_ca_service_stats { uint64_t asked, issued, refused, failed; };

/* callers and records are borrowed. At the end of the loop they are freed first, which ends what waits for them, then the service. */
rs_ca_service *rs_ca_service_new(rs_loop *loop, rs_callers *callers, rs_records *records);
/* NULL with why: not ready, calls fail RS_INTERNAL "CA is not ready: why". Takes a reference. */
void rs_ca_service_set_authority(rs_ca_service *s, rs_authority *a, const char *why);
/* Handlers of unary methods: on_message and on_close of both. They use the call's user pointer. */
void rs_ca_service_istio(rs_ca_service *s, rs_grpc_call *call, rs_str request);
void rs_ca_service_mesh(rs_ca_service *s, rs_grpc_call *call, rs_str request);
void rs_ca_service_closed(rs_ca_service *s, rs_grpc_call *call);
struct rs_ca_service_stats rs_ca_service_stats_of(const rs_ca_service *s);
size_t rs_ca_service_pending(const rs_ca_service *s);    /* requests at work, also those whose client left */
void rs_ca_service_free(rs_ca_service *s);
