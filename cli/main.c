/* bld: the command. Finds the subcommand, parses its flags, runs it, reports what went wrong. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cli.h"
#include "cli/exit.h"
#include "cli/report.h"
#include "cli/signals.h"

const struct cli_cmd *const cli_cmds[] = {
        &cmd_build,    &cmd_check,  &cmd_images,  &cmd_tag,       &cmd_rmi,     &cmd_inspect,
        &cmd_files,    &cmd_cat,    &cmd_analyze, &cmd_history,   &cmd_diff,    &cmd_pull,
        &cmd_push,     &cmd_copy,   &cmd_mutate,  &cmd_append,    &cmd_flatten, &cmd_rebase,
        &cmd_save,     &cmd_load,   &cmd_import,  &cmd_export,    &cmd_tags,    &cmd_digest,
        &cmd_manifest, &cmd_config, &cmd_blob,    &cmd_referrers, &cmd_catalog, &cmd_index,
        &cmd_login,    &cmd_logout, &cmd_du,      &cmd_prune,     &cmd_doctor,  &cmd_debug,
        &cmd_version,  &cmd_help,
};
const size_t cli_ncmds = ARRAY_LEN(cli_cmds);

static bool has_word(const char *list, const char *word)
{
        size_t len = strlen(word);

        while (list && *list) {
                size_t n = strcspn(list, " ");

                if (n == len && memcmp(list, word, n) == 0)
                        return true;
                list += n;
                list += *list == ' ';
        }
        return false;
}

const struct cli_cmd *cli_find_cmd(const char *name)
{
        for (size_t i = 0; i < cli_ncmds; i++)
                if (strcmp(cli_cmds[i]->name, name) == 0 || has_word(cli_cmds[i]->aliases, name))
                        return cli_cmds[i];
        return NULL;
}

/* Files that are opened must never land on 0, 1 or 2: what is printed would go into them. Standard
 * output that was closed takes no writes, so that nobody believes to have been told something. */
static void fill_standard_fds(void)
{
        for (int fd = 0; fd <= 2; fd++)
                if (fcntl(fd, F_GETFD) < 0 &&
                    open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_RDWR) < 0)
                        _exit(EXIT_INTERNAL);
}

/* Is this a global flag whose value is the next argument? */
static bool takes_next(const char *arg)
{
        for (const struct opt *o = cli_global_opts; o->name; o++)
                if (o->arg && str_has_prefix(arg, "--") && strcmp(arg + 2, o->name) == 0)
                        return true;
        return false;
}

/* Index of the command word: the first argument that is no global flag nor the value of one. */
static int command_index(int argc, char **argv)
{
        int i;

        for (i = 1; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
                if (strcmp(argv[i], "--") == 0)
                        return i + 1;
                i += takes_next(argv[i]);
        }
        return MIN(i, argc);
}

static void free_lists(const struct opt *table, void *args)
{
        for (; table && table->name; table++)
                if (table->kind == OPT_LIST)
                        strv_done((struct strv *)(void *)((char *)args + table->offset));
}

/* What other programs' commands do that bld does otherwise, or not at all. */
static const char *foreign_command(const char *name)
{
        static const struct {
                const char *names, *say;
        } table[] = {
                {" run exec start stop ps logs kill attach container compose ",
                 "bld builds images and runs none; bld save NAME | podman load, then podman run"},
                {" system ", "bld du shows what the store takes, bld prune frees space"},
                {" commit squash ", "an image comes from a Dockerfile: bld build"},
        };
        AUTO_FREE char *word = NULL;

        if (asprintf(&word, " %s ", name) < 0)
                word = NULL;
        for (size_t i = 0; word && !strchr(name, ' ') && i < ARRAY_LEN(table); i++)
                if (strstr(table[i].names, word))
                        return table[i].say;
        return NULL;
}

static int unknown_command(const char *name, struct bld_err *err)
{
        static const char *const planned[] = {"bake",  "explain",    "builds", "lock",
                                              "shell", "completion", "info"};
        const char *names[64], *near;
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_LEN(planned); i++)
                if (strcmp(planned[i], name) == 0)
                        return err_set(err, BLD_E_USAGE, "bld %s is not available yet", name);
        for (size_t i = 0; i < cli_ncmds && n < ARRAY_LEN(names); i++)
                names[n++] = cli_cmds[i]->name;
        (void)err_set(err, BLD_E_USAGE, "unknown command \"%.100s\"", name);
        if (foreign_command(name))
                return err_note(err, BLD_E_USAGE, "%s", foreign_command(name));
        /* Of a short word, two letters are no slip: "run" is not "rmi". */
        near = strlen(name) > 2 ? near_match(name, names, n, strlen(name) > 4 ? 3 : 2) : NULL;
        return near ? err_try(err, BLD_E_USAGE, "bld %s", near)
                    : err_try(err, BLD_E_USAGE, "bld help");
}

static int check_count(const struct cli_cmd *cmd, size_t n, struct bld_err *err)
{
        if (n >= cmd->min_args && n <= cmd->max_args)
                return 0;
        return err_set(err, BLD_E_USAGE, "bld %s: %s\ntry: bld %s %s", cmd->name,
                       n < cmd->min_args ? "an argument is missing" : "too many arguments",
                       cmd->name, cmd->args);
}

/* Parse and run. args has args_size zeroed bytes with the common flags in front. */
static int run_parsed(struct cli *c, const struct cli_cmd *cmd, int argc, char **argv, void *args,
                      struct bld_err *err)
{
        static const struct opt none[] = {{0}};
        const struct opt *tables[] = {cmd->opts ? cmd->opts : none, cli_global_opts,
                                      cli_registry_opts};
        const struct opt_note note = {cli_opt_note, c};
        const struct cli_common *o = args;
        AUTO_STRV struct strv pos = {0};
        int r;

        r = opt_parse(tables, cmd->registry ? 3 : 2, argc, argv, args, &pos, &note, err);
        if (r < 0)
                return r;
        if (o->help)
                return cli_help(cmd, false, err);
        r = cli_setup(c, o, err);
        r = r < 0 ? r : check_count(cmd, pos.n, err);
        return r < 0 ? r : cmd->run(c, args, &pos, err);
}

static int run_command(struct cli *c, const struct cli_cmd *cmd, struct cli_common *o, int argc,
                       char **argv, struct bld_err *err)
{
        AUTO_FREE void *args = NULL;
        int r;

        if (cmd->run_raw) {
                r = cli_setup(c, o, err);
                return r < 0 ? r : cmd->run_raw(c, argc, argv, err);
        }
        args = mem_zalloc(1, cmd->args_size);
        if (!args)
                return err_nomem(err, "arguments");
        memcpy(args, o, sizeof(*o));
        if (cmd->init)
                cmd->init(args);
        r = run_parsed(c, cmd, argc, argv, args, err);
        if (r < 0 && report_is_full(err)) {
                struct bld_err full = BLD_ERR_INIT;

                report_full(c, err, NULL, &full);
                *err = full;
        }
        cli_close(c); /* before the strings it borrows go */
        free_lists(cmd->opts, args);
        /* Lists of the common part: taken over from `o`, freed here once. */
        free_lists(cli_registry_opts, args);
        memset(o, 0, sizeof(*o));
        c->o = NULL;
        return r;
}

/* docker's two-word forms: `bld buildx build`, `bld image ls`. */
static int skip_group(int at, int argc, char **argv)
{
        static const char *const groups[] = {"buildx", "builder", "image"};

        for (size_t i = 0; i < ARRAY_LEN(groups) && at + 1 < argc; i++)
                if (strcmp(argv[at], groups[i]) == 0 && cli_find_cmd(argv[at + 1]))
                        return at + 1;
        return at;
}

static int dispatch(struct cli *c, struct cli_common *o, int argc, char **argv,
                    const struct cli_cmd **ret_cmd, struct bld_err *err)
{
        const struct opt *tables[] = {cli_global_opts};
        const struct opt_note note = {cli_opt_note, c};
        AUTO_STRV struct strv none = {0};
        int at = command_index(argc, argv), r;

        r = cli_env_apply(o, err);
        r = r < 0 ? r : opt_parse(tables, 1, at, argv, o, &none, &note, err);
        if (r < 0)
                return r;
        if (o->version)
                return run_command(c, &cmd_version, o, 1, argv, err);
        if (at >= argc && !o->help)
                return err_set(err, BLD_E_USAGE, "no command was given\ntry: bld help");
        if (at >= argc)
                return cli_help(NULL, false, err);
        at = skip_group(at, argc, argv);
        *ret_cmd = cli_find_cmd(argv[at]);
        if (!*ret_cmd)
                return unknown_command(argv[at], err);
        return run_command(c, *ret_cmd, o, argc - at, argv + at, err);
}

static void report_error(const struct cli *c, const struct bld_err *err)
{
        struct report rep = {.err = err, .debug = c->level <= LOG_DEBUG};
        AUTO_SB struct sb out = SB_INIT(1u << 20);

        if (c->json_log)
                report_json(&rep, &out);
        else
                report_format(&c->err, &rep, &out);
        (void)term_write(2, out.buf, out.len); /* the exit status still tells */
}

int main(int argc, char **argv)
{
        struct bld_err err = BLD_ERR_INIT;
        struct cli_common o = {0};
        struct cli c = {.level = LOG_WARN};
        const struct cli_cmd *cmd = NULL;
        int r, status;

        bld_child_main(argc, argv);
        fill_standard_fds();
        (void)umask(umask(0) & 077); /* without the owner's bits bld could not use its own files */
        signals_no_sigpipe();
        term_init(&c.err, 2, COLOR_AUTO);
        r = dispatch(&c, &o, argc, argv, &cmd, &err);
        status = r;
        if (r < 0) {
                status = exit_status_of(&err, cmd && cmd->names_input, signals_caught());
                if (status == EXIT_FAILED && cmd && cmd->one)
                        status = EXIT_USAGE;
                report_error(&c, &err);
        }
        return status;
}
