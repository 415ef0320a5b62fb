/* Strategic merge patches on built-in kinds (facts kubernetes-api 3.6): merge keys of lists, $patch, $retainKeys,
 * $setElementOrder, $deleteFromPrimitiveList. Pure. */
#pragma once
#include "base/json.h"

/* doc with patch merged in, a new document; the inputs stay. RS_INVALID names what is wrong with the patch. */
RS_MUST_USE int rs_patch_strategic(json_t **ret, const json_t *doc, const json_t *patch, struct rs_err *e);
