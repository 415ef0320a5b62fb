/* What is asked of the cluster before an installation touches it. Sequential. */
#pragma once
#include "kube/client.h"
#include "install/install.h"

/* Reachable, and we may do what an installation does (SelfSubjectAccessReview). RS_FORBIDDEN names verb and resource. */
RS_MUST_USE int rs_check_access(rs_kube *k, struct rs_err *e);
/* No namespace carries both injection labels; istio-system exists or may be made. */
RS_MUST_USE int rs_check_namespaces(rs_kube *k, bool may_create, struct rs_err *e);
/* A revision that is there already was installed with the same CA. */
RS_MUST_USE int rs_check_installed(rs_kube *k, const char *revision, enum rs_ca_kind ca, struct rs_err *e);
/* Secret cacerts is absent or holds exactly these certificates. */
RS_MUST_USE int rs_check_cacerts(rs_kube *k, const struct rs_ca_input *in, struct rs_err *e);
/* Room for an installation's files. */
RS_MUST_USE int rs_check_disk(const char *dir, struct rs_err *e);
