#include <string.h>

#include "base/err.h"
#include "base/sb.h"
#include "cli/cli.h"

#define HELP_MAX (1u << 20)

/* Each line of text, indented. */
static void indented(struct sb *out, const char *text)
{
        while (*text) {
                size_t n = strcspn(text, "\n");

                if (n)
                        sb_str(out, "  ");
                sb_add(out, text, n);
                sb_char(out, '\n');
                text += n + (text[n] == '\n');
        }
}

static void command_help(const struct cli_cmd *cmd, struct sb *out)
{
        static const struct opt none[] = {{0}};
        const struct opt *tables[] = {cmd->opts ? cmd->opts : none,
                                      cmd->registry ? cli_registry_opts : none, cli_global_opts};

        sb_fmt(out, "usage: bld %s %s\n\n%s\n", cmd->name, cmd->args, cmd->summary);
        if (cmd->aliases)
                sb_fmt(out, "Also known as: %s\n", cmd->aliases);
        if (cmd->details)
                sb_fmt(out, "\n%s", cmd->details);
        if (!cmd->run_raw)
                opt_help(tables, ARRAY_LEN(tables), out);
        if (cmd->examples) {
                sb_str(out, "\nExamples:\n");
                indented(out, cmd->examples);
        }
        sb_fmt(out, "\nExit status: 0 ok, 1 %s, 2 usage%s%s\n", cmd->one ? cmd->one : "failed",
               cmd->exits ? ", " : "", cmd->exits ? cmd->exits : "");
        sb_fmt(out, "See also: bld-%s(1)%s%s\n", cmd->name, cmd->see ? ", " : "",
               cmd->see ? cmd->see : "");
}

static void overview(struct sb *out)
{
        const struct opt *tables[] = {cli_global_opts};

        sb_str(out, "usage: bld [flags] COMMAND [flags] [arguments]\n\n"
                    "Builds container images from Dockerfiles, without a daemon.\n\nCommands:\n");
        for (size_t i = 0; i < cli_ncmds; i++)
                if (!cli_cmds[i]->hidden)
                        sb_fmt(out, "  %-10s %s\n", cli_cmds[i]->name, cli_cmds[i]->summary);
        opt_help(tables, 1, out);
        sb_str(out, "\nExamples:\n");
        indented(out,
                 "bld build -t app:v1 .\nbld images\nbld push app:v1 registry.example/app:v1\n");
        sb_str(out, "\nbld COMMAND --help tells about one command, bld help --all about all.\n"
                    "Exit status: 0 ok, 1 failed, 2 usage, 3 source, 4 policy, 5 credentials,\n"
                    "  6 not found, 7 network, 8 resources, 9 environment, 70 defect of bld,\n"
                    "  130 and 143 after SIGINT and SIGTERM\n"
                    "See also: bld(1)\n");
}

int cli_help(const struct cli_cmd *cmd, bool all, struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(HELP_MAX);
        int r;

        if (cmd)
                command_help(cmd, &out);
        else
                overview(&out);
        for (size_t i = 0; all && i < cli_ncmds; i++) {
                sb_str(&out, "\n----\n\n");
                command_help(cli_cmds[i], &out);
        }
        r = sb_check(&out, "help", err);
        return r < 0 ? r : cli_write_out(out.buf, out.len, err);
}

struct help_args {
        struct cli_common common;
        bool all;
};

static const struct opt help_opts[] = {
        {"all", 'a', OPT_BOOL, offsetof(struct help_args, all), NULL, "every command", "Flags"},
        {0},
};

static int run_help(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct help_args *a = args;
        const struct cli_cmd *cmd = NULL;

        (void)c;
        if (pos->n) {
                cmd = cli_find_cmd(pos->v[0]);
                if (!cmd)
                        return err_set(err, BLD_E_USAGE,
                                       "unknown command \"%.100s\"\ntry: bld help", pos->v[0]);
        }
        return cli_help(cmd, a->all, err);
}

const struct cli_cmd cmd_help = {
        .name = "help",
        .args = "[COMMAND]",
        .summary = "tell about bld or one command",
        .opts = help_opts,
        .args_size = sizeof(struct help_args),
        .max_args = 1,
        .run = run_help,
};
