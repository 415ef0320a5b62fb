/* An X.509 certificate: immutable, atomically reference-counted. */
#pragma once
#include <openssl/x509.h>
#include "base/err.h"
#include "pki/digest.h"
#include "pki/key.h"

typedef struct rs_cert rs_cert;
RS_DEFINE_AUTO(X509, X509_free)

RS_MUST_USE int rs_cert_from_der(rs_cert **ret, rs_str der, struct rs_err *e);
rs_cert *rs_cert_from_x509(X509 *x);                   /* takes its own reference */
rs_cert *rs_cert_ref(rs_cert *c);
void rs_cert_unref(rs_cert *c);                        /* NULL is a no-op */
RS_DEFINE_AUTO(rs_cert, rs_cert_unref)

X509 *rs_cert_x509(const rs_cert *c);                  /* borrowed */
const rs_digest *rs_cert_digest(const rs_cert *c);     /* SHA-256 of the DER */
rs_str rs_cert_der(const rs_cert *c);
const char *rs_cert_pem(const rs_cert *c);             /* ends in a newline; canonical wrapping */
const char *rs_cert_subject(const rs_cert *c);         /* RFC 2253 text */
const char *rs_cert_issuer(const rs_cert *c);
const char *rs_cert_serial(const rs_cert *c);          /* lower-case hex without leading zeros */
int64_t rs_cert_not_before(const rs_cert *c);          /* ms since 1970 */
int64_t rs_cert_not_after(const rs_cert *c);
bool rs_cert_is_ca(const rs_cert *c);                  /* basicConstraints CA and, when present, keyCertSign */
bool rs_cert_self_signed(const rs_cert *c);            /* its own key verifies its signature */
const char *rs_cert_uri(const rs_cert *c);             /* first URI SAN, or NULL */
EVP_PKEY *rs_cert_key(const rs_cert *c);               /* borrowed public key */
bool rs_cert_signed_by(const rs_cert *c, const rs_cert *issuer);   /* names chain and the signature verifies */

/* A list, in the order of the PEM text. Owned by one thread. */
typedef struct rs_certs { rs_cert **v; size_t n; } rs_certs;
enum { RS_CERTS_MAX = 256 };
/* All CERTIFICATE blocks of a text: blank lines, comments, CRLF and other wrapping are fine; other blocks are skipped.
 * RS_INVALID names the damaged block, also when there is none at all; RS_EXHAUSTED past RS_CERTS_MAX. */
RS_MUST_USE int rs_certs_parse(rs_certs *ret, rs_str pem, struct rs_err *e);
void rs_certs_done(rs_certs *l);
char *rs_certs_pem(const rs_certs *l);
#define RS_AUTO_CERTS __attribute__((cleanup(rs_certs_done))) rs_certs
