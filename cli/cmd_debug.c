#include "bld/debug.h"

#include <string.h>

#include "base/err.h"
#include "cli/cli.h"
#include "cli/exit.h"
#include "cli/report.h"

/* Whatever goes wrong is exit 1 here, so that tests need not care why. */
static int fail(const struct cli *c, const struct bld_err *err)
{
        struct report rep = {.err = err};
        AUTO_SB struct sb out = SB_INIT(1u << 20);

        report_format(&c->err, &rep, &out);
        (void)term_write(2, out.buf, out.len); /* the exit status still tells */
        return EXIT_FAILED;
}

static int run(struct cli *c, int argc, char **argv, struct bld_err *err)
{
        char *text = NULL;
        int r;

        if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
                return cli_help(&cmd_debug, false, err);
        if (argc < 2) {
                (void)err_set(err, BLD_E_USAGE,
                              "bld debug needs the name of a stage\n"
                              "try: bld debug --help");
                return fail(c, err);
        }
        if (bld_debug(argv[1], argc - 2, argv + 2, &text, err) < 0)
                return fail(c, err);
        r = cli_puts(text, err);
        bld_free(text);
        return r;
}

const struct cli_cmd cmd_debug = {
        .name = "debug",
        .args = "STAGE [flags] [ARGUMENT]",
        .summary = "print one stage of the pipeline, for tests and newcomers",
        .details =
                "  ast [--strict] FILE              the syntax tree of a Dockerfile\n"
                "  heredocs FILE                    heredocs of each instruction, as JSON\n"
                "  expand [--env K=V] -- WORD       a word with its variables\n"
                "  words [--env K=V] -- WORD        the same, split; a JSON array\n"
                "  ignore --file FILE -- PATH       PATH if the ignore file excludes it\n"
                "  ref -- REF                       an image reference in its parts\n"
                "  giturl -- URL                    a git URL in its parts\n"
                "  graph FILE                       the steps it is planned as; JSON\n"
                "  key [--context DIR] FILE         their cache keys\n"
                "  config FILE                      config and history of the image\n"
                "graph, key and config take --target, --build-arg and --platform, and look at no\n"
                "image: what a base holds counts as unknown.\n"
                "FILE may be -. There is no promise that the output stays as it is.\n",
        .examples = "bld debug ast Dockerfile\nbld debug expand --env V=1 -- '${V:-2}'\n",
        .run_raw = run,
};
