/* Who makes a request: a token of the static list, a ServiceAccount token, a client certificate, or nobody. */
#pragma once
#include "cluster/token.h"
#include "http/server.h"

struct rs_user { char *name, *uid; json_t *groups, *extra; bool anonymous; };

typedef struct rs_authn rs_authn;
/* token_file: lines "token,user,uid,\"group1,group2\""; a missing file is an empty list. */
RS_MUST_USE int rs_authn_new(rs_authn **ret, const char *token_file, rs_tokens *tokens, struct rs_err *e);
void rs_authn_free(rs_authn *a);

/* NULL when the credentials are bad (401). */
struct rs_user *rs_authn_user(const rs_authn *a, rs_http_exchange *x);
struct rs_user *rs_user_new(const char *name, const char *uid, json_t *groups, json_t *extra);   /* groups, extra taken over */
struct rs_user *rs_user_copy(const struct rs_user *u);
void rs_user_free(struct rs_user *u);
/* {username, uid, groups, extra} as reviews carry it. */
json_t *rs_user_info(const struct rs_user *u);
