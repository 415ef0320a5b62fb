#include <stdint.h>

#include "pki/csr.h"
#include "pki/pem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input as PEM text and, so that mutations reach the DER reader, as bare DER. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *a = NULL, *b = NULL;
    RS_AUTO(rs_chars) *armoured = rs_pem_text("CERTIFICATE REQUEST", data, size);
    (void)!rs_csr_read(&a, (rs_str){ (const char *)data, size }, &e);
    (void)!rs_csr_read(&b, rs_str_of(armoured), &e);
    return 0;
}
