#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "cli/cli.h"
#include "cli/images_filter.h"
#include "cli/table.h"

struct images_args {
        struct cli_common common;
        bool all, digests, no_trunc, quiet;
        const char *format;
        struct strv filter;
};

#define A(field) offsetof(struct images_args, field)
static const struct opt images_opts[] = {
        {"all", 'a', OPT_BOOL, A(all), NULL, "untagged images, too", "Flags"},
        {"digests", 0, OPT_BOOL, A(digests), NULL, "a column of manifest digests", NULL},
        {"filter", 'f', OPT_LIST, A(filter), "K=V",
         "dangling, label, reference, before, since or until", NULL},
        {"format", 0, OPT_STR, A(format), "F", "table, json, jsonl or a template", NULL},
        {"no-trunc", 0, OPT_BOOL, A(no_trunc), NULL, "whole digests", NULL},
        {"quiet", 'q', OPT_BOOL, A(quiet), NULL, "image IDs only", NULL},
        {"tree", 0, OPT_REFUSE, 0, NULL, "not available yet; see bld inspect --manifest", NULL},
        {0},
};

static const struct table_col cols[] = {
        {"REPOSITORY", "Repository", 60},
        {"TAG", "Tag", 40},
        {"IMAGE ID", "ID", 0},
        {"CREATED", "CreatedSince", 0},
        {"SIZE", "Size", 0},
        {"PLATFORM", "Platform", 0},
        {"DIGEST", "Digest", 0},
        {"CREATED AT", "CreatedAt", 0},
};
static const struct table_col digest_cols[] = {
        {"REPOSITORY", "Repository", 60}, {"TAG", "Tag", 40},
        {"DIGEST", "Digest", 0},          {"IMAGE ID", "ID", 0},
        {"CREATED", "CreatedSince", 0},   {"SIZE", "Size", 0},
        {"PLATFORM", "Platform", 0},      {"CREATED AT", "CreatedAt", 0},
};
#define SHOWN 5u /* of cols; digest_cols one more; the rest is for templates */

static const char *or_none(const char *s)
{
        return s && *s ? s : "<none>";
}

static int push_row(struct js *rows, const struct js *image, bool no_trunc)
{
        struct js *row = js_obj();
        const char *config = js_get_str(image, "configDigest");
        const char *digest = js_get_str(image, "digest");
        char id[160], since[40], at[64], size[24] = "";
        int64_t bytes;
        int r;

        short_digest(config && *config ? config : digest, no_trunc, id);
        since_text(js_get_str(image, "created"), since);
        local_time_text(js_get_str(image, "created"), at);
        if (js_get_i64(image, "size", &bytes) && bytes >= 0)
                format_size((uint64_t)bytes, size);
        r = row ? js_set_str(row, "Repository", or_none(js_get_str(image, "repository")))
                : BLD_E_NOMEM;
        r = r < 0 ? r : js_set_str(row, "Tag", or_none(js_get_str(image, "tag")));
        r = r < 0 ? r : js_set_str(row, "ID", id);
        r = r < 0 ? r : js_set_str(row, "Digest", or_none(digest));
        r = r < 0 ? r : js_set_str(row, "CreatedSince", since);
        r = r < 0 ? r : js_set_str(row, "CreatedAt", at);
        r = r < 0 ? r : js_set_str(row, "Size", size);
        r = r < 0 ? r : js_set_str(row, "Platform", or_none(js_get_str(image, "platform")));
        if (r < 0) {
                js_free(row);
                return r;
        }
        return js_push(rows, row);
}

static int print_ids(const struct js *rows, struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(64u << 20);
        AUTO_STRV struct strv seen = {0};

        for (size_t i = 0; i < js_len(rows); i++) {
                const char *id = js_get_str(js_at(rows, i), "ID");

                if (strv_has(&seen, id))
                        continue;
                if (strv_add(&seen, id) < 0)
                        return err_nomem(err, "images");
                sb_fmt(&out, "%s\n", id);
        }
        return cli_write_out(out.buf, out.len, err);
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct images_args *a = args;
        AUTO_JS struct js *all = NULL, *raw = js_arr(), *rows = js_arr();
        struct table t = {cols, SHOWN, a->format, a->no_trunc};
        AUTO(images_filter_done) struct images_filter f = {.dangling = -1};
        bool pattern = pos->n && strpbrk(pos->v[0], "*?[");
        char *text = NULL;
        int r = cli_open(c, err);

        r = r < 0 ? r : images_filter_read(c, &a->filter, &f, err);
        if (r == 0 && pattern && (f.references.n || strv_add(&f.references, pos->v[0]) < 0))
                r = err_set(err, BLD_E_USAGE,
                            "a pattern and --filter reference exclude each other");
        r = r < 0 ? r : bld_images(c->b, pos->n && !pattern ? pos->v[0] : NULL, &text, err);
        r = r < 0 ? r : take_json(text, &all, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < js_len(all); i++) {
                struct js *image = js_at(all, i);

                if (!images_filter_wants(&f, image, a->all))
                        continue;
                if (js_push(raw, js_ref(image)) < 0 || push_row(rows, image, a->no_trunc) < 0)
                        return err_nomem(err, "images");
        }
        if (a->quiet)
                return print_ids(rows, err);
        if (a->digests) {
                t.cols = digest_cols;
                t.ncols = SHOWN + 1;
        }
        /* Templates may name what the table does not show. */
        if (a->format && strstr(a->format, "{{"))
                t.ncols = ARRAY_LEN(cols);
        return table_print(&t, raw, rows, err);
}

const struct cli_cmd cmd_images = {
        .name = "images",
        .aliases = "ls",
        .args = "[flags] [NAME]",
        .summary = "list images in the store",
        .examples = "bld images\nbld images --format json\n"
                    "bld images --format '{{.Repository}}:{{.Tag}} {{.Size}}'\n",
        .see = "bld-inspect(1), bld-rmi(1)",
        .opts = images_opts,
        .args_size = sizeof(struct images_args),
        .max_args = 1,
        .names_input = true,
        .run = run,
};
