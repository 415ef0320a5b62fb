/* The verbs of `rootshift`: one file cmd_VERB.c per verb, one line in the table of main.c, one prototype here. A verb gets
 * its own argv (argv[0] is the verb) and returns the exit status: 0 done, 1 a check failed, 2 usage or bad input,
 * 3 cluster unreachable or forbidden, 4 a gate is closed. */
#pragma once
#include "base/err.h"
#include "base/opt.h"

/* Who we are called as; decides style and exit codes (asmcli: every error is 2 and reads `asmcli: [ERROR]: ...`). */
enum rs_cmd_name { RS_AS_ROOTSHIFT, RS_AS_ASMCLI, RS_AS_MIGRATE_CA };
enum rs_cmd_name rs_cmd_called_as(void);

/* One line on stderr: "rootshift: text" / "asmcli: text", "...: warning: text" / "asmcli: [WARNING]: text". */
void rs_cmd_say(const char *fmt, ...) RS_PRINTF(1, 2);
void rs_cmd_warn(const char *fmt, ...) RS_PRINTF(1, 2);
/* Prints the error as one line and gives the exit status that belongs to it. */
int rs_cmd_fail(const struct rs_err *e);
/* "usage" line, then the options; for --help (stdout, returns 0). */
int rs_cmd_help(const char *usage, const char *what, const struct rs_opt *table, size_t n);
/* Everything said goes to this file as well (asmcli's logs.txt); NULL ends it. */
void rs_cmd_log_to(const char *path);

int rs_cmd_cluster(int argc, char **argv);
int rs_cmd_migrate(int argc, char **argv);
int rs_cmd_complete(int argc, char **argv);
int rs_cmd_rollback(int argc, char **argv);
int rs_cmd_status(int argc, char **argv);
int rs_cmd_check_root_cert(int argc, char **argv);
int rs_cmd_check_workload_cert(int argc, char **argv);
int rs_cmd_check_trustdomain(int argc, char **argv);
int rs_cmd_install(int argc, char **argv);
int rs_cmd_mesh_ca(int argc, char **argv);
