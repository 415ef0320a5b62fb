/* What is in a volume: files made from configMap, secret, projected and downwardAPI sources, and the atomic way of putting
 * them into a directory (the kubelet's: ..data is a symlink that is swapped, names are symlinks through it). */
#pragma once
#include <sys/types.h>
#include "node/source.h"

struct rs_file { char *path, *bytes; size_t n; mode_t mode; };
struct rs_files { struct rs_file *v; size_t n; };

/* True for the kinds of volume made of files. */
bool rs_files_volume(const json_t *volume);
/* Files of such a volume. Errors as rs_source_env. */
RS_MUST_USE int rs_files_make(struct rs_files *ret, const struct rs_source *s, const json_t *volume, struct rs_err *e);
bool rs_files_equal(const struct rs_files *a, const struct rs_files *b);
void rs_files_done(struct rs_files *f);
#define RS_AUTO_FILES __attribute__((cleanup(rs_files_done))) struct rs_files

/* Replaces the content of dir (made when missing). gid >= 0: files belong to that group, which may read them. */
RS_MUST_USE int rs_files_write(const char *dir, const struct rs_files *f, gid_t gid, bool with_gid, struct rs_err *e);
