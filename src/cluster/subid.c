#include "cluster/subid.h"

#include <limits.h>

static bool next_field(rs_str *line, rs_str *ret)
{
    if (!line->p)
        return false;
    const char *colon = memchr(line->p, ':', line->n);
    size_t n = colon ? (size_t)(colon - line->p) : line->n;
    *ret = (rs_str){ line->p, n };
    *line = colon ? (rs_str){ colon + 1, line->n - n - 1 } : (rs_str){ NULL, 0 };
    return true;
}

static bool read_line(rs_str line, rs_str *who, struct rs_subid *ret)
{
    rs_str first, count;
    uint64_t a, n;
    if (!next_field(&line, who) || !next_field(&line, &first) || !next_field(&line, &count) || line.p)
        return false;
    if (!rs_str_u64(first, &a) || !rs_str_u64(count, &n) || a >= UINT_MAX || n > UINT_MAX - a)
        return false;
    *ret = (struct rs_subid){ (unsigned)a, (unsigned)n };
    return true;
}

int rs_subid_find(struct rs_subid *ret, rs_str text, const char *what, const char *user, uid_t uid, struct rs_err *e)
{
    RS_AUTO(rs_chars) *number = rs_printf("%u", (unsigned)uid);
    unsigned largest = 0;
    while (text.n) {
        const char *end = memchr(text.p, '\n', text.n);
        rs_str line = { text.p, end ? (size_t)(end - text.p) : text.n };
        text = (rs_str){ text.p + line.n + (end != NULL), text.n - line.n - (end != NULL) };
        rs_str who;
        struct rs_subid range;
        if (!read_line(rs_str_trim(line), &who, &range))
            continue;
        if (!rs_str_is(who, number) && !(user && rs_str_is(who, user)))
            continue;
        if (range.count >= RS_SUBID_NEEDED) {
            *ret = range;
            return 0;
        }
        if (range.count > largest)
            largest = range.count;
    }
    const char *name = user ? user : number;
    if (largest)
        return RS_FAIL(e, RS_INVALID, "%s gives %s only %u ids, %d are needed; as root: usermod --add-subuids 100000-165535 "
                       "--add-subgids 100000-165535 %s", what, name, largest, RS_SUBID_NEEDED, name);
    return RS_FAIL(e, RS_NOT_FOUND, "%s has no entry for %s; as root: usermod --add-subuids 100000-165535 --add-subgids "
                   "100000-165535 %s", what, name, name);
}
