#include <string.h>

#include "base/err.h"
#include "cli/build.h"
#include "cli/check.h"
#include "cli/exit.h"
#include "cli/space.h"

/* For the head line of the live area. */
static const char *title_of(const struct build_args *a, const struct build_input *in)
{
        if (a->tags.n)
                return a->tags.v[0];
        return in->targets.n ? in->targets.v[0] : in->o.context;
}

static int make_view(struct cli *c, const struct build_args *a, const struct build_input *in,
                     struct view **ret, struct bld_err *err)
{
        struct view_opts o = {
                .mode = in->view,
                .term = c->err,
                .title = title_of(a, in),
                .platform = in->platforms.n == 1 ? in->platforms.v[0] : NULL,
                .file = a->file && strcmp(a->file, "-") != 0 ? a->file : "Dockerfile",
                .log_timestamps = a->log_timestamps,
                .log_streams = a->log_streams,
                .log_fd = in->log_fd,
                .raw_fd = in->raw_fd,
        };

        o.term.fd = in->view_fd;
        return view_new(&o, ret, err);
}

/* After the view has let go of the terminal. */
static int finish(struct build_report *b, int r, struct bld_err *err)
{
        struct bld_err extra = BLD_ERR_INIT;
        int status;

        if (r == 0 && b->in->load)
                r = build_load(b, err);
        if (r == 0)
                r = build_files(b, err);
        if (r == 0)
                r = build_ci(b, err);
        if (r == 0) {
                build_summary(b);
                return EXIT_OK;
        }
        build_termination_log(b, err);
        status = build_failure(b, err);
        if (build_failure_file(b, err, &extra) < 0)
                cli_note(b->c, "warning", "%s", extra.msg);
        return status;
}

static int build(struct cli *c, const struct build_args *a, struct build_input *in,
                 struct bld_err *err)
{
        AUTO_FREE struct bld_build_result *result = mem_zalloc(1, sizeof(*result));
        struct build_report b = {.c = c, .a = a, .in = in, .result = result};
        struct view *v = NULL;
        int r;

        if (!result)
                return err_nomem(err, "build");
        result->size = sizeof(*result);
        r = make_view(c, a, in, &v, err);
        if (r < 0)
                return r;
        in->o.event = view_event;
        in->o.user = v;
        cli_set_view(v);
        r = bld_build(c->b, &in->o, result, err);
        view_end(v);
        cli_set_view(NULL);
        b.steps = view_steps(v);
        r = finish(&b, r, err);
        view_free(v);
        return r;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct build_args *a = args;
        struct build_input in;
        int r;

        if (!pos->n)
                return err_set(err, BLD_E_USAGE,
                               "bld build needs a context folder\n"
                               "try: bld build .");
        build_input_init(&in);
        r = build_input_read(c, a, pos->v[0], &in, err);
        c->quiet = r == 0 && in.view == VIEW_NONE;
        r = r < 0 ? r : cli_open(c, err);
        r = r < 0 ? r : cli_space_limits(c, a->max_used, a->min_free, &in.o, err);
        if (r == 0)
                r = build_is_call(a) ? build_call(c, a, &in, err) : build(c, a, &in, err);
        build_input_done(&in);
        return r;
}

const struct cli_cmd cmd_build = {
        .name = "build",
        .aliases = "b bud",
        .args = "[flags] CONTEXT",
        .summary = "build an image from a Dockerfile",
        .details =
                "CONTEXT is a folder, or - for a Dockerfile or tar archive on standard input.\n"
                "The Dockerfile is --file, else Dockerfile, dockerfile or Containerfile in it.\n",
        .examples = "bld build -t app:v1 .\n"
                    "bld build --target test --progress plain .\n"
                    "bld build -o type=local,dest=out .\n"
                    "bld build -t registry.example/app:v1 --push .\n",
        .exits = "3 Dockerfile or\n  context, 4 policy, 5 credentials, 6 not found, 7 network, "
                 "8 resources,\n  9 no isolation, 130 and 143 after signals",
        .see = "bld-images(1), bld-push(1)",
        .opts = build_opts,
        .registry = true,
        .args_size = sizeof(struct build_args),
        .init = build_defaults,
        .max_args = 1,
        .run = run,
};
