#include "unit.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/time.h"
#include "cluster/controller_rollout.h"
#include "kube/object.h"

/* A Deployment and its ReplicaSets, kept as an API server would; the story is what the plans did: "+x=1" a set made with
 * one replica, "x=3" one scaled, "-x" one deleted, where x is the letter of the template. */
enum { SETS = 16 };
struct world {
    json_t *d;
    json_t *set[SETS];
    size_t n;
    int64_t now, again;
    int rv;
    size_t old_pods;
    struct rs_buf story;
};

static const char deployment[] =
    "{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'web','namespace':'n','uid':'d1','generation':1,'annotations':{'note':'x'}},"
    "'spec':{'replicas':4,'selector':{'matchLabels':{'app':'web'}},'strategy':{'type':'RollingUpdate','rollingUpdate':{'maxSurge':'25%','maxUnavailable':'25%'}},"
    "'revisionHistoryLimit':10,'progressDeadlineSeconds':600,'template':{'metadata':{'labels':{'app':'web'}},'spec':{'containers':[{'name':'c','image':'a'}]}}}}";

static void set_image(struct world *w, const char *image)
{
    json_t *spec = json_object_get(w->d, "spec");
    rs_json_set_str(json_array_get(rs_json_at(spec, "template", "spec", "containers"), 0), "image", image);
    json_object_set_new(json_object_get(w->d, "metadata"), "generation", json_integer(rs_json_int(w->d, 0, "metadata", "generation") + 1));
}

static void set_replicas(struct world *w, int n)
{
    json_object_set_new(json_object_get(w->d, "spec"), "replicas", json_integer(n));
    json_object_set_new(json_object_get(w->d, "metadata"), "generation", json_integer(rs_json_int(w->d, 0, "metadata", "generation") + 1));
}

static const char *image_of(const json_t *o)
{
    return rs_json_str(json_array_get(rs_json_at(o, "spec", "template", "spec", "containers"), 0), "image");
}

static int set_up(void **state)
{
    struct world *w = rs_new(struct world);
    w->d = unit_json(deployment);
    w->now = 1700000000000;
    rs_buf_init(&w->story, 65536);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    json_decref(w->d);
    for (size_t i = 0; i < w->n; i++)
        json_decref(w->set[i]);
    rs_buf_done(&w->story);
    free(w);
    return 0;
}

static size_t find(const struct world *w, const char *path)
{
    for (size_t i = 0; i < w->n; i++)
        if (rs_ends(path, rs_object_name(w->set[i])))
            return i;
    fail_msg("%s", path);
    return 0;
}

static void carry_out(struct world *w, const json_t *call)
{
    const char *method = rs_json_str(call, "method"), *path = rs_json_str(call, "path");
    json_t *body = json_object_get(call, "body");
    if (!method)
        return;
    if (rs_ends(path, "/deployments/web/status")) {
        json_object_set(w->d, "status", json_object_get(body, "status"));
        json_object_set(json_object_get(w->d, "metadata"), "annotations", rs_json_at(body, "metadata", "annotations"));
    } else if (rs_streq(method, "POST")) {
        char at[RS_TIME_TEXT];
        json_t *o = json_deep_copy(body);
        rs_json_set_str(json_object_get(o, "metadata"), "creationTimestamp", rs_time_text(w->now, at));
        json_object_set_new(json_object_get(o, "metadata"), "generation", json_integer(1));
        w->set[w->n++] = o;
        rs_buf_addf(&w->story, "+%s=%lld ", image_of(o), (long long)rs_json_int(o, 0, "spec", "replicas"));
    } else if (rs_streq(method, "PUT")) {
        size_t i = find(w, path);
        if (rs_json_int(w->set[i], 0, "spec", "replicas") != rs_json_int(body, 0, "spec", "replicas"))
            rs_buf_addf(&w->story, "%s=%lld ", image_of(body), (long long)rs_json_int(body, 0, "spec", "replicas"));
        json_decref(w->set[i]);
        w->set[i] = json_deep_copy(body);
    } else {
        size_t i = find(w, path);
        rs_buf_addf(&w->story, "-%s ", image_of(w->set[i]));
        json_decref(w->set[i]);
        w->set[i] = w->set[--w->n];
    }
}

static bool step(struct world *w)
{
    struct rs_rollout r = { .deployment = w->d, .sets = (const json_t *const *)w->set, .n_sets = w->n, .old_pods = w->old_pods, .now_ms = w->now };
    RS_AUTO(json_t) *plan = NULL;
    size_t i, calls = 0;
    json_t *call;
    rs_rollout_plan(&r, &plan, &w->again);
    json_array_foreach(plan, i, call) {
        calls += json_object_get(call, "method") != NULL;
        carry_out(w, call);
    }
    return calls > 0;
}

static void settle(struct world *w)
{
    int n = 0;
    while (step(w))
        if (++n > 20)
            fail_msg("no end: %s", rs_buf_str(&w->story).p);
}

/* What the ReplicaSet controller would write, with so many pods available. */
static void pods_of(struct world *w, const char *image, int available)
{
    for (size_t i = 0; i < w->n; i++) {
        if (!rs_streq(image_of(w->set[i]), image))
            continue;
        json_int_t replicas = rs_json_int(w->set[i], 0, "spec", "replicas"), ok = available < replicas ? available : replicas;
        json_object_set_new(w->set[i], "status", rs_json_pack("{s:I,s:I,s:I,s:I}", "replicas", replicas, "readyReplicas", ok,
                                                              "availableReplicas", ok, "observedGeneration", (json_int_t)99));
    }
}

static void expect(struct world *w, const char *story)
{
    settle(w);
    assert_string_equal(rs_buf_str(&w->story).p ? rs_buf_str(&w->story).p : "", story);
    rs_buf_clear(&w->story);
}

static const json_t *condition(const struct world *w, const char *type)
{
    size_t i;
    json_t *c;
    json_array_foreach(rs_json_at(w->d, "status", "conditions"), i, c)
        if (rs_streq(rs_json_str(c, "type"), type))
            return c;
    return NULL;
}

static void expect_condition(const struct world *w, const char *type, const char *status, const char *reason)
{
    const json_t *c = condition(w, type);
    if (!rs_streq(rs_json_str(c, "status"), status) || !rs_streq(rs_json_str(c, "reason"), reason))
        fail_msg("%s is %s %s, not %s %s", type, rs_json_str(c, "status"), rs_json_str(c, "reason"), status, reason);
}

static void expect_revision(const struct world *w, const char *revision)
{
    assert_string_equal(rs_object_annotation(w->d, "deployment.kubernetes.io/revision"), revision);
}

/* The first roll-out, up to "successfully rolled out". */
static void deploy(struct world *w)
{
    char story[32];
    int n = (int)rs_json_int(w->d, 0, "spec", "replicas");
    snprintf(story, sizeof(story), "+a=%d ", n);
    expect(w, story);
    pods_of(w, "a", n);
    expect(w, "");
    expect_condition(w, "Progressing", "True", "NewReplicaSetAvailable");
    expect_condition(w, "Available", "True", "MinimumReplicasAvailable");
    expect_revision(w, "1");
}

static void first_roll_out(void **state)
{
    struct world *w = *state;
    expect(w, "+a=4 ");
    expect_condition(w, "Progressing", "True", "NewReplicaSetCreated");
    expect_condition(w, "Available", "False", "MinimumReplicasUnavailable");
    assert_int_equal(rs_json_int(w->d, 0, "status", "unavailableReplicas"), 4);
    assert_int_equal(w->again, 601000);
    const char *hash = rs_object_label(w->set[0], "pod-template-hash");
    RS_AUTO(rs_chars) *name = rs_printf("web-%s", hash);
    assert_string_equal(rs_object_name(w->set[0]), name);
    assert_string_equal(rs_json_str(w->set[0], "spec", "selector", "matchLabels", "pod-template-hash"), hash);
    assert_string_equal(rs_json_str(w->set[0], "spec", "template", "metadata", "labels", "pod-template-hash"), hash);
    assert_string_equal(rs_object_annotation(w->set[0], "deployment.kubernetes.io/desired-replicas"), "4");
    assert_string_equal(rs_object_annotation(w->set[0], "deployment.kubernetes.io/max-replicas"), "5");
    assert_string_equal(rs_object_annotation(w->set[0], "note"), "x");
    assert_string_equal(rs_json_str(rs_object_owner(w->set[0]), "uid"), "d1");
    pods_of(w, "a", 2);
    expect(w, "");
    expect_condition(w, "Progressing", "True", "ReplicaSetUpdated");
    pods_of(w, "a", 4);
    expect(w, "");
    expect_condition(w, "Progressing", "True", "NewReplicaSetAvailable");
    assert_int_equal(rs_json_int(w->d, 0, "status", "updatedReplicas"), 4);
    assert_null(rs_json_at(w->d, "status", "unavailableReplicas"));
    assert_int_equal(w->again, 0);
    assert_false(step(w));
}

/* The order that was measured on a real cluster (facts kubernetes-api 5.2). */
static void four_replicas(void **state)
{
    struct world *w = *state;
    deploy(w);
    set_image(w, "b");
    expect(w, "+b=1 a=3 b=2 ");
    expect_revision(w, "2");
    for (int i = 1; i <= 3; i++) {
        static const char *const stories[] = { "", "a=2 b=3 ", "a=1 b=4 ", "a=0 " };
        pods_of(w, "b", i);
        pods_of(w, "a", 4);
        expect(w, stories[i]);
    }
    pods_of(w, "b", 4);
    pods_of(w, "a", 0);
    expect(w, "");
    expect_condition(w, "Progressing", "True", "NewReplicaSetAvailable");
    assert_int_equal(rs_json_int(w->d, 0, "status", "replicas"), 4);
}

static void two_replicas(void **state)
{
    struct world *w = *state;
    set_replicas(w, 2);
    deploy(w);
    set_image(w, "b");
    expect(w, "+b=1 ");                  /* surge 1, unavailable 0 */
    pods_of(w, "b", 1);
    expect(w, "a=1 b=2 ");
    pods_of(w, "a", 1);
    expect(w, "");
    pods_of(w, "b", 2);
    expect(w, "a=0 ");
    pods_of(w, "a", 0);
    expect(w, "");
    expect_condition(w, "Progressing", "True", "NewReplicaSetAvailable");
}

static void recreate(void **state)
{
    struct world *w = *state;
    json_t *strategy = rs_json_need(w->d, "spec", "strategy");
    rs_json_set_str(strategy, "type", "Recreate");
    json_object_del(strategy, "rollingUpdate");
    deploy(w);
    set_image(w, "b");
    w->old_pods = 4;
    expect(w, "a=0 ");
    pods_of(w, "a", 0);
    expect(w, "");                       /* they are still stopping */
    w->old_pods = 0;
    expect(w, "+b=4 ");
    pods_of(w, "b", 4);
    expect(w, "");
    expect_condition(w, "Progressing", "True", "NewReplicaSetAvailable");
}

static void paused(void **state)
{
    struct world *w = *state;
    deploy(w);
    json_object_set_new(json_object_get(w->d, "spec"), "paused", json_true());
    set_image(w, "b");
    expect(w, "");
    expect_condition(w, "Progressing", "Unknown", "DeploymentPaused");
    set_replicas(w, 6);                  /* scaling still works */
    expect(w, "a=6 ");
    pods_of(w, "a", 6);
    json_object_del(json_object_get(w->d, "spec"), "paused");
    expect(w, "+b=2 a=5 b=3 ");
    expect_condition(w, "Progressing", "True", "ReplicaSetUpdated");
}

static void readiness_lost(void **state)
{
    struct world *w = *state;
    deploy(w);
    pods_of(w, "a", 2);
    expect(w, "");
    expect_condition(w, "Available", "False", "MinimumReplicasUnavailable");
    expect_condition(w, "Progressing", "True", "NewReplicaSetAvailable");      /* what was rolled out stays rolled out */
    set_image(w, "b");
    expect(w, "+b=1 a=3 b=2 ");          /* one that does not work goes */
    pods_of(w, "b", 1);
    expect(w, "a=2 b=3 ");               /* the other as well; nothing healthy may go while 2 of 3 are available */
}

static void nothing_becomes_ready(void **state)
{
    struct world *w = *state;
    deploy(w);
    set_image(w, "b");
    expect(w, "+b=1 a=3 b=2 ");
    pods_of(w, "b", 0);
    pods_of(w, "a", 3);
    expect(w, "");
    w->now += 599000;
    expect(w, "");
    expect_condition(w, "Progressing", "True", "ReplicaSetUpdated");
    w->now += 5000;
    expect(w, "");
    expect_condition(w, "Progressing", "False", "ProgressDeadlineExceeded");
    assert_int_equal(w->again, 0);
    set_image(w, "c");                   /* a repaired template starts anew: the broken pods go first */
    expect(w, "+c=0 b=0 c=2 ");
    expect_condition(w, "Progressing", "True", "NewReplicaSetCreated");
}

static void denied_by_admission(void **state)
{
    struct world *w = *state;
    deploy(w);
    set_image(w, "b");
    expect(w, "+b=1 a=3 b=2 ");
    pods_of(w, "a", 3);
    json_object_set_new(w->set[1], "status", unit_json("{'replicas':0,'conditions':[{'type':'ReplicaFailure','status':'True','reason':'FailedCreate','message':'denied'}]}"));
    expect(w, "");
    expect_condition(w, "ReplicaFailure", "True", "FailedCreate");
    assert_string_equal(rs_json_str(condition(w, "ReplicaFailure"), "message"), "denied");
    assert_int_equal(rs_json_int(w->d, 9, "status", "updatedReplicas"), 9);
    pods_of(w, "b", 2);
    expect(w, "a=1 b=4 ");
    assert_null(condition(w, "ReplicaFailure"));
}

static void undo_takes_the_old_set_up_again(void **state)
{
    struct world *w = *state;
    deploy(w);
    set_image(w, "b");
    expect(w, "+b=1 a=3 b=2 ");
    set_image(w, "a");
    expect(w, "b=0 a=4 ");
    expect_revision(w, "3");
    assert_string_equal(rs_object_annotation(w->set[0], "deployment.kubernetes.io/revision"), "3");
    assert_string_equal(rs_object_annotation(w->set[0], "deployment.kubernetes.io/revision-history"), "1");
    pods_of(w, "a", 4);
    pods_of(w, "b", 0);
    expect(w, "");
    expect_condition(w, "Progressing", "True", "NewReplicaSetAvailable");
}

static void scaled_in_the_middle(void **state)
{
    struct world *w = *state;
    set_replicas(w, 10);
    deploy(w);
    set_image(w, "b");
    expect(w, "+b=3 a=8 b=5 ");
    pods_of(w, "a", 8);
    pods_of(w, "b", 0);
    set_replicas(w, 20);                 /* 25 pods at most: 8 and 5 of 13 grow in proportion */
    expect(w, "a=15 b=10 ");
    set_replicas(w, 0);
    expect(w, "a=0 b=0 ");
}

static void history(void **state)
{
    static const char *const images[] = { "b", "c", "d", "e" };
    struct world *w = *state;
    json_object_set_new(json_object_get(w->d, "spec"), "revisionHistoryLimit", json_integer(2));
    set_replicas(w, 1);
    deploy(w);
    for (size_t i = 0; i < RS_COUNT(images); i++) {
        w->now += 1000;
        set_image(w, images[i]);
        settle(w);
        pods_of(w, images[i], 1);
        settle(w);
        for (size_t j = 0; j < w->n; j++)
            pods_of(w, image_of(w->set[j]), 1);
        settle(w);
    }
    assert_int_equal(w->n, 3);
    assert_non_null(strstr(rs_buf_str(&w->story).p, "-a "));
    assert_non_null(strstr(rs_buf_str(&w->story).p, "-b "));
    assert_null(strstr(rs_buf_str(&w->story).p, "-c "));
    expect_revision(w, "5");
}

static void same_template_same_set(void **state)
{
    struct world *w = *state;
    deploy(w);
    set_image(w, "a");                   /* generation moves, the template does not */
    expect(w, "");
    assert_int_equal(rs_json_int(w->d, 0, "status", "observedGeneration"), 2);
    json_object_set_new(rs_json_at(w->d, "spec", "template", "metadata"), "creationTimestamp", json_null());
    json_object_set_new(json_array_get(rs_json_at(w->d, "spec", "template", "spec", "containers"), 0), "resources", json_object());
    expect(w, "");                       /* what a typed client sends back */
    rs_json_set_str(rs_json_need(w->d, "metadata", "annotations"), "note", "y");
    expect(w, "");
    assert_string_equal(rs_object_annotation(w->set[0], "note"), "y");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(first_roll_out), TEST(four_replicas), TEST(two_replicas), TEST(recreate), TEST(paused), TEST(readiness_lost),
        TEST(nothing_becomes_ready), TEST(denied_by_admission), TEST(undo_takes_the_old_set_up_again), TEST(scaled_in_the_middle),
        TEST(history), TEST(same_template_same_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
