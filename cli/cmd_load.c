#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cli.h"
#include "cli/table.h"

struct load_args {
        struct cli_common common;
        const char *input;
        bool quiet;
};

#define A(field) offsetof(struct load_args, field)
static const struct opt load_opts[] = {
        {"input", 'i', OPT_STR, A(input), "FILE", "archive or layout folder; default stdin",
         "Flags"},
        {"quiet", 'q', OPT_BOOL, A(quiet), NULL, "print names only", NULL},
        {0},
};

static int print_loaded(char *text, bool quiet, struct bld_err *err)
{
        AUTO_JS struct js *list = NULL;
        AUTO_SB struct sb out = SB_INIT(16u << 20);
        int r = take_json(text, &list, err);

        if (r < 0)
                return r;
        for (size_t i = 0; i < js_len(list); i++) {
                const char *name = js_get_str(js_at(list, i), "name");
                const char *digest = js_get_str(js_at(list, i), "digest");
                bool named = name && *name;

                if (quiet)
                        sb_fmt(&out, "%s\n", named ? name : digest ? digest : "");
                else if (named)
                        sb_fmt(&out, "Loaded image: %s\n", name);
                else
                        sb_fmt(&out, "Loaded image ID: %s\n", digest ? digest : "");
        }
        return cli_write_out(out.buf, out.len, err);
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct load_args *a = args;
        const char *path = a->input ? a->input : pos->n ? pos->v[0] : "-";
        char *text = NULL;
        int r;

        if (a->input && pos->n)
                return err_set(err, BLD_E_USAGE, "one archive at a time, please");
        if (strcmp(path, "-") == 0 && isatty(0) == 1)
                return err_set(err, BLD_E_USAGE, "no archive on standard input\ntry: -i FILE");
        r = cli_open(c, err);
        r = r < 0 ? r : bld_load(c->b, path, 0, &text, err);
        if (r == BLD_E_NOT_FOUND) /* of a file, not of an image */
                r = err_recode(err, BLD_E_INVALID);
        return r < 0 ? r : print_loaded(text, a->quiet, err);
}

const struct cli_cmd cmd_load = {
        .name = "load",
        .args = "[flags] [FILE]",
        .summary = "read images from an archive or layout folder",
        .examples = "bld load -i app.tar\ndocker save app:v1 | bld load\n",
        .exits = "3 malformed archive",
        .see = "bld-save(1)",
        .opts = load_opts,
        .args_size = sizeof(struct load_args),
        .max_args = 1,
        .run = run,
};
