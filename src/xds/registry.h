/* Which descriptor stands behind a type URL. */
#pragma once
#include <protobuf-c/protobuf-c.h>

/* NULL when the type is not one of ours. */
const ProtobufCMessageDescriptor *rs_xds_descriptor(const char *type_url);
