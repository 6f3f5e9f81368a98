#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "cli/look.h"
#include "cli/out.h"
#include "cli/template.h"

struct files_args {
        struct cli_common common;
        const char *depth, *format, *layer, *platform;
        bool human, wide, null;
};

#define A(field) offsetof(struct files_args, field)
static const struct opt files_opts[] = {
        {"depth", 0, OPT_STR, A(depth), "N", "at most N levels of folders", "Flags"},
        {"format", 0, OPT_STR, A(format), "F", "table, json, jsonl or a template", NULL},
        {"human", 'H', OPT_BOOL, A(human), NULL, "sizes for people", NULL},
        {"layer", 0, OPT_STR, A(layer), "N",
         "this layer alone, as it is: 0 is the bottom, -1 the top", NULL},
        {"long", 'l', OPT_BOOL, A(wide), NULL, "mode, owner and time, too", NULL},
        {"null", '0', OPT_BOOL, A(null), NULL, "paths only, as they are, each ended by NUL", NULL},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "of an image for several", NULL},
        {0},
};

enum how { HOW_TABLE, HOW_JSON, HOW_LINES, HOW_TEMPLATE, HOW_NULL };

struct files {
        const struct files_args *a;
        const char *path; /* clean; "" for all */
        uint64_t depth;
        enum how how;
        struct out out;
        size_t printed;
};

static void files_done(struct files *f)
{
        out_done(&f->out);
}

/* ---- what is wanted ---- */

static int read_args(struct files *f, const char *path, struct bld_err *err)
{
        const char *s = f->a->format;

        f->path = path + strspn(path, "/");
        f->depth = UINT64_MAX;
        if (f->a->null && s)
                return err_set(err, BLD_E_USAGE, "--null and --format exclude each other");
        if (f->a->null)
                f->how = HOW_NULL;
        else if (!s || strcmp(s, "table") == 0)
                f->how = HOW_TABLE;
        else if (strcmp(s, "json") == 0)
                f->how = HOW_JSON;
        else if (strcmp(s, "jsonl") == 0)
                f->how = HOW_LINES;
        else if (strstr(s, "{{") && !str_has_prefix(s, "table "))
                f->how = HOW_TEMPLATE;
        else
                return err_set(err, BLD_E_USAGE,
                               "--format takes table, json, jsonl or a template, not \"%.100s\"",
                               s);
        return cli_number("depth", f->a->depth, UINT64_MAX, &f->depth, err);
}

/* Bytes of a path as people write it: slashes at the end say nothing. */
static size_t clean_len(const char *path)
{
        size_t n = strlen(path);

        while (n && path[n - 1] == '/')
                n--;
        return n;
}

/* Levels of `path` below the folder of lead bytes; 0 is that itself. */
static uint64_t level(const char *path, size_t lead)
{
        uint64_t n = 0;

        path += lead;
        if (lead == 0 && *path)
                n = 1;
        for (; *path; path++)
                n += *path == '/';
        return n;
}

/* ---- printing ---- */

static int print_template(struct files *f, const struct look_entry *e, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT((size_t)1 << 22);
        AUTO_JS struct js *j = NULL;
        int r;

        look_json(&text, e, true);
        r = sb_check(&text, "entry", err);
        r = r < 0 ? r : js_parse(sb_text(&text), text.len, &j, err);
        r = r < 0 ? r : template_run(f->a->format, j, TEMPLATE_STRICT, &f->out.buf, err);
        sb_char(&f->out.buf, '\n');
        return r;
}

static int print(struct files *f, const struct look_entry *e, struct bld_err *err)
{
        struct sb *out = &f->out.buf;
        int r = 0;

        switch (f->how) {
        case HOW_TABLE:
                if (!f->printed)
                        look_head(out, f->a->wide);
                look_line(out, e, f->a->wide, f->a->human);
                break;
        case HOW_JSON:
                sb_str(out, f->printed ? ",\n" : "[\n");
                look_json(out, e, false);
                break;
        case HOW_LINES:
                look_json(out, e, false);
                sb_char(out, '\n');
                break;
        case HOW_TEMPLATE:
                r = print_template(f, e, err);
                break;
        case HOW_NULL:
                sb_fmt(out, "/%s", e->path);
                sb_char(out, '\0');
                break;
        }
        f->printed++;
        return r < 0 ? r : out_flow(&f->out, err);
}

static int finish(struct files *f, struct bld_err *err)
{
        if (f->how == HOW_JSON)
                sb_str(&f->out.buf, f->printed ? "\n]\n" : "[]\n");
        return out_end(&f->out, err);
}

/* ---- the merged tree ---- */

static int not_there(const struct files *f, const struct bld_image *im, struct bld_err *err)
{
        return err_set(err, BLD_E_NOT_FOUND, "there is no \"/%.500s\" in %.200s", f->path,
                       bld_image_name(im));
}

static int print_node(struct files *f, const struct bld_image *im, const struct bld_tree *t,
                      size_t i, struct bld_err *err)
{
        struct bld_tree_node n = {.size = sizeof(n)};
        int r = bld_tree_node(t, i, &n, err);
        const struct look_entry e = {.path = n.path,
                                     .type = n.type,
                                     .mode = n.mode,
                                     .uid = n.uid,
                                     .gid = n.gid,
                                     .size = n.file_size,
                                     .mtime_ns = n.mtime_ns,
                                     .link = n.link,
                                     .hardlink = n.first_name,
                                     .dev_major = n.dev_major,
                                     .dev_minor = n.dev_minor,
                                     .layer = r < 0 ? 0 : bld_image_layer(im, n.layer)->number,
                                     .implied = n.implied};

        return r < 0 ? r : print(f, &e, err);
}

/* The node that was meant: a link itself, unless a slash or something behind it says otherwise. */
static int find(const struct files *f, const struct bld_image *im, const struct bld_tree *t,
                size_t *ret, struct bld_err *err)
{
        size_t n = clean_len(f->path);
        AUTO_FREE char *exact = mem_strndup(f->path, n);
        int r;

        if (!exact)
                return err_nomem(err, "path");
        *ret = BLD_NO_NODE;
        if (n == 0)
                return 0;
        r = f->path[n] ? 0 : bld_tree_find(t, exact, false, ret, err);
        if (r == 0)
                r = bld_tree_find(t, f->path, true, ret, err);
        return r == 0 ? not_there(f, im, err) : MIN(r, 0);
}

static int list_tree(struct files *f, struct bld_image *im, const struct bld_tree *t,
                     struct bld_err *err)
{
        struct bld_tree_node n = {.size = sizeof(n)};
        size_t first, end, lead = 0;
        int r = find(f, im, t, &first, err);

        if (r < 0)
                return r;
        if (first == BLD_NO_NODE) {
                first = 0;
                end = bld_tree_count(t);
        } else {
                end = bld_tree_end(t, first);
                r = bld_tree_node(t, first, &n, err);
                lead = r < 0 ? 0 : strlen(n.path);
        }
        while (r == 0 && first < end && !f->out.gone) {
                r = bld_tree_node(t, first, &n, err);
                if (r == 0 && level(n.path, lead) > f->depth) {
                        first = bld_tree_end(t, first);
                        continue;
                }
                r = r < 0 ? r : print_node(f, im, t, first++, err);
        }
        return r;
}

/* ---- one layer, as it is ---- */

static bool wanted(const struct files *f, const struct bld_layer_entry *e, size_t len)
{
        if (strncmp(e->path, f->path, len) != 0 || (len && e->path[len] && e->path[len] != '/'))
                return false;
        return level(e->path, len) <= f->depth && (*e->path || e->type == BLD_LAYER_OPAQUE);
}

static int list_layer(struct files *f, struct bld_image *im, struct bld_err *err)
{
        size_t len = clean_len(f->path), number = bld_image_layer(im, 0)->number;
        struct bld_layer_stream *s = NULL;
        const struct bld_layer_entry *e;
        bool done = false;
        int r = bld_image_stream(im, 0, &s, err);

        while (r >= 0 && !done && !f->out.gone && (r = bld_layer_stream_next(s, &e, err)) > 0) {
                const bool hard = e->type == BLD_LAYER_HARDLINK;
                const struct look_entry l = {.path = e->path,
                                             .type = e->type,
                                             .mode = e->mode,
                                             .uid = e->uid,
                                             .gid = e->gid,
                                             .size = e->file_size,
                                             .mtime_ns = e->mtime_ns,
                                             .link = hard ? NULL : e->link,
                                             .hardlink = hard ? e->link : NULL,
                                             .dev_major = e->dev_major,
                                             .dev_minor = e->dev_minor,
                                             .layer = number};

                if (!wanted(f, e, len))
                        continue;
                r = print(f, &l, err);
                /* Nothing is below it, and no second one of its name. */
                done = len && !e->path[len] && e->type != BLD_LAYER_DIR &&
                       e->type != BLD_LAYER_OPAQUE && e->type != BLD_LAYER_WHITEOUT;
        }
        if (r == 0 && !done && !f->out.gone)
                r = bld_layer_stream_end(s, NULL, err);
        if (r == 0 && len && !f->printed)
                r = not_there(f, im, err);
        bld_layer_stream_close(s);
        return MIN(r, 0);
}

/* ---- the command ---- */

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        AUTO(files_done) struct files f = {.a = args};
        AUTO(look_close) struct bld_image *im = NULL;
        struct cli_progress p = {.c = c};
        const struct bld_watch w = {.size = sizeof(w), .progress = cli_progress, .user = &p};
        const struct bld_tree_opts o = {.size = sizeof(o)};
        struct bld_tree *t = NULL;
        int r = out_open(&f.out, NULL, COLOR_NEVER, err);

        r = r < 0 ? r : read_args(&f, pos->n > 1 ? pos->v[1] : "", err);
        r = r < 0 ? r : look_open(c, pos->v[0], f.a->layer, f.a->platform, &w, &im, err);
        if (r == 0 && !f.a->layer)
                r = bld_tree_open(im, &o, &t, err);
        cli_progress_end(&p);
        p.quiet = true;
        if (r == 0)
                r = t ? list_tree(&f, im, t, err) : list_layer(&f, im, err);
        bld_tree_close(t);
        return r < 0 ? r : finish(&f, err);
}

const struct cli_cmd cmd_files = {
        .name = "files",
        .args = "[flags] IMAGE [PATH]",
        .summary = "list what is in an image, and the layer each file came from",
        .details = "PATH is a file or folder of the image. One layer of an image in a registry is\n"
                   "read as a stream, which ends where the listing does.\n",
        .examples = "bld files app:v1\nbld files -l app:v1 /etc\n"
                    "bld files --layer -1 registry.example/app:v1\n"
                    "bld files --format '{{.Layer}} {{.Path}} {{.Size}}' app:v1 /usr/lib\n",
        .exits = "3 damaged file,\n  6 no such image or path, 7 network, damaged",
        .see = "bld-cat(1), bld-analyze(1)",
        .opts = files_opts,
        .registry = true,
        .args_size = sizeof(struct files_args),
        .min_args = 1,
        .max_args = 2,
        .names_input = true,
        .run = run,
};
