/* Everything that is not a resource: health, version, discovery, OpenAPI, OpenID keys. */
#include "cluster/api_int.h"
#include "cluster/discovery.h"

/* The least OpenAPI v2 document (protobuf: swagger "2.0", info, no paths). Clients then check nothing on their side. */
static const unsigned char openapi[] = { 0x0a, 0x03, '2', '.', '0', 0x12, 0x07, 0x0a, 0x01, 'k', 0x12, 0x02, 'v', '1', 0x42, 0x00 };
#define OPENAPI_TAG "\"rootshift-1\""

static bool reply_json(rs_http_exchange *x, const char *type, json_t *doc)
{
    RS_AUTO(rs_chars) *text = rs_json_text(doc);
    json_decref(doc);
    rs_http_reply(x, 200, type, rs_str_of(text));
    return true;
}

static bool reply_text(rs_http_exchange *x, int code, const char *text)
{
    rs_http_reply(x, code, "text/plain; charset=utf-8", rs_str_of(text));
    return true;
}

static bool reply_keys(rs_api *api, rs_http_exchange *x)
{
    struct rs_err e;
    json_t *keys = NULL;
    if (rs_tokens_jwks(&keys, api->tokens, &e) < 0)
        return reply_text(x, 500, e.msg);
    return reply_json(x, "application/jwk-set+json", keys);
}

/* Served to anybody, as public keys and health are. */
static bool open_endpoint(rs_api *api, rs_http_exchange *x, const char *path)
{
    if (strcmp(path, "/healthz") == 0 || strcmp(path, "/livez") == 0 || strcmp(path, "/readyz") == 0)
        return reply_text(x, 200, "ok");
    if (strcmp(path, "/version") == 0 || strcmp(path, "/version/") == 0)
        return reply_json(x, "application/json", rs_discovery_version());
    if (strcmp(path, "/openid/v1/jwks") == 0)
        return reply_keys(api, x);
    if (strcmp(path, "/.well-known/openid-configuration") == 0) {
        const char *issuer = rs_tokens_issuer(api->tokens);
        RS_AUTO(rs_chars) *keys = rs_printf("%s/openid/v1/jwks", issuer);
        return reply_json(x, "application/json", rs_json_pack("{s:s, s:s, s:[s], s:[s], s:[s]}", "issuer", issuer, "jwks_uri", keys,
            "response_types_supported", "id_token", "subject_types_supported", "public", "id_token_signing_alg_values_supported", "RS256"));
    }
    return false;
}

static bool reply_openapi(rs_http_exchange *x)
{
    const char *have = rs_http_header(x, "if-none-match");
    rs_http_add_header(x, "ETag", OPENAPI_TAG);
    if (have && strstr(have, OPENAPI_TAG))
        rs_http_reply(x, 304, NULL, RS_STR(""));
    else
        rs_http_reply(x, 200, "application/octet-stream", (rs_str){ (const char *)openapi, sizeof openapi });
    return true;
}

static json_t *discover(const rs_registry *r, char **v, size_t n)
{
    bool core = n > 1 && rs_streq(v[1], "api"), groups = n > 1 && rs_streq(v[1], "apis");
    if (core && n == 2)
        return rs_discovery_core();
    if (core && n == 3)
        return rs_discovery_resources(r, "", v[2]);
    if (groups && n == 2)
        return rs_discovery_groups(r);
    if (groups && n == 3)
        return rs_discovery_group(r, v[2]);
    if (groups && n == 4)
        return rs_discovery_resources(r, v[2], v[3]);
    return NULL;
}

static json_t *root_paths(void)
{
    return rs_json_pack("{s:[s, s, s, s, s, s]}", "paths", "/api", "/apis", "/healthz", "/openapi/v2", "/readyz", "/version");
}

static bool reply_forbidden(rs_http_exchange *x, const struct rs_user *user, const char *path)
{
    RS_AUTO(json_t) *s = rs_status(403, "Forbidden", "forbidden: User \"%s\" cannot get path \"%s\"", user->name, path);
    RS_AUTO(rs_chars) *text = rs_json_text(s);
    rs_http_reply(x, 403, "application/json", rs_str_of(text));
    return true;
}

bool rs_api_meta(rs_api *api, rs_http_exchange *x, const struct rs_user *user)
{
    const char *path = rs_http_path(x);
    if (open_endpoint(api, x, path))
        return true;
    char **v = rs_split(path, '/');
    size_t n = 0;
    while (v[n])
        n++;
    if (n > 2 && !*v[n - 1])
        n--;
    bool core = n > 1 && rs_streq(v[1], "api"), group = n > 1 && rs_streq(v[1], "apis");
    if ((core && n > 3) || (group && n > 4)) {
        rs_strv_free(v);
        return false;                          /* a resource */
    }
    json_t *doc = core || group ? discover(api->registry, v, n) : strcmp(path, "/") == 0 ? root_paths() : NULL;
    rs_strv_free(v);
    if (user->anonymous) {
        json_decref(doc);
        return reply_forbidden(x, user, path);
    }
    if (doc)
        return reply_json(x, "application/json", doc);
    if (strcmp(path, "/openapi/v2") == 0)
        return reply_openapi(x);
    return reply_text(x, 404, "404 page not found\n");
}
