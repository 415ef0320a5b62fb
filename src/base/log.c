#include "base/log.h"

#include <stdarg.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/time.h"

static const char *log_program = "rootshift";
static enum rs_log_level log_least = RS_LOG_INFO;
static const char *const level_names[] = { "error", "warning", "info", "debug" };

void rs_log_init(const char *program, enum rs_log_level least)
{
    log_program = program;
    log_least = least;
    const char *want = getenv("ROOTSHIFT_LOG");
    for (size_t i = 0; want && i < RS_COUNT(level_names); i++)
        if (rs_streq(want, level_names[i]))
            log_least = (enum rs_log_level)i;
}

void rs_log(enum rs_log_level level, const char *fmt, ...)
{
    if (level > log_least)
        return;
    char line[4096], when[RS_TIME_TEXT];
    int n = snprintf(line, sizeof(line), "%s %s %s: ", rs_time_text_ms(rs_now_ms(), when), level_names[level], log_program);
    va_list ap;
    va_start(ap, fmt);
    int m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
    va_end(ap);
    size_t total = (size_t)n + (size_t)(m > 0 ? m : 0);
    if (total > sizeof(line) - 2)
        total = sizeof(line) - 2;
    for (size_t i = 0; i < total; i++)
        if (line[i] == '\n')
            line[i] = ' ';
    line[total] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, total + 1);
    (void)ignored;
}
