/* `bld diff`: what was found is collected once (diff_collect.c), each output is one writer over it
 * that asks nothing of the images again but contents. */
#ifndef CLI_DIFF_H
#define CLI_DIFF_H

#include "bld/bld.h"
#include "cli/cli.h"
#include "cli/out.h"

/* ---- what is asked for ---- */

enum diff_mode { DIFF_FILES = 1, DIFF_LAYERS = 2, DIFF_CONFIG = 4, DIFF_PACKAGES = 8 };

struct diff_ask {
        unsigned modes;         /* enum diff_mode */
        bool chosen;            /* by the user: nothing is told beyond them */
        unsigned ignore_files;  /* enum bld_diff_what */
        unsigned ignore_config; /* enum bld_config_ignore */
        bool ignore_order, ignore_compression;
        bool stat;
        bool content;
        uint64_t content_max; /* bytes of a text that is shown */
        enum bld_diff_shared shared;
        bool shared_given;
        bool exact; /* nothing unsure will do */
        const char *platform;
        struct bld_list only, exclude;
        const struct bld_watch *watch;
        const char *ignored; /* as the user wrote it; NULL: nothing */
};

/* ---- what was found ---- */

enum diff_layer_kind {
        DIFF_LAYER_SAME,
        DIFF_LAYER_RECOMPRESSED, /* the same tar in other bytes */
        DIFF_LAYER_REORDERED,    /* the same entries in another order */
        DIFF_LAYER_EQUIVALENT,   /* the same entries, in all that is not ignored, in another tar */
        DIFF_LAYER_CHANGED,
        DIFF_LAYER_ADDED,
        DIFF_LAYER_DELETED
};
struct diff_layer {
        enum diff_layer_kind kind;
        bool differs; /* counts as a difference, after what is ignored */
        const struct bld_layer_info *before, *after; /* of the images; NULL: there is none */
};
VEC_DEFINE(diff_layers, struct diff_layer);

struct diff_package {
        const struct bld_package *before, *after; /* NULL: not there */
};
VEC_DEFINE(diff_packages, struct diff_package);

struct diff_result {
        struct bld_image *a, *b;
        const struct diff_ask *ask;
        struct bld_diff *files;         /* NULL: not compared */
        struct bld_diff *whole;         /* for packages, where `files` shows a part only */
        struct bld_config_diff *config; /* NULL: not compared */
        struct bld_pull_cost cost;
        bool has_cost;             /* both have layers with digests */
        struct diff_layers layers; /* when DIFF_LAYERS was asked for */
        struct bld_packages *packages_a, *packages_b;
        struct diff_packages packages;
        size_t unsure; /* changes of files */
        bool differ;
};
/* The images are open and stay the caller's. */
int diff_collect(struct cli *c, const struct diff_ask *ask, struct bld_image *a,
                 struct bld_image *b, struct diff_result *ret, struct bld_err *err) MUST_CHECK;
void diff_result_done(struct diff_result *r);
/* Pairs of layers, judged by bytes and, where those differ, by entries. */
int diff_layers_compare(const struct diff_ask *ask, struct bld_image *a, struct bld_image *b,
                        struct diff_layers *ret, struct bld_err *err) MUST_CHECK;
const char *diff_layer_name(enum diff_layer_kind k);

/* ---- changes of files, for telling ---- */

/* Both sides of change i; `before` and `after` are zero where there is none. */
struct diff_sides {
        const struct bld_change *change;
        bool has_before, has_after;
        struct bld_tree_node before, after;
};
int diff_sides(const struct bld_diff *d, size_t i, struct diff_sides *ret,
               struct bld_err *err) MUST_CHECK;
/* The node that is there; of two the second. */
const struct bld_tree_node *diff_node(const struct diff_sides *s);

/* Changes that are one line for people: a folder that is all new, or all gone, with what is in it.
 */
struct diff_group {
        size_t first, n; /* changes */
        size_t shown;    /* the one to name: of folders with nothing but one thing inside, that */
        uint64_t files;  /* in the folder, if that is what is shown: all but folders */
        uint64_t bytes;  /* of those, each once */
        bool quiet;      /* a folder whose time changed because of what did in it */
};
/* The group that begins at change i. */
int diff_group_at(const struct bld_diff *d, size_t i, struct diff_group *ret,
                  struct bld_err *err) MUST_CHECK;

/* What made an entry of the history, malloc'ed; NULL: it does not say. */
char *diff_step(const char *json);
bool diff_same_step(const char *a, const char *b);

/* ---- contents ---- */

/* Contents of what was modified, added or deleted, read in one pass over each tree. */
struct diff_content;
int diff_content_read(struct cli *c, const struct diff_result *r, struct diff_content **ret,
                      struct bld_err *err) MUST_CHECK;
void diff_content_free(struct diff_content *c);
DEFINE_AUTO_PTR(struct diff_content, diff_content_free);
enum diff_content_kind { DIFF_CONTENT_NONE, DIFF_CONTENT_TEXT, DIFF_CONTENT_OTHER };
struct diff_content_sides {
        enum diff_content_kind kind;
        char before[160], after[160]; /* of OTHER: what it is, its size, its digest; "" no file */
        const unsigned char *sha256_before, *sha256_after; /* NULL: no file, or not read */
};
/* For TEXT the hunks are appended to out. */
int diff_content_of(struct diff_content *c, size_t change, struct diff_content_sides *ret,
                    struct sb *out, struct bld_err *err) MUST_CHECK;

/* ---- writers ---- */

int diff_write_text(const struct diff_result *r, struct diff_content *content, struct out *o,
                    struct bld_err *err) MUST_CHECK;
int diff_write_names(const struct diff_result *r, bool status, struct out *o,
                     struct bld_err *err) MUST_CHECK;
int diff_write_json(const struct diff_result *r, struct diff_content *content, bool lines,
                    struct out *o, struct bld_err *err) MUST_CHECK;
/* One page for browsers. */
int diff_write_html(const struct diff_result *r, struct out *o, struct bld_err *err) MUST_CHECK;
/* codec: of the layer. */
int diff_write_patch(const struct diff_result *r, enum bld_layer_codec codec, struct out *o,
                     struct bld_err *err) MUST_CHECK;
/* Before long work: USAGE when something is in dir already. */
int diff_report_check(const char *dir, struct bld_err *err) MUST_CHECK;
/* Both versions of files below dir, which is made or empty, and report.json beside them. */
int diff_write_report(struct cli *c, const struct diff_result *r, struct diff_content *content,
                      const char *dir, struct bld_err *err) MUST_CHECK;

#endif
