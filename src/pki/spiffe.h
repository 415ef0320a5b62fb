/* SPIFFE IDs of workloads: spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT. */
#pragma once
#include "base/err.h"
#include "base/str.h"

struct rs_spiffe { char *trust_domain, *namespace, *service_account; };

RS_MUST_USE int rs_spiffe_parse(struct rs_spiffe *ret, const char *uri, struct rs_err *e);
void rs_spiffe_done(struct rs_spiffe *id);
char *rs_spiffe_uri(const char *trust_domain, const char *namespace, const char *service_account);
bool rs_trust_domain_valid(const char *td);
