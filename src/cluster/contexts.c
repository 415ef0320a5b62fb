#include "cluster/contexts.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/proc.h"
#include "base/secret.h"
#include "base/time.h"
#include "base/yaml.h"

enum { CONFIG_MAX = 4 * 1024 * 1024, LOCK_WAIT_MS = 5000 };

/* One of config's three lists; an absent or null one is made. */
static json_t *list_of(json_t *config, const char *key)
{
    json_t *list = json_object_get(config, key);
    if (!json_is_array(list)) {
        list = json_array();
        rs_assert(json_object_set_new(config, key, list) == 0);
    }
    return list;
}

static json_t *entry(json_t *config, const char *key, const char *name, size_t *ret_index)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(config, key), i, v)
        if (rs_streq(rs_json_str(v, "name"), name)) {
            if (ret_index)
                *ret_index = i;
            return v;
        }
    return NULL;
}

static void put(json_t *config, const char *list_key, const char *name, const char *member, json_t *value)
{
    json_t *list = list_of(config, list_key);
    json_t *o = rs_json_pack("{s:s, s:o}", "name", name, member, value);
    size_t at;
    if (entry(config, list_key, name, &at))
        rs_assert(json_array_set_new(list, at, o) == 0);
    else
        rs_assert(json_array_append_new(list, o) == 0);
}

static bool drop(json_t *config, const char *list_key, const char *name)
{
    size_t at;
    bool any = false;
    while (entry(config, list_key, name, &at)) {
        json_array_remove(json_object_get(config, list_key), at);
        any = true;
    }
    return any;
}

json_t *rs_contexts_empty(void)
{
    return rs_json_pack("{s:s, s:s, s:[], s:[], s:[], s:s}", "apiVersion", "v1", "kind", "Config",
                        "clusters", "contexts", "users", "current-context", "");
}

static int check_shape(const json_t *config, struct rs_err *e)
{
    static const char *const lists[] = { "clusters", "contexts", "users" };
    if (!json_is_object(config))
        return RS_FAIL(e, RS_INVALID, "not a kubeconfig");
    for (size_t i = 0; i < RS_COUNT(lists); i++) {
        json_t *v = json_object_get(config, lists[i]);
        if (v && !json_is_null(v) && !json_is_array(v))
            return RS_FAIL(e, RS_INVALID, "not a kubeconfig: %s is not a list", lists[i]);
    }
    return 0;
}

int rs_contexts_put(json_t *config, const struct rs_context *c, struct rs_err *e)
{
    if (check_shape(config, e) < 0)
        return -1;
    put(config, "clusters", c->name, "cluster", json_deep_copy(c->cluster));
    put(config, "users", c->name, "user", json_deep_copy(c->user));
    put(config, "contexts", c->name, "context", rs_json_pack("{s:s, s:s}", "cluster", c->name, "user", c->name));
    rs_json_set_str(config, "current-context", c->name);
    return 0;
}

int rs_contexts_own(struct rs_context *ret, const char *name, const json_t *config, struct rs_err *e)
{
    json_t *cluster = rs_json_at(json_array_get(rs_json_at(config, "clusters"), 0), "cluster");
    json_t *user = rs_json_at(json_array_get(rs_json_at(config, "users"), 0), "user");
    if (!json_is_object(cluster) || !json_is_object(user))
        return RS_FAIL(e, RS_INVALID, "a kubeconfig without cluster or user");
    *ret = (struct rs_context){ name, cluster, user };
    return 0;
}

bool rs_contexts_drop(json_t *config, const char *name, const char *server, const char *previous)
{
    json_t *cluster = entry(config, "clusters", name, NULL);
    if (cluster && server && !rs_streq(rs_json_str(cluster, "cluster", "server"), server))
        return false;
    bool any = drop(config, "clusters", name);
    any |= drop(config, "users", name);
    any |= drop(config, "contexts", name);
    if (rs_streq(rs_json_str(config, "current-context"), name)) {
        rs_json_set_str(config, "current-context", previous && entry(config, "contexts", previous, NULL) ? previous : "");
        any = true;
    }
    return any;
}

/* ---- files ---- */

static char *home_config(void)
{
    const char *home = getenv("HOME");
    if (!home || !*home) {
        struct passwd *pw = getpwuid(getuid());
        home = pw ? pw->pw_dir : "/";
    }
    return rs_printf("%s/.kube/config", home);
}

/* $KUBECONFIG: the first that exists, else the last that is named; NULL when it names none. */
static char *listed_config(void)
{
    const char *list = getenv("KUBECONFIG");
    if (!list || !*list)
        return NULL;
    char **v = rs_split(list, ':');
    const char *pick = NULL;
    bool found = false;
    for (char **p = v; *p && !found; p++)
        if (**p) {
            pick = *p;
            found = rs_file_exists(*p);
        }
    char *path = rs_strdup(pick);
    rs_strv_free(v);
    return path;
}

int rs_contexts_path(char **ret, const char *given, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = given ? rs_strdup(given) : listed_config();
    if (!path)
        path = home_config();
    char resolved[PATH_MAX];
    if (realpath(path, resolved)) {
        *ret = rs_strdup(resolved);
        return 0;
    }
    if (errno != ENOENT)
        return RS_FAIL_ERRNO(e, "kubeconfig %s", path);
    if (*path == '/') {
        *ret = rs_take(path);
        return 0;
    }
    if (!getcwd(resolved, sizeof(resolved)))
        return RS_FAIL_ERRNO(e, "current directory");
    *ret = rs_printf("%s/%s", resolved, path);
    return 0;
}

/* kubectl refuses to write while FILE.lock exists and makes the same one itself. Ours holds our pid and start time, so
 * that one left by a killed process is known and removed; a foreign one we wait for. */
static bool lock_is_stale(const char *lock)
{
    struct rs_err ignored;
    RS_AUTO(rs_chars) *text = NULL;
    int pid;
    unsigned long long start;
    if (rs_file_read(lock, 128, &text, NULL, &ignored) < 0 || sscanf(text, "rootshift %d %llu", &pid, &start) != 2)
        return false;
    return rs_proc_start_time(pid) != start;
}

/* Writes an unnamed file beside path and gives it a name only when it is complete: a kill leaves nothing. 1 when the name
 * is taken. */
static int appear(const char *path, const char *name, rs_str text, struct rs_err *e)
{
    RS_AUTO(rs_chars) *copy = rs_strdup(path);
    int RS_AUTO_FD fd = open(dirname(copy), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    RS_AUTO(rs_chars) *self = rs_printf("/proc/self/fd/%d", fd);
    if (fd < 0)
        return RS_FAIL_ERRNO(e, "create a file beside %s", path);
    while (text.n) {
        ssize_t put = write(fd, text.p, text.n);
        if (put < 0 && errno != EINTR)
            return RS_FAIL_ERRNO(e, "write %s", name);
        text.p += put > 0 ? put : 0;
        text.n -= put > 0 ? (size_t)put : 0;
    }
    if (fsync(fd) < 0)
        return RS_FAIL_ERRNO(e, "write %s", name);
    if (linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    return errno == EEXIST ? 1 : RS_FAIL_ERRNO(e, "create %s", name);
}

/* 0: ours, 1: somebody has it. */
static int lock_once(const char *lock, struct rs_err *e)
{
    RS_AUTO(rs_chars) *text = rs_printf("rootshift %d %llu\n", (int)getpid(), rs_proc_start_time(getpid()));
    return appear(lock, lock, rs_str_of(text), e);
}

static int lock_config(const char *lock, struct rs_err *e)
{
    int64_t until = rs_mono_ms() + LOCK_WAIT_MS;
    for (;;) {
        int rc = lock_once(lock, e);
        if (rc <= 0)
            return rc;
        if (lock_is_stale(lock)) {
            unlink(lock);
            continue;
        }
        if (rs_mono_ms() > until)
            return RS_FAIL(e, RS_ABORTED, "%s is held by another program; remove it if none is running", lock);
        nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);      /* kubectl gives no signal when it is done */
    }
}

static int read_config(json_t **ret, const char *path, struct rs_err *e)
{
    RS_AUTO(rs_chars) *text = NULL;
    size_t n;
    if (rs_file_read(path, CONFIG_MAX, &text, &n, e) < 0) {
        if (e->code != RS_NOT_FOUND)
            return -1;
        *ret = rs_contexts_empty();
        return 0;
    }
    RS_AUTO(json_t) *all = NULL;
    int rc = rs_yaml_parse_all(&all, (rs_str){ text, n }, e);
    rs_free_cleansed(rs_take(text), n);
    if (rc < 0)
        return rs_err_wrap(e, "kubeconfig %s", path);
    json_t *config = json_array_get(all, 0);
    if (json_array_size(all) > 1 || (config && check_shape(config, e) < 0))
        return RS_FAIL(e, RS_INVALID, "%s is not a kubeconfig; name another file with --kubeconfig", path);
    *ret = config ? json_incref(config) : rs_contexts_empty();
    return 0;
}

/* With the lock held, so that the name in between is ours alone; one that a kill left is in nobody's use. */
static int write_config(const char *path, const json_t *config, struct rs_err *e)
{
    RS_AUTO(rs_chars) *between = rs_printf("%s.rootshift", path);
    char *text = rs_yaml_text(config);
    size_t n = strlen(text);
    unlink(between);
    int rc = appear(path, between, (rs_str){ text, n }, e);
    rs_free_cleansed(text, n);
    if (rc == 0 && rename(between, path) < 0)
        rc = RS_FAIL_ERRNO(e, "replace %s", path);
    return rc > 0 ? RS_FAIL(e, RS_ABORTED, "%s is in use", between) : rc;
}

static int edit_add(const char *path, const struct rs_context *c, char **ret_previous, struct rs_err *e)
{
    RS_AUTO(json_t) *config = NULL;
    if (read_config(&config, path, e) < 0)
        return -1;
    const char *current = rs_json_str(config, "current-context");
    RS_AUTO(rs_chars) *previous = current && *current && !rs_streq(current, c->name) ? rs_strdup(current) : NULL;
    if (rs_contexts_put(config, c, e) < 0 || write_config(path, config, e) < 0)
        return -1;
    *ret_previous = rs_take(previous);
    return 0;
}

int rs_contexts_add_to(const char *path, const struct rs_context *c, char **ret_previous, struct rs_err *e)
{
    RS_AUTO(rs_chars) *copy = rs_strdup(path);
    RS_AUTO(rs_chars) *lock = rs_printf("%s.lock", path);
    if (rs_mkdirs(dirname(copy), 0750, e) < 0 || lock_config(lock, e) < 0)
        return rs_err_wrap(e, "kubeconfig %s", path);
    int rc = edit_add(path, c, ret_previous, e);
    unlink(lock);
    return rc;
}

static int edit_drop(const char *path, const char *name, const char *server, const char *previous, struct rs_err *e)
{
    RS_AUTO(json_t) *config = NULL;
    if (read_config(&config, path, e) < 0)
        return -1;
    return rs_contexts_drop(config, name, server, previous) ? write_config(path, config, e) : 0;
}

int rs_contexts_drop_from(const char *path, const char *name, const char *server, const char *previous, struct rs_err *e)
{
    if (!rs_file_exists(path))
        return 0;
    RS_AUTO(rs_chars) *lock = rs_printf("%s.lock", path);
    if (lock_config(lock, e) < 0)
        return rs_err_wrap(e, "kubeconfig %s", path);
    int rc = edit_drop(path, name, server, previous, e);
    unlink(lock);
    return rc;
}
