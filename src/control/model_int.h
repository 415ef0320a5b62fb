/* Inside of a model: who owns what. Only model*.c. */
#pragma once
#include "control/model.h"

struct peer_auth { const char *namespace, *mode; const json_t *selector, *ports; };

struct model {
    rs_model pub;                                        /* first: rs_model * and struct model * are one address */
    int refs;
    json_t *keep;                                        /* array: every object that texts are borrowed from */
    void **own; size_t n_own, cap_own;                   /* every allocation, freed with the model */
    struct peer_auth *peers; size_t n_peers;             /* oldest first */
    const struct rs_model_pod **by_ip; size_t n_by_ip;   /* sorted by ip; pods of the host's network left out */
};
static inline const struct model *model_of(const rs_model *m) { return (const struct model *)m; }

void *model_alloc(struct model *m, size_t n);            /* zeroed */
#define model_array(m, type, n) ((type *)model_alloc((m), (n) * sizeof(type) + 1))
char *model_text(struct model *m, const char *s);        /* a copy; NULL stays NULL */
char *model_printf(struct model *m, const char *fmt, ...) RS_PRINTF(2, 3);
void model_texts_add(struct model *m, struct rs_texts *t, const char *s);
void model_texts_from(struct model *m, struct rs_texts *t, const json_t *array);
/* Borrowed text of a member; "" when missing. */
const char *model_str(const json_t *o, const char *key);
/* New array of the same objects, oldest first, then by namespace and name. The model keeps it. */
const json_t *model_by_age(struct model *m, const json_t *objects);

/* model_policy.c */
void model_add_peer_authentications(struct model *m, const json_t *objects);
void model_add_authorization_policies(struct model *m, const json_t *objects);
/* model_gateway.c */
void model_add_gateways(struct model *m, const json_t *objects);
void model_add_virtual_services(struct model *m, const json_t *objects);
enum rs_protocol model_protocol(const char *port_name, const char *app_protocol);
