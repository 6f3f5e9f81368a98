/* What `bld images --filter` and its argument choose. */
#ifndef CLI_IMAGES_FILTER_H
#define CLI_IMAGES_FILTER_H

#include "base/vec.h"
#include "cli/cli.h"

struct images_filter {
        int dangling;               /* 1, 0, or -1 for not asked */
        struct strv references;     /* patterns; any of them */
        struct strv labels;         /* KEY or KEY=VALUE; all of them */
        int64_t after_ns, until_ns; /* created later than, earlier than */
};
/* args: the --filter flags. `before` and `since` name images of the store. */
int images_filter_read(struct cli *c, const struct strv *args, struct images_filter *ret,
                       struct bld_err *err) MUST_CHECK;
void images_filter_done(struct images_filter *f);
/* image: a row of bld_images; all: untagged ones, too. */
bool images_filter_wants(const struct images_filter *f, const struct js *image, bool all);

#endif
