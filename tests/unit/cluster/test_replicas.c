#include "unit.h"

#include "cluster/controller_replicas.h"
#include "kube/object.h"

enum { PODS = 16 };

static const int64_t now = 1700000000000;

static json_t *set_of(int replicas)
{
    json_t *set = unit_json("{'apiVersion':'apps/v1','kind':'ReplicaSet','metadata':{'name':'web-x','namespace':'n','uid':'s1','generation':1},'spec':{"
                            "'selector':{'matchLabels':{'app':'web'}},'template':{'metadata':{'labels':{'app':'web'},'annotations':{'a':'b'}},"
                            "'spec':{'containers':[{'name':'c'}]}}}}");
    json_object_set_new(json_object_get(set, "spec"), "replicas", json_integer(replicas));
    return set;
}

/* "name flags": n bound to a node, p pending, r ready, d deleting, f failed. */
static json_t *pod_of(const char *name, const char *flags)
{
    json_t *pod = rs_json_pack("{s:s,s:s,s:{s:s,s:s,s:s,s:s,s:{s:s}},s:{},s:{s:s}}", "apiVersion", "v1", "kind", "Pod", "metadata", "name", name,
                               "namespace", "n", "uid", name, "creationTimestamp", "2023-11-14T22:00:00Z", "labels", "app", "web", "spec",
                               "status", "phase", strchr(flags, 'f') ? "Failed" : strchr(flags, 'p') ? "Pending" : "Running");
    if (strchr(flags, 'n'))
        rs_json_set_str(json_object_get(pod, "spec"), "nodeName", "node");
    if (strchr(flags, 'd'))
        rs_json_set_str(json_object_get(pod, "metadata"), "deletionTimestamp", "2023-11-14T22:10:00Z");
    if (strchr(flags, 'r'))
        json_object_set_new(json_object_get(pod, "status"), "conditions", unit_json("[{'type':'Ready','status':'True','lastTransitionTime':'2023-11-14T22:13:10Z'}]"));
    return pod;
}

struct result { json_t *pods, *status; int64_t again; };

static struct result plan(json_t *set, const char *const (*pods)[2], bool settled, const char *failure)
{
    const json_t *v[PODS];
    struct rs_replicas r = { .set = set, .pods = v, .settled = settled, .failure = failure, .now_ms = now };
    struct result out;
    while (pods && pods[r.n_pods][0]) {
        v[r.n_pods] = pod_of(pods[r.n_pods][0], pods[r.n_pods][1]);
        r.n_pods++;
    }
    rs_replicas_plan(&r, &out.pods, &out.status, &out.again);
    for (size_t i = 0; i < r.n_pods; i++)
        json_decref((json_t *)v[i]);
    return out;
}

static void done(struct result r)
{
    json_decref(r.pods);
    json_decref(r.status);
}

static void makes_what_is_missing(void **state)
{
    RS_AUTO(json_t) *set = set_of(3);
    struct result r = plan(set, (const char *const[][2]){ { "a", "nr" }, { "gone", "nd" }, { "failed", "nf" }, { NULL, NULL } }, true, NULL);
    assert_int_equal(json_array_size(r.pods), 2);
    const json_t *call = json_array_get(r.pods, 0), *pod = json_object_get(call, "body");
    assert_string_equal(rs_json_str(call, "method"), "POST");
    assert_string_equal(rs_json_str(call, "path"), "/api/v1/namespaces/n/pods");
    assert_string_equal(rs_json_str(pod, "metadata", "generateName"), "web-x-");
    assert_string_equal(rs_json_str(rs_object_owner(pod), "uid"), "s1");
    assert_string_equal(rs_object_annotation(pod, "a"), "b");
    const json_t *status = rs_json_at(json_array_get(r.status, 0), "body", "status");
    assert_string_equal(rs_json_str(json_array_get(r.status, 0), "path"), "/apis/apps/v1/namespaces/n/replicasets/web-x/status");
    assert_int_equal(rs_json_int(status, 9, "replicas"), 1);
    assert_int_equal(rs_json_int(status, 9, "readyReplicas"), 1);
    assert_int_equal(rs_json_int(status, 9, "availableReplicas"), 1);
    assert_int_equal(rs_json_int(status, 9, "fullyLabeledReplicas"), 1);
    done(r);
    r = plan(set, NULL, false, NULL);    /* the cache does not show everything yet */
    assert_int_equal(json_array_size(r.pods), 0);
    done(r);
    r = plan(set, NULL, true, "denied"); /* one try at a time */
    assert_int_equal(json_array_size(r.pods), 1);
    const json_t *c = json_array_get(rs_json_at(json_array_get(r.status, 0), "body", "status", "conditions"), 0);
    assert_string_equal(rs_json_str(c, "type"), "ReplicaFailure");
    assert_string_equal(rs_json_str(c, "message"), "denied");
    /* nothing new, nothing written; success takes it away */
    json_object_set(set, "status", rs_json_at(json_array_get(r.status, 0), "body", "status"));
    done(r);
    r = plan(set, NULL, true, "denied");
    assert_int_equal(json_array_size(r.status), 0);
    done(r);
    r = plan(set, NULL, true, NULL);
    assert_null(rs_json_at(json_array_get(r.status, 0), "body", "status", "conditions"));
    done(r);
}

static void victims(void **state)
{
    static const char *const pods[][2] = { { "ready", "nr" }, { "ready2", "nr" }, { "not-ready", "n" }, { "pending", "np" }, { "no-node", "p" }, { NULL, NULL } };
    static const char *const order[] = { "no-node", "pending", "not-ready" };
    for (size_t n = 1; n <= RS_COUNT(order); n++) {
        RS_AUTO(json_t) *set = set_of(5 - (int)n);
        struct result r = plan(set, pods, true, NULL);
        assert_int_equal(json_array_size(r.pods), n);
        for (size_t i = 0; i < n; i++) {
            const json_t *call = json_array_get(r.pods, i);
            assert_string_equal(rs_json_str(call, "method"), "DELETE");
            assert_true(rs_ends(rs_json_str(call, "path"), order[i]));
            assert_string_equal(rs_json_str(call, "body", "preconditions", "uid"), order[i]);
        }
        done(r);
    }
}

static void waits_until_available(void **state)
{
    RS_AUTO(json_t) *set = set_of(1);
    json_object_set_new(json_object_get(set, "spec"), "minReadySeconds", json_integer(30));
    struct result r = plan(set, (const char *const[][2]){ { "a", "nr" }, { NULL, NULL } }, true, NULL);
    assert_int_equal(rs_json_int(rs_json_at(json_array_get(r.status, 0), "body", "status"), 0, "readyReplicas"), 1);
    assert_int_equal(rs_json_int(rs_json_at(json_array_get(r.status, 0), "body", "status"), 0, "availableReplicas"), 0);
    assert_int_equal(r.again, 20000);
    done(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_what_is_missing), cmocka_unit_test(victims), cmocka_unit_test(waits_until_available),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
