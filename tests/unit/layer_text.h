/* Layers made of text, for tests of trees. */
#ifndef TESTS_UNIT_LAYER_TEXT_H
#define TESTS_UNIT_LAYER_TEXT_H

#include "bld/open.h"

#define LT_LAYERS 4

/* A layer in memory of one entry per line: type, path, and what the type takes:
 * "d PATH [MODE]", "f PATH [CONTENT]", "s PATH TARGET", "l PATH TARGET", "p PATH", "c PATH MINOR",
 * "w PATH", "o PATH"; "x NAME VALUE" gives the entry before an extended attribute. */
struct bld_layer *lt_layer(const char *text);
/* The same as a file. */
int lt_layer_fd(const char *text);

/* Layers of texts as an image, bottom first, up to the first NULL. */
struct lt_image {
        struct bld_layer *v[LT_LAYERS];
        size_t n;
        struct bld_image *im;
};
void lt_open(struct lt_image *x, const char *const *texts);
void lt_close(struct lt_image *x);

#endif
