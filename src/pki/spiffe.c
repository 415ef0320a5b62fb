#include "pki/spiffe.h"

bool rs_trust_domain_valid(const char *td)
{
    size_t n = td ? strlen(td) : 0;
    return n > 0 && n <= 255 && strspn(td, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == n;
}

/* The next path segment, which must follow "/ns/" or "/sa/". */
static char *segment(const char **p, const char *head)
{
    if (!rs_starts(*p, head))
        return NULL;
    const char *start = *p + strlen(head);
    size_t n = strcspn(start, "/");
    *p = start + n;
    return rs_strndup(start, n);
}

int rs_spiffe_parse(struct rs_spiffe *ret, const char *uri, struct rs_err *e)
{
    struct rs_spiffe id = { 0 };
    if (!uri || strlen(uri) > 2048 || !rs_starts(uri, "spiffe://"))
        return RS_FAIL(e, RS_INVALID, "not a SPIFFE ID: %.200s", uri ? uri : "(none)");
    const char *p = uri + strlen("spiffe://");
    size_t n = strcspn(p, "/");
    id.trust_domain = rs_strndup(p, n);
    p += n;
    id.namespace = segment(&p, "/ns/");
    id.service_account = id.namespace ? segment(&p, "/sa/") : NULL;
    if (!rs_trust_domain_valid(id.trust_domain) || !id.service_account || *p ||
        !rs_dns_label(id.namespace, false) || !rs_dns_subdomain(id.service_account)) {
        rs_spiffe_done(&id);
        return RS_FAIL(e, RS_INVALID, "not of the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT: %.200s", uri);
    }
    *ret = id;
    return 0;
}

void rs_spiffe_done(struct rs_spiffe *id)
{
    free(id->trust_domain);
    free(id->namespace);
    free(id->service_account);
    *id = (struct rs_spiffe){ 0 };
}

char *rs_spiffe_uri(const char *trust_domain, const char *namespace, const char *service_account)
{
    return rs_printf("spiffe://%s/ns/%s/sa/%s", trust_domain, namespace, service_account);
}
