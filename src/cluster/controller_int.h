/* What the controllers share: caches, indexes, the dispatch of changes. */
#pragma once
#include "cluster/controller_index.h"
#include "cluster/controller_plan.h"
#include "cluster/controller_queue.h"
#include "cluster/controllers.h"
#include "kube/informer.h"
#include "kube/object.h"

enum rs_watched {
    RS_WATCH_NAMESPACES, RS_WATCH_NODES, RS_WATCH_PODS, RS_WATCH_SERVICES, RS_WATCH_ENDPOINTS, RS_WATCH_SERVICE_ACCOUNTS,
    RS_WATCH_CONFIG_MAPS, RS_WATCH_SECRETS, RS_WATCH_DEPLOYMENTS, RS_WATCH_REPLICA_SETS, RS_WATCH_ENDPOINT_SLICES,
    /* only for garbage collection; a server that does not have them is fine */
    RS_WATCH_HPAS, RS_WATCH_PDBS, RS_WATCH_LEASES, RS_WATCH_MUTATING, RS_WATCH_VALIDATING, RS_WATCH_ROLES, RS_WATCH_ROLE_BINDINGS,
    RS_WATCH_CLUSTER_ROLES, RS_WATCH_CLUSTER_ROLE_BINDINGS,
    RS_WATCHED, RS_WATCHED_NEEDED = RS_WATCH_HPAS,
};

/* One controller: made by its new function, told of every change once all needed caches are filled. */
struct rs_controller {
    void *(*new)(rs_controllers *c);
    void (*change)(void *self, enum rs_watched what, const json_t *old, const json_t *now);
    void (*free)(void *self);
};
extern const struct rs_controller rs_deployment_controller, rs_replica_set_controller, rs_service_controller, rs_namespace_controller,
    rs_scheduler, rs_garbage_collector;

rs_kube *rs_controllers_kube(const rs_controllers *c);
rs_recorder *rs_controllers_recorder(const rs_controllers *c);
/* An object of a cache; NULL when there is none. */
const json_t *rs_cached(const rs_controllers *c, enum rs_watched what, const char *namespace, const char *name);
/* The same by a queue's key "namespace/name". */
const json_t *rs_cached_key(const rs_controllers *c, enum rs_watched what, const char *key);
json_t *rs_cached_all(const rs_controllers *c, enum rs_watched what);       /* new reference */
/* Which cache holds a kind; RS_WATCHED when none does. */
enum rs_watched rs_watched_kind(const char *api_version, const char *kind);

struct rs_index_list rs_pods_of_owner(const rs_controllers *c, const char *uid);
struct rs_index_list rs_pods_of_namespace(const rs_controllers *c, const char *namespace);
struct rs_index_list rs_sets_of_owner(const rs_controllers *c, const char *uid);
struct rs_index_list rs_services_of_namespace(const rs_controllers *c, const char *namespace);
struct rs_index_list rs_slices_of_namespace(const rs_controllers *c, const char *namespace);
