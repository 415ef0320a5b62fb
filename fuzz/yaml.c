#include <stdint.h>

#include "base/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is read is written and must read back equal. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rs_err e;
    RS_AUTO(json_t) *o = NULL, *back = NULL;
    if (rs_yaml_parse(&o, (rs_str){ (const char *)data, size }, &e) < 0)
        return 0;
    RS_AUTO(rs_chars) *text = rs_yaml_text(o);
    rs_assert(rs_yaml_parse(&back, rs_str_of(text), &e) == 0 && json_equal(o, back));
    return 0;
}
