/* Files and directories. Reads are bounded; writes are atomic (temporary file, fsync, rename). */
#pragma once
#include <sys/types.h>
#include "base/err.h"
#include "base/str.h"

enum { RS_FILE_MAX = 16 * 1024 * 1024 };

/* Whole file, at most max bytes, NUL-terminated; the caller frees. ret_n may be NULL. */
RS_MUST_USE int rs_file_read(const char *path, size_t max, char **ret, size_t *ret_n, struct rs_err *e);
/* Replaces path atomically with these bytes and this mode. */
RS_MUST_USE int rs_file_write(const char *path, rs_str bytes, mode_t mode, struct rs_err *e);
/* mkdir -p; mode is for the directories made. */
RS_MUST_USE int rs_mkdirs(const char *path, mode_t mode, struct rs_err *e);
/* rm -rf, without following links and without crossing into other mounts; a missing path is no error. */
RS_MUST_USE int rs_remove_tree(const char *path, struct rs_err *e);
bool rs_file_exists(const char *path);
/* Directory of the running program ("/x/build/bin"), malloc'ed. */
char *rs_program_dir(void);
/* Full path of a program: beside ours first, then PATH; NULL when there is none. malloc'ed. */
char *rs_program_find(const char *name);
