/* Certificate signing requests. */
#pragma once
#include "pki/key.h"

/* As pilot-agent writes them: subject O="", one critical SAN extension with one URI; SHA-256. PEM; the caller frees. */
RS_MUST_USE int rs_csr_make(char **ret_pem, EVP_PKEY *key, const char *spiffe_uri, struct rs_err *e);
/* Parses, checks size (16 KiB), proof of possession and key policy (RSA 2048-4096, P-256, P-384); gives the public key. */
RS_MUST_USE int rs_csr_read(EVP_PKEY **ret_key, rs_str pem, struct rs_err *e);
