/* Where values of a pod's environment and volumes come from: fields of the pod, resource limits, ConfigMaps, Secrets,
 * tokens. Pure but for the lookups, which the owner supplies. */
#pragma once
#include "base/json.h"

enum rs_lookup_state { RS_LOOKUP_WAIT, RS_LOOKUP_MISSING, RS_LOOKUP_FOUND };

struct rs_source {
    const json_t *pod;                 /* newest version */
    const char *ip, *host_ip, *node_name;      /* ip may be NULL before the network is up */
    void *ctx;
    /* kind: "ConfigMap" or "Secret". WAIT: not known yet, the owner asks again later. Object is borrowed. */
    enum rs_lookup_state (*object)(void *ctx, const char *kind, const char *name, const json_t **ret);
    /* A ServiceAccount token for this pod; WAIT while it is being asked for. Borrowed. audience NULL: the API's own. */
    enum rs_lookup_state (*token)(void *ctx, const char *audience, int64_t seconds, const char **ret);
};

/* fieldRef: metadata.{name,namespace,uid,labels,annotations,labels['K'],annotations['K']}, spec.{nodeName,serviceAccountName},
 * status.{podIP,podIPs,hostIP}. malloc'ed; NULL when the path is unknown. */
char *rs_source_field(const struct rs_source *s, const char *path);
/* resourceFieldRef of a container; requests and limits not given are the node's own amount. malloc'ed; NULL when unknown. */
char *rs_source_resource(const struct rs_source *s, const json_t *ref, const json_t *container);
/* $(VAR) from env (an array of "K=V" text), $$ is $; unknown names stay as they are. malloc'ed. */
char *rs_source_expand(const char *text, const json_t *env);

/* Environment of a container as an array of "NAME=value". RS_UNAVAILABLE: something is not known yet; RS_NOT_FOUND: an object or
 * key that is not optional is missing (message as the kubelet's). */
RS_MUST_USE int rs_source_env(json_t **ret, const struct rs_source *s, const json_t *container, struct rs_err *e);
/* Value of a key of a ConfigMap (data, binaryData) or Secret; malloc'ed, NULL when missing. */
char *rs_source_value(const char *kind, const json_t *object, const char *key, size_t *ret_n);
