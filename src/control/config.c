#include "control/config_int.h"

void rs_config_emit(struct rs_config *c, json_t *resource)
{
    json_array_append_new(c->out, resource);
}

json_t *rs_config_resources(const rs_model *m, const rs_envoy *proxy)
{
    struct rs_config c = { .m = m, .proxy = proxy, .out = json_array() };
    c.pod = rs_model_pod_by_name(m, proxy->namespace, proxy->pod);
    c.labels = c.pod ? c.pod->labels : proxy->labels;
    rs_config_clusters(&c);
    if (proxy->router) {
        rs_config_gateway(&c);
    } else {
        rs_config_listeners(&c);
        rs_config_routes(&c);
    }
    return c.out;
}

int rs_config_snapshot(rs_xds_snapshot **ret, const rs_model *m, const rs_envoy *proxy, const json_t *extra, struct rs_err *e)
{
    RS_AUTO(json_t) *resources = rs_config_resources(m, proxy);
    RS_AUTO(rs_xds_snapshot) *s = rs_xds_snapshot_new();
    if (rs_xds_snapshot_add_all(s, resources, e) < 0)
        return rs_err_wrap(e, "configuration of %s", proxy->id);
    if (extra && rs_xds_snapshot_add_all(s, extra, e) < 0)
        return rs_err_wrap(e, "configuration of %s", proxy->id);
    *ret = rs_take(s);
    return 0;
}
