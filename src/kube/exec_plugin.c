/* Credentials from a plugin program (client.authentication.k8s.io), e.g. gke-gcloud-auth-plugin. */
#include "base/file.h"
#include "base/proc.h"
#include "base/secret.h"
#include "base/time.h"
#include "kube/config.h"

static json_t *exec_info(const struct rs_kube_config *c, const char *api_version)
{
    json_t *info = rs_json_pack("{s:s, s:s, s:{s:b}}", "kind", "ExecCredential", "apiVersion", api_version, "spec", "interactive", 0);
    if (!rs_json_true(c->exec, "provideClusterInfo"))
        return info;
    json_t *cluster = rs_json_need(info, "spec", "cluster");
    rs_json_set_str(cluster, "server", c->server);
    if (c->ca_pem) {
        RS_AUTO(rs_chars) *ca = rs_base64(c->ca_pem, strlen(c->ca_pem));
        rs_json_set_str(cluster, "certificate-authority-data", ca);
    }
    if (c->tls_server_name)
        rs_json_set_str(cluster, "tls-server-name", c->tls_server_name);
    if (c->insecure)
        json_object_set_new(cluster, "insecure-skip-tls-verify", json_true());
    return info;
}

int rs_kube_exec_parse(struct rs_kube_credential *ret, rs_str text, struct rs_err *e)
{
    RS_AUTO(json_t) *o = NULL;
    if (rs_json_parse(&o, text, e) < 0)
        return rs_err_wrap(e, "ExecCredential");
    const char *kind = rs_json_str(o, "kind"), *expires = rs_json_str(o, "status", "expirationTimestamp");
    const char *token = rs_json_str(o, "status", "token");
    const char *cert = rs_json_str(o, "status", "clientCertificateData"), *key = rs_json_str(o, "status", "clientKeyData");
    if (!rs_streq(kind, "ExecCredential"))
        return RS_FAIL(e, RS_INVALID, "ExecCredential expected, not \"%s\"", kind ? kind : "");
    if (!token && !(cert && key))
        return RS_FAIL(e, RS_INVALID, "ExecCredential: neither status.token nor a client certificate with its key");
    int64_t expires_ms = 0;
    if (expires && !rs_time_parse(expires, &expires_ms))
        return RS_FAIL(e, RS_INVALID, "ExecCredential: status.expirationTimestamp \"%s\" is no time", expires);
    *ret = (struct rs_kube_credential){
        .token = rs_strdup(token), .cert_pem = cert && key ? rs_strdup(cert) : NULL, .key_pem = cert && key ? rs_strdup(key) : NULL,
        .expires_ms = expires_ms };
    return 0;
}

static int run_plugin(const char **argv, const char *command, const json_t *exec, char **ret, struct rs_err *e)
{
    const char *hint = rs_json_str(exec, "installHint");
    RS_AUTO(rs_chars) *found = strchr(command, '/') ? rs_strdup(command) : rs_program_find(command);
    if (!found || !rs_file_exists(found))
        return RS_FAIL(e, RS_NOT_FOUND, "credential plugin %s is not installed%s%s", command, hint ? ": " : "", hint ? hint : "");
    return rs_proc_run(argv, RS_STR(""), ret, e) < 0 ? rs_err_wrap(e, "credential plugin %s", command) : 0;
}

int rs_kube_exec_credential(struct rs_kube_credential *ret, const struct rs_kube_config *c, struct rs_err *e)
{
    const char *command = rs_json_str(c->exec, "command"), *version = rs_json_str(c->exec, "apiVersion");
    const json_t *args = rs_json_at(c->exec, "args"), *env = rs_json_at(c->exec, "env");
    RS_AUTO(json_t) *info = exec_info(c, version ? version : "client.authentication.k8s.io/v1");
    RS_AUTO(rs_chars) *info_text = rs_json_text(info), *out = NULL;
    size_t n = 0, n_env = json_array_size(env) + 1, n_args = json_array_size(args), i;
    json_t *x;
    /* env(1) sets the variables, so that the plugin inherits the rest of ours. */
    const char **argv = rs_new_array(const char *, n_env + n_args + 4);
    char **made = rs_new_array(char *, n_env);
    argv[n++] = "env";
    argv[n++] = "--";
    made[0] = rs_printf("KUBERNETES_EXEC_INFO=%s", info_text);
    json_array_foreach(env, i, x) {
        const char *name = rs_json_str(x, "name"), *value = rs_json_str(x, "value");
        made[i + 1] = rs_printf("%s=%s", name && *name && !strchr(name, '=') ? name : "_", value ? value : "");
    }
    for (i = 0; i < n_env; i++)
        argv[n++] = made[i];
    argv[n++] = command;
    json_array_foreach(args, i, x)
        argv[n++] = json_string_value(x) ? json_string_value(x) : "";
    int rc = run_plugin(argv, command, c->exec, &out, e);
    if (rc == 0 && (rc = rs_kube_exec_parse(ret, rs_str_of(out), e)) < 0)
        rs_err_wrap(e, "credential plugin %s", command);
    if (out)
        rs_free_cleansed(rs_take(out), strlen(out));
    for (i = 0; i < n_env; i++)
        free(made[i]);
    free(made);
    free(argv);
    return rc;
}

void rs_kube_credential_done(struct rs_kube_credential *c)
{
    if (c->token)
        rs_free_cleansed(c->token, strlen(c->token));
    if (c->key_pem)
        rs_free_cleansed(c->key_pem, strlen(c->key_pem));
    free(c->cert_pem);
    *c = (struct rs_kube_credential){ 0 };
}
