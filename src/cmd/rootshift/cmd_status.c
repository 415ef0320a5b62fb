/* rootshift status: where the migration stands, what the proxies hold, and what the gates say now. */
#include "base/time.h"
#include "cmd/rootshift/session.h"
#include "kube/object.h"
#include "migrate/engine.h"

static const char *const state_text[] = { "-", "under way", "done", "being undone" };

static json_t *steps_json(const json_t *record)
{
    RS_AUTO_STEPS steps = rs_record_steps(record);
    json_t *list = json_array();
    for (size_t i = 0; i < steps.n; i++) {
        const char *at = rs_json_str(record, "steps", steps.v[i].name, "at");
        json_array_append_new(list, rs_json_pack("{s:s, s:s, s:s, s:s*}", "phase", rs_phase_name(steps.v[i].phase), "name", steps.v[i].name,
                                                 "state", state_text[steps.v[i].state], "at", at));
    }
    return list;
}

/* Proxies counted by revision and root: {revision, root, proxies, unknown}. */
static json_t *groups_json(const struct rs_scan *scan)
{
    json_t *list = json_array();
    for (size_t i = 0; i < scan->n; i++) {
        const struct rs_proxy *p = scan->v[i];
        char root[RS_DIGEST_TEXT] = "unknown";
        if (p->known && p->issuing_root)
            rs_digest_text(rs_cert_digest(p->issuing_root), root);
        size_t k;
        json_t *g, *found = NULL;
        json_array_foreach(list, k, g)
            if (rs_streq(rs_json_str(g, "revision"), p->revision) && rs_streq(rs_json_str(g, "issuedUnder"), root))
                found = g;
        if (!found) {
            found = rs_json_pack("{s:s, s:s, s:i}", "revision", p->revision, "issuedUnder", root, "proxies", 0);
            json_array_append_new(list, found);
        }
        json_object_set_new(found, "proxies", json_integer(rs_json_int(found, 0, "proxies") + 1));
    }
    return list;
}

/* Roots that a control plane keeps although their source is gone, with its reason (ARCHITECTURE 7). */
static json_t *kept_roots(struct rs_session *s)
{
    struct rs_err ignored;
    RS_AUTO(json_t) *list = NULL;
    json_t *kept = json_array();
    if (rs_kube_list(s->kube, "/api/v1/namespaces/istio-system/configmaps", "rootshift.dev/trust-bundle=true", &list, NULL, &ignored) < 0)
        return kept;
    size_t i;
    json_t *cm;
    json_array_foreach(list, i, cm)
        if (rs_configmap_value(cm, "kept"))
            json_array_append_new(kept, rs_json_pack("{s:s, s:s}", "record", rs_object_name(cm), "reason", rs_configmap_value(cm, "kept")));
    return kept;
}

static int gates_json(struct rs_session *s, json_t *record, json_t *out, struct rs_err *e)
{
    struct rs_engine g = { .world = &s->w.world, .record = record };
    RS_AUTO_GATE to_switch = { 0 }, old_removal = { 0 }, new_removal = { 0 };
    rs_digest old_root, new_root;
    if (rs_digest_parse(rs_json_str(record, "plan", "oldRoot"), &old_root) < 0 || rs_digest_parse(rs_json_str(record, "plan", "newRoot"), &new_root) < 0)
        return RS_FAIL(e, RS_DATA_LOSS, "the record of the migration names no roots");
    if (rs_engine_ask_switch(&g, &to_switch, e) < 0 || rs_engine_ask_removal(&g, &old_root, &old_removal, e) < 0 ||
        rs_engine_ask_removal(&g, &new_root, &new_removal, e) < 0)
        return -1;
    json_object_set_new(out, "gates", rs_json_pack("{s:o, s:o, s:o}", "switch", rs_gate_json(&to_switch), "removeOldRoot", rs_gate_json(&old_removal),
                                                   "removeNewRoot", rs_gate_json(&new_removal)));
    return 0;
}

static void print_gate(const char *name, const json_t *gate)
{
    printf("  %-18s %-5s %lld of %lld ready\n", name, rs_json_true(gate, "open") ? "open" : "shut", (long long)rs_json_int(gate, 0, "ready"),
           (long long)rs_json_int(gate, 0, "total"));
    size_t i;
    json_t *reason;
    json_array_foreach(rs_json_at(gate, "reasons"), i, reason) {
        if (i == 5) {
            printf("      and %zu more (-o json lists all)\n", json_array_size(rs_json_at(gate, "reasons")) - i);
            break;
        }
        printf("      %s: %s\n", rs_json_str(reason, "object"), rs_json_str(reason, "reason"));
    }
}

static void print_table(const json_t *out)
{
    size_t i;
    json_t *v;
    if (json_is_null(rs_json_at(out, "migration")))
        puts("No migration in this cluster.");
    else
        printf("Migration %s: %s -> %s, started %s by %s\n\n  %-18s %-60s %-13s %s\n", rs_json_str(out, "migration", "id"),
               rs_json_str(out, "migration", "from"), rs_json_str(out, "migration", "to"), rs_json_str(out, "migration", "startedAt"),
               rs_json_str(out, "migration", "by"), "PHASE", "STEP", "STATE", "SINCE");
    json_array_foreach(rs_json_at(out, "steps"), i, v)
        printf("  %-18s %-60s %-13s %s\n", rs_json_str(v, "phase"), rs_json_str(v, "name"), rs_json_str(v, "state"),
               rs_json_str(v, "at") ? rs_json_str(v, "at") : "");
    printf("\n  %-36s %-14s %s\n", "REVISION", "ISSUED UNDER", "PROXIES");
    json_array_foreach(rs_json_at(out, "proxies"), i, v)
        printf("  %-36s %-14.12s %lld\n", rs_json_str(v, "revision"), rs_json_str(v, "issuedUnder"), (long long)rs_json_int(v, 0, "proxies"));
    json_array_foreach(rs_json_at(out, "keptRoots"), i, v)
        printf("\n  %s keeps a root whose source is gone: %s\n", rs_json_str(v, "record"), rs_json_str(v, "reason"));
    if (rs_json_at(out, "gates")) {
        puts("\n  GATES");
        print_gate("switch", rs_json_at(out, "gates", "switch"));
        print_gate("remove old root", rs_json_at(out, "gates", "removeOldRoot"));
        print_gate("remove new root", rs_json_at(out, "gates", "removeNewRoot"));
    }
}

static int status(struct rs_session *s, enum rs_output output, struct rs_err *e)
{
    RS_AUTO(json_t) *record = NULL;
    RS_AUTO(rs_scan) *scan = NULL;
    if (rs_session_open(s, e) < 0 || s->w.world.load(&s->w, &record, e) < 0 || s->w.world.scan(&s->w, &scan, e) < 0)
        return -1;
    RS_AUTO(json_t) *out = rs_json_pack("{s:n, s:o, s:o}", "migration", "proxies", groups_json(scan), "keptRoots", kept_roots(s));
    if (record) {
        json_object_set_new(out, "migration", rs_json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", rs_json_str(record, "id"),
            "startedAt", rs_json_str(record, "startedAt"), "by", rs_json_str(record, "by"),
            "from", rs_json_str(record, "plan", "from"), "to", rs_json_str(record, "plan", "to")));
        json_object_set_new(out, "steps", steps_json(record));
        if (!rs_record_is_over(record) && gates_json(s, record, out, e) < 0)
            return -1;
    }
    if (output == RS_OUTPUT_JSON) {
        RS_AUTO(rs_chars) *text = rs_json_pretty(out);
        fputs(text, stdout);
    } else {
        print_table(out);
    }
    return 0;
}

int rs_cmd_status(int argc, char **argv)
{
    RS_AUTO_SESSION s = { 0 };
    struct rs_err e;
    const char *text = "table";
    struct rs_opt table[] = {
        { .name = "output", .letter = 'o', .kind = RS_OPT_TEXT, .value = &text, .arg = "FORMAT", .help = "table or json" },
        RS_SESSION_OPTIONS(&s),
    };
    int positional;
    enum rs_output output;
    int rc = rs_opt_parse(table, RS_COUNT(table), argc, argv, &positional, &e);
    if (rc > 0)
        return rs_cmd_help("rootshift status [OPTION]...", "Where the migration stands, read from its record and from every running proxy.", table, RS_COUNT(table));
    if (rc < 0 || rs_output_parse(text, &output, &e) < 0 || status(&s, output, &e) < 0)
        return rs_cmd_fail(&e);
    return 0;
}
