#include "install/output.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/yaml.h"
#include "install/data.h"
#include "install/revision.h"

int rs_output_check(const struct rs_output_dir *o, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/.asm_settings", o->dir), *text = NULL;
    struct stat s;
    if (stat(o->dir, &s) == 0 && !S_ISDIR(s.st_mode))
        return RS_FAIL(e, RS_INVALID, "output directory %s is no directory", o->dir);
    if (rs_file_read(path, 4096, &text, NULL, e) < 0)
        return e->code == RS_NOT_FOUND ? 0 : rs_err_wrap(e, "output directory");
    RS_AUTO(rs_chars) *want = rs_printf("0 %s %s\n", rs_ca_kind_text(o->ca), o->revision);
    if (rs_streq(text, want))
        return 0;
    rs_str have = rs_str_trim(rs_str_of(text));
    return RS_FAIL(e, RS_INVALID, "output directory %s belongs to another installation (\"%.*s\"); use one directory per revision", o->dir,
                   (int)(have.n < 200 ? have.n : 200), have.p);
}

static int put(const struct rs_output_dir *o, const char *name, const char *text, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/%s", o->dir, name), *dir = rs_strdup(path);
    *strrchr(dir, '/') = '\0';
    if (rs_mkdirs(dir, 0755, e) < 0 || rs_file_write(path, rs_str_of(text), 0644, e) < 0)
        return rs_err_wrap(e, "output directory");
    return 0;
}

static int put_yaml(const struct rs_output_dir *o, const char *name, const json_t *doc, struct rs_err *e)
{
    RS_AUTO(rs_chars) *text = json_is_array(doc) ? rs_yaml_stream(doc) : rs_yaml_text(doc);
    return put(o, name, text, e);
}

/* The option overlays as they would be used here; those that lack Mesh CA's root are left out. */
static int put_options(const struct rs_output_dir *o, const struct rs_operator_inputs *in, struct rs_err *e)
{
    RS_AUTO(json_t) *vars = rs_json_pack("{s:s, s:s}", "FLEET", in->fleet, "REVISION", in->revision);
    if (in->mesh_ca_root)
        rs_json_set_str(vars, "MESH_CA_ROOT", in->mesh_ca_root);
    for (const struct rs_data_file *f = rs_data_files; f->name; f++) {
        RS_AUTO(json_t) *docs = NULL, *filled = NULL;
        struct rs_err ignored;
        if (!rs_starts(f->name, "options/"))
            continue;
        docs = rs_data_documents(f->name);
        if (rs_data_fill(&filled, json_array_get(docs, 0), vars, &ignored) < 0)
            continue;
        RS_AUTO(rs_chars) *name = rs_printf("asm/istio/%s", f->name);
        if (put_yaml(o, name, filled, e) < 0)
            return -1;
    }
    return 0;
}

static int put_gateway(const struct rs_output_dir *o, struct rs_err *e)
{
    static const char *const files[] = { "deployment.yaml", "service.yaml", "serviceaccount.yaml" };
    RS_AUTO(json_t) *vars = rs_json_pack("{s:s}", "REVISION", o->revision);
    for (size_t i = 0; i < RS_COUNT(files); i++) {
        RS_AUTO(rs_chars) *data = rs_printf("gateway/%s", files[i]), *name = rs_printf("samples/gateways/istio-ingressgateway/%s", files[i]);
        RS_AUTO(json_t) *docs = rs_data_documents(data), *filled = NULL;
        if (rs_data_fill(&filled, docs, vars, e) < 0 || put_yaml(o, name, filled, e) < 0)
            return -1;
    }
    return 0;
}

static int link_istioctl(const struct rs_output_dir *o, const char *program, struct rs_err *e)
{
    RS_AUTO(rs_chars) *path = rs_printf("%s/istioctl", o->dir);
    if (unlink(path) < 0 && errno != ENOENT)
        return RS_FAIL_ERRNO(e, "%s", path);
    return symlink(program, path) < 0 ? RS_FAIL_ERRNO(e, "%s", path) : 0;
}

int rs_output_write(const struct rs_output_dir *o, const struct rs_operator_inputs *in, const json_t *op, const struct rs_manifest *m,
                    const char *program, struct rs_err *e)
{
    RS_AUTO(rs_chars) *settings = rs_printf("0 %s %s\n", rs_ca_kind_text(o->ca), o->revision);
    RS_AUTO(rs_chars) *raw = rs_printf("%s-manifest-raw.yaml", o->revision), *expanded = rs_printf("%s-manifest-expanded.yaml", o->revision);
    RS_AUTO(json_t) *service = rs_manifest_istiod_service(o->revision), *all = json_array(), *pointing = json_array();
    json_array_extend(all, m->crds);
    json_array_extend(all, m->revision);
    json_array_extend(all, m->shared);
    json_array_append(pointing, service);
    if (put(o, ".asm_settings", settings, e) < 0 || put(o, ".asm_version", RS_ASM_VERSION "\n", e) < 0 || put_yaml(o, raw, op, e) < 0 ||
        put_yaml(o, expanded, all, e) < 0 || put_yaml(o, "asm/istio/istio-operator.yaml", op, e) < 0 ||
        put_yaml(o, "asm/istio/istiod-service.yaml", pointing, e) < 0 || put_options(o, in, e) < 0 || put_gateway(o, e) < 0)
        return -1;
    return link_istioctl(o, program, e);
}
