/* Where a command's data goes: standard output, or a file that gets its name when it is whole. */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include "base/sb.h"
#include "cli/term.h"

struct out {
        struct sb buf; /* append here, then out_flow() */
        struct term term;
        const char *path; /* NULL: standard output */
        char *tmp;
        int fd;
        bool gone; /* the reader went away: the rest is dropped */
};
#define AUTO_OUT AUTO(out_done)

/* path: NULL or "-" is standard output; borrowed. What is no regular file (a device, a pipe) is
 * written to as it is. */
int out_open(struct out *o, const char *path, enum term_color color,
             struct bld_err *err) MUST_CHECK;
/* Send what was appended when it is worth it. A reader that went away is no error. */
int out_flow(struct out *o, struct bld_err *err) MUST_CHECK;
/* Send the rest and give the file its name. */
int out_end(struct out *o, struct bld_err *err) MUST_CHECK;
/* Without out_end() before it, there is no file, or the one that was there. */
void out_done(struct out *o);

#endif
