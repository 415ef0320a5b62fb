/* Names, paths and common members of Kubernetes objects held as json_t. Pure. */
#pragma once
#include "base/json.h"

/* What the API calls a resource. Static tables below; CRDs of Istio and Rootshift included. */
struct rs_kind { const char *api_version, *kind, *plural; bool namespaced; };
/* By (apiVersion, kind); NULL when not in the table. api_version NULL: first match. */
const struct rs_kind *rs_kind_find(const char *api_version, const char *kind);
/* "/api/v1/namespaces/NS/pods/NAME"; namespace NULL: all / cluster scope; name NULL: the collection. malloc'ed. */
char *rs_kind_path(const struct rs_kind *k, const char *namespace, const char *name);
/* Path for a whole object (by apiVersion, kind, metadata); with_name false: its collection. NULL when the kind is unknown. */
char *rs_object_path(const json_t *o, bool with_name);

const char *rs_object_name(const json_t *o);             /* "" when missing; the same below */
const char *rs_object_namespace(const json_t *o);
const char *rs_object_uid(const json_t *o);
const char *rs_object_rv(const json_t *o);
const char *rs_object_label(const json_t *o, const char *key);          /* NULL when missing */
const char *rs_object_annotation(const json_t *o, const char *key);     /* NULL when missing */
bool rs_object_deleting(const json_t *o);                /* has deletionTimestamp */
const json_t *rs_object_owner(const json_t *o);          /* controller ownerReference, or NULL */
bool rs_pod_ready(const json_t *pod);
const char *rs_pod_ip(const json_t *pod);
/* Text of data.KEY of a Secret (base64-decoded) or ConfigMap; malloc'ed, NULL when missing or broken. */
char *rs_secret_value(const json_t *secret, const char *key, size_t *ret_n);
const char *rs_configmap_value(const json_t *cm, const char *key);

/* Label selectors: the query grammar (k=v, k!=v, in, notin, k, !k) and LabelSelector objects. */
typedef struct rs_selector rs_selector;
RS_MUST_USE int rs_selector_parse(rs_selector **ret, const char *text, struct rs_err *e);
RS_MUST_USE int rs_selector_from_json(rs_selector **ret, const json_t *label_selector, struct rs_err *e);   /* NULL/{}: everything */
bool rs_selector_matches(const rs_selector *s, const json_t *labels);   /* labels may be NULL */
void rs_selector_free(rs_selector *s);
RS_DEFINE_AUTO(rs_selector, rs_selector_free)
/* A Service's plain map selector against labels; an empty or missing selector matches nothing. */
bool rs_labels_include(const json_t *labels, const json_t *wanted);
