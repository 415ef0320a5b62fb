/* A cache of one collection, kept true by list + watch (relist on 410 or a lost connection, back-off with jitter).
 * Loop thread only. Objects are borrowed json_t that stay unchanged; a newer version is a new object. */
#pragma once
#include "kube/client.h"

typedef struct rs_informer rs_informer;

struct rs_informer_ops {
    /* old NULL: added; now NULL: deleted (old is then the last state seen; `final` when a DELETED event carried it,
     * false when it vanished between two lists). Called also for every object of the first list, before on_synced. */
    void (*on_change)(void *ctx, const json_t *old, const json_t *now, bool final);
    void (*on_synced)(void *ctx);                        /* once, after the first list; may be NULL */
};
/* path: a collection ("/api/v1/pods", "/api/v1/namespaces/x/secrets"); selectors may be NULL. */
rs_informer *rs_informer_new(rs_kube *k, const char *path, const char *label_selector, const char *field_selector,
                             const struct rs_informer_ops *ops, void *ctx);
void rs_informer_free(rs_informer *i);
bool rs_informer_synced(const rs_informer *i);
const json_t *rs_informer_get(const rs_informer *i, const char *namespace, const char *name);   /* namespace NULL or "": cluster scope */
/* All objects as an array, new reference, in order of namespace and name. */
json_t *rs_informer_list(const rs_informer *i);
/* Milliseconds (monotonic) since the watch was last known to be good; 0 while connected. */
int64_t rs_informer_stale_ms(const rs_informer *i);
