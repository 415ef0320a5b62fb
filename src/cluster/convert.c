/* Versions differ in apiVersion alone, except autoscaling/v1, whose one target v2 keeps among spec.metrics. */
#include "cluster/convert.h"

static bool is_cpu(const json_t *metric)
{
    return rs_streq(rs_json_str(metric, "type"), "Resource") && rs_streq(rs_json_str(metric, "resource", "name"), "cpu");
}

static void hpa_from_v1(json_t *doc)
{
    json_t *spec = json_object_get(doc, "spec"), *target = json_object_get(spec, "targetCPUUtilizationPercentage");
    if (target) {
        json_t *metric = rs_json_pack("{s:s, s:{s:s, s:{s:s, s:O}}}", "type", "Resource", "resource", "name", "cpu",
                                      "target", "type", "Utilization", "averageUtilization", target);
        json_object_set_new(spec, "metrics", rs_json_pack("[o]", metric));
        json_object_del(spec, "targetCPUUtilizationPercentage");
    }
    json_object_del(json_object_get(doc, "status"), "currentCPUUtilizationPercentage");
}

static void hpa_to_v1(json_t *doc)
{
    json_t *spec = json_object_get(doc, "spec");
    size_t i;
    json_t *metric;
    json_array_foreach(json_object_get(spec, "metrics"), i, metric) {
        json_t *target = rs_json_at(metric, "resource", "target", "averageUtilization");
        if (is_cpu(metric) && target)
            json_object_set(spec, "targetCPUUtilizationPercentage", target);
    }
    json_object_del(spec, "metrics");
    json_object_del(spec, "behavior");
    json_t *status = json_object_get(doc, "status");
    json_object_del(status, "currentMetrics");
    json_object_del(status, "conditions");
}

void rs_convert(json_t *doc, const struct rs_resource *res, const char *from, const char *to)
{
    RS_AUTO(rs_chars) *gv = rs_group_version(res->group, to);
    if (!rs_streq(rs_json_str(doc, "apiVersion"), gv))
        rs_json_set_str(doc, "apiVersion", gv);
    if (rs_streq(from, to) || !rs_streq(res->key, "autoscaling/horizontalpodautoscalers"))
        return;
    if (rs_streq(from, "v1"))
        hpa_from_v1(doc);
    else if (rs_streq(to, "v1"))
        hpa_to_v1(doc);
}
