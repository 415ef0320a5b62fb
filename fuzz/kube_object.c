#include <stdint.h>

#include "cluster/admission.h"
#include "cluster/convert.h"
#include "cluster/defaults.h"
#include "cluster/field_selector.h"
#include "cluster/patch_strategic.h"
#include "cluster/table.h"
#include "cluster/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_kind(const struct rs_resource *res, const json_t *doc)
{
    RS_AUTO(json_t) *fresh = json_deep_copy(doc), *table = rs_table_new(res, res->storage);
    rs_defaults_new(fresh, res);
    rs_defaults(fresh, res);
    RS_AUTO(json_t) *again = json_deep_copy(fresh);
    rs_defaults(again, res);
    rs_assert(json_equal(fresh, again));
    json_decref(rs_object_check(fresh, NULL, res));
    json_decref(rs_object_check(doc, fresh, res));
    rs_table_add(table, res, res->storage, doc);
    for (size_t i = 0; res->versions[i]; i++)
        rs_convert(again, res, res->storage, res->versions[i]);
}

/* [resource key, document, strategic patch, field selector, webhook, CRD]: everything an object of a client meets. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rs_err e;
    RS_AUTO(json_t) *in = NULL, *patched = NULL;
    RS_AUTO(rs_field_selector) *fields = NULL;
    if (rs_json_parse(&in, (rs_str){ (const char *)data, size }, &e) < 0)
        return 0;
    const json_t *doc = json_array_get(in, 1), *patch = json_array_get(in, 2), *hook = json_array_get(in, 4), *crd = json_array_get(in, 5);
    const char *key = json_string_value(json_array_get(in, 0)), *selector = json_string_value(json_array_get(in, 3)), *version;
    rs_registry *registry = rs_registry_new();
    if (json_is_object(crd)) {
        RS_AUTO(json_t) *full = json_deep_copy(crd);
        rs_crd_complete(full, 0);
        rs_registry_set_crd(registry, full);
    }
    const struct rs_resource *res = rs_registry_find_key(registry, key ? key : "");
    if (res && json_is_object(doc)) {
        one_kind(res, doc);
        if (patch && rs_patch_strategic(&patched, doc, patch, &e) == 0)
            one_kind(res, patched);
        if (selector && rs_field_selector_parse(&fields, selector, res, &e) == 0)
            rs_field_selector_matches(fields, doc);
        struct rs_admission_request r = { .operation = "CREATE", .res = res, .version = res->storage, .object = (json_t *)doc };
        if (hook)
            rs_admission_matches(hook, &r, doc, &version);
    }
    rs_registry_free(registry);
    return 0;
}
