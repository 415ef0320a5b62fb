#include "base/secret.h"

#include <openssl/crypto.h>

rs_secret *rs_secret_new(const void *p, size_t n)
{
    rs_secret *s = rs_new(rs_secret);
    s->p = rs_strndup(p, n);
    s->n = n;
    return s;
}

void rs_free_cleansed(void *p, size_t n)
{
    if (p)
        OPENSSL_cleanse(p, n);
    free(p);
}

void rs_secret_free(rs_secret *s)
{
    if (!s)
        return;
    rs_free_cleansed(s->p, s->n);
    free(s);
}
