#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "bld/edit.h"
#include "cli/edit.h"

struct mutate_args {
        struct cli_common common;
        struct edit_args edit;
        struct strv env, label, annotation, unset_env, unset_label, ports, append;
        const char *entrypoint, *cmd, *user, *workdir, *set_platform;
};

#define A(field) offsetof(struct mutate_args, field)
static const struct opt mutate_opts[] = {
        {"annotation", 'a', OPT_LIST, A(annotation), "K=V", "annotation of the manifest",
         "Changes"},
        {"append", 0, OPT_LIST, A(append), "FILE|DIR", "one more layer on top (bld-append(1))",
         NULL},
        {"cmd", 0, OPT_STR, A(cmd), "ARGS", "command: A,B,C or a JSON array; empty: none", NULL},
        {"entrypoint", 0, OPT_STR, A(entrypoint), "ARGS",
         "the same; without --cmd the old command goes", NULL},
        {"env", 'e', OPT_LIST, A(env), "K=V", "environment variable", NULL},
        {"exposed-ports", 0, OPT_LIST, A(ports), "PORT", "80, 80/tcp, 8000-8010/udp", NULL},
        {"label", 'l', OPT_LIST, A(label), "K=V", "label", NULL},
        {"set-platform", 0, OPT_STR, A(set_platform), "OS/ARCH", "the platform it claims to be for",
         NULL},
        {"unset-env", 0, OPT_LIST, A(unset_env), "K", "take a variable away", NULL},
        {"unset-label", 0, OPT_LIST, A(unset_label), "K", "take a label away", NULL},
        {"user", 'u', OPT_STR, A(user), "USER[:GROUP]", "user it runs as", NULL},
        {"workdir", 'w', OPT_STR, A(workdir), "PATH", "folder it runs in", NULL},
        EDIT_OPTS(struct mutate_args),
        {"tag", 't', OPT_STR, A(edit.tag), "NAME", "where it goes, instead of under its digest",
         NULL},
        {0},
};

static int json_words(const char *s, struct strv *out, struct bld_err *err)
{
        AUTO_JS struct js *j = NULL;
        int r = js_parse(s, strlen(s), &j, err);

        return r == 0 ? js_to_strv(j, out, err) : r;
}

/* The arguments of a command, as crane takes them or as a Dockerfile does. */
static int words(const char *flag, const char *s, struct strv *out, struct bld_err *err)
{
        int r = 0;

        if (s && s[0] == '[')
                r = json_words(s, out, err);
        else if (s && *s)
                r = csv_split(s, out, err);
        if (r == BLD_E_INVALID)
                r = err_recode(err, BLD_E_USAGE);
        return r < 0 ? err_wrap(err, r, "--%s", flag) : 0;
}

static int mutate(struct cli *c, const struct mutate_args *a, const char *src,
                  const struct bld_edit_opts *edit, char **ret, struct bld_err *err)
{
        AUTO_STRV struct strv entrypoint = {.v = NULL}, cmd = {.v = NULL};
        struct bld_mutate_opts o = {.size = sizeof(o),
                                    .edit = edit,
                                    .env = cli_list(&a->env),
                                    .labels = cli_list(&a->label),
                                    .annotations = cli_list(&a->annotation),
                                    .unset_env = cli_list(&a->unset_env),
                                    .unset_labels = cli_list(&a->unset_label),
                                    .exposed = cli_list(&a->ports),
                                    .has_entrypoint = a->entrypoint != NULL,
                                    .has_cmd = a->cmd != NULL,
                                    .user = a->user,
                                    .workdir = a->workdir,
                                    .set_platform = a->set_platform,
                                    .append = cli_list(&a->append)};
        int r = words("entrypoint", a->entrypoint, &entrypoint, err);

        if (r == 0)
                r = words("cmd", a->cmd, &cmd, err);
        o.entrypoint = cli_list(&entrypoint);
        o.cmd = cli_list(&cmd);
        return r == 0 ? bld_mutate(c->b, src, &o, ret, err) : r;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct mutate_args *a = args;
        AUTO(edit_own_done) struct edit_own own = {.dst = NULL};
        struct bld_edit_opts edit;
        char *json = NULL;
        int r = edit_begin(c, &a->edit, &own, &edit, err);

        if (r == 0)
                r = mutate(c, a, pos->v[0], &edit, &json, err);
        return r == 0 ? edit_print(&a->edit, json, err) : r;
}

const struct cli_cmd cmd_mutate = {
        .name = "mutate",
        .args = "[flags] IMAGE",
        .summary = "change the config and annotations of an image",
        .details =
                "Nothing is built or run. Of an index every image is changed. Without --tag the\n"
                "result goes to where IMAGE is, under its digest. Prints the result's name.\n",
        .examples = "bld mutate -l build=42 -e DEBUG=1 app:v1 -t app:v2\n"
                    "bld mutate --entrypoint /bin/app,--verbose registry.example/app:v1\n"
                    "bld mutate --cmd '[\"sh\", \"-c\", \"date, echo\"]' app:v1 -t app:sh\n",
        .exits = "3 malformed layer,\n  5 credentials, 6 no such image, 7 network",
        .see = "bld-append(1), bld-flatten(1), bld-rebase(1)",
        .opts = mutate_opts,
        .registry = true,
        .args_size = sizeof(struct mutate_args),
        .min_args = 1,
        .max_args = 1,
        .names_input = true,
        .run = run,
};
