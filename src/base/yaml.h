/* YAML documents to json_t and back, through libyaml's events. Scalars follow the YAML 1.1 core rules that Kubernetes'
 * tools use (yes/no/on/off and y/n are booleans, 0o17 and 017 are not numbers). Anchors and aliases are refused past
 * 1,000 expansions, depth past 100, text past 16 MiB. */
#pragma once
#include "base/json.h"

/* Every document of a stream as one array (empty documents left out). JSON is YAML too. */
RS_MUST_USE int rs_yaml_parse_all(json_t **ret_array, rs_str text, struct rs_err *e);
/* Exactly one document. */
RS_MUST_USE int rs_yaml_parse(json_t **ret, rs_str text, struct rs_err *e);
/* Block-style text of one document, strings quoted wherever they could be read as something else. The caller frees. */
char *rs_yaml_text(const json_t *o);
