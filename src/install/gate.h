/* A live mesh must not get a signer that its proxies don't trust (design rule 1). Sequential. */
#pragma once
#include "install/install.h"

/* Reads every running proxy. Open when there is none, or when the switch gate is open (mesh_ca), or when every proxy holds
 * the root that the new control plane will sign under (citadel). RS_PRECONDITION names the proxies that are behind.
 * new_root: PEM of Mesh CA's root, or of the certificates given; NULL with citadel: the one in the cluster. */
RS_MUST_USE int rs_install_gate(rs_kube *k, enum rs_ca_kind ca, const char *new_root, struct rs_err *e);
