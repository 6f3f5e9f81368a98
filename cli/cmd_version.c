#include <gnu/libc-version.h>
#include <string.h>

#include "base/err.h"
#include "cli/cli.h"
#include "cli/table.h"

struct version_args {
        struct cli_common common;
        const char *format;
};

static const struct opt version_opts[] = {
        {"format", 0, OPT_STR, offsetof(struct version_args, format), "F",
         "text, json or a template", "Flags"},
        {0},
};

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

static int version_object(struct js **ret, struct bld_err *err)
{
        struct js *j = js_obj();
        AUTO_FREE char *libc = NULL;
        int r;

        if (!j || asprintf(&libc, "glibc %s", gnu_get_libc_version()) < 0) {
                libc = NULL;
                js_free(j);
                return err_nomem(err, "version");
        }
        r = js_set_str(j, "apiVersion", "bld/v1");
        r = r < 0 ? r : js_set_str(j, "version", bld_version());
        r = r < 0 ? r : js_set_str(j, "libc", libc);
        r = r < 0 ? r : js_set_str(j, "compiler", COMPILER);
        if (r < 0) {
                js_free(j);
                return err_nomem(err, "version");
        }
        *ret = j;
        return 0;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct version_args *a = args;
        AUTO_JS struct js *j = NULL;
        AUTO_SB struct sb out = SB_INIT(4096);
        int r;

        (void)c;
        (void)pos;
        if (a->format && strcmp(a->format, "text") != 0) {
                r = version_object(&j, err);
                return r < 0 ? r : table_print_one(j, a->format, err);
        }
        sb_fmt(&out, "bld %s (glibc %s, %s)\n", bld_version(), gnu_get_libc_version(), COMPILER);
        return cli_write_out(out.buf, out.len, err);
}

const struct cli_cmd cmd_version = {
        .name = "version",
        .args = "[flags]",
        .summary = "print the version",
        .examples = "bld version\nbld version --format json\n",
        .opts = version_opts,
        .args_size = sizeof(struct version_args),
        .run = run,
};
