/* A pod's status on its way to the API, and the removal of the object when the pod has verifiably ended: the final status,
 * with every container terminated, is acknowledged before the DELETE is sent. */
#include "base/log.h"
#include "base/time.h"
#include "kube/object.h"
#include "node/node_int.h"

enum { RETRY_MS = 500 };

static void free_later(void *ctx) { rs_worker_free(ctx); }

static void die(rs_worker *w)
{
    if (w->dead)
        return;
    w->dead = true;
    rs_timer_cancel(w->timer);
    rs_loop_post(w->node->loop, free_later, w);
}

static void on_retry(void *ctx) { rs_worker_report(ctx); }

static void retry(rs_worker *w)
{
    if (!w->retry)
        w->retry = rs_timer_new(w->node->loop, on_retry, w);
    rs_timer_set(w->retry, RETRY_MS);
}

static void deleted(void *ctx, json_t *answer, const struct rs_err *why)
{
    rs_worker *w = ctx;

    w->delete_call = NULL;
    if (!why || why->code == RS_NOT_FOUND || why->code == RS_ABORTED) {
        die(w);                                        /* gone, or replaced by another of the same name */
        return;
    }
    rs_log_warning("remove pod %s/%s: %s", w->ns, w->name, why->msg);
    retry(w);
}

static void remove_object(rs_worker *w)
{
    RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/%s/pods/%s", w->ns, w->name);
    RS_AUTO(json_t) *body = rs_json_pack("{s:s, s:s, s:i, s:{s:s}}", "apiVersion", "v1", "kind", "DeleteOptions", "gracePeriodSeconds", 0,
                                         "preconditions", "uid", w->uid);

    w->delete_call = rs_kube_start(w->node->kube, "DELETE", path, NULL, body, deleted, w);
}

static void reported(void *ctx, json_t *answer, const struct rs_err *why)
{
    rs_worker *w = ctx;

    w->status_call = NULL;
    if (why && why->code == RS_NOT_FOUND) {
        rs_pod_vanished(w->pod, rs_now_ms());
        rs_worker_pump(w);
        return;
    }
    if (why) {
        json_decref(w->sent);
        w->sent = NULL;
        rs_log_warning("status of pod %s/%s: %s", w->ns, w->name, why->msg);
        retry(w);
        return;
    }
    rs_worker_report(w);                               /* it may have changed meanwhile */
}

static void send_status(rs_worker *w, json_t *status)
{
    RS_AUTO(rs_chars) *path = rs_printf("/api/v1/namespaces/%s/pods/%s/status", w->ns, w->name);
    RS_AUTO(json_t) *patch = rs_json_pack("{s:{s:s}, s:O}", "metadata", "uid", w->uid, "status", status);

    json_decref(w->sent);
    w->sent = json_incref(status);
    json_decref(w->pod->reported);
    w->pod->reported = json_incref(status);
    w->status_call = rs_kube_start(w->node->kube, "PATCH", path, RS_MERGE_PATCH, patch, reported, w);
}

void rs_worker_report(rs_worker *w)
{
    if (w->dead || w->pumping || w->adopting > 0 || w->status_call || w->delete_call)
        return;
    if (w->pod->removed) {
        if (w->finished)
            die(w);
        return;
    }
    RS_AUTO(json_t) *status = rs_pod_status(w->pod, rs_now_ms());
    if (!w->sent || !json_equal(w->sent, status)) {
        send_status(w, status);
        return;
    }
    if (w->finished && w->pod->deleting)
        remove_object(w);
}
