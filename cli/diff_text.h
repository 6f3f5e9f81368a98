/* The parts of the difference as lines for people: pieces, and what is not about files. */
#ifndef CLI_DIFF_TEXT_H
#define CLI_DIFF_TEXT_H

#include "cli/diff.h"

#define NAME_WIDTH_MAX 48u /* longer names push what follows to the right */

struct diff_page {
        const struct diff_result *r;
        struct out *o;
        struct diff_content *content;
        size_t width;   /* of names */
        size_t details; /* where the line's part behind the name begins */
        struct sb cell;
};

/* ---- diff_text.c: pieces ---- */

const char *diff_arrow(const struct diff_page *p);
/* The tag in front of a line that is not about a file. */
void diff_tag(struct diff_page *p, const char *text);
/* A value in one line; quoted as names are where something in it would not be seen. */
void diff_value(struct diff_page *p, const char *s);

/* ---- diff_text_image.c ---- */

int diff_put_config(struct diff_page *p, struct bld_err *err) MUST_CHECK;
int diff_put_packages(struct diff_page *p, struct bld_err *err) MUST_CHECK;
int diff_put_layers(struct diff_page *p, struct bld_err *err) MUST_CHECK;
void diff_put_cost(struct diff_page *p);

#endif
