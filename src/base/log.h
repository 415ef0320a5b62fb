/* Logs: one line each on stderr, `time level program: message key=value`. Thread safe. Library code logs at most at
 * debug level and returns errors; programs and RPC edges log. Never pass key bytes or tokens. */
#pragma once
#include "base/auto.h"

enum rs_log_level { RS_LOG_ERROR, RS_LOG_WARNING, RS_LOG_INFO, RS_LOG_DEBUG };

/* Program name and the least level printed; the environment variable ROOTSHIFT_LOG (error|warning|info|debug) wins. */
void rs_log_init(const char *program, enum rs_log_level least);
void rs_log(enum rs_log_level level, const char *fmt, ...) RS_PRINTF(2, 3);
#define rs_log_error(...) rs_log(RS_LOG_ERROR, __VA_ARGS__)
#define rs_log_warning(...) rs_log(RS_LOG_WARNING, __VA_ARGS__)
#define rs_log_info(...) rs_log(RS_LOG_INFO, __VA_ARGS__)
#define rs_log_debug(...) rs_log(RS_LOG_DEBUG, __VA_ARGS__)
