/* cmocka behind one header, with checks that print our error values. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/json.h"

/* ASSERT_OK(rs_x(..., &e)): fails with the error's text. */
#define ASSERT_OK(call) do { struct rs_err *unit_e_ = &e; unit_e_->msg[0] = 0; \
        if ((call) != 0) fail_msg("%s: %s (%s:%d)", #call, unit_e_->msg, unit_e_->file, unit_e_->line); } while (0)
/* ASSERT_FAILS(RS_INVALID, "part of the message", rs_x(..., &e)) */
#define ASSERT_FAILS(want, part, call) do { \
        if ((call) == 0) fail_msg("%s: succeeded", #call); \
        if (e.code != (want) || !strstr(e.msg, (part))) fail_msg("%s: %s: %s", #call, rs_code_name(e.code), e.msg); } while (0)
/* Document from text with single quotes for double ones. */
static inline json_t *unit_json(const char *text)
{
    RS_AUTO(rs_chars) *s = rs_strdup(text);
    for (char *p = s; *p; p++)
        if (*p == '\'')
            *p = '"';
    struct rs_err e;
    json_t *o = NULL;
    if (rs_json_parse(&o, rs_str_of(s), &e) < 0)
        fail_msg("%s in %s", e.msg, s);
    return o;
}
