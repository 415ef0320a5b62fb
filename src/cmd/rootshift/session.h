/* What every verb that talks to a cluster starts with: options --kubeconfig and --context, loop, client. */
#pragma once
#include "cmd/rootshift/cmd.h"
#include "cmd/rootshift/world_kube.h"

struct rs_session {
    const char *kubeconfig, *context;
    rs_loop *loop;
    rs_kube *kube;
    struct rs_world_kube w;
};

#define RS_SESSION_OPTIONS(s) \
    { .name = "kubeconfig", .aliases = "kc", .kind = RS_OPT_TEXT, .value = &(s)->kubeconfig, .arg = "FILE", .help = "kubeconfig file (default: $KUBECONFIG, ~/.kube/config)" }, \
    { .name = "context", .aliases = "ctx", .kind = RS_OPT_TEXT, .value = &(s)->context, .arg = "NAME", .help = "context of the cluster (default: the current one)" }

RS_MUST_USE int rs_session_open(struct rs_session *s, struct rs_err *e);
void rs_session_close(struct rs_session *s);
#define RS_AUTO_SESSION __attribute__((cleanup(rs_session_close))) struct rs_session

/* "user@host pid N": who holds the lock and stands in the record. malloc'ed. */
char *rs_session_actor(void);
/* -o table|json; others are bad input. */
enum rs_output { RS_OUTPUT_TABLE, RS_OUTPUT_JSON };
RS_MUST_USE int rs_output_parse(const char *text, enum rs_output *ret, struct rs_err *e);
