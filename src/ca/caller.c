#include "ca/caller.h"

#include <strings.h>

void rs_caller_done(struct rs_caller *c)
{
    free(c->namespace);
    free(c->service_account);
    free(c->pod_name);
    free(c->pod_uid);
    free(c->cluster);
    *c = (struct rs_caller){ 0 };
}

void rs_caller_copy(struct rs_caller *to, const struct rs_caller *from)
{
    *to = (struct rs_caller){
        rs_strdup(from->namespace), rs_strdup(from->service_account), rs_strdup(from->pod_name), rs_strdup(from->pod_uid),
        rs_strdup(from->cluster), from->expires_ms,
    };
}

rs_str rs_bearer_token(const char *authorization)
{
    if (!authorization || strncasecmp(authorization, "bearer ", 7) != 0)
        return (rs_str){ "", 0 };
    return rs_str_trim(rs_str_of(authorization + 7));
}

static bool intersects(const json_t *list, const char *const *want, size_t n)
{
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)list, i, one)
        for (size_t k = 0; k < n; k++)
            if (rs_streq(json_string_value(one), want[k]))
                return true;
    return false;
}

static bool holds(const json_t *list, const char *text)
{
    return intersects(list, &text, 1);
}

static char *extra(const json_t *user, const char *key)
{
    const char *s = json_string_value(json_array_get(rs_json_at(user, "extra", key), 0));
    return rs_strdup(s ? s : "");
}

/* Names end up in certificates: only what Kubernetes itself would let exist. */
static int check_names(const struct rs_caller *c, struct rs_err *e)
{
    if (!rs_dns_label(c->namespace, false) || !rs_dns_subdomain(c->service_account))
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token names no ServiceAccount");
    return 0;
}

int rs_caller_from_review(struct rs_caller *ret, const json_t *review, const char *const *audiences, size_t n_audiences,
                          const char *cluster, struct rs_err *e)
{
    static const char head[] = "system:serviceaccount:";
    const json_t *status = json_object_get(review, "status"), *user = json_object_get(status, "user");
    const char *name = rs_json_str(user, "username"), *error = rs_json_str(status, "error");
    if (!rs_json_true(status, "authenticated"))
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the cluster does not accept the token%s%.200s", error ? ": " : "", error ? error : "");
    if (!intersects(json_object_get(status, "audiences"), audiences, n_audiences))
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token is for another audience");
    if (!name || !rs_starts(name, head) || !holds(json_object_get(user, "groups"), "system:serviceaccounts"))
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token belongs to no ServiceAccount");
    name += strlen(head);
    const char *colon = strchr(name, ':');
    if (!colon)
        return RS_FAIL(e, RS_UNAUTHENTICATED, "the token belongs to no ServiceAccount");
    struct rs_caller c = {
        .namespace = rs_strndup(name, (size_t)(colon - name)), .service_account = rs_strdup(colon + 1), .cluster = rs_strdup(cluster),
        .pod_name = extra(user, "authentication.kubernetes.io/pod-name"), .pod_uid = extra(user, "authentication.kubernetes.io/pod-uid"),
    };
    int r = check_names(&c, e);
    if (r < 0)
        rs_caller_done(&c);
    else
        *ret = c;
    return r;
}

static char *text_at(const json_t *o, const char *a, const char *b)
{
    const char *s = b ? rs_json_str(o, a, b) : rs_json_str(o, a);
    return rs_strdup(s ? s : "");
}

int rs_caller_from_claims(struct rs_caller *ret, const json_t *claims, const char *cluster, struct rs_err *e)
{
    const json_t *k8s = json_object_get(claims, "kubernetes.io");
    struct rs_caller c = {
        .namespace = text_at(k8s, "namespace", NULL), .service_account = text_at(k8s, "serviceaccount", "name"), .cluster = rs_strdup(cluster),
        .pod_name = text_at(k8s, "pod", "name"), .pod_uid = text_at(k8s, "pod", "uid"),
        .expires_ms = (int64_t)json_number_value(json_object_get(claims, "exp")) * 1000,
    };
    int r = check_names(&c, e);
    RS_AUTO(rs_chars) *subject = rs_printf("system:serviceaccount:%s:%s", c.namespace, c.service_account);
    if (r == 0 && !rs_streq(rs_json_str(claims, "sub"), subject))
        r = RS_FAIL(e, RS_UNAUTHENTICATED, "the token's subject is not its ServiceAccount");
    if (r < 0)
        rs_caller_done(&c);
    else
        *ret = c;
    return r;
}
