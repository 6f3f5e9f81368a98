#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/num.h"
#include "cli/cli.h"
#include "cli/diff.h"
#include "cli/exit.h"
#include "cli/signals.h"

#define CONTENT_KIB 64u
#define CONTENT_KIB_MAX 65536u

struct diff_args {
        struct cli_common common;
        struct strv mode, ignore, path, exclude;
        bool semantic, stat, name_only, name_status, exit_code;
        const char *content, *format, *report, *html, *output, *compression, *shared, *platform;
};

#define A(field) offsetof(struct diff_args, field)
static const struct opt diff_opts[] = {
        {"mode", 0, OPT_LIST, A(mode), "LIST",
         "files, layers, config, packages or all (files,config)", "What to compare"},
        {"ignore", 0, OPT_LIST, A(ignore), "LIST",
         "mtime, order, uid, gid, xattrs, history, created, compression, labels", NULL},
        {"semantic", 0, OPT_BOOL, A(semantic), NULL,
         "ignore mtime, order, created, history and compression", NULL},
        {"path", 0, OPT_LIST, A(path), "GLOB", "only these files, and what is below them", NULL},
        {"exclude", 0, OPT_LIST, A(exclude), "GLOB", "not these files", NULL},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "of images for several", NULL},
        {"shared", 0, OPT_STR, A(shared), "HOW",
         "layers both begin with: local reads what is here, read all, skip none", NULL},
        {"content", 0, OPT_OPTSTR, A(content), "KIB",
         "differences of texts up to that size (64); what other files are", "What to show"},
        {"stat", 0, OPT_BOOL, A(stat), NULL, "a line for each file, without details", NULL},
        {"name-only", 0, OPT_BOOL, A(name_only), NULL, "names of files that differ", NULL},
        {"name-status", 0, OPT_BOOL, A(name_status), NULL, "the same, with A, D, M, T or m", NULL},
        {"format", 0, OPT_STR, A(format), "F",
         "text, json, jsonl or patch (a layer that turns A into B)", NULL},
        {"compression", 0, OPT_STR, A(compression), "C",
         "of a patch: gzip, zstd or none (by the name of FILE)", NULL},
        {"output", 'o', OPT_STR, A(output), "FILE", "write there; - is standard output", NULL},
        {"report", 0, OPT_STR, A(report), "DIR", "both versions of each file that differs", NULL},
        {"html", 0, OPT_STR, A(html), "FILE", "a page for browsers: tree, sizes, two maps", NULL},
        {"exit-code", 0, OPT_BOOL, A(exit_code), NULL, "end with 1 when they differ (true)", NULL},
        {0},
};

static void defaults(void *args)
{
        ((struct diff_args *)args)->exit_code = true;
}

/* ---- what was asked for ---- */

struct word {
        const char *name;
        unsigned bits;
};

static int unknown_word(const char *flag, const char *s, size_t len, const struct word *table,
                        size_t n, struct bld_err *err)
{
        AUTO_SB struct sb all = SB_INIT(4096);
        int r = err_set(err, BLD_E_USAGE, "--%s does not know \"%.*s\"", flag, (int)MIN(len, 50u),
                        s);

        for (size_t i = 0; i < n; i++)
                sb_fmt(&all, "%s%s", i ? ", " : "", table[i].name);
        return err_why(err, r, "it knows %s", sb_text(&all));
}

/* Words of comma-separated lists to bits. */
static int words(const char *flag, const struct strv *lists, const struct word *table, size_t n,
                 unsigned *ret, struct bld_err *err)
{
        for (size_t i = 0; i < lists->n; i++)
                for (const char *s = lists->v[i]; *s;) {
                        size_t len = strcspn(s, ","), k = 0;

                        while (k < n && (strlen(table[k].name) != len ||
                                         strncmp(table[k].name, s, len) != 0))
                                k++;
                        if (k == n)
                                return unknown_word(flag, s, len, table, n, err);
                        *ret |= table[k].bits;
                        s += len + (s[len] == ',');
                }
        return 0;
}

static int take_modes(const struct diff_args *a, struct diff_ask *ask, struct bld_err *err)
{
        static const struct word table[] = {
                {"files", DIFF_FILES},
                {"layers", DIFF_LAYERS},
                {"config", DIFF_CONFIG},
                {"packages", DIFF_PACKAGES},
                {"all", DIFF_FILES | DIFF_LAYERS | DIFF_CONFIG | DIFF_PACKAGES},
        };
        int r = words("mode", &a->mode, table, ARRAY_LEN(table), &ask->modes, err);

        if (r < 0)
                return r;
        ask->chosen = ask->modes != 0;
        if (!ask->modes)
                ask->modes = DIFF_FILES | DIFF_CONFIG;
        return 0;
}

enum ignore {
        IGNORE_MTIME = 1,
        IGNORE_ORDER = 2,
        IGNORE_UID = 4,
        IGNORE_GID = 8,
        IGNORE_XATTRS = 16,
        IGNORE_HISTORY = 32,
        IGNORE_CREATED = 64,
        IGNORE_COMPRESSION = 128,
        IGNORE_LABELS = 256
};
static const struct word ignores[] = {
        {"mtime", IGNORE_MTIME},     {"order", IGNORE_ORDER},
        {"uid", IGNORE_UID},         {"gid", IGNORE_GID},
        {"xattrs", IGNORE_XATTRS},   {"history", IGNORE_HISTORY},
        {"created", IGNORE_CREATED}, {"compression", IGNORE_COMPRESSION},
        {"labels", IGNORE_LABELS},
};

static int take_ignores(const struct diff_args *a, struct diff_ask *ask, struct sb *names,
                        struct bld_err *err)
{
        unsigned i = a->semantic ? IGNORE_MTIME | IGNORE_ORDER | IGNORE_CREATED | IGNORE_HISTORY |
                                           IGNORE_COMPRESSION
                                 : 0;
        int r = words("ignore", &a->ignore, ignores, ARRAY_LEN(ignores), &i, err);

        if (r < 0)
                return r;
        ask->ignore_files = (i & IGNORE_MTIME ? (unsigned)BLD_DIFF_MTIME : 0) |
                            (i & IGNORE_UID ? (unsigned)BLD_DIFF_UID : 0) |
                            (i & IGNORE_GID ? (unsigned)BLD_DIFF_GID : 0) |
                            (i & IGNORE_XATTRS ? (unsigned)BLD_DIFF_XATTRS : 0);
        /* The layers are what the other modes compare. */
        ask->ignore_config = (unsigned)BLD_CONFIG_LAYERS |
                             (i & IGNORE_HISTORY ? (unsigned)BLD_CONFIG_HISTORY : 0) |
                             (i & IGNORE_CREATED ? (unsigned)BLD_CONFIG_CREATED : 0) |
                             (i & IGNORE_LABELS ? (unsigned)BLD_CONFIG_LABELS : 0);
        ask->ignore_order = i & IGNORE_ORDER;
        ask->ignore_compression = i & IGNORE_COMPRESSION;
        for (size_t k = 0; k < ARRAY_LEN(ignores); k++)
                if (i & ignores[k].bits)
                        sb_fmt(names, "%s%s", names->len ? "," : "", ignores[k].name);
        ask->ignored = names->len ? sb_text(names) : NULL;
        return sb_check(names, "--ignore", err);
}

static int one_of(const char *flag, const char *s, const char *const *names, size_t n,
                  unsigned *ret, struct bld_err *err)
{
        AUTO_SB struct sb all = SB_INIT(4096);

        for (size_t i = 0; i < n; i++) {
                if (s && strcmp(s, names[i]) == 0) {
                        *ret = (unsigned)i;
                        return 0;
                }
                sb_fmt(&all, "%s%s", i == 0 ? "" : i + 1 == n ? " or " : ", ", names[i]);
        }
        return s ? err_set(err, BLD_E_USAGE, "--%s takes %s, not \"%.50s\"", flag, sb_text(&all), s)
                 : 0;
}

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_JSONL, FORMAT_PATCH };

struct plan {
        struct diff_ask ask;
        enum format format;
        enum bld_layer_codec codec;
        struct sb ignored;
};

static int take_codec(const struct diff_args *a, struct plan *p, struct bld_err *err)
{
        static const char *const codecs[] = {
                [BLD_LAYER_GZIP] = "gzip", [BLD_LAYER_ZSTD] = "zstd", [BLD_LAYER_TAR] = "none"};
        const char *to = a->output ? a->output : "";
        unsigned codec = BLD_LAYER_TAR;
        int r;

        if (str_has_suffix(to, ".gz") || str_has_suffix(to, ".tgz"))
                codec = BLD_LAYER_GZIP;
        if (str_has_suffix(to, ".zst") || str_has_suffix(to, ".tzst"))
                codec = BLD_LAYER_ZSTD;
        r = one_of("compression", a->compression, codecs, ARRAY_LEN(codecs), &codec, err);
        p->codec = (enum bld_layer_codec)codec;
        return r;
}

static bool is_stdout(const char *path)
{
        return path && strcmp(path, "-") == 0;
}

/* Flags that say nothing together. */
static int judge(const struct diff_args *a, const struct plan *p, struct bld_err *err)
{
        bool names = a->name_only || a->name_status, patch = p->format == FORMAT_PATCH;

        if (a->name_only + a->name_status + a->stat > 1)
                return err_set(err, BLD_E_USAGE,
                               "--stat, --name-only and --name-status exclude each other");
        if ((names || a->stat) && p->format != FORMAT_TEXT)
                return err_set(err, BLD_E_USAGE, "--%s is a form of --format text",
                               a->stat        ? "stat"
                               : a->name_only ? "name-only"
                                              : "name-status");
        if (a->content && (names || patch))
                return err_set(err, BLD_E_USAGE, "--content does not go with %s",
                               patch ? "--format patch" : "names alone");
        if (!(p->ask.modes & DIFF_FILES) && (names || patch || a->content || a->report))
                return err_set(err, BLD_E_USAGE, "%s is about files, which --mode leaves out",
                               patch        ? "--format patch"
                               : names      ? "--name-only or --name-status"
                               : a->content ? "--content"
                                            : "--report");
        if (is_stdout(a->html) && (!a->output || is_stdout(a->output)) &&
            (a->output || a->format || names || a->stat || a->content))
                return err_set(err, BLD_E_USAGE,
                               "--html - takes standard output\ntry: -o FILE for the other form");
        if (a->compression && !patch)
                return err_set(err, BLD_E_USAGE, "--compression is for --format patch");
        if (patch && (!a->output || is_stdout(a->output)) && isatty(1) == 1)
                return err_set(err, BLD_E_USAGE, "a layer is not for a terminal\ntry: -o FILE");
        return 0;
}

static int make_plan(const struct diff_args *a, struct plan *p, struct bld_err *err)
{
        static const char *const formats[] = {"text", "json", "jsonl", "patch"};
        static const char *const shared[] = {"local", "read", "skip"};
        unsigned format = FORMAT_TEXT, how = BLD_DIFF_SHARED_LOCAL;
        uint64_t kib = CONTENT_KIB;
        int r = take_modes(a, &p->ask, err);

        if (!a->mode.n && (a->name_only || a->name_status))
                p->ask.modes = DIFF_FILES; /* a status that no line explains helps nobody */
        r = r < 0 ? r : take_ignores(a, &p->ask, &p->ignored, err);
        r = r < 0 ? r : one_of("format", a->format, formats, ARRAY_LEN(formats), &format, err);
        r = r < 0 ? r : one_of("shared", a->shared, shared, ARRAY_LEN(shared), &how, err);
        if (r == 0 && a->content && *a->content)
                r = cli_number("content", a->content, CONTENT_KIB_MAX, &kib, err);
        r = r < 0 ? r : take_codec(a, p, err);
        if (r < 0)
                return r;
        p->format = (enum format)format;
        p->ask.shared = (enum bld_diff_shared)how;
        p->ask.shared_given = a->shared != NULL;
        p->ask.exact = p->format == FORMAT_PATCH || a->report;
        p->ask.stat = a->stat;
        p->ask.content = a->content != NULL;
        p->ask.content_max = kib << 10;
        p->ask.platform = a->platform;
        p->ask.only = cli_list(&a->path);
        p->ask.exclude = cli_list(&a->exclude);
        r = judge(a, p, err);
        if (r == 0 && a->output)
                r = cli_check_target("output", a->output, err);
        if (r == 0 && a->html)
                r = cli_check_target("html", a->html, err);
        return r < 0 || !a->report ? r : diff_report_check(a->report, err);
}

/* ---- doing it ---- */

static bool stop(void *user)
{
        (void)user;
        return signals_caught() != 0;
}

int diff_write_patch(const struct diff_result *res, enum bld_layer_codec codec, struct out *o,
                     struct bld_err *err)
{
        struct bld_layer_create_opts create = {.size = sizeof(create),
                                               .codec = codec,
                                               .all_xattrs = true,
                                               .reproducible = true,
                                               .watch = res->ask->watch};
        struct bld_output to = {.size = sizeof(to), .fd = o->path ? o->fd : 1};

        return cli_written(bld_diff_patch(res->files, &to, &create, NULL, err), o->path, err);
}

static int write_form(struct cli *c, const struct diff_args *a, const struct plan *p,
                      const struct diff_result *res, struct diff_content *content,
                      struct bld_err *err)
{
        AUTO_OUT struct out o = {.fd = -1};
        int r = out_open(&o, a->output, c->color, err);

        if (r < 0)
                return r;
        if (p->format == FORMAT_PATCH)
                r = diff_write_patch(res, p->codec, &o, err);
        else if (p->format != FORMAT_TEXT)
                r = diff_write_json(res, content, p->format == FORMAT_JSONL, &o, err);
        else if (a->name_only || a->name_status)
                r = diff_write_names(res, a->name_status, &o, err);
        else
                r = diff_write_text(res, content, &o, err);
        return r < 0 ? r : out_end(&o, err);
}

static int write_page(const char *path, const struct diff_result *res, struct bld_err *err)
{
        AUTO_OUT struct out o = {.fd = -1};
        int r = out_open(&o, path, COLOR_NEVER, err);

        r = r < 0 ? r : diff_write_html(res, &o, err);
        return r < 0 ? r : out_end(&o, err);
}

static int write_all(struct cli *c, const struct diff_args *a, const struct plan *p,
                     const struct diff_result *res, struct bld_err *err)
{
        AUTO(diff_content_free_p) struct diff_content *content = NULL;
        bool page_only = is_stdout(a->html) && !a->output;
        int r = p->ask.content ? diff_content_read(c, res, &content, err) : 0;

        if (r == 0 && !page_only)
                r = write_form(c, a, p, res, content, err);
        if (r == 0 && a->html)
                r = write_page(a->html, res, err);
        return r == 0 && a->report ? diff_write_report(c, res, content, a->report, err) : r;
}

static int open_both(struct cli *c, const struct diff_ask *ask, const struct strv *pos,
                     struct bld_image **a, struct bld_image **b, struct bld_err *err)
{
        struct bld_image_open_opts o = {
                .size = sizeof(o), .platform = ask->platform, .watch = ask->watch, .in_fd = 0};
        int r;

        if (str_has_suffix(pos->v[0], ":-") && str_has_suffix(pos->v[1], ":-"))
                return err_set(err, BLD_E_USAGE, "standard input holds one image");
        r = bld_image_open(c->b, pos->v[0], &o, a, err);
        return r < 0 ? r : bld_image_open(c->b, pos->v[1], &o, b, err);
}

static int diff(struct cli *c, const struct diff_args *a, struct plan *p, const struct strv *pos,
                struct bld_err *err)
{
        struct cli_progress progress = {.c = c};
        struct bld_watch watch = {
                .size = sizeof(watch), .progress = cli_progress, .stop = stop, .user = &progress};
        struct bld_image *x = NULL, *y = NULL;
        struct diff_result res = {.ask = NULL};
        int r;

        p->ask.watch = &watch;
        r = open_both(c, &p->ask, pos, &x, &y, err);
        r = r < 0 ? r : diff_collect(c, &p->ask, x, y, &res, err);
        cli_progress_end(&progress);
        r = r < 0 ? r : write_all(c, a, p, &res, err);
        cli_progress_end(&progress);
        if (r == 0 && res.differ && a->exit_code)
                r = EXIT_FAILED;
        diff_result_done(&res);
        bld_image_close(y);
        bld_image_close(x);
        return r;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct diff_args *a = args;
        struct plan p = {.ignored = SB_INIT(4096)};
        int r = make_plan(a, &p, err);

        r = r < 0 ? r : cli_open(c, err);
        r = r < 0 ? r : diff(c, a, &p, pos, err);
        sb_done(&p.ignored);
        return r;
}

const struct cli_cmd cmd_diff = {
        .name = "diff",
        .args = "[flags] A B",
        .summary = "what differs between two images, layers or folders",
        .details =
                "A and B: an image in the store or a registry, oci:FOLDER, an archive,\n"
                "dir:FOLDER, a layer IMAGE#N (from 0; #-1 is the top), a build's ID or ID:STEP.\n"
                "Layers that both images begin with are not downloaded.\n",
        .examples = "bld diff app:v1 app:v2\n"
                    "bld diff --semantic --mode all registry.example/app:v1 dir:rootfs\n"
                    "bld diff --format patch -o v1-v2.tar.zst app:v1 app:v2\n",
        .one = "they differ",
        .exits = "3 damaged file,\n  5 credentials, 6 no such image, 7 network",
        .see = "bld-history(1), bld-inspect(1)",
        .opts = diff_opts,
        .registry = true,
        .args_size = sizeof(struct diff_args),
        .min_args = 2,
        .max_args = 2,
        .names_input = true,
        .init = defaults,
        .run = run,
};
