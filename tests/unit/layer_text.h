/* Layers made of text, for tests of trees. */
#ifndef TESTS_UNIT_LAYER_TEXT_H
#define TESTS_UNIT_LAYER_TEXT_H

#include "bld/open.h"
#include "layer/layer.h"

#define LT_LAYERS 4

/* A layer in memory of one entry per line: type, path, and what the type takes:
 * "d PATH [MODE]", "f PATH [CONTENT]", "z PATH SIZE" (a file of that size), "s PATH TARGET", "l
 * PATH TARGET", "p PATH", "c PATH MINOR", "w PATH", "o PATH"; "x NAME VALUE" gives the entry before
 * an extended attribute. */
struct bld_layer *lt_layer(const char *text);
/* The same as a file. */
int lt_layer_fd(const char *text);

/* Its table of contents. */
struct ly_toc *lt_toc(const char *text);

/* The tables of texts, bottom first, up to the first NULL. */
struct lt_chain {
        struct ly_toc *v[LT_LAYERS];
        size_t n;
};
struct lt_chain lt_chain(const char *const *texts);
void lt_chain_done(struct lt_chain *c);
/* As the calls of layer/ take them. */
const struct ly_toc *const *lt_tocs(const struct lt_chain *c);

/* Layers of texts as an image, bottom first, up to the first NULL. */
struct lt_image {
        struct bld_layer *v[LT_LAYERS];
        size_t n;
        struct bld_image *im;
};
void lt_open(struct lt_image *x, const char *const *texts);
void lt_close(struct lt_image *x);

#endif
