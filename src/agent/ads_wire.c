#include "agent/ads_wire.h"

#include "envoy_discovery.pb-c.h"
#include "xds/encode.h"

enum { BUNDLE_MAX = 4 * 1024 * 1024 };

static bool varint(rs_str *in, uint64_t *v)
{
    *v = 0;
    for (unsigned shift = 0; in->n > 0 && shift < 64; shift += 7) {
        unsigned char c = (unsigned char)*in->p;
        in->p++;
        in->n--;
        *v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return true;
    }
    return false;
}

static bool skip(rs_str *in, uint64_t n)
{
    if (n > in->n)
        return false;
    in->p += n;
    in->n -= n;
    return true;
}

int rs_ads_type_url(rs_str in, rs_str *ret, struct rs_err *e)
{
    uint64_t tag, n;
    *ret = RS_STR("");
    while (in.n > 0) {
        if (!varint(&in, &tag))
            return RS_FAIL(e, RS_INVALID, "malformed discovery message");
        bool ok = false;
        switch (tag & 7) {
        case 0: ok = varint(&in, &n); break;
        case 1: ok = skip(&in, 8); break;
        case 5: ok = skip(&in, 4); break;
        case 2:
            ok = varint(&in, &n) && n <= in.n;
            if (ok && tag >> 3 == 4)
                *ret = (rs_str){ in.p, (size_t)n };
            ok = ok && skip(&in, n);
            break;
        default: break;
        }
        if (!ok)
            return RS_FAIL(e, RS_INVALID, "malformed discovery message");
    }
    return 0;
}

static int read_config(struct rs_ads_bundle *b, const Envoy__Any *any, struct rs_err *e)
{
    Envoy__ProxyConfig *config = envoy__proxy_config__unpack(NULL, any->value.len, any->value.data);
    if (!config)
        return RS_FAIL(e, RS_INVALID, "malformed ProxyConfig");
    b->empty = config->n_ca_certificates_pem == 0;
    for (size_t i = 0; i < config->n_ca_certificates_pem; i++) {
        rs_buf_adds(&b->pem, config->ca_certificates_pem[i]);
        rs_buf_adds(&b->pem, "\n");
    }
    for (size_t i = 0; i < config->n_proxy_metadata; i++)
        if (rs_streq(config->proxy_metadata[i]->key, "ROOTSHIFT_RETIRED_ROOTS") && config->proxy_metadata[i]->value) {
            free(b->retired);
            b->retired = rs_strdup(config->proxy_metadata[i]->value);
        }
    envoy__proxy_config__free_unpacked(config, NULL);
    return b->pem.over ? RS_FAIL(e, RS_EXHAUSTED, "bundle of more than %d bytes", BUNDLE_MAX) : 0;
}

int rs_ads_bundle_read(struct rs_ads_bundle *ret, rs_str message, struct rs_err *e)
{
    Envoy__DiscoveryResponse *m = envoy__discovery_response__unpack(NULL, message.n, (const uint8_t *)message.p);
    if (!m)
        return RS_FAIL(e, RS_INVALID, "malformed DiscoveryResponse");
    *ret = (struct rs_ads_bundle){ .version = rs_strdup(m->version_info), .nonce = rs_strdup(m->nonce), .retired = rs_strdup(""), .empty = true };
    rs_buf_init(&ret->pem, BUNDLE_MAX);
    int rc = m->n_resources > 0 ? read_config(ret, m->resources[0], e) : 0;
    envoy__discovery_response__free_unpacked(m, NULL);
    if (rc < 0)
        rs_ads_bundle_done(ret);
    return rc;
}

void rs_ads_bundle_done(struct rs_ads_bundle *b)
{
    free(b->version);
    free(b->nonce);
    free(b->retired);
    rs_buf_done(&b->pem);
}

char *rs_ads_bundle_request(const char *version, const char *nonce, const char *error, size_t *ret_n)
{
    Envoy__DiscoveryRequest r = ENVOY__DISCOVERY_REQUEST__INIT;
    Envoy__Status status = ENVOY__STATUS__INIT;
    r.type_url = (char *)(uintptr_t)RS_TYPE_PCDS;
    r.version_info = (char *)(uintptr_t)version;
    r.response_nonce = (char *)(uintptr_t)nonce;
    if (error) {
        status.has_code = true;
        status.code = RS_INVALID;
        status.message = (char *)(uintptr_t)error;
        r.error_detail = &status;
    }
    char *bytes = rs_alloc(envoy__discovery_request__get_packed_size(&r) + 1);
    *ret_n = envoy__discovery_request__pack(&r, (uint8_t *)bytes);
    return bytes;
}
