#include "cluster/authn.h"

#include <openssl/crypto.h>

#include "base/file.h"
#include "base/time.h"
#include "pki/tls.h"

struct entry { char *token; struct rs_user *user; };
struct rs_authn { struct entry *v; size_t n; rs_tokens *tokens; };

/* --- users --- */

struct rs_user *rs_user_new(const char *name, const char *uid, json_t *groups, json_t *extra)
{
    struct rs_user *u = rs_new(struct rs_user);
    u->name = rs_strdup(name);
    u->uid = rs_strdup(uid ? uid : "");
    u->groups = groups ? groups : json_array();
    u->extra = extra;
    return u;
}

struct rs_user *rs_user_copy(const struct rs_user *u)
{
    struct rs_user *c = rs_user_new(u->name, u->uid, json_incref(u->groups), u->extra ? json_incref(u->extra) : NULL);
    c->anonymous = u->anonymous;
    return c;
}

void rs_user_free(struct rs_user *u)
{
    if (!u)
        return;
    free(u->name);
    free(u->uid);
    json_decref(u->groups);
    json_decref(u->extra);
    free(u);
}

json_t *rs_user_info(const struct rs_user *u)
{
    json_t *o = rs_json_pack("{s:s, s:O}", "username", u->name, "groups", u->groups);
    if (*u->uid)
        rs_json_set_str(o, "uid", u->uid);
    if (u->extra)
        json_object_set(o, "extra", u->extra);
    return o;
}

/* --- the static list --- */

/* Next field of a CSV line: bare or in double quotes. *p moves behind it. */
static char *csv_field(char **p)
{
    char *s = *p, *end;
    if (*s == '"') {
        end = strchr(++s, '"');
        if (end)
            *end++ = 0;
        else
            end = s + strlen(s);
        end += *end == ',';
    } else {
        end = strchrnul(s, ',');
        if (*end)
            *end++ = 0;
    }
    *p = end;
    return s;
}

static void add_line(rs_authn *a, char *line)
{
    char *token = csv_field(&line), *name = csv_field(&line), *uid = csv_field(&line), *groups = csv_field(&line);
    if (!*token || !*name)
        return;
    json_t *list = json_array();
    char **v = rs_split(groups, ',');
    for (size_t i = 0; v[i]; i++)
        if (*v[i])
            json_array_append_new(list, json_string(v[i]));
    rs_strv_free(v);
    json_array_append_new(list, json_string("system:authenticated"));
    a->v = rs_realloc(a->v, (a->n + 1) * sizeof(*a->v));
    a->v[a->n++] = (struct entry){ rs_strdup(token), rs_user_new(name, uid, list, NULL) };
}

int rs_authn_new(rs_authn **ret, const char *token_file, rs_tokens *tokens, struct rs_err *e)
{
    char *text = NULL;
    size_t n = 0;
    if (rs_file_read(token_file, 1024 * 1024, &text, &n, e) < 0 && e->code != RS_NOT_FOUND)
        return -1;
    rs_authn *a = rs_new(rs_authn);
    a->tokens = tokens;
    char *save = NULL;
    for (char *line = text ? strtok_r(text, "\r\n", &save) : NULL; line; line = strtok_r(NULL, "\r\n", &save))
        add_line(a, line);
    if (text)
        rs_free_cleansed(text, n);
    *ret = a;
    return 0;
}

void rs_authn_free(rs_authn *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n; i++) {
        rs_free_cleansed(a->v[i].token, strlen(a->v[i].token));
        rs_user_free(a->v[i].user);
    }
    free(a->v);
    free(a);
}

/* --- who it is --- */

static struct rs_user *by_list(const rs_authn *a, rs_str token)
{
    for (size_t i = 0; i < a->n; i++)
        if (strlen(a->v[i].token) == token.n && CRYPTO_memcmp(a->v[i].token, token.p, token.n) == 0)
            return rs_user_copy(a->v[i].user);
    return NULL;
}

static struct rs_user *by_jwt(const rs_authn *a, rs_str token)
{
    struct rs_token_subject s;
    struct rs_err e;
    if (rs_tokens_check(&s, NULL, a->tokens, token, NULL, rs_now_ms(), &e) < 0)
        return NULL;
    RS_AUTO(rs_chars) *name = rs_printf("system:serviceaccount:%s:%s", s.namespace, s.account);
    RS_AUTO(rs_chars) *group = rs_printf("system:serviceaccounts:%s", s.namespace);
    json_t *extra = s.pod ? rs_json_pack("{s:[s], s:[s]}", "authentication.kubernetes.io/pod-name", s.pod, "authentication.kubernetes.io/pod-uid",
                                         s.pod_uid) : NULL;
    struct rs_user *u = rs_user_new(name, s.account_uid, rs_json_pack("[s, s, s]", "system:serviceaccounts", group, "system:authenticated"), extra);
    rs_token_subject_done(&s);
    return u;
}

static char *name_entry(const X509_NAME *name, int i)
{
    unsigned char *text = NULL;
    int n = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i)));
    char *s = n > 0 && !memchr(text, 0, (size_t)n) ? rs_strndup((const char *)text, (size_t)n) : rs_strdup("");
    OPENSSL_free(text);
    return s;
}

/* Common name is the user, organizations are the groups. */
static struct rs_user *by_certificate(rs_http_exchange *x)
{
    SSL *ssl = rs_stream_ssl(rs_http_connection(x));
    RS_AUTO(rs_cert) *cert = ssl ? rs_tls_peer(ssl) : NULL;
    if (!cert)
        return NULL;
    const X509_NAME *name = X509_get_subject_name(rs_cert_x509(cert));
    int cn = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    RS_AUTO(rs_chars) *user = cn >= 0 ? name_entry(name, cn) : rs_strdup("");
    if (!*user)
        return NULL;
    json_t *groups = json_array();
    for (int i = -1; (i = X509_NAME_get_index_by_NID(name, NID_organizationName, i)) >= 0;) {
        RS_AUTO(rs_chars) *group = name_entry(name, i);
        json_array_append_new(groups, json_string(group));
    }
    json_array_append_new(groups, json_string("system:authenticated"));
    return rs_user_new(user, "", groups, NULL);
}

struct rs_user *rs_authn_user(const rs_authn *a, rs_http_exchange *x)
{
    const char *header = rs_http_header(x, "authorization");
    if (header && strncasecmp(header, "bearer ", 7) == 0) {
        rs_str token = rs_str_trim(rs_str_of(header + 7));
        struct rs_user *u = by_list(a, token);
        return u ? u : by_jwt(a, token);
    }
    struct rs_user *u = by_certificate(x);
    if (!u) {
        u = rs_user_new("system:anonymous", "", rs_json_pack("[s]", "system:unauthenticated"), NULL);
        u->anonymous = true;
    }
    return u;
}
