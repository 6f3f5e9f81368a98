/* The parts of `bld diff --html`: what they count, the tables, and the tree. */
#ifndef CLI_DIFF_HTML_H
#define CLI_DIFF_HTML_H

#include "cli/diff.h"

#define HTML_KINDS (BLD_CHANGE_METADATA + 1)

struct html_sums {
        size_t n[HTML_KINDS];       /* changes, by enum bld_change_kind */
        uint64_t bytes[HTML_KINDS]; /* of files: that came, that went, that were written anew */
        size_t quiet;               /* folders whose time changed because of what did in them */
        size_t files_a, files_b;    /* all but folders, in the trees that were compared */
        uint64_t bytes_a, bytes_b;  /* of those, each once */
        size_t shown;               /* changes in the page */
        bool any_shared;            /* of the layers both begin with, something is in the trees */
};
int html_sum(const struct diff_result *r, struct html_sums *ret, struct bld_err *err) MUST_CHECK;
/* The rows of the data block, without the brackets around them. Sets sums->shown. */
int html_tree(const struct diff_result *r, struct html_sums *sums, struct out *o,
              struct bld_err *err) MUST_CHECK;
/* "A", "D", "M", "T", "m" */
extern const char html_letters[HTML_KINDS];

struct html_page {
        const struct diff_result *r;
        struct html_sums sums;
        struct out *o;
        bool files; /* were compared */
};

/* ---- diff_html.c: pieces; id may be NULL ---- */

void html_str(struct html_page *p, const char *s);
/* "50,000", with the bare number for programs. */
void html_count(struct html_page *p, uint64_t n, const char *id);
void html_size(struct html_page *p, uint64_t n, const char *id);
/* The difference of two sizes. */
void html_signed(struct html_page *p, uint64_t before, uint64_t after);
/* How many settings differ. */
size_t html_settings(const struct diff_result *r);

/* ---- diff_html_tables.c ---- */

int html_config(struct html_page *p, struct bld_err *err) MUST_CHECK;
int html_packages(struct html_page *p, struct bld_err *err) MUST_CHECK;
int html_layers(struct html_page *p, struct bld_err *err) MUST_CHECK;

#endif
