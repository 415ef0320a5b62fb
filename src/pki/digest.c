#include "pki/digest.h"

#include <openssl/evp.h>

rs_digest rs_sha256(const void *p, size_t n)
{
    rs_digest d;
    unsigned int len = sizeof(d.b);
    rs_assert(EVP_Digest(n ? p : "", n, d.b, &len, EVP_sha256(), NULL) == 1 && len == sizeof(d.b));
    return d;
}

const char *rs_digest_text(const rs_digest *d, char buf[RS_DIGEST_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof(d->b); i++) {
        buf[2 * i] = digits[d->b[i] >> 4];
        buf[2 * i + 1] = digits[d->b[i] & 15];
    }
    buf[RS_DIGEST_TEXT - 1] = 0;
    return buf;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int rs_digest_parse(const char *text, rs_digest *ret)
{
    rs_digest d;
    size_t n = 0;
    for (const char *p = text ? text : ""; *p; p++) {
        if (*p == ':')
            continue;
        int v = nibble(*p);
        if (v < 0 || n >= 64)
            return -1;
        d.b[n / 2] = (unsigned char)(n % 2 ? d.b[n / 2] | v : v << 4);
        n++;
    }
    if (n != 64)
        return -1;
    *ret = d;
    return 0;
}
