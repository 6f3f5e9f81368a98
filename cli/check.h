/* What `bld check` and `bld build --call` print. */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include "bld/check.h"
#include "cli/build.h"

struct check_format;
/* "text", "json", "github", ...; NULL is text. USAGE names them all. */
int check_format_find(const char *name, const struct check_format **ret,
                      struct bld_err *err) MUST_CHECK;
/* The findings on stdout. Text: without the error, which is told on stderr. */
int check_print(const struct check_format *f, const struct bld_check_result *r,
                struct bld_err *err) MUST_CHECK;
/* The error of a file that cannot be built, on stderr, where the format did not have it. */
void check_print_error(struct cli *c, const struct check_format *f,
                       const struct bld_check_result *r);

/* `bld build --call=WHAT[,format=json][,ignorestatus=B]`, --check. Returns an exit status, or a
 * negative code with err filled. */
int build_call(struct cli *c, const struct build_args *a, struct build_input *in,
               struct bld_err *err) MUST_CHECK;
/* Is anything but building asked for? */
bool build_is_call(const struct build_args *a);

#endif
