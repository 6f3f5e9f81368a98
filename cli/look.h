/* What the commands that look into images share: opening one, and showing its entries. */
#ifndef CLI_LOOK_H
#define CLI_LOOK_H

#include "cli/cli.h"

/* Open the session and the image, or its layer (NULL: all of it). The watch is borrowed until the
 * image is closed. */
int look_open(struct cli *c, const char *ref, const char *layer, const char *platform,
              const struct bld_watch *w, struct bld_image **ret, struct bld_err *err) MUST_CHECK;
static inline void look_close(struct bld_image **im)
{
        bld_image_close(*im);
}

/* An entry of a layer or of a merged tree. */
struct look_entry {
        const char *path; /* without a leading slash */
        enum bld_layer_type type;
        unsigned mode;
        uint32_t uid, gid;
        uint64_t size;
        int64_t mtime_ns;
        const char *link;     /* of a symbolic link, else NULL */
        const char *hardlink; /* another name of the file, else NULL */
        uint32_t dev_major, dev_minor;
        size_t layer;
        bool implied;
};
/* A line of a listing, its newline too. */
void look_line(struct sb *out, const struct look_entry *e, bool wide, bool human);
void look_head(struct sb *out, bool wide);
/* A JSON object. all: members that do not apply, too, for templates. */
void look_json(struct sb *out, const struct look_entry *e, bool all);

#endif
