/* Every bad certificate input, made with the openssl command: an independent writer of the files that users bring. */
#include "unit.h"

#include <unistd.h>

#include "base/file.h"
#include "base/proc.h"
#include "base/time.h"
#include "pki/cert.h"
#include "pki/chain.h"

static char dir[] = "/tmp/rootshift-ca-input-XXXXXX";

static const char script[] =
    "set -e; cd \"$0\"\n"
    "cat > c.cnf <<X\n[req]\ndistinguished_name=dn\n[dn]\n"
    "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n"
    "[p0]\nbasicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n"
    "[leaf]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
    "[nosign]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature\n"
    "[eku]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nextendedKeyUsage=codeSigning\nX\n"
    "rsa() { openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:${2:-2048} -out $1.key; }\n"
    "ec() { openssl ecparam -name ${2:-prime256v1} -genkey -noout -out $1.key; }\n"
    "root() { openssl req -x509 -new -config c.cnf -extensions ${2:-ca} -key $1.key -subj /O=test/CN=$1 -days ${3:-900} -sha256 -out $1.pem; }\n"
    "sub() { openssl req -new -config c.cnf -key $1.key -subj /O=test/CN=$1 -out $1.csr\n"
    " openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -extfile c.cnf -extensions ${3:-ca} -days ${4:-800} -${5:-sha256} -out $1.pem 2>/dev/null; }\n"
    "rsa root; root root; rsa ca; sub ca root; cat ca.pem root.pem > chain.pem\n"
    "ec eroot; root eroot; ec eca secp384r1; sub eca eroot; cp eca.pem echain.pem\n"
    "openssl pkcs8 -topk8 -nocrypt -in eca.key -out eca8.key\n"
    "openssl pkey -in ca.key -traditional -out ca1.key\n"
    "openssl pkey -in ca.key -aes128 -passout pass:x -out enc.key\n"
    "cp ca.key leaf.key; sub leaf root leaf; cp ca.key nosign.key; sub nosign root nosign; cp ca.key eku.key; sub eku root eku\n"
    "cp ca.key old.key; sub old root ca -1; cp ca.key soon.key; sub soon root ca 1; cp ca.key sha1.key; sub sha1 root ca 800 sha1\n"
    "ec curve secp521r1; sub curve root; ec other; root other\n"
    "ec proot; root proot p0; ec pca; sub pca proot\n"
    "ec m1; sub m1 root; ec m2; sub m2 m1; cat m2.pem m1.pem root.pem > long.pem; cat m2.pem root.pem m1.pem > mixed.pem; cat root.pem m1.pem m2.pem > turned.pem\n"
    "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out small.key 2>/dev/null; sub small root\n"
    "echo hello > text.pem; : > empty.pem; head -c 500 ca.pem > cut.pem; cat other.pem root.pem > two.pem\n"
    "sed 's/$/\\r/' ca.pem > crlf.pem\n";

static int setup(void **state)
{
    struct rs_err e;
    if (!mkdtemp(dir))
        return -1;
    const char *const argv[] = { "sh", "-c", script, dir, NULL };
    if (rs_proc_run(argv, RS_STR(""), NULL, &e) < 0) {
        print_error("%s\n", e.msg);
        return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    struct rs_err e;
    return rs_remove_tree(dir, &e);
}

static int load(struct rs_ca_input *in, const char *ca, const char *key, const char *root, const char *chain, struct rs_err *e)
{
    RS_AUTO(rs_chars) *a = rs_printf("%s/%s", dir, ca), *b = rs_printf("%s/%s", dir, key), *c = rs_printf("%s/%s", dir, root),
                      *d = chain ? rs_printf("%s/%s", dir, chain) : NULL;
    return rs_ca_input_load(in, &(struct rs_ca_files){ a, b, c, d }, rs_now_ms(), 30ll * 24 * 3600 * 1000, e);
}

static void good_inputs(void **state)
{
    static const char *const good[][4] = {
        { "ca.pem", "ca.key", "root.pem", "chain.pem" }, { "ca.pem", "ca1.key", "two.pem", "ca.pem" },
        { "crlf.pem", "ca.key", "root.pem", "chain.pem" }, { "eca.pem", "eca.key", "eroot.pem", "echain.pem" },
        { "eca.pem", "eca8.key", "eroot.pem", "echain.pem" }, { "m2.pem", "m2.key", "root.pem", "long.pem" },
        { "root.pem", "root.key", "root.pem", "root.pem" },
    };
    struct rs_err e;
    for (size_t i = 0; i < RS_COUNT(good); i++) {
        struct rs_ca_input in = { 0 };
        ASSERT_OK(load(&in, good[i][0], good[i][1], good[i][2], good[i][3], &e));
        RS_AUTO(EVP_PKEY) *key = NULL;
        ASSERT_OK(rs_key_from_pem(&key, (rs_str){ in.key->p, in.key->n }, &e));
        RS_AUTO_CERTS ca = { 0 };
        ASSERT_OK(rs_certs_parse(&ca, rs_str_of(in.ca_cert), &e));
        assert_true(rs_key_same(rs_cert_key(ca.v[0]), key));
        rs_ca_input_done(&in);
    }
    /* The same content in another wrapping gives the same texts. */
    struct rs_ca_input a = { 0 }, b = { 0 };
    ASSERT_OK(load(&a, "ca.pem", "ca.key", "root.pem", "chain.pem", &e));
    ASSERT_OK(load(&b, "crlf.pem", "ca1.key", "root.pem", "chain.pem", &e));
    assert_string_equal(a.ca_cert, b.ca_cert);
    assert_string_equal(a.key->p, b.key->p);
    rs_ca_input_done(&a);
    rs_ca_input_done(&b);
}

static void bad_inputs(void **state)
{
    static const char *const bad[][6] = {
        { "leaf.pem", "ca.key", "root.pem", "chain.pem", "--ca_cert", "is not a CA" },
        { "nosign.pem", "ca.key", "root.pem", "chain.pem", "--ca_cert", "keyCertSign" },
        { "old.pem", "ca.key", "root.pem", "chain.pem", "--ca_cert", "expired at" },
        { "soon.pem", "ca.key", "root.pem", "chain.pem", "--ca_cert", "expires too soon" },
        { "sha1.pem", "ca.key", "root.pem", "sha1.pem", "--ca_cert", "SHA-1" },
        { "curve.pem", "curve.key", "root.pem", "curve.pem", "--ca_key", "secp521r1" },
        { "small.pem", "small.key", "root.pem", "small.pem", "--ca_key", "1024 bits" },
        { "ca.pem", "root.key", "root.pem", "chain.pem", "--ca_key", "does not belong" },
        { "ca.pem", "eca.key", "root.pem", "chain.pem", "--ca_key", "does not belong" },
        { "ca.pem", "enc.key", "root.pem", "chain.pem", "--ca_key", "encrypted" },
        { "ca.pem", "text.pem", "root.pem", "chain.pem", "--ca_key", "no private key" },
        { "ca.pem", "ca.pem", "root.pem", "chain.pem", "--ca_key", "no private key" },
        { "text.pem", "ca.key", "root.pem", "chain.pem", "--ca_cert", "no certificate" },
        { "empty.pem", "ca.key", "root.pem", "chain.pem", "--ca_cert", "no certificate" },
        { "cut.pem", "ca.key", "root.pem", "chain.pem", "--ca_cert", "damaged" },
        { "missing.pem", "ca.key", "root.pem", "chain.pem", "--ca_cert", "No such file" },
        { "chain.pem", "ca.key", "root.pem", "chain.pem", "--ca_cert", "holds 2 certificates" },
        { "ca.pem", "ca.key", "text.pem", "chain.pem", "--root_cert", "no certificate" },
        { "ca.pem", "ca.key", "leaf.pem", "chain.pem", "--root_cert", "is not a CA" },
        { "ca.pem", "ca.key", "other.pem", "chain.pem", "--cert_chain", "does not verify to --root_cert" },
        { "ca.pem", "ca.key", "root.pem", "root.pem", "--cert_chain", "lacks the signing certificate" },
        { "m2.pem", "m2.key", "root.pem", "m2.pem", "--cert_chain", "does not verify to --root_cert" },
        { "m2.pem", "m2.key", "root.pem", "mixed.pem", "--cert_chain", "wrong order" },
        { "m2.pem", "m2.key", "root.pem", "turned.pem", "--cert_chain", "must come first" },
        { "pca.pem", "pca.key", "proot.pem", "pca.pem", "--cert_chain", "path length" },
        { "eku.pem", "eku.key", "root.pem", "eku.pem", "--cert_chain", "does not verify" },
    };
    for (size_t i = 0; i < RS_COUNT(bad); i++) {
        struct rs_err e;
        struct rs_ca_input in = { 0 };
        if (load(&in, bad[i][0], bad[i][1], bad[i][2], bad[i][3], &e) == 0)
            fail_msg("accepted %s %s %s %s", bad[i][0], bad[i][1], bad[i][2], bad[i][3]);
        if (e.code != RS_INVALID || !rs_starts(e.msg, bad[i][4]) || !strstr(e.msg, bad[i][5]))
            fail_msg("%s %s %s %s: %s", bad[i][0], bad[i][1], bad[i][2], bad[i][3], e.msg);
        assert_null(in.key);
    }
    struct rs_err e;
    struct rs_ca_input in = { 0 };
    ASSERT_FAILS(RS_INVALID, "--cert_chain is missing", load(&in, "ca.pem", "ca.key", "root.pem", NULL, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(good_inputs), cmocka_unit_test(bad_inputs) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
