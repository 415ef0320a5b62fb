#include "cmd/rootshift/session.h"

#include <pwd.h>
#include <unistd.h>

int rs_session_open(struct rs_session *s, struct rs_err *e)
{
    struct rs_kube_config config;
    if (s->kubeconfig && !*s->kubeconfig)
        return RS_FAIL(e, RS_INVALID, "option --kubeconfig is empty");
    if (rs_kube_config_load(&config, s->kubeconfig, s->context, e) < 0) {
        if (e->code == RS_NOT_FOUND)
            e->code = RS_INVALID;            /* what was named does not exist: bad input */
        return -1;
    }
    s->loop = rs_loop_new();
    int rc = rs_kube_new(&s->kube, s->loop, &config, e);
    rs_kube_config_done(&config);
    if (rc < 0)
        return -1;
    rs_world_kube_init(&s->w, s->kube);
    s->w.kubeconfig = s->kubeconfig;
    s->w.context = s->context;
    return 0;
}

void rs_session_close(struct rs_session *s)
{
    rs_world_kube_done(&s->w);
    rs_kube_free(s->kube);
    if (s->loop)
        rs_loop_free(s->loop);
    s->kube = NULL;
    s->loop = NULL;
}

char *rs_session_actor(void)
{
    char host[256] = "";
    const struct passwd *user = getpwuid(getuid());
    gethostname(host, sizeof(host) - 1);
    return rs_printf("%s@%s pid %d", user ? user->pw_name : "?", host, (int)getpid());
}

int rs_output_parse(const char *text, enum rs_output *ret, struct rs_err *e)
{
    if (rs_streq(text, "table"))
        *ret = RS_OUTPUT_TABLE;
    else if (rs_streq(text, "json"))
        *ret = RS_OUTPUT_JSON;
    else
        return RS_FAIL(e, RS_INVALID, "option -o: \"%s\" is not table or json", text);
    return 0;
}
