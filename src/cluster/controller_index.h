/* Objects of informers under a second key (their controller's uid, their namespace, ...). Holds references. */
#pragma once
#include "base/json.h"

typedef struct rs_index rs_index;
struct rs_index_list { const json_t **v; size_t n; };

/* key: text an object stands under, or NULL: not in the index. */
rs_index *rs_index_new(const char *(*key)(const json_t *o));
void rs_index_free(rs_index *x);
/* As an informer's on_change tells it. */
void rs_index_change(rs_index *x, const json_t *old, const json_t *now);
/* Borrowed until the next change; empty when there is none. */
struct rs_index_list rs_index_get(const rs_index *x, const char *key);

const char *rs_key_owner(const json_t *o);          /* uid of its controller */
const char *rs_key_namespace(const json_t *o);
