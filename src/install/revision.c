#include "install/revision.h"

int rs_revision_check(const char *revision, struct rs_err *e)
{
    size_t n = strlen(revision);
    if (n > RS_REVISION_MAX)
        return RS_FAIL(e, RS_INVALID, "revision name \"%.80s%s\" has %zu characters; %d is the most, because istiod-REVISION names a Service",
                       revision, n > 80 ? "..." : "", n, RS_REVISION_MAX);
    if (!rs_dns_label(revision, true))
        return RS_FAIL(e, RS_INVALID, "revision name \"%s\" is no DNS-1035 label: use lower-case letters, digits and '-', begin with "
                       "a letter, end with a letter or digit", revision);
    return 0;
}

bool rs_revision_is_default(const char *revision) { return !*revision || strcmp(revision, "default") == 0; }

char *rs_revision_name(const char *prefix, const char *revision)
{
    return rs_revision_is_default(revision) ? rs_strdup(prefix) : rs_printf("%s-%s", prefix, revision);
}
