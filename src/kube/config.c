#include "kube/config.h"

#include "base/file.h"
#include "base/secret.h"
#include "base/yaml.h"

static const char service_account_dir[] = "/var/run/secrets/kubernetes.io/serviceaccount";

/* ---- merging: of each list the first entry with a name wins, of each scalar the first that is set ---- */

static json_t *by_name(const json_t *list, const char *name)
{
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o)
        if (rs_streq(rs_json_str(o, "name"), name))
            return o;
    return NULL;
}

/* Paths in a kubeconfig are relative to the file they stand in; a bare command name is looked up in PATH. */
static void resolve(json_t *o, const char *key, const char *dir, bool command)
{
    const char *path = rs_json_str(o, key);
    if (!path || !*path || *path == '/' || (command && !strchr(path, '/')))
        return;
    RS_AUTO(rs_chars) *full = rs_printf("%s/%s", dir, path);
    rs_json_set_str(o, key, full);
}

static void resolve_entry(json_t *entry, const char *dir)
{
    resolve(json_object_get(entry, "cluster"), "certificate-authority", dir, false);
    json_t *user = json_object_get(entry, "user");
    resolve(user, "client-certificate", dir, false);
    resolve(user, "client-key", dir, false);
    resolve(user, "tokenFile", dir, false);
    resolve(json_object_get(user, "exec"), "command", dir, true);
}

static void merge_list(json_t *into, const json_t *from, const char *key, const char *dir)
{
    size_t i;
    json_t *entry, *list = json_object_get(into, key);
    if (!list)
        json_object_set_new(into, key, list = json_array());
    json_array_foreach(json_object_get(from, key), i, entry) {
        const char *name = rs_json_str(entry, "name");
        if (!name || by_name(list, name))
            continue;
        resolve_entry(entry, dir);
        json_array_append(list, entry);
    }
}

static int merge_file(json_t *into, const char *path, struct rs_err *e)
{
    RS_AUTO(rs_chars) *text = NULL;
    RS_AUTO(json_t) *o = NULL;
    size_t n;
    if (rs_file_read(path, RS_FILE_MAX, &text, &n, e) < 0)
        return -1;
    if (rs_str_trim((rs_str){ text, n }).n == 0)
        return 0;
    if (rs_yaml_parse(&o, (rs_str){ text, n }, e) < 0)
        return rs_err_wrap(e, "kubeconfig %s", path);
    if (!json_is_object(o))
        return RS_FAIL(e, RS_INVALID, "kubeconfig %s: not a mapping", path);
    const char *slash = strrchr(path, '/');
    RS_AUTO(rs_chars) *dir = slash ? rs_strndup(path, (size_t)(slash - path)) : rs_strdup(".");
    merge_list(into, o, "clusters", dir);
    merge_list(into, o, "contexts", dir);
    merge_list(into, o, "users", dir);
    const char *current = rs_json_str(o, "current-context");
    if (current && *current && !rs_json_str(into, "current-context"))
        rs_json_set_str(into, "current-context", current);
    return 0;
}

/* A named file must be there; of a list from the environment those that are missing are skipped. */
static int merge_all(json_t *into, const char *path, bool *ret_any, struct rs_err *e)
{
    const char *list = path ? NULL : getenv("KUBECONFIG");
    *ret_any = path != NULL;
    if (path)
        return merge_file(into, path, e) < 0 ? rs_err_wrap(e, "read kubeconfig") : 0;
    if (list && *list) {
        char **v = rs_split(list, ':');
        int rc = 0;
        for (char **p = v; *p && rc == 0; p++) {
            if (!**p || !rs_file_exists(*p))
                continue;
            *ret_any = true;
            rc = merge_file(into, *p, e);
        }
        rs_strv_free(v);
        return rc;
    }
    const char *home = getenv("HOME");
    RS_AUTO(rs_chars) *file = rs_printf("%s/.kube/config", home ? home : "");
    *ret_any = home && rs_file_exists(file);
    return *ret_any ? merge_file(into, file, e) : 0;
}

/* ---- one context out of the merged document ---- */

/* KEY-data (base64) or else the file named by KEY; *ret stays NULL when neither is there. */
static int pem_of(char **ret, const json_t *o, const char *what, const char *key, struct rs_err *e)
{
    RS_AUTO(rs_chars) *data_key = rs_printf("%s-data", key);
    const char *data = rs_json_str(o, data_key), *file = rs_json_str(o, key);
    if (data && *data) {
        unsigned char *bytes;
        size_t n;
        if (rs_unbase64(rs_str_of(data), false, &bytes, &n) < 0)
            return RS_FAIL(e, RS_INVALID, "kubeconfig: %s: %s is not base64", what, data_key);
        *ret = (char *)bytes;
    } else if (file && *file) {
        if (rs_file_read(file, RS_FILE_MAX, ret, NULL, e) < 0)
            return rs_err_wrap(e, "kubeconfig: %s: %s", what, key);
    }
    return 0;
}

static char *copy_set(const json_t *o, const char *key)
{
    const char *s = rs_json_str(o, key);
    return s && *s ? rs_strdup(s) : NULL;
}

static int take_cluster(struct rs_kube_config *c, const json_t *cluster, const char *name, struct rs_err *e)
{
    RS_AUTO(rs_chars) *what = rs_printf("cluster %s", name);
    c->server = copy_set(cluster, "server");
    if (!c->server)
        return RS_FAIL(e, RS_INVALID, "kubeconfig: %s: server is missing", what);
    if (!rs_starts(c->server, "https://") && !rs_starts(c->server, "http://")) {
        char *with_scheme = rs_printf("http://%s", c->server);
        free(c->server);
        c->server = with_scheme;
    }
    for (size_t n = strlen(c->server); n && c->server[n - 1] == '/'; n--)
        c->server[n - 1] = 0;
    c->insecure = rs_json_true(cluster, "insecure-skip-tls-verify");
    c->tls_server_name = copy_set(cluster, "tls-server-name");
    const char *proxy = rs_json_str(cluster, "proxy-url");
    if (proxy && *proxy)
        return RS_FAIL(e, RS_UNIMPLEMENTED, "kubeconfig: %s: proxy-url is not supported", what);
    return pem_of(&c->ca_pem, cluster, what, "certificate-authority", e);
}

static int take_user(struct rs_kube_config *c, const json_t *user, const char *name, struct rs_err *e)
{
    RS_AUTO(rs_chars) *what = rs_printf("user %s", name);
    c->token = copy_set(user, "token");
    c->token_file = copy_set(user, "tokenFile");
    c->exec = json_incref(json_object_get(user, "exec"));
    if (c->exec && !rs_json_str(c->exec, "command"))
        return RS_FAIL(e, RS_INVALID, "kubeconfig: %s: exec.command is missing", what);
    if (pem_of(&c->cert_pem, user, what, "client-certificate", e) < 0 || pem_of(&c->key_pem, user, what, "client-key", e) < 0)
        return -1;
    if (!c->cert_pem != !c->key_pem)
        return RS_FAIL(e, RS_INVALID, "kubeconfig: %s: client-certificate and client-key need each other", what);
    return 0;
}

static int take_context(struct rs_kube_config *c, const json_t *doc, const char *context, const char *source, struct rs_err *e)
{
    const char *name = context ? context : rs_json_str(doc, "current-context");
    if (!name)
        return RS_FAIL(e, RS_INVALID, "kubeconfig %s: no current-context; name one with --context", source);
    const json_t *entry = by_name(json_object_get(doc, "contexts"), name);
    if (!entry)
        return RS_FAIL(e, RS_NOT_FOUND, "kubeconfig %s: context \"%s\" does not exist", source, name);
    const char *cluster = rs_json_str(entry, "context", "cluster"), *user = rs_json_str(entry, "context", "user");
    const json_t *cluster_entry = by_name(json_object_get(doc, "clusters"), cluster ? cluster : "");
    const json_t *user_entry = by_name(json_object_get(doc, "users"), user ? user : "");
    if (!cluster_entry)
        return RS_FAIL(e, RS_NOT_FOUND, "kubeconfig %s: context %s: cluster \"%s\" does not exist", source, name, cluster ? cluster : "");
    if (user && *user && !user_entry)
        return RS_FAIL(e, RS_NOT_FOUND, "kubeconfig %s: context %s: user \"%s\" does not exist", source, name, user);
    c->context = rs_strdup(name);
    c->namespace = copy_set(json_object_get(entry, "context"), "namespace");
    if (!c->namespace)
        c->namespace = rs_strdup("default");
    if (take_cluster(c, json_object_get(cluster_entry, "cluster"), cluster, e) < 0)
        return -1;
    return take_user(c, json_object_get(user_entry, "user"), user ? user : "", e);
}

int rs_kube_config_in_cluster(struct rs_kube_config *ret, const char *host, const char *port, const char *dir, struct rs_err *e)
{
    RS_AUTO_KUBE_CONFIG c = { 0 };
    RS_AUTO(rs_chars) *ca = rs_printf("%s/ca.crt", dir), *ns = rs_printf("%s/namespace", dir), *text = NULL;
    struct rs_err ignored;
    c.token_file = rs_printf("%s/token", dir);
    if (!rs_file_exists(c.token_file))
        return RS_FAIL(e, RS_NOT_FOUND, "service account token %s does not exist", c.token_file);
    if (rs_file_read(ca, RS_FILE_MAX, &c.ca_pem, NULL, e) < 0)
        return rs_err_wrap(e, "service account");
    if (rs_file_read(ns, 4096, &text, NULL, &ignored) == 0) {
        rs_str s = rs_str_trim(rs_str_of(text));
        c.namespace = rs_strndup(s.p, s.n);
    } else {
        c.namespace = rs_strdup("default");
    }
    c.server = strchr(host, ':') ? rs_printf("https://[%s]:%s", host, port) : rs_printf("https://%s:%s", host, port);
    *ret = c;
    c = (struct rs_kube_config){ 0 };
    return 0;
}

int rs_kube_config_load(struct rs_kube_config *ret, const char *path, const char *context, struct rs_err *e)
{
    RS_AUTO_KUBE_CONFIG c = { 0 };
    RS_AUTO(json_t) *doc = json_object();
    bool any;
    if (merge_all(doc, path, &any, e) < 0)
        return -1;
    const char *env = getenv("KUBECONFIG"), *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    if (!any && host && port)
        return rs_kube_config_in_cluster(ret, host, port, service_account_dir, e);
    if (!any)
        return RS_FAIL(e, RS_NOT_FOUND, "no kubeconfig: %s%s does not exist; set KUBECONFIG or name a file with --kubeconfig",
                       env && *env ? "$KUBECONFIG " : "", env && *env ? env : "~/.kube/config");
    if (take_context(&c, doc, context, path ? path : env && *env ? env : "~/.kube/config", e) < 0)
        return -1;
    *ret = c;
    c = (struct rs_kube_config){ 0 };
    return 0;
}

void rs_kube_config_copy(struct rs_kube_config *ret, const struct rs_kube_config *c)
{
    *ret = (struct rs_kube_config){
        .server = rs_strdup(c->server), .ca_pem = rs_strdup(c->ca_pem), .token = rs_strdup(c->token),
        .token_file = rs_strdup(c->token_file), .cert_pem = rs_strdup(c->cert_pem), .key_pem = rs_strdup(c->key_pem),
        .tls_server_name = rs_strdup(c->tls_server_name), .namespace = rs_strdup(c->namespace), .context = rs_strdup(c->context),
        .exec = json_deep_copy(c->exec), .insecure = c->insecure,
    };
}

static void free_secret_text(char *s)
{
    if (s)
        rs_free_cleansed(s, strlen(s));
}

void rs_kube_config_done(struct rs_kube_config *c)
{
    free(c->server);
    free(c->ca_pem);
    free_secret_text(c->token);
    free(c->token_file);
    free(c->cert_pem);
    free_secret_text(c->key_pem);
    free(c->tls_server_name);
    free(c->namespace);
    free(c->context);
    json_decref(c->exec);
    *c = (struct rs_kube_config){ 0 };
}
