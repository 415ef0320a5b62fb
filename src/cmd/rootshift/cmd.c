#include "cmd/rootshift/cmd.h"

#include <stdarg.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/time.h"

static FILE *log_file;

void rs_cmd_log_to(const char *path)
{
    if (log_file)
        fclose(log_file);
    log_file = path ? fopen(path, "ae") : NULL;
    if (log_file)
        setvbuf(log_file, NULL, _IOLBF, 0);
}

static void line(const char *level_asmcli, const char *level, const char *text)
{
    bool asmcli = rs_cmd_called_as() == RS_AS_ASMCLI;
    const char *program = asmcli ? "asmcli" : rs_cmd_called_as() == RS_AS_MIGRATE_CA ? "migrate_ca" : "rootshift";
    fprintf(stderr, "%s: %s%s\n", program, asmcli ? level_asmcli : level, text);
    if (log_file) {
        char when[RS_TIME_TEXT];
        fprintf(log_file, "%s %s: %s%s\n", rs_time_text(rs_now_ms(), when), program, level_asmcli, text);
    }
}

static void linev(const char *level_asmcli, const char *level, const char *fmt, va_list args) __attribute__((format(printf, 3, 0)));
static void linev(const char *level_asmcli, const char *level, const char *fmt, va_list args)
{
    char *text = NULL;
    if (vasprintf(&text, fmt, args) >= 0)
        line(level_asmcli, level, text);
    free(text);
}

void rs_cmd_say(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    linev("", "", fmt, args);
    va_end(args);
}

void rs_cmd_warn(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    linev("[WARNING]: ", "warning: ", fmt, args);
    va_end(args);
}

int rs_cmd_fail(const struct rs_err *e)
{
    line("[ERROR]: ", "", e->msg);
    return rs_cmd_called_as() == RS_AS_ASMCLI ? 2 : rs_code_exit(e->code);
}

int rs_cmd_help(const char *usage, const char *what, const struct rs_opt *table, size_t n)
{
    printf("usage: %s\n\n%s\n\n", usage, what);
    rs_opt_help(stdout, table, n);
    return 0;
}
