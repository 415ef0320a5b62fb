#include "node/files.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/secret.h"
#include "base/time.h"
#include "kube/object.h"

enum { FILES_MAX = 4096 };

void rs_files_done(struct rs_files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->v[i].path);
        rs_free_cleansed(f->v[i].bytes, f->v[i].n);
    }
    free(f->v);
    *f = (struct rs_files){ 0 };
}

bool rs_files_volume(const json_t *volume)
{
    return json_object_get(volume, "configMap") || json_object_get(volume, "secret") || json_object_get(volume, "projected") ||
           json_object_get(volume, "downwardAPI");
}

bool rs_files_equal(const struct rs_files *a, const struct rs_files *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!rs_streq(a->v[i].path, b->v[i].path) || a->v[i].mode != b->v[i].mode || a->v[i].n != b->v[i].n ||
            memcmp(a->v[i].bytes, b->v[i].bytes, a->v[i].n) != 0)
            return false;
    return true;
}

/* A path in a volume stays in the volume and does not look like the kubelet's own names. */
static bool good_path(const char *path)
{
    if (!*path || *path == '/' || rs_starts(path, ".."))
        return false;
    return !strstr(path, "/../") && !rs_ends(path, "/..") && strlen(path) < 1024;
}

/* Takes bytes over. A later source with the same path wins. */
static int add(struct rs_files *f, const char *path, char *bytes, size_t n, mode_t mode, struct rs_err *e)
{
    if (!good_path(path) || f->n == FILES_MAX) {
        rs_free_cleansed(bytes, n);
        return RS_FAIL(e, RS_INVALID, "path \"%s\" cannot be in a volume", path);
    }
    for (size_t i = 0; i < f->n; i++)
        if (rs_streq(f->v[i].path, path)) {
            rs_free_cleansed(f->v[i].bytes, f->v[i].n);
            f->v[i] = (struct rs_file){ f->v[i].path, bytes, n, mode };
            return 0;
        }
    f->v = rs_realloc(f->v, (f->n + 1) * sizeof(*f->v));
    f->v[f->n++] = (struct rs_file){ rs_strdup(path), bytes, n, mode };
    return 0;
}

static int object_files(struct rs_files *f, const struct rs_source *s, const char *kind, const json_t *src, mode_t mode, struct rs_err *e)
{
    const char *name = rs_json_str(src, "name") ? rs_json_str(src, "name") : rs_json_str(src, "secretName"), *key;
    const json_t *object, *items = json_object_get(src, "items");
    bool optional = rs_json_true(src, "optional");
    enum rs_lookup_state st = s->object(s->ctx, kind, name ? name : "", &object);
    size_t i, n;
    json_t *it, *v;

    if (st == RS_LOOKUP_WAIT)
        return RS_FAIL(e, RS_UNAVAILABLE, "waiting for %s %s", kind, name ? name : "");
    if (st == RS_LOOKUP_MISSING)
        return optional ? 0 : RS_FAIL(e, RS_NOT_FOUND, "%s \"%s\" not found", rs_streq(kind, "Secret") ? "secret" : "configmap", name ? name : "");
    json_array_foreach(items, i, it) {
        const char *k = rs_json_str(it, "key"), *path = rs_json_str(it, "path");
        char *bytes = k && path ? rs_source_value(kind, object, k, &n) : NULL;
        if (!bytes && !optional)
            return RS_FAIL(e, RS_NOT_FOUND, "%s \"%s\" references non-existent key: %s", rs_streq(kind, "Secret") ? "secret" : "configmap", name, k ? k : "");
        if (bytes && add(f, path, bytes, n, (mode_t)rs_json_int(it, mode, "mode"), e) < 0)
            return -1;
    }
    if (json_array_size(items) > 0)
        return 0;
    for (int part = 0; part < 2; part++)
        json_object_foreach((json_t *)json_object_get(object, part ? "binaryData" : "data"), key, v) {
            char *bytes = rs_source_value(kind, object, key, &n);
            if (bytes && add(f, key, bytes, n, mode, e) < 0)
                return -1;
        }
    return 0;
}

static int field_files(struct rs_files *f, const struct rs_source *s, const json_t *items, mode_t mode, struct rs_err *e)
{
    size_t i;
    json_t *it;

    json_array_foreach(items, i, it) {
        const char *path = rs_json_str(it, "path"), *field = rs_json_str(it, "fieldRef", "fieldPath");
        char *text = field ? rs_source_field(s, field) : rs_source_resource(s, json_object_get(it, "resourceFieldRef"), NULL);
        if (!text)
            return RS_FAIL(e, RS_INVALID, "downward API item %zu: field \"%s\" is not supported", i, field ? field : "");
        if (add(f, path ? path : "", text, strlen(text), (mode_t)rs_json_int(it, mode, "mode"), e) < 0)
            return -1;
    }
    return 0;
}

static int token_file(struct rs_files *f, const struct rs_source *s, const json_t *src, mode_t mode, struct rs_err *e)
{
    const char *token, *path = rs_json_str(src, "path"), *audience = rs_json_str(src, "audience");

    if (s->token(s->ctx, audience, rs_json_int(src, 3600, "expirationSeconds"), &token) != RS_LOOKUP_FOUND)
        return RS_FAIL(e, RS_UNAVAILABLE, "waiting for a token with audience \"%s\"", audience ? audience : "");
    return add(f, path ? path : "token", rs_strdup(token), strlen(token), mode, e);
}

static int projected(struct rs_files *f, const struct rs_source *s, const json_t *sources, mode_t mode, struct rs_err *e)
{
    size_t i;
    json_t *src, *part;
    int r = 0;

    json_array_foreach(sources, i, src) {
        if ((part = json_object_get(src, "configMap")))
            r = object_files(f, s, "ConfigMap", part, mode, e);
        else if ((part = json_object_get(src, "secret")))
            r = object_files(f, s, "Secret", part, mode, e);
        else if ((part = json_object_get(src, "downwardAPI")))
            r = field_files(f, s, json_object_get(part, "items"), mode, e);
        else if ((part = json_object_get(src, "serviceAccountToken")))
            r = token_file(f, s, part, mode, e);
        else
            r = RS_FAIL(e, RS_INVALID, "projected source %zu is of no known kind", i);
        if (r < 0)
            return -1;
    }
    return 0;
}

int rs_files_make(struct rs_files *ret, const struct rs_source *s, const json_t *volume, struct rs_err *e)
{
    RS_AUTO_FILES f = { 0 };
    const json_t *v;
    int r;

    if ((v = json_object_get(volume, "configMap")))
        r = object_files(&f, s, "ConfigMap", v, (mode_t)rs_json_int(v, 0644, "defaultMode"), e);
    else if ((v = json_object_get(volume, "secret")))
        r = object_files(&f, s, "Secret", v, (mode_t)rs_json_int(v, 0644, "defaultMode"), e);
    else if ((v = json_object_get(volume, "projected")))
        r = projected(&f, s, json_object_get(v, "sources"), (mode_t)rs_json_int(v, 0644, "defaultMode"), e);
    else if ((v = json_object_get(volume, "downwardAPI")))
        r = field_files(&f, s, json_object_get(v, "items"), (mode_t)rs_json_int(v, 0644, "defaultMode"), e);
    else
        r = RS_FAIL(e, RS_INVALID, "not a volume made of files");
    if (r < 0)
        return -1;
    *ret = f;
    f = (struct rs_files){ 0 };
    return 0;
}

static int write_one(const char *root, const struct rs_file *file, gid_t gid, bool with_gid, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s", root, file->path);
    char *slash = strrchr(path, '/');

    *slash = '\0';
    if (rs_mkdirs(path, 0755, e) < 0)
        return -1;
    *slash = '/';
    int RS_AUTO_FD fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return RS_FAIL_ERRNO(e, "create %s", path);
    for (size_t off = 0; off < file->n;) {
        ssize_t n = write(fd, file->bytes + off, file->n - off);
        if (n < 0)
            return RS_FAIL_ERRNO(e, "write %s", path);
        off += (size_t)n;
    }
    mode_t mode = file->mode | (with_gid ? 0440 : 0);
    if ((with_gid && fchown(fd, 0, gid) < 0) || fchmod(fd, mode & 0777) < 0)
        return RS_FAIL_ERRNO(e, "set owner or mode of %s", path);
    return 0;
}

/* name -> ..data/name for the first component of every path; links to names that are gone are removed. */
static int link_names(const char *dir, const struct rs_files *f, struct rs_err *e)
{
    for (size_t i = 0; i < f->n; i++) {
        size_t n = strcspn(f->v[i].path, "/");
        RS_AUTO(rs_chars) *link = rs_printf("%s/%.*s", dir, (int)n, f->v[i].path);
        RS_AUTO(rs_chars) *to = rs_printf("..data/%.*s", (int)n, f->v[i].path);
        if (symlink(to, link) < 0 && errno != EEXIST)
            return RS_FAIL_ERRNO(e, "link %s", link);
    }
    DIR *d = opendir(dir);
    if (!d)
        return RS_FAIL_ERRNO(e, "read %s", dir);
    for (struct dirent *it; (it = readdir(d));) {
        RS_AUTO(rs_chars) *path = rs_printf("%s/%s", dir, it->d_name);
        if (!rs_starts(it->d_name, "..") && access(path, F_OK) < 0 && errno == ENOENT)
            unlink(path);
    }
    closedir(d);
    return 0;
}

int rs_files_write(const char *dir, const struct rs_files *f, gid_t gid, bool with_gid, struct rs_err *e)
{
    RS_AUTO(rs_chars) *data = rs_printf("%s/..data", dir), *tmp = rs_printf("%s/..data_tmp", dir);
    char old[256] = "", stamp[64];
    static unsigned count;

    if (rs_mkdirs(dir, 0755, e) < 0)
        return -1;
    ssize_t n = readlink(data, old, sizeof(old) - 1);
    old[n > 0 ? n : 0] = '\0';
    snprintf(stamp, sizeof(stamp), "..%lld.%u", (long long)rs_now_ms(), ++count);
    RS_AUTO(rs_chars) *root = rs_printf("%s/%s", dir, stamp);
    if (rs_mkdirs(root, 0755, e) < 0)
        return -1;
    for (size_t i = 0; i < f->n; i++)
        if (write_one(root, &f->v[i], gid, with_gid, e) < 0)
            return -1;
    unlink(tmp);
    if (symlink(stamp, tmp) < 0 || rename(tmp, data) < 0)
        return RS_FAIL_ERRNO(e, "switch %s", data);
    if (link_names(dir, f, e) < 0)
        return -1;
    if (*old && !strchr(old, '/')) {
        RS_AUTO(rs_chars) *gone = rs_printf("%s/%s", dir, old);
        struct rs_err ignored;
        if (rs_remove_tree(gone, &ignored) < 0)
            return 0;                                  /* only room is lost */
    }
    return 0;
}
