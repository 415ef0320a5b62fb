/* rootshift-echo serve | collect: sample workload and collector of what its load clients saw. */
#include <signal.h>

#include "base/file.h"
#include "base/log.h"
#include "base/opt.h"
#include "cmd/rootshift-echo/echo.h"

struct program {
    rs_loop *loop;
    struct echo_self self;
    echo_server *server;
    echo_load *load;
    bool leaving, loaded, served;
};

static const char *env(const char *name, const char *fallback)
{
    const char *v = getenv(name);
    return v && *v ? v : fallback;
}

static void leave_if_done(struct program *p)
{
    if (p->loaded && p->served)
        rs_loop_stop(p->loop);
}

static void load_done(void *ctx) { struct program *p = ctx; p->loaded = true; leave_if_done(p); }
static void serve_done(void *ctx) { struct program *p = ctx; p->served = true; leave_if_done(p); }

static void on_term(void *ctx, int signo)
{
    struct program *p = ctx;
    if (p->leaving)
        return;
    p->leaving = true;
    if (p->load)
        echo_load_stop(p->load, load_done, p);
    else
        p->loaded = true;
    if (p->server)
        echo_server_drain(p->server, serve_done, p);
    else
        serve_done(p);
}

static int usage(FILE *out, const struct rs_opt *table, size_t n)
{
    fputs("usage: rootshift-echo serve|collect [OPTION]...\n\n", out);
    rs_opt_help(out, table, n);
    return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    struct program p = { .self = { env("POD_NAME", "local"), env("POD_NAMESPACE", "default"), env("WORKLOAD", "echo"), env("SERVICE_ACCOUNT", "default"), NULL } };
    struct rs_err e;
    const char *http = "0.0.0.0:8080", *tcp = "0.0.0.0:9000", *collector = NULL, *peers = NULL, *peers_file = NULL, *listen = "0.0.0.0:7070";
    int64_t interval = 700;
    struct rs_opt table[] = {
        { .name = "http", .kind = RS_OPT_TEXT, .value = &http, .arg = "ADDRESS", .help = "serve: HTTP (default 0.0.0.0:8080)" },
        { .name = "tcp", .kind = RS_OPT_TEXT, .value = &tcp, .arg = "ADDRESS", .help = "serve: TCP (default 0.0.0.0:9000)" },
        { .name = "peers", .kind = RS_OPT_TEXT, .value = &peers_file, .arg = "FILE", .help = "serve: send to these, a JSON list", .env = "ECHO_PEERS" },
        { .name = "collector", .kind = RS_OPT_TEXT, .value = &collector, .arg = "IP:PORT", .help = "serve: report to this collector", .env = "ECHO_COLLECTOR" },
        { .name = "interval", .kind = RS_OPT_DURATION, .value = &interval, .arg = "TIME", .help = "serve: between two requests to one peer (default 700ms)", .env = "ECHO_INTERVAL" },
        { .name = "listen", .kind = RS_OPT_TEXT, .value = &listen, .arg = "ADDRESS", .help = "collect: where (default 0.0.0.0:7070)" },
    };
    rs_log_init("rootshift-echo", RS_LOG_INFO);
    int positional, rc = rs_opt_parse(table, RS_COUNT(table), argc, argv, &positional, &e);
    if (rc > 0)
        return usage(stdout, table, RS_COUNT(table));
    if (rc < 0 || positional != 1)
        return rc < 0 ? (fprintf(stderr, "rootshift-echo: %s\n", e.msg), 2) : usage(stderr, table, RS_COUNT(table));
    p.loop = rs_loop_new();
    rs_loop_on_signal(p.loop, SIGTERM, on_term, &p);
    rs_loop_on_signal(p.loop, SIGINT, on_term, &p);
    char *text = NULL;
    if (rs_streq(argv[1], "collect")) {
        rc = echo_collect(p.loop, listen, &e);
    } else if (rs_streq(argv[1], "serve")) {
        rc = echo_server_new(&p.server, p.loop, &p.self, http, tcp, &e);
        if (rc == 0 && peers_file && collector)
            rc = rs_file_read(peers_file, RS_FILE_MAX, &text, NULL, &e);
        peers = text;
        if (rc == 0 && peers)
            rc = echo_load_new(&p.load, p.loop, &p.self, &(struct echo_load_options){ peers, collector, (int)interval }, &e);
    } else {
        return usage(stderr, table, RS_COUNT(table));
    }
    if (rc < 0) {
        fprintf(stderr, "rootshift-echo: %s\n", e.msg);
        return rs_code_exit(e.code);
    }
    rs_loop_run(p.loop);
    return 0;
}
