/* rootshift migrate | complete | rollback: each goes on from where the record in the cluster stands. */
#include <limits.h>

#include "base/file.h"
#include "cmd/rootshift/plan.h"
#include "cmd/rootshift/session.h"
#include "migrate/engine.h"

enum { GATE_WAIT_MS = 120 * 1000 };

struct run {
    struct rs_session session;
    struct rs_engine engine;
    char *actor, *output_dir;
    int64_t gate_wait_ms;
};

static void run_done(struct run *r)
{
    if (r->session.w.locked)
        rs_world_unlock(&r->session.w);
    json_decref(r->engine.record);
    free(r->actor);
    free(r->output_dir);
    rs_session_close(&r->session);
}
#define AUTO_RUN __attribute__((cleanup(run_done))) struct run

/* Opens the cluster, takes the lock, reads the record (NULL when there is none). */
static int run_start(struct run *r, struct rs_err *e)
{
    if (rs_session_open(&r->session, e) < 0)
        return -1;
    r->actor = rs_session_actor();
    if (rs_world_lock(&r->session.w, r->actor, e) < 0)
        return -1;
    r->engine = (struct rs_engine){ .world = &r->session.w.world, .actor = r->actor, .gate_wait_ms = (int)r->gate_wait_ms };
    return r->session.w.world.load(&r->session.w, &r->engine.record, e);
}

static int parse_phase(const char *text, const enum rs_phase *allowed, size_t n, enum rs_phase *ret, struct rs_err *e)
{
    for (size_t i = 0; i < n; i++) {
        const char *name = rs_phase_name(allowed[i]);
        if (rs_streq(text, name) || (rs_starts(name, "complete-") && rs_streq(text, name + strlen("complete-")))) {
            *ret = allowed[i];
            return 0;
        }
    }
    return RS_FAIL(e, RS_INVALID, "option --phase: \"%s\" is not a phase of this verb; see --help", text);
}

static int new_record(struct run *r, const struct rs_plan_options *options, struct rs_err *e)
{
    if (!options->fleet_id)
        return RS_FAIL(e, RS_INVALID, "option --fleet_id is needed: the fleet whose trust domain FLEET.svc.id.goog the Mesh CA signs for");
    RS_AUTO(json_t) *plan = NULL;
    if (rs_plan_make(&r->session.w, options, &plan, e) < 0)
        return -1;
    json_int_t round = r->engine.record ? rs_json_int(r->engine.record, 0, "round") : 0;
    json_decref(r->engine.record);
    r->engine.record = rs_record_new(plan, r->session.w.world.now_ms(&r->session.w), r->actor);
    json_object_set_new(r->engine.record, "round", json_integer(round));
    return r->session.w.world.save(&r->session.w, r->engine.record, e);
}

static void print_next(const struct rs_engine *g)
{
    RS_AUTO_STEPS s = rs_record_steps(g->record);
    if (rs_phase_is_done(&s, RS_PHASE_RETIRE))
        puts("Done: the old root is gone from every proxy.");
    else if (rs_phase_is_done(&s, RS_PHASE_COMPLETE_SWITCH))
        puts("Phase switch is complete. Next: `rootshift complete` removes the old CA's secrets and its root.");
    else if (rs_phase_is_done(&s, RS_PHASE_SWITCH))
        puts("Every proxy presents a certificate of the new CA and trusts both. Next: `rootshift complete`, or back with `rootshift rollback`.");
    else if (rs_phase_is_done(&s, RS_PHASE_DISTRIBUTE))
        puts("Every proxy trusts both roots. Next: `rootshift migrate` switches the CA, or back with `rootshift rollback`.");
}

int rs_cmd_migrate(int argc, char **argv)
{
    AUTO_RUN r = { .gate_wait_ms = GATE_WAIT_MS };
    struct rs_err e;
    const char *to = NULL, *phase_text = "switch", *output_dir = "rootshift-migration";
    struct rs_plan_options plan = { 0 };
    struct rs_opt_list clusters = { 0 }, overlays = { 0 };
    struct rs_opt table[] = {
        { .name = "to", .kind = RS_OPT_TEXT, .value = &to, .arg = "CA", .help = "the CA to move to: mesh_ca" },
        { .name = "fleet_id", .aliases = "fleet-id", .kind = RS_OPT_TEXT, .value = &plan.fleet_id, .arg = "FLEET", .help = "fleet project; trust domain FLEET.svc.id.goog" },
        { .name = "cluster", .kind = RS_OPT_LIST, .value = &clusters, .arg = "CONTEXT", .help = "clusters of the mesh, by context (one for now; same as --context)" },
        { .name = "phase", .kind = RS_OPT_TEXT, .value = &phase_text, .arg = "PHASE", .help = "stop after distribute or switch (default: switch)" },
        { .name = "revision_1", .aliases = "revision-1", .kind = RS_OPT_TEXT, .value = &plan.revision_1, .arg = "REV", .help = "name of the revision that distributes (default: asm-1157-23-distribute-root)" },
        { .name = "revision_2", .aliases = "revision-2", .kind = RS_OPT_TEXT, .value = &plan.revision_2, .arg = "REV", .help = "name of the revision that switches (default: asm-1157-23-meshca-ca-migration)" },
        { .name = "custom_overlay", .aliases = "custom-overlay co", .kind = RS_OPT_LIST, .value = &overlays, .arg = "FILE", .help = "IstioOperator overlay for both revisions; may repeat" },
        { .name = "output_dir", .aliases = "output-dir", .letter = 'D', .kind = RS_OPT_TEXT, .value = &output_dir, .arg = "DIR", .help = "where packages and saved secrets go (default: ./rootshift-migration)" },
        { .name = "wait", .kind = RS_OPT_DURATION, .value = &r.gate_wait_ms, .arg = "TIME", .help = "how long a shut gate is asked again (default: 2m)" },
        RS_SESSION_OPTIONS(&r.session),
    };
    int positional;
    int rc = rs_opt_parse(table, RS_COUNT(table), argc, argv, &positional, &e);
    if (rc > 0)
        return rs_cmd_help("rootshift migrate --to mesh_ca --fleet_id FLEET [OPTION]...",
                           "Moves the mesh to the other CA: distributes its root, proves that every proxy loaded it, then switches the\n"
                           "issuer namespace by namespace. Goes on where an earlier run stopped. Nothing is removed: see complete, rollback.", table, RS_COUNT(table));
    static const enum rs_phase allowed[] = { RS_PHASE_DISTRIBUTE, RS_PHASE_SWITCH };
    enum rs_phase phase;
    if (rc < 0 || parse_phase(phase_text, allowed, RS_COUNT(allowed), &phase, &e) < 0)
        return rs_cmd_fail(&e);
    if (!to || !rs_streq(to, "mesh_ca"))
        return RS_FAIL(&e, RS_INVALID, "option --to: %s%s%s; the CA to move to is mesh_ca", to ? "\"" : "it is missing", to ? to : "", to ? "\"" : ""), rs_cmd_fail(&e);
    if (positional || clusters.n > 1)
        return RS_FAIL(&e, RS_INVALID, positional ? "unexpected argument \"%s\"" : "more than one --cluster: a mesh of several clusters is not supported yet", argv[1]), rs_cmd_fail(&e);
    if (clusters.n)
        r.session.context = clusters.v[0];
    char absolute[PATH_MAX];
    if (rs_mkdirs(output_dir, 0755, &e) < 0)
        return rs_cmd_fail(&e);
    r.output_dir = rs_strdup(realpath(output_dir, absolute) ? absolute : output_dir);
    plan.output_dir = r.output_dir;
    plan.overlays = overlays.v;
    plan.n_overlays = overlays.n;
    if (run_start(&r, &e) < 0)
        return rs_cmd_fail(&e);
    if ((!r.engine.record || rs_record_is_over(r.engine.record)) && new_record(&r, &plan, &e) < 0)
        return rs_cmd_fail(&e);
    if (rs_engine_forward(&r.engine, phase, &e) < 0)
        return rs_cmd_fail(&e);
    print_next(&r.engine);
    return 0;
}

int rs_cmd_complete(int argc, char **argv)
{
    AUTO_RUN r = { .gate_wait_ms = GATE_WAIT_MS };
    struct rs_err e;
    const char *phase_text = "retire", *output_dir = NULL;
    struct rs_opt table[] = {
        { .name = "phase", .kind = RS_OPT_TEXT, .value = &phase_text, .arg = "PHASE", .help = "complete distribute, switch, or all up to retire (default)" },
        { .name = "output_dir", .aliases = "output-dir", .letter = 'D', .kind = RS_OPT_TEXT, .value = &output_dir, .arg = "DIR", .help = "where the saved secrets go (default: as given to migrate)" },
        { .name = "wait", .kind = RS_OPT_DURATION, .value = &r.gate_wait_ms, .arg = "TIME", .help = "how long a shut gate is asked again (default: 2m)" },
        RS_SESSION_OPTIONS(&r.session),
    };
    int positional;
    int rc = rs_opt_parse(table, RS_COUNT(table), argc, argv, &positional, &e);
    if (rc > 0)
        return rs_cmd_help("rootshift complete [--phase distribute|switch|retire] [OPTION]...",
                           "Ends what migrate began: removes the control planes of before and, at the end, the old CA's secrets (saved\n"
                           "with mode 0600) and its root, once nothing signed by it is alive. This can't be rolled back.", table, RS_COUNT(table));
    static const enum rs_phase allowed[] = { RS_PHASE_COMPLETE_DISTRIBUTE, RS_PHASE_COMPLETE_SWITCH, RS_PHASE_RETIRE };
    enum rs_phase phase;
    if (rc < 0 || parse_phase(phase_text, allowed, RS_COUNT(allowed), &phase, &e) < 0)
        return rs_cmd_fail(&e);
    if (run_start(&r, &e) < 0)
        return rs_cmd_fail(&e);
    r.session.w.output_dir = output_dir;
    if (!r.engine.record)
        return RS_FAIL(&e, RS_PRECONDITION, "there is no migration in this cluster; start one with `rootshift migrate`"), rs_cmd_fail(&e);
    if (rs_engine_forward(&r.engine, phase, &e) < 0)
        return rs_cmd_fail(&e);
    print_next(&r.engine);
    return 0;
}

int rs_cmd_rollback(int argc, char **argv)
{
    AUTO_RUN r = { .gate_wait_ms = GATE_WAIT_MS };
    struct rs_err e;
    struct rs_opt table[] = {
        { .name = "wait", .kind = RS_OPT_DURATION, .value = &r.gate_wait_ms, .arg = "TIME", .help = "how long a shut gate is asked again (default: 2m)" },
        RS_SESSION_OPTIONS(&r.session),
    };
    int positional;
    int rc = rs_opt_parse(table, RS_COUNT(table), argc, argv, &positional, &e);
    if (rc > 0)
        return rs_cmd_help("rootshift rollback [OPTION]...", "Undoes the last phase that was not completed; called again, the one before it.",
                           table, RS_COUNT(table));
    if (rc < 0 || run_start(&r, &e) < 0)
        return rs_cmd_fail(&e);
    if (!r.engine.record)
        return RS_FAIL(&e, RS_PRECONDITION, "there is no migration in this cluster: nothing to roll back"), rs_cmd_fail(&e);
    enum rs_phase phase;
    if (rs_engine_back(&r.engine, &phase, &e) < 0)
        return rs_cmd_fail(&e);
    printf("Phase %s is rolled back.\n", rs_phase_name(phase));
    return 0;
}
