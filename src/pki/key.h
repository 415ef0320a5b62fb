/* Private keys (EVP_PKEY) and their PEM forms. */
#pragma once
#include <openssl/evp.h>
#include "base/err.h"
#include "base/secret.h"

enum rs_key_kind { RS_KEY_P256, RS_KEY_P384, RS_KEY_RSA2048, RS_KEY_RSA3072, RS_KEY_RSA4096 };

RS_DEFINE_AUTO(EVP_PKEY, EVP_PKEY_free)

RS_MUST_USE int rs_key_generate(EVP_PKEY **ret, enum rs_key_kind kind, struct rs_err *e);
/* PKCS#8, SEC1 or PKCS#1 PEM; an encrypted key without passphrase is RS_INVALID. */
RS_MUST_USE int rs_key_from_pem(EVP_PKEY **ret, rs_str pem, struct rs_err *e);
rs_secret *rs_key_to_pem(EVP_PKEY *key);               /* PKCS#8 "PRIVATE KEY" */
bool rs_key_same(EVP_PKEY *a, EVP_PKEY *b);            /* same public key */
/* What we accept from outsiders: RSA of 2048 to 4096 bits, ECDSA on the named curves P-256 and P-384. */
RS_MUST_USE int rs_key_policy(EVP_PKEY *key, struct rs_err *e);
/* Hash to sign with: SHA-384 for P-384, else SHA-256. */
const EVP_MD *rs_key_digest(EVP_PKEY *key);
