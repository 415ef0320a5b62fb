/* Certificates made for tests, on one fixed clock. */
#pragma once
#include "unit.h"

#include "base/time.h"
#include "pki/bundle.h"
#include "pki/issue.h"

#define HOUR_MS ((int64_t)3600 * 1000)
#define YEAR_MS (365 * 24 * HOUR_MS)
static const int64_t NOW = 1800000000000;

static inline EVP_PKEY *made_key(void)
{
    struct rs_err e;
    EVP_PKEY *key = NULL;
    ASSERT_OK(rs_key_generate(&key, RS_KEY_P256, &e));
    return key;
}

static inline rs_cert *made_root(EVP_PKEY *key, const char *organization)
{
    struct rs_err e;
    rs_cert *c = NULL;
    ASSERT_OK(rs_issue_root(&c, key, organization, NULL, NOW, YEAR_MS, &e));
    return c;
}

static inline rs_cert *made_leaf(rs_cert *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const char *uri)
{
    struct rs_err e;
    rs_cert *c = NULL;
    ASSERT_OK(rs_issue_leaf(&c, &(struct rs_issuer){ ca, ca_key }, key, (const char *const[]){ uri, NULL }, NOW, 24 * HOUR_MS, &e));
    return c;
}

static inline rs_cert *made_intermediate(rs_cert *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const char *name, int path_length)
{
    struct rs_err e;
    rs_cert *c = NULL;
    ASSERT_OK(rs_issue_intermediate(&c, &(struct rs_issuer){ ca, ca_key }, key, "test", name, path_length, NOW, YEAR_MS / 2, &e));
    return c;
}
