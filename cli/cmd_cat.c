#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/look.h"
#include "cli/text.h"

struct cat_args {
        struct cli_common common;
        const char *layer, *platform;
        bool verify;
};

#define A(field) offsetof(struct cat_args, field)
static const struct opt cat_opts[] = {
        {"layer", 0, OPT_STR, A(layer), "N", "out of this layer: 0 is the bottom, -1 the top",
         "Flags"},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "of an image for several", NULL},
        {"verify", 0, OPT_BOOL, A(verify), NULL,
         "read the whole layer and check its digest before a byte is printed", NULL},
        {0},
};

struct printer {
        bool gone; /* the reader went away */
        int why;   /* errno of a failed write */
        bool clean;
        struct line_buf lines;
        struct sb text;
};

static int flush(struct printer *p, const void *s, size_t n)
{
        if (n == 0 || term_write(1, s, n))
                return 0;
        p->gone = errno == EPIPE;
        p->why = errno;
        return 1;
}

static void add_line(void *user, const char *line, size_t n)
{
        struct printer *p = user;

        (void)text_add(&p->text, line, n, TEXT_WIDE, TEXT_SGR);
        sb_char(&p->text, '\n');
}

/* Others' bytes steer no terminal; anything else gets them as they are. */
static int print(void *user, const void *s, size_t n)
{
        struct printer *p = user;
        int r;

        if (!p->clean)
                return flush(p, s, n);
        line_buf_feed(&p->lines, s, n, add_line, p);
        r = flush(p, p->text.buf, p->text.len);
        sb_reset(&p->text);
        return r;
}

static int read_file(struct bld_image *im, const char *path, const struct cat_args *a,
                     struct bld_err *err)
{
        const struct bld_file_opts o = {.size = sizeof(o), .verify = a->verify};
        struct printer p = {.clean = isatty(1) == 1, .text = SB_INIT((size_t)1 << 24)};
        int r;

        line_buf_init(&p.lines);
        r = bld_file_read(im, path, &o, print, &p, NULL, err);
        if (r == 0 && p.clean) {
                line_buf_flush(&p.lines, add_line, &p);
                (void)flush(&p, p.text.buf, p.text.len); /* a terminal that went away */
        }
        line_buf_done(&p.lines);
        sb_done(&p.text);
        if (r == BLD_E_CANCELLED && p.why) {
                err_clear(err);
                r = p.gone ? 0 : err_sys(err, p.why, "write to standard output");
        }
        return r;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct cat_args *a = args;
        AUTO(look_close) struct bld_image *im = NULL;
        struct cli_progress p = {.c = c, .quiet = isatty(1) == 1};
        const struct bld_watch w = {.size = sizeof(w), .progress = cli_progress, .user = &p};
        int r = look_open(c, pos->v[0], a->layer, a->platform, &w, &im, err);

        r = r < 0 ? r : read_file(im, pos->v[1], a, err);
        cli_progress_end(&p);
        if (r == BLD_E_NOT_FOUND && im)
                return err_try(err, r, "bld files %s", pos->v[0]);
        if (r == BLD_E_INVALID && im)
                return err_try(err, r, "bld files -l %s %s", pos->v[0], pos->v[1]);
        return r;
}

const struct cli_cmd cmd_cat = {
        .name = "cat",
        .args = "[flags] IMAGE PATH",
        .summary = "print one file of an image",
        .details =
                "Links are followed inside the image. Of an image in a registry only what leads\n"
                "to the file is read: layers from the top until it is found, or, where the\n"
                "store knows what is in a layer, the bytes around the file. A layer that is\n"
                "not read to its end is not checked against its digest; --verify does that.\n",
        .examples = "bld cat app:v1 /etc/os-release\n"
                    "bld cat --layer 0 registry.example/app:v1 /etc/passwd\n"
                    "bld cat --verify docker://docker.io/library/debian:12 /etc/debian_version\n",
        .exits =
                "2 no regular file,\n  3 damaged file, 6 no such image or path, 7 network, damaged",
        .see = "bld-files(1)",
        .opts = cat_opts,
        .registry = true,
        .args_size = sizeof(struct cat_args),
        .min_args = 2,
        .max_args = 2,
        .names_input = true,
        .run = run,
};
