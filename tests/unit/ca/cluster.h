/* The embedded API server in this process, and a client of it; both on one loop. */
#pragma once
#include "unit.h"

#include <unistd.h>

#include "base/file.h"
#include "base/time.h"
#include "cluster/api.h"
#include "io/listen.h"
#include "kube/client.h"
#include "kube/object.h"

struct cluster { rs_loop *loop; rs_api *api; rs_listener *listener; rs_kube *kube; char dir[64]; };

static void cluster_accept(void *ctx, int fd) { rs_api_add_connection(((struct cluster *)ctx)->api, fd); }

static inline void cluster_start(struct cluster *c)
{
    struct rs_err e;
    struct rs_kube_config config;
    *c = (struct cluster){ .loop = rs_loop_new(), .dir = "/tmp/rootshift-api-XXXXXX" };
    assert_non_null(mkdtemp(c->dir));
    ASSERT_OK(rs_api_new(&c->api, c->loop, &(struct rs_api_config){ .state = c->dir, .service_cidr = "10.96.0.0/16",
              .issuer = "https://kubernetes.default.svc.cluster.local", .event_ttl_ms = 3600000 }, &e));
    int fd = rs_listen("127.0.0.1:0", &e);
    assert_true(fd >= 0);
    RS_AUTO(rs_chars) *server = rs_printf("https://127.0.0.1:%d", rs_listen_port(fd)), *path = rs_printf("%s/kubeconfig", c->dir);
    c->listener = rs_listener_new(c->loop, fd, cluster_accept, c);
    ASSERT_OK(rs_api_write_kubeconfig(c->api, path, "unit", server, &e));
    ASSERT_OK(rs_kube_config_load(&config, path, NULL, &e));
    ASSERT_OK(rs_kube_new(&c->kube, c->loop, &config, &e));
    rs_kube_config_done(&config);
}

static inline void cluster_stop(struct cluster *c)
{
    struct rs_err e;
    rs_kube_free(c->kube);
    rs_listener_free(c->listener);
    rs_api_free(c->api);
    rs_loop_free(c->loop);
    ASSERT_OK(rs_remove_tree(c->dir, &e));
}

/* One request; body in single quotes, or NULL. New reference. */
static inline json_t *ask(struct cluster *c, const char *method, const char *path, const char *body)
{
    struct rs_err e;
    json_t *answer = NULL;
    RS_AUTO(json_t) *o = body ? unit_json(body) : NULL;
    const char *type = strcmp(method, "PATCH") == 0 ? RS_MERGE_PATCH : NULL;
    if (rs_kube_do(c->kube, method, path, type, o, &answer, &e) < 0)
        fail_msg("%s %s: %s", method, path, e.msg);
    return answer;
}
static inline void do_it(struct cluster *c, const char *method, const char *path, const char *body) { json_decref(ask(c, method, path, body)); }

static inline void post(struct cluster *c, const char *path, json_t *o)
{
    struct rs_err e;
    ASSERT_OK(rs_kube_do(c->kube, "POST", path, NULL, o, NULL, &e));
    json_decref(o);
}

/* Runs the loop until the condition holds; fails after 10 s. */
#define WAIT(c, condition) do { bool wait_never = false; int64_t wait_end = rs_mono_ms() + 10000; \
        while (!(condition)) { if (rs_mono_ms() > wait_end) fail_msg("waited in vain: %s", #condition); rs_loop_run_until((c)->loop, &wait_never, 10); } } while (0)
static inline void run_for(struct cluster *c, int64_t ms) { bool never = false; rs_loop_run_until(c->loop, &never, ms); }

static inline void cluster_prepare(struct cluster *c)
{
    do_it(c, "POST", "/api/v1/namespaces", "{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'istio-system'}}");
    do_it(c, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
          "{'apiVersion':'apiextensions.k8s.io/v1','kind':'CustomResourceDefinition','metadata':{'name':'issuancerecords.rootshift.dev'},"
          "'spec':{'group':'rootshift.dev','scope':'Namespaced','names':{'kind':'IssuanceRecord','listKind':'IssuanceRecordList','plural':'issuancerecords','singular':'issuancerecord'},"
          "'versions':[{'name':'v1','served':true,'storage':true,'schema':{'openAPIV3Schema':{'type':'object','x-kubernetes-preserve-unknown-fields':true}}}]}}");
}
