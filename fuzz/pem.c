#include <stdint.h>

#include "pki/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A bundle that is read is written and must read back equal; every accessor of every certificate must hold. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rs_err e;
    rs_str text = { (const char *)data, size };
    RS_AUTO(EVP_PKEY) *key = NULL;
    RS_AUTO_CERTS certs = { 0 };
    RS_AUTO(rs_bundle) *b = NULL, *back = NULL;
    if (rs_key_from_pem(&key, text, &e) == 0)
        rs_secret_free(rs_key_to_pem(key));
    if (rs_certs_parse(&certs, text, &e) < 0)
        return 0;
    for (size_t i = 0; i < certs.n; i++) {
        const rs_cert *c = certs.v[i];
        rs_assert(rs_cert_pem(c) && rs_cert_subject(c) && rs_cert_issuer(c) && rs_cert_serial(c));
        (void)rs_cert_is_ca(c);
        (void)rs_cert_self_signed(c);
    }
    if (rs_bundle_parse(&b, text, &e) == 0)
        rs_assert(rs_bundle_parse(&back, rs_str_of(rs_bundle_pem(b)), &e) == 0 && rs_bundle_eq(b, back));
    return 0;
}
