/* Images made from images: what edit.c, edit_layer.c and edit_base.c share. */
#ifndef BUILDER_EDIT_PRIV_H
#define BUILDER_EDIT_PRIV_H

#include "base/num.h"
#include "builder/image/end_priv.h"
#include "builder/transport.h"
#include "image/edit.h"

/* One image as an end has it, and on its way to what it is to be. */
struct edit_image {
        struct img_desc desc;
        struct img_manifest m;        /* as they were */
        struct img_config conf;       /* as they were */
        struct js *manifest, *config; /* as they are going to be */
        bool docker;
};
void edit_image_done(struct edit_image *im);
/* 1, or 0 for a manifest of something that is no container image. */
int edit_image_read(struct bd_end *e, const struct img_desc *d, struct edit_image *ret,
                    struct bld_err *err);

/* A base image that was opened; stays open, for its layers may be wanted at the end. */
struct edit_base {
        char *text;
        struct bd_end *end;
        struct img_desc root;
        char *name; /* as a reference for an annotation, or NULL */
};
VEC_DEFINE(edit_bases, struct edit_base);

struct edit {
        struct bd_ctx *c;
        const struct bd_edit *o;
        struct bd_end *src; /* NULL: made of nothing */
        struct img_place at;
        struct img_ref own; /* at's, where the store did not know it */
        struct img_desc root;
        char *base_name; /* src as a reference, or NULL */
        struct bd_loans loans;
        struct edit_bases bases;
        struct bd_layers added;    /* layers to append, made once for all images */
        struct strv added_by;      /* beside them */
        struct img_descs made;     /* new layers */
        char created[RFC3339_MAX]; /* "": no time is given */
};

/* An image's layer is wherever e is. */
int edit_lend(struct edit *x, struct bd_end *e, const struct digest *d,
              struct bld_err *err) MUST_CHECK;
/* A place as a reference without a digest, malloc'ed; *ret NULL where it is none. */
int edit_name_of(const struct img_place *p, char **ret, struct bld_err *err) MUST_CHECK;
/* The annotations that say what an image is built on. name may be NULL. */
int edit_note_base(struct edit *x, struct edit_image *im, const char *name, const struct digest *d,
                   struct bld_err *err) MUST_CHECK;

/* ---- edit_layer.c ---- */

/* The layers of o->append, into x->added. */
int edit_make_layers(struct edit *x, struct bld_err *err) MUST_CHECK;
int edit_append(struct edit *x, struct edit_image *im, struct bld_err *err) MUST_CHECK;
int edit_flatten(struct edit *x, struct edit_image *im, struct bld_err *err) MUST_CHECK;

/* ---- edit_base.c ---- */

int edit_rebase(struct edit *x, struct edit_image *im, struct bld_err *err) MUST_CHECK;
void edit_bases_free(struct edit_bases *a);

#endif
