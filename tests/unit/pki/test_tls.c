/* Contexts against each other over memory, no sockets. */
#include "made.h"

#include "pki/tls.h"

RS_DEFINE_AUTO(SSL, SSL_free)

struct side { SSL_CTX *ctx; SSL *ssl; };

static bool handshake(SSL *client, SSL *server)
{
    int c = 0, s = 0;
    for (int i = 0; i < 20 && (c != 1 || s != 1); i++) {
        c = SSL_do_handshake(client);
        if (c != 1 && SSL_get_error(client, c) != SSL_ERROR_WANT_READ)
            return false;
        s = SSL_do_handshake(server);
        if (s != 1 && SSL_get_error(server, s) != SSL_ERROR_WANT_READ)
            return false;
    }
    return c == 1 && s == 1;
}

static void join(SSL_CTX *client_ctx, SSL_CTX *server_ctx, SSL **client, SSL **server)
{
    BIO *a, *b;
    assert_int_equal(BIO_new_bio_pair(&a, 65536, &b, 65536), 1);
    *client = SSL_new(client_ctx);
    *server = SSL_new(server_ctx);
    SSL_set_bio(*client, a, a);
    SSL_set_bio(*server, b, b);
    SSL_set_connect_state(*client);
    SSL_set_accept_state(*server);
}

static void mutual(void **state)
{
    struct rs_err e;
    RS_AUTO(EVP_PKEY) *root_key = made_key(), *key = made_key(), *other_key = made_key();
    RS_AUTO(rs_cert) *root = NULL, *leaf = NULL, *other = NULL;
    int64_t now = rs_now_ms();
    ASSERT_OK(rs_issue_root(&root, root_key, "root", NULL, now, YEAR_MS, &e));
    ASSERT_OK(rs_issue_root(&other, other_key, "root", NULL, now, YEAR_MS, &e));
    ASSERT_OK(rs_issue_leaf(&leaf, &(struct rs_issuer){ root, root_key }, key, (const char *const[]){ "spiffe://td/ns/a/sa/b", "server.test", NULL }, now, HOUR_MS, &e));
    RS_AUTO(rs_secret) *key_pem = rs_key_to_pem(key), *wrong = rs_key_to_pem(root_key);
    RS_AUTO(rs_chars) *chain = rs_printf("%s%s", rs_cert_pem(leaf), rs_cert_pem(root));
    RS_AUTO(rs_bundle) *roots = rs_bundle_of(root), *others = rs_bundle_of(other);
    rs_str chain_s = rs_str_of(chain), key_s = { key_pem->p, key_pem->n }, none = { 0 };
    RS_AUTO(SSL_CTX) *server = NULL, *client = NULL, *naked = NULL, *stranger = NULL, *blind = NULL, *bad = NULL;
    ASSERT_OK(rs_tls_server(&server, chain_s, key_s, roots, true, "h2,http/1.1", &e));
    ASSERT_OK(rs_tls_client(&client, roots, chain_s, key_s, "h2", &e));
    ASSERT_OK(rs_tls_client(&naked, roots, none, none, "h2", &e));
    ASSERT_OK(rs_tls_client(&stranger, others, chain_s, key_s, "h2", &e));
    ASSERT_OK(rs_tls_client_insecure(&blind, chain_s, key_s, NULL, &e));
    ASSERT_FAILS(RS_INVALID, "does not belong", rs_tls_server(&bad, chain_s, (rs_str){ wrong->p, wrong->n }, NULL, false, NULL, &e));
    SSL_CTX *const clients[] = { client, blind, naked, stranger };
    for (size_t i = 0; i < RS_COUNT(clients); i++) {
        RS_AUTO(SSL) *c = NULL, *s = NULL;
        join(clients[i], server, &c, &s);
        if (i == 0)
            SSL_set1_host(c, "server.test");
        assert_int_equal(handshake(c, s), i < 2);
        if (i >= 2)
            continue;
        RS_AUTO(rs_cert) *peer = rs_tls_peer(s), *served = rs_tls_peer(c);
        assert_true(peer && rs_digest_eq(rs_cert_digest(peer), rs_cert_digest(leaf)));
        assert_int_equal(served != NULL, i == 0);
        const unsigned char *alpn;
        unsigned int n;
        SSL_get0_alpn_selected(s, &alpn, &n);
        assert_int_equal(n, i == 0 ? 2 : 0);
    }
    RS_AUTO(SSL) *c = NULL, *s = NULL;
    join(client, server, &c, &s);
    SSL_set1_host(c, "elsewhere.test");
    assert_false(handshake(c, s));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(mutual) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
