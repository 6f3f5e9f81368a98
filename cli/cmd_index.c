#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "cli/cli.h"
#include "cli/table.h"

#define FILE_MAX (4u << 20)

struct index_args {
        struct cli_common common;
        struct strv tag, platform, annotation, file;
        bool dry_run, prefer_index, quiet;
        const char *format;
};

#define A(field) offsetof(struct index_args, field)
static const struct opt index_opts[] = {
        {"annotation", 0, OPT_LIST, A(annotation), "K=V",
         "of the index, or with manifest-descriptor[PLATFORM]: in front", "Flags"},
        {"dry-run", 0, OPT_BOOL, A(dry_run), NULL, "print the index, write nothing", NULL},
        {"file", 'f', OPT_LIST, A(file), "FILE", "create, append: sources, one per line", NULL},
        {"format", 0, OPT_STR, A(format), "F", "inspect: json or a template", NULL},
        {"platform", 0, OPT_LIST, A(platform), "OS/ARCH",
         "members for this only; annotate: whose entries", NULL},
        {"prefer-index", 0, OPT_BOOL, A(prefer_index), NULL,
         "create: an index also over one image (true)", NULL},
        {"quiet", 'q', OPT_BOOL, A(quiet), NULL, "no progress", NULL},
        {"tag", 't', OPT_LIST, A(tag), "NAME", "create: where to put it", NULL},
        {0},
};

static void defaults(void *args)
{
        ((struct index_args *)args)->prefer_index = true;
}

/* A source per line; empty lines and those that begin with '#' are none. */
static int read_sources(const struct strv *files, struct strv *out, struct bld_err *err)
{
        for (size_t i = 0; i < files->n; i++) {
                AUTO_SB struct sb text = SB_INIT(FILE_MAX);
                const char *s;
                int r = strcmp(files->v[i], "-") == 0
                                ? fd_read_all(0, &text, "standard input", err)
                                : file_read(AT_FDCWD, files->v[i], &text, err);

                if (r < 0)
                        return r == BLD_E_NOT_FOUND ? err_recode(err, BLD_E_INVALID) : r;
                for (s = sb_text(&text); *s; s += strcspn(s, "\n"), s += *s == '\n') {
                        size_t n = strcspn(s, " \t\r\n");

                        if (n && *s != '#' && strv_addn(out, s, n) < 0)
                                return err_nomem(err, "sources");
                }
        }
        return 0;
}

/* The members after the verb (and the name), with those of the files. */
static int members(const struct index_args *a, const struct strv *pos, size_t from,
                   struct strv *out, struct bld_err *err)
{
        for (size_t i = from; i < pos->n; i++)
                if (strv_add(out, pos->v[i]) < 0)
                        return err_nomem(err, "sources");
        return read_sources(&a->file, out, err);
}

static int inspect(struct cli *c, const struct index_args *a, const char *name, struct bld_err *err)
{
        AUTO_JS struct js *j = NULL;
        char *text = NULL;
        size_t n = 0;
        int r = bld_manifest_get(c->b, name, NULL, &text, &n, err);

        r = r < 0 ? r : take_json(text, &j, err);
        if (r < 0)
                return r;
        if (!js_is_arr(js_get(j, "manifests")))
                return err_set(err, BLD_E_INVALID, "%s is one image, not an index", name);
        return table_print_one(j, a->format, err);
}

static int act(struct cli *c, const struct index_args *a, const char *verb, const struct strv *pos,
               char **ret_json, char digest[160], struct bld_err *err)
{
        struct cli_progress progress = {.c = c, .quiet = a->quiet};
        struct bld_index_opts o = {.size = sizeof(o),
                                   .platforms = cli_list(&a->platform),
                                   .annotations = cli_list(&a->annotation),
                                   .dry_run = a->dry_run,
                                   .plain = !a->prefer_index,
                                   .progress = cli_progress,
                                   .user = &progress};
        AUTO_STRV struct strv list = {0};
        bool create = strcmp(verb, "create") == 0;
        struct bld_list names = cli_list(&a->tag), rest;
        const char *name = create ? NULL : pos->v[1];
        int r = members(a, pos, create ? 1 : 2, &list, err);

        rest = cli_list(&list);
        if (r < 0)
                return r;
        if (create)
                r = bld_index_create(c->b, &names, &rest, &o, ret_json, digest, err);
        else if (strcmp(verb, "append") == 0)
                r = bld_index_append(c->b, name, &rest, &o, ret_json, digest, err);
        else if (strcmp(verb, "rm") == 0)
                r = bld_index_remove(c->b, name, &rest, &o, ret_json, digest, err);
        else
                r = bld_index_annotate(c->b, name, &o, ret_json, digest, err);
        cli_progress_end(&progress);
        return r;
}

static int check(const struct index_args *a, const char *verb, const struct strv *pos,
                 struct bld_err *err)
{
        static const char *const verbs[] = {"create", "append", "rm", "annotate", "inspect"};
        bool create = strcmp(verb, "create") == 0, known = false;

        for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
                known = known || strcmp(verb, verbs[i]) == 0;
        if (!known)
                return err_set(err, BLD_E_USAGE,
                               "bld index knows create, append, rm, annotate and inspect, not "
                               "\"%.50s\"",
                               verb);
        if (!create && pos->n < 2)
                return err_set(err, BLD_E_USAGE, "bld index %s needs the index's name", verb);
        if (!create && a->tag.n)
                return err_set(err, BLD_E_USAGE, "bld index %s does not take --tag", verb);
        if (create && !a->tag.n && !a->dry_run)
                return err_set(err, BLD_E_USAGE, "bld index create needs --tag, or --dry-run");
        if ((strcmp(verb, "append") == 0 || strcmp(verb, "rm") == 0) && pos->n < 3 && !a->file.n)
                return err_set(err, BLD_E_USAGE, "bld index %s needs a member", verb);
        if ((strcmp(verb, "annotate") == 0 || strcmp(verb, "inspect") == 0) && pos->n > 2)
                return err_set(err, BLD_E_USAGE, "bld index %s takes one index", verb);
        return 0;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct index_args *a = args;
        const char *verb = pos->v[0];
        AUTO_SB struct sb line = SB_INIT(4096);
        char *json = NULL, digest[160] = "";
        int r = check(a, verb, pos, err);

        r = r < 0 ? r : cli_open(c, err);
        if (r < 0)
                return r;
        if (strcmp(verb, "inspect") == 0)
                return inspect(c, a, pos->v[1], err);
        r = act(c, a, verb, pos, &json, digest, err);
        if (r < 0)
                return r;
        if (a->dry_run) {
                r = cli_puts(json, err);
                r = r < 0 ? r : cli_puts("\n", err);
        } else {
                sb_fmt(&line, "%s\n", digest);
                r = cli_write_out(line.buf, line.len, err);
        }
        bld_free(json);
        return r;
}

const struct cli_cmd cmd_index = {
        .name = "index",
        .args = "[flags] create|append|rm|annotate|inspect [NAME] [MEMBER...]",
        .summary = "put images of several platforms under one name",
        .details = "create -t NAME SOURCE...     an index over the sources and what they list\n"
                   "append NAME SOURCE...        more members\n"
                   "rm NAME DIGEST|PLATFORM...   fewer\n"
                   "annotate NAME --annotation K=V [--platform P]\n"
                   "inspect NAME\n"
                   "Names are a registry's unless a transport says otherwise. The digest of what\n"
                   "was written is printed.\n",
        .examples = "bld index create -t reg.example/app:v1 reg.example/app:amd64 \\\n"
                    "    reg.example/app:arm64\n"
                    "bld index rm reg.example/app:v1 linux/386\n",
        .exits = "5 credentials, 6 no such image,\n  7 network",
        .see = "bld-manifest(1), bld-copy(1)",
        .opts = index_opts,
        .registry = true,
        .args_size = sizeof(struct index_args),
        .min_args = 1,
        .max_args = SIZE_MAX,
        .names_input = true,
        .init = defaults,
        .run = run,
};
