/* Documents and digests as they are: `manifest`, `digest`, `config`. */
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "cli/cli.h"
#include "cli/table.h"

#define DOCUMENT_MAX (8u << 20)

struct manifest_args {
        struct cli_common common;
        const char *platform, *media_type, *format;
};

#define A(field) offsetof(struct manifest_args, field)
static const struct opt manifest_opts[] = {
        {"format", 0, OPT_STR, A(format), "F", "get: json or a template; else byte for byte",
         "Flags"},
        {"media-type", 0, OPT_STR, A(media_type), "TYPE", "put: instead of what the document says",
         NULL},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "get: of an index", NULL},
        {0},
};

static int print_document(const char *text, size_t n, const char *format, struct bld_err *err)
{
        AUTO_JS struct js *j = NULL;
        int r;

        if (!format)
                return cli_write_out(text, n, err);
        r = js_parse(text, n, &j, err);
        return r < 0 ? r : table_print_one(j, format, err);
}

static int get(struct cli *c, const struct manifest_args *a, const char *ref, struct bld_err *err)
{
        char *text = NULL;
        size_t n = 0;
        int r = bld_manifest_get(c->b, ref, a->platform, &text, &n, err);

        if (r < 0)
                return r;
        r = print_document(text, n, a->format, err);
        bld_free(text);
        return r;
}

static int put(struct cli *c, const struct manifest_args *a, const char *ref, const char *file,
               struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(DOCUMENT_MAX);
        AUTO_SB struct sb line = SB_INIT(4096);
        char digest[160];
        int r = strcmp(file, "-") == 0 ? fd_read_all(0, &text, "standard input", err)
                                       : file_read(AT_FDCWD, file, &text, err);

        if (r == BLD_E_NOT_FOUND) /* of a file, not of an image */
                r = err_recode(err, BLD_E_INVALID);
        if (r == 0)
                r = bld_manifest_put(c->b, ref, a->media_type, sb_text(&text), text.len, digest,
                                     err);
        if (r < 0)
                return r;
        sb_fmt(&line, "%s\n", digest);
        return cli_write_out(line.buf, line.len, err);
}

static int run_manifest(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct manifest_args *a = args;
        const char *verb = pos->v[0];
        bool is_put = strcmp(verb, "put") == 0;
        int r;

        if (!is_put && strcmp(verb, "get") != 0)
                return err_set(err, BLD_E_USAGE, "bld manifest knows get and put, not \"%.50s\"",
                               verb);
        if (is_put ? a->platform || a->format : a->media_type != NULL)
                return err_set(err, BLD_E_USAGE, "bld manifest %s does not take that flag", verb);
        if (!is_put && pos->n > 2)
                return err_set(err, BLD_E_USAGE, "bld manifest get takes one image");
        r = cli_open(c, err);
        if (r < 0)
                return r;
        return is_put ? put(c, a, pos->v[1], pos->n > 2 ? pos->v[2] : "-", err)
                      : get(c, a, pos->v[1], err);
}

const struct cli_cmd cmd_manifest = {
        .name = "manifest",
        .args = "[flags] get IMAGE | put IMAGE [FILE]",
        .summary = "get or put a manifest or index byte for byte",
        .details = "put reads standard input where no file is named, and prints the digest.\n",
        .examples = "bld manifest get debian:12\n"
                    "bld manifest get app:v1 | bld manifest put localhost:5000/app:v2\n",
        .exits = "5 credentials, 6 no such image,\n  7 network",
        .see = "bld-blob(1), bld-index(1)",
        .opts = manifest_opts,
        .registry = true,
        .args_size = sizeof(struct manifest_args),
        .min_args = 2,
        .max_args = 3,
        .names_input = true,
        .run = run_manifest,
};

/* ---- digest ---- */

static const struct opt digest_opts[] = {
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "of an index", "Flags"},
        {0},
};

static int run_digest(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct manifest_args *a = args;
        int r = cli_open(c, err);

        for (size_t i = 0; r == 0 && i < pos->n; i++) {
                AUTO_SB struct sb line = SB_INIT(4096);
                char digest[160];

                r = bld_digest(c->b, pos->v[i], a->platform, digest, err);
                sb_fmt(&line, "%s\n", digest);
                r = r < 0 ? r : cli_write_out(line.buf, line.len, err);
        }
        return r;
}

const struct cli_cmd cmd_digest = {
        .name = "digest",
        .args = "[flags] IMAGE...",
        .summary = "print the digest that an image's name stands for",
        .examples = "bld digest debian:12\nbld digest --platform linux/arm64 debian:12\n",
        .exits = "5 credentials, 6 no such image,\n  7 network",
        .see = "bld-manifest(1), bld-tags(1)",
        .opts = digest_opts,
        .registry = true,
        .args_size = sizeof(struct manifest_args),
        .min_args = 1,
        .max_args = SIZE_MAX,
        .names_input = true,
        .run = run_digest,
};

/* ---- config ---- */

static const struct opt config_opts[] = {
        {"format", 0, OPT_STR, A(format), "F", "json or a template; else byte for byte", "Flags"},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "of an image for several", NULL},
        {0},
};

static int run_config(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct manifest_args *a = args;
        char *text = NULL;
        int r = cli_open(c, err);

        r = r < 0 ? r : bld_inspect(c->b, pos->v[0], BLD_INSPECT_CONFIG, a->platform, &text, err);
        if (r < 0)
                return r;
        r = print_document(text, strlen(text), a->format, err);
        bld_free(text);
        return r;
}

const struct cli_cmd cmd_config = {
        .name = "config",
        .args = "[flags] IMAGE",
        .summary = "print an image's config byte for byte",
        .examples = "bld config app:v1\nbld config --format '{{json .config.Env}}' debian:12\n",
        .exits = "5 credentials, 6 no such image,\n  7 network",
        .see = "bld-inspect(1), bld-manifest(1)",
        .opts = config_opts,
        .registry = true,
        .args_size = sizeof(struct manifest_args),
        .min_args = 1,
        .max_args = 1,
        .names_input = true,
        .run = run_config,
};
