/* Socket addresses as text: "127.0.0.1:80", "[::1]:80", "unix:/path". */
#pragma once
#include <sys/socket.h>
#include "base/err.h"

struct rs_address { struct sockaddr_storage sa; socklen_t n; };

/* RS_INVALID when text is none of these; host names are not looked up. */
RS_MUST_USE int rs_address_parse(struct rs_address *ret, const char *text, struct rs_err *e);
enum { RS_ADDRESS_TEXT = 128 };
const char *rs_address_text(const struct rs_address *a, char buf[RS_ADDRESS_TEXT]);
