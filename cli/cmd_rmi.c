#include <string.h>

#include "base/err.h"
#include "cli/cli.h"
#include "cli/table.h"

struct rmi_args {
        struct cli_common common;
        bool force, all, dry_run;
};

#define A(field) offsetof(struct rmi_args, field)
static const struct opt rmi_opts[] = {
        {"force", 'f', OPT_BOOL, A(force), NULL, "by digest: with all its names; missing is fine",
         "Flags"},
        {"all", 'a', OPT_BOOL, A(all), NULL, "every image", NULL},
        {"dry-run", 0, OPT_BOOL, A(dry_run), NULL, "only say what would go", NULL},
        {0},
};

static int print_removed(char *text, struct bld_err *err)
{
        AUTO_JS struct js *list = NULL;
        AUTO_SB struct sb out = SB_INIT(16u << 20);
        int r = take_json(text, &list, err);

        if (r < 0)
                return r;
        for (size_t i = 0; i < js_len(list); i++) {
                const char *untagged = js_get_str(js_at(list, i), "untagged");
                const char *deleted = js_get_str(js_at(list, i), "deleted");

                if (untagged)
                        sb_fmt(&out, "Untagged: %s\n", untagged);
                if (deleted)
                        sb_fmt(&out, "Deleted: %s\n", deleted);
        }
        return cli_write_out(out.buf, out.len, err);
}

/* Names (digests of unnamed images) of everything in the store. */
static int list_all(struct cli *c, struct strv *out, struct bld_err *err)
{
        AUTO_JS struct js *list = NULL;
        char *text = NULL;
        int r = bld_images(c->b, NULL, &text, err);

        r = r < 0 ? r : take_json(text, &list, err);
        for (size_t i = 0; r == 0 && i < js_len(list); i++) {
                const char *name = js_get_str(js_at(list, i), "name");

                if (!name || !*name)
                        name = js_get_str(js_at(list, i), "digest");
                if (name && !strv_has(out, name) && strv_add(out, name) < 0)
                        r = err_nomem(err, "images");
        }
        return r;
}

static int would_remove(struct cli *c, const char *ref, struct bld_err *err)
{
        AUTO_SB struct sb line = SB_INIT(1u << 16);
        char *text = NULL;
        int r = bld_inspect(c->b, ref, BLD_INSPECT_MANIFEST, NULL, &text, err);

        if (r < 0)
                return r;
        bld_free(text);
        sb_fmt(&line, "Would untag: %s\n", ref);
        return cli_write_out(line.buf, line.len, err);
}

static int remove_one(struct cli *c, const struct rmi_args *a, const char *ref, struct bld_err *err)
{
        char *text = NULL;
        int r;

        if (a->dry_run)
                return would_remove(c, ref, err);
        r = bld_rmi(c->b, ref, a->force, &text, err);
        if (r == BLD_E_NOT_FOUND && a->force) {
                err_clear(err);
                return 0;
        }
        return r < 0 ? r : print_removed(text, err);
}

/* All of them are tried; the first failure is the one reported at the end. */
static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct rmi_args *a = args;
        AUTO_STRV struct strv all = {0};
        const struct strv *refs = a->all ? &all : pos;
        int first = 0, r;

        if (!a->all && !pos->n)
                return err_set(err, BLD_E_USAGE, "bld rmi needs an image, or --all");
        r = cli_open(c, err);
        if (r == 0 && a->all)
                r = list_all(c, &all, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < refs->n; i++) {
                struct bld_err one = BLD_ERR_INIT;

                r = remove_one(c, a, refs->v[i], &one);
                if (r < 0 && first == 0) {
                        first = r;
                        err_copy(err, &one);
                } else if (r < 0) {
                        cli_note(c, "warning", "%s", one.msg);
                }
        }
        return first;
}

const struct cli_cmd cmd_rmi = {
        .name = "rmi",
        .aliases = "rm",
        .args = "[flags] IMAGE...",
        .summary = "remove names and images from the store",
        .details = "An image goes when its last name does. Space comes back with bld prune.\n",
        .examples = "bld rmi app:v1\nbld rmi --all --dry-run\n",
        .exits = "6 no such image",
        .see = "bld-prune(1)",
        .opts = rmi_opts,
        .args_size = sizeof(struct rmi_args),
        .max_args = SIZE_MAX,
        .names_input = true,
        .run = run,
};
